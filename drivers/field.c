/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/field.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "broker/notes.h"
#include "service.h"

/* Their names are on disk with the messages. */
static const struct message_encoder encode_group = {"reading", reading_json};
static const struct message_encoder encode_point = {"reading-point", reading_json_point};
static const struct message_encoder encode_plain = {"reading-plain", reading_plain_point};

static void on_wake(uv_async_t *wake)
{
    struct field *f = wake->data;

    f->take(f);
}

static void on_calm(struct broker_waiter *w)
{
    struct field *f = container_of(w, struct field, calm);

    f->take(f);
}

int field_open(struct field *f, struct gateway *gw, void (*take)(struct field *f))
{
    *f = (struct field){.gw = gw, .take = take, .calm = {.calm = on_calm}};
    list_init(&f->calm.link);
    message_encoder_add(&encode_group);
    message_encoder_add(&encode_point);
    message_encoder_add(&encode_plain);
    f->wake.data = f;
    return uv_async_init(gw->loop, &f->wake, on_wake);
}

static void drop_series(struct field *f)
{
    for (struct map_node *n = map_next(&f->series, NULL), *next; n; n = next) {
        struct field_series *s = container_of(n, struct field_series, node);
        next = map_next(&f->series, n);
        free(s->key);
        free(s);
    }
    map_free(&f->series);
}

static void on_close(uv_handle_t *h)
{
    struct field *f = h->data;

    f->closed = true;
}

void field_close(struct field *f)
{
    list_remove(&f->calm.link);
    drop_series(f);
    uv_close((uv_handle_t *)&f->wake, on_close);
}

void field_wake(void *arg)
{
    struct field *f = arg;

    uv_async_send(&f->wake);
}

bool field_may_publish(struct field *f)
{
    if (!broker_congested(f->gw->broker))
        return true;
    broker_when_calm(f->gw->broker, &f->calm);
    return false;
}

static bool key_is(const struct map_node *n, const void *key)
{
    return !strcmp(container_of(n, const struct field_series, node)->key, key);
}

struct field_series *field_series(struct field *f, const char *device, const char *group)
{
    char *key = mem_format("%s/%s", device, group);
    uint64_t hash = map_hash(key, strlen(key));
    struct map_node *n = map_find(&f->series, hash, key_is, key);

    if (n) {
        free(key);
        return container_of(n, struct field_series, node);
    }
    struct field_series *s = mem_alloc(sizeof *s);
    s->key = key;
    map_insert(&f->series, &s->node, hash);
    return s;
}

static store_ticket publish(struct field *f, const char *topic, const struct reading *r,
                            const struct publish_group *how, const struct message_encoder *encoder)
{
    struct buf record = {0};

    reading_encode(&record, r);
    struct message m = {
        .topic = bytes_of(topic),
        .payload = {record.data, record.len},
        .encoder = encoder,
        .born_us = (int64_t)r->taken_us,
        .boot = r->boot,
        .qos = how->qos,
        .retain = how->retain,
    };
    store_ticket ticket = broker_publish(f->gw->broker, &m, NULL);
    message_done(&m);
    buf_free(&record);
    return ticket == SESSION_REFUSED ? 0 : ticket;
}

/* A plain payload has no place to say that there is no value: nothing is published, and what was retained is
 * taken back. */
static store_ticket publish_one(struct field *f, const char *topic, const struct reading *r,
                                const struct publish_group *how)
{
    if (how->payload != PAYLOAD_PLAIN)
        return publish(f, topic, r, how, &encode_point);
    if (r->points[0].quality == QUALITY_GOOD)
        return publish(f, topic, r, how, &encode_plain);
    if (how->retain)
        broker_publish_bytes(f->gw->broker, topic, (struct bytes){0}, how->qos, true);
    return 0;
}

static store_ticket publish_points(struct field *f, const struct reading *r, const struct publish_group *how)
{
    struct reading one = *r;
    store_ticket ticket = 0;

    one.point_count = 1;
    for (size_t i = 0; i < r->point_count; i++) {
        char *topic = mem_format("%s/%s/data/%s/%s", f->gw->root, r->device, r->group, r->points[i].name);
        one.points = &r->points[i];
        store_ticket t = publish_one(f, topic, &one, how);
        ticket = t > ticket ? t : ticket;
        free(topic);
    }
    return ticket;
}

