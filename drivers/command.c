/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/command.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "codec/mqtt.h"
#include "drivers/field.h"
#include "service.h"

enum { ID_MAX = 128, DISK_TICK_MS = 2 };

/* ---- what a command says ---- */

static struct value text_value(const char *text)
{
    size_t len = strlen(text);

    return (struct value){.kind = VALUE_TEXT, .text = text, .len = (uint8_t)(len > 255 ? 255 : len)};
}

static bool is_number(const char *text)
{
    return (isdigit((unsigned char)text[0]) || (text[0] == '-' && isdigit((unsigned char)text[1]))) &&
           !text[strspn(text, "0123456789.eE+-")];
}

/* "21.50" is 2150 hundredths, whatever a double makes of it. */
static bool read_decimal(const char *text, struct value *out)
{
    const char *point = strchr(text, '.');
    size_t decimals = strlen(point + 1);
    char digits[32];

    if (strpbrk(text, "eE+") || strchr(point + 1, '.') || strlen(text) > 19 || decimals > 12)
        return false;
    snprintf(digits, sizeof digits, "%.*s%s", (int)(point - text), text, point + 1);
    *out =
        (struct value){.kind = VALUE_DECIMAL, .decimals = (uint8_t)decimals, .i = strtoll(digits, NULL, 10)};
    return true;
}

static bool read_whole(const char *text, struct value *out)
{
    errno = 0;
    if (text[0] == '-')
        *out = (struct value){.kind = VALUE_INT, .i = strtoll(text, NULL, 10)};
    else
        *out = (struct value){.kind = VALUE_UINT, .u = strtoull(text, NULL, 10)};
    return !errno;
}

static struct value value_of(const char *text)
{
    struct value v;
    char *end;

    if (!strcmp(text, "true") || !strcmp(text, "false"))
        return (struct value){.kind = VALUE_BOOL, .b = text[0] == 't'};
    if (!is_number(text))
        return text_value(text);
    if (strchr(text, '.') ? read_decimal(text, &v) : !strpbrk(text, "eE") && read_whole(text, &v))
        return v;
    v = (struct value){.kind = VALUE_DOUBLE, .d = strtod(text, &end)};
    return *end || !isfinite(v.d) ? text_value(text) : v;
}

/* A JSON number as the text that it was: whole numbers that a double cannot hold must come as a string. */
static char *text_of_number(double d)
{
    char text[40];

    if (fabs(d) > 9007199254740992.0 && d == nearbyint(d))
        return NULL;
    snprintf(text, sizeof text, "%.15g", d);
    if (strtod(text, NULL) != d)
        snprintf(text, sizeof text, "%.17g", d);
    return mem_strdup(text);
}

static char *text_of(const cJSON *j)
{
    if (cJSON_IsBool(j))
        return mem_strdup(cJSON_IsTrue(j) ? "true" : "false");
    if (cJSON_IsString(j))
        return mem_strdup(j->valuestring);
    return cJSON_IsNumber(j) ? text_of_number(j->valuedouble) : NULL;
}

/* "2026-11-24T20:05:59Z" */
static bool take_until(struct command *c, const char *text)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    if (end && *end == '.')
        end += 1 + strspn(end + 1, "0123456789");
    if (!end || strcmp(end, "Z"))
        return false;
    int64_t at_us = (int64_t)timegm(&tm) * 1000000 - clock_offset_us();
    uint64_t until_us = at_us < 1 ? 1 : (uint64_t)at_us;
    if (clock_is_set() && (!c->expires_us || until_us < c->expires_us))
        c->expires_us = until_us;
    return true;
}

static bool take_object(struct command *c, const cJSON *o)
{
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(o, "id");
    const cJSON *until = cJSON_GetObjectItemCaseSensitive(o, "until");

    c->text = text_of(cJSON_GetObjectItemCaseSensitive(o, "value"));
    c->id = id ? text_of(id) : NULL;
    if (id && (!c->id || !c->id[0] || strlen(c->id) > ID_MAX))
        return false;
    if (until && (!cJSON_IsString(until) || !take_until(c, until->valuestring)))
        return false;
    return c->text;
}

/* A bare value, a JSON value, or {"value":…,"id":…,"until":…}. */
static bool understand(struct command *c)
{
    const char *text = (const char *)c->payload.data;
    bool ok;

    if (strlen(text) + 1 != c->payload.len)
        return false;
    text += strspn(text, " \t\r\n");
    if (*text == '{' || *text == '"') {
        cJSON *o = cJSON_Parse(text);
        ok = *text == '{' ? o && take_object(c, o) : (c->text = text_of(o)) != NULL;
        cJSON_Delete(o);
    } else {
        size_t len = strlen(text);
        while (len && isspace((unsigned char)text[len - 1]))
            len--;
        c->text = mem_strndup(text, len);
        ok = len;
    }
    if (ok)
        c->value = value_of(c->text);
    return ok;
}

/* ---- the session that takes them ---- */

static char *level(const char **at, const char *end)
{
    const char *slash = memchr(*at, '/', (size_t)(end - *at));
    const char *stop = slash ? slash : end;
    char *text = mem_strndup(*at, (size_t)(stop - *at));

    *at = slash ? slash + 1 : end;
    return text;
}

static void take_topic(struct command *c, struct bytes topic, const char *root)
{
    const char *at = (const char *)topic.data + strlen(root) + 1, *end = (const char *)topic.data + topic.len;

    c->device = level(&at, end);
    free(level(&at, end)); /* "set" */
    c->point = level(&at, end);
}

/* Nobody gets an answer sent where he could not publish himself. */
static void take_response(struct command *c, struct session *from, struct bytes topic)
{
    bool may = !from || !from->ops || !from->ops->may_publish || from->ops->may_publish(from, topic);

    if (may && topic.len && topic.data[0] != '$')
        c->response = mem_strndup((const char *)topic.data, topic.len);
}

static void take_sender(struct command *c, const struct message *m)
{
    struct session *from = broker_publisher(c->owner->field->gw->broker, m->publisher);
    const char *user = from && from->ops && from->ops->user ? from->ops->user(from) : NULL;
    struct cursor props = cursor_of(m->props.data, m->props.len);
    struct mqtt_property one;

    c->client = from ? mem_strndup(from->name, from->name_len) : NULL;
    c->user = user ? mem_strdup(user) : NULL;
    while (mqtt_props_next(&props, &one))
        if (one.id == MQTT_RESPONSE_TOPIC)
            take_response(c, from, one.text);
        else if (one.id == MQTT_CORRELATION_DATA)
            buf_append(&c->correlation, one.whole.data, one.whole.len);
}

/* Called while a route is walked: only remembers. */
static bool on_deliver(struct session *s, const struct delivery *d)
{
    struct commands *all = s->reader;
    struct bytes payload = message_payload(d->message);

    if (all->count >= COMMANDS_MAX || payload.len > COMMAND_PAYLOAD_MAX) {
        all->refused++;
        return false;
    }
    struct command *c = mem_alloc(sizeof *c);
    *c = (struct command){.owner = all, .came_us = clock_boot_us()};
    take_topic(c, d->message->topic, all->field->gw->root);
    take_sender(c, d->message);
    buf_append(&c->payload, payload.data, payload.len);
    buf_u8(&c->payload, 0);
    if (d->message->expires)
        c->expires_us = c->came_us + message_left_s(d->message) * 1000000ull;
    list_add_tail(&all->fresh, &c->link);
    all->count++;
    field_wake(all->field);
    return true;
}

static void on_release(struct session *s, uint16_t id, store_ticket ticket)
{
    (void)s, (void)id, (void)ticket; /* it takes QoS 0 alone */
}

static bool on_room(struct session *s)
{
    (void)s;
    return true;
}

static void on_displaced(struct session *s)
{
    (void)s; /* no client can have its name */
}

static const struct session_ops ops = {.kind = "inbox",
                                       .on_deliver = on_deliver,
                                       .on_release = on_release,
                                       .on_room = on_room,
                                       .on_displaced = on_displaced};

/* ---- what becomes of one ---- */