static void settle(struct field *f, struct field_series *s)
{
    store_ticket done = broker_done_ticket(f->gw->broker);

    while (s->waiting.n && s->waiting.ticket <= done) {
        s->committed = s->waiting.n;
        s->waiting = s->newest;
        s->newest.n = 0;
    }
}

void field_publish(struct field *f, struct field_series *s, struct reading *r,
                   const struct publish_group *how)
{
    store_ticket ticket;

    r->boot = f->gw->boot;
    r->count = ++s->count;
    s->published = reading_number(r);
    if (how->payload == PAYLOAD_GROUP) {
        char *topic = mem_format("%s/%s/data/%s", f->gw->root, r->device, r->group);
        ticket = publish(f, topic, r, how, &encode_group);
        free(topic);
    } else {
        ticket = publish_points(f, r, how);
    }
    settle(f, s);
    *(s->waiting.n ? &s->newest : &s->waiting) = (typeof(s->waiting)){s->published, ticket};
}

uint64_t field_committed(struct field *f, struct field_series *s)
{
    settle(f, s);
    return s->committed;
}

const char *device_state_name(enum device_state state)
{
    static const char *const names[] = {"unknown", "online", "stale", "dead"};

    return names[state];
}

static void add_time(cJSON *to, const char *name, uint64_t boot_us)
{
    char text[32];

    clock_format((int64_t)boot_us + clock_offset_us(), text);
    cJSON_AddStringToObject(to, name, text);
    if (!clock_is_set())
        cJSON_AddStringToObject(to, "clk", "unset");
}

static void publish_json(struct field *f, char *topic, cJSON *what, bool retain)
{
    char *text = cJSON_PrintUnformatted(what);

    broker_publish_bytes(f->gw->broker, topic, bytes_of(text), 1, retain);
    free(text);
    cJSON_Delete(what);
    free(topic);
}

void field_publish_state(struct field *f, const char *device, enum device_state state, uint64_t since_us,
                         const char *reason)
{
    cJSON *what = cJSON_CreateObject();

    cJSON_AddStringToObject(what, "state", device_state_name(state));
    add_time(what, "since", since_us);
    cJSON_AddStringToObject(what, "reason", reason);
    publish_json(f, mem_format("%s/%s/state", f->gw->root, device), what, true);
}

void field_publish_alarm(struct field *f, const struct field_alarm *a)
{
    cJSON *what = cJSON_CreateObject();
    struct buf value = {0};

    value_print(&value, a->value);
    add_time(what, "t", a->at_us);
    cJSON_AddStringToObject(what, "device", a->device);
    cJSON_AddStringToObject(what, "group", a->group);
    cJSON_AddStringToObject(what, "point", a->point);
    cJSON_AddStringToObject(what, "level", a->level);
    cJSON_AddBoolToObject(what, "active", a->active);
    cJSON_AddRawToObject(what, "value", (const char *)value.data);
    cJSON_AddNumberToObject(what, "limit", a->limit);
    if (a->unit)
        cJSON_AddStringToObject(what, "unit", a->unit);
    if (a->quality != QUALITY_GOOD) {
        value.len = 0;
        quality_print(&value, a->quality, 0);
        cJSON_AddStringToObject(what, "q", (const char *)value.data);
    }
    buf_free(&value);
    publish_json(f, mem_format("%s/event/alarm", f->gw->root), what, false);
}

void field_publish_event(struct field *f, const char *kind, cJSON *what)
{
    add_time(what, "t", clock_boot_us());
    publish_json(f, mem_format("%s/event/%s", f->gw->root, kind), what, false);
}

void field_remember(struct field *f, const char *device, const char *what, struct bytes value)
{
    char *name = mem_format("device/%s/%s", device, what);

    notes_put(f->gw->notes, name, value);
    free(name);
}

struct bytes field_recall(struct field *f, const char *device, const char *what)
{
    char *name = mem_format("device/%s/%s", device, what);
    struct bytes value = notes_get(f->gw->notes, name);

    free(name);
    return value;
}

void field_forget(struct field *f, const char *device)
{
    char *topic = mem_format("%s/%s/state", f->gw->root, device);

    broker_publish_bytes(f->gw->broker, topic, (struct bytes){0}, 1, true);
    field_remember(f, device, "cuts", (struct bytes){0});
    field_remember(f, device, "profile", (struct bytes){0});
    free(topic);
}