static void free_command(struct command *c)
{
    c->owner->count--;
    list_remove(&c->link);
    buf_free(&c->correlation);
    buf_free(&c->payload);
    free(c->device);
    free(c->point);
    free(c->response);
    free(c->client);
    free(c->user);
    free(c->id);
    free(c->text);
    free(c);
}

static void add_value(cJSON *to, const char *name, const struct value *v)
{
    struct buf text = {0};

    value_print(&text, v);
    buf_u8(&text, 0);
    cJSON_AddRawToObject(to, name, (const char *)text.data);
    buf_free(&text);
}

static cJSON *describe(const struct command *c, const char *verdict, const struct value *read, bool repeated)
{
    cJSON *o = cJSON_CreateObject();
    char now[32];

    clock_format(clock_wall_us(), now);
    cJSON_AddStringToObject(o, "t", now);
    if (!clock_is_set())
        cJSON_AddStringToObject(o, "clk", "unset");
    cJSON_AddStringToObject(o, "device", c->device);
    cJSON_AddStringToObject(o, "point", c->point);
    if (c->id)
        cJSON_AddStringToObject(o, "id", c->id);
    if (c->text)
        add_value(o, "value", &c->value);
    cJSON_AddBoolToObject(o, "ok", !strcmp(verdict, "ok"));
    cJSON_AddStringToObject(o, "verdict", verdict);
    if (read)
        add_value(o, "read", read);
    if (repeated)
        cJSON_AddTrueToObject(o, "repeated");
    cJSON_AddNumberToObject(o, "ms", (double)((clock_boot_us() - c->came_us) / 1000));
    return o;
}

static void publish(const struct command *c, const char *topic, const cJSON *what, struct bytes props)
{
    struct broker *b = c->owner->field->gw->broker;
    char *text = cJSON_PrintUnformatted(what);
    struct message m = {.topic = bytes_of(topic),
                        .payload = bytes_of(text),
                        .props = props,
                        .qos = 1,
                        .boot = c->owner->field->gw->boot,
                        .born_us = (int64_t)clock_boot_us()};

    broker_publish(b, &m, NULL);
    message_done(&m);
    free(text);
}

static void tell(const struct command *c, const char *verdict, const struct value *read, bool repeated)
{
    const char *root = c->owner->field->gw->root;
    cJSON *what = describe(c, verdict, read, repeated);
    char *result = mem_format("%s/%s/set/%s/result", root, c->device, c->point);
    char *event = mem_format("%s/event/command", root);

    publish(c, c->response ? c->response : result, what,
            (struct bytes){c->correlation.data, c->correlation.len});
    if (c->client)
        cJSON_AddStringToObject(what, "client", c->client);
    if (c->user)
        cJSON_AddStringToObject(what, "user", c->user);
    publish(c, event, what, (struct bytes){0});
    cJSON_Delete(what);
    free(result);
    free(event);
}

static char *key_of(const struct command *c)
{
    return mem_format("%s/%s/%s", c->device, c->point, c->id);
}

static void answer(struct command *c, const char *verdict)
{
    if (c->done)
        c->done(c->done_arg, verdict);
}

void command_done(struct command *c, const char *verdict, const struct value *read)
{
    tell(c, verdict, read, false);
    answer(c, verdict);
    if (c->id) {
        char *key = key_of(c);
        broker_want(c->owner->field->gw->broker, ids_end(&c->owner->ids, key, verdict));
        free(key);
    }
    free_command(c);
}

/* True when a command with this id is known: it is told again what became of that. */
static bool is_repeat(struct command *c)
{
    char *key = key_of(c);
    const struct id_entry *e = ids_find(&c->owner->ids, key);

    free(key);
    if (!e)
        return false;
    tell(c, e->verdict ? e->verdict : e->earlier ? "interrupted" : "under way", NULL, true);
    free_command(c);
    return true;
}

static void refuse(struct command *c, const char *why)
{
    tell(c, why, NULL, false);
    answer(c, why);
    free_command(c);
}

static void carry_out(struct command *c)
{
    list_remove(&c->link);
    list_add_tail(&c->owner->under_way, &c->link);
    const char *why = c->expires_us && clock_boot_us() > c->expires_us ? "expired" : c->owner->give(c, false);
    if (why)
        command_done(c, why, NULL);
}

static void on_tick(uv_timer_t *timer)
{
    struct commands *all = timer->data;
    store_ticket done = broker_done_ticket(all->field->gw->broker);

    list_for_safe(it, &all->waiting)
    {
        struct command *c = list_entry(it, struct command, link);
        if (c->ticket <= done)
            carry_out(c);
    }
    if (list_empty(&all->waiting))
        uv_timer_stop(timer);
}

/* That it was begun must be on disk before it is. */
static void wait_for_disk(struct command *c)
{
    struct commands *all = c->owner;
    char *key = key_of(c);

    c->ticket = ids_begin(&all->ids, key);
    broker_want(all->field->gw->broker, c->ticket);
    list_remove(&c->link);
    list_add_tail(&all->waiting, &c->link);
    if (!uv_is_active((uv_handle_t *)&all->timer))
        uv_timer_start(&all->timer, on_tick, DISK_TICK_MS, DISK_TICK_MS);
    free(key);
}

static void begin(struct command *c)
{
    if (!understand(c)) {
        refuse(c, "malformed");
        return;
    }
    if (c->id && is_repeat(c))
        return;
    const char *why = c->owner->give(c, true);
    if (why)
        refuse(c, why);
    else if (c->id)
        wait_for_disk(c);
    else
        carry_out(c);
}

void commands_take(struct commands *all)
{
    for (struct list *it; (it = list_pop(&all->fresh));) {
        struct command *c = list_entry(it, struct command, link);
        begin(c);
    }
}

static char *text_of_value(const struct value *v)
{
    struct buf text = {0};

    if (v->kind == VALUE_TEXT)
        return mem_strndup(v->text ? v->text : "", v->len);
    value_print(&text, v);
    buf_u8(&text, 0);
    return (char *)text.data;
}

void commands_submit(struct commands *all, const struct command_request *q)
{
    struct command *c = mem_alloc(sizeof *c);

    *c = (struct command){.owner = all, .came_us = clock_boot_us(), .value = *q->value};
    c->done = q->done;
    c->done_arg = q->done_arg;
    c->device = mem_strdup(q->device);
    c->point = mem_strdup(q->point);
    c->client = mem_strdup(q->client);
    c->text = text_of_value(q->value);
    if (c->value.kind == VALUE_TEXT)
        c->value.text = c->text;
    list_init(&c->link);
    all->count++;
    const char *why = all->count > COMMANDS_MAX ? "too many" : all->give(c, true);
    if (why)
        refuse(c, why);
    else
        carry_out(c);
}

/* ---- start and end ---- */

int commands_open(struct commands *c, struct field *f,
                  const char *(*give)(struct command *c, bool only_check))
{
    static const struct subscription_options once = {.qos = 0, .retain_handling = 2}; /* not old ones */

    *c = (struct commands){.field = f, .give = give};
    list_init(&c->fresh);
    list_init(&c->waiting);
    list_init(&c->under_way);
    c->timer.data = c;
    ids_open(&c->ids, f->gw->notes);
    int err = uv_timer_init(f->gw->loop, &c->timer);
    if (!err)
        err = session_new(&c->session, f->gw->broker, bytes_of("\1commands"), false);
    if (err)
        return err;
    char *filter = mem_format("%s/+/set/+", f->gw->root);
    session_subscribe(c->session, bytes_of(filter), &once);
    free(filter);
    session_attach(c->session, &ops, c, 1);
    return 0;
}

static void on_close(uv_handle_t *h)
{
    struct commands *c = h->data;

    c->closed = true;
}

void commands_close(struct commands *c)
{
    struct list *const left[] = {&c->fresh, &c->waiting, &c->under_way};

    if (c->session) {
        session_detach(c->session);
        session_end(c->session);
    }
    for (size_t i = 0; i < ARRAY_SIZE(left); i++)
        for (struct list *it; (it = list_pop(left[i]));)
            command_done(list_entry(it, struct command, link), "interrupted", NULL);
    ids_close(&c->ids);
    uv_close((uv_handle_t *)&c->timer, on_close);
}
