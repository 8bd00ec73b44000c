/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/front.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

void modbus_post_free(struct modbus_post *p)
{
    free(p->points);
    free(p->cuts);
    free(p->order);
    free(p);
}

static void take_reading(struct modbus_front *r, struct modbus_post *post)
{
    struct modbus_group *g = &r->m->devices[post->device].groups[post->group];
    struct publisher *p = r->devices[post->device].publishers[post->group];

    for (size_t i = 0; i < g->point_count; i++)
        if (post->points[i].quality == QUALITY_GOOD || post->points[i].quality == QUALITY_SIMULATED)
            r->devices[post->device].taken_us = post->at_us;
    publisher_take(p, post->points, post->at_us);
    post->points = NULL;
    atomic_store(&g->hurry, publisher_alarmed(p));
}

/* ---- what is remembered of devices: shape, count, and of each cut table and address ---- */

static void take_learnt(struct modbus_front *r, const struct modbus_post *post)
{
    const struct modbus_device *d = &r->m->devices[post->device];
    const struct plan_cut *newest = &post->cuts[post->cut_count - 1];
    struct buf note = {0};

    buf_u64(&note, modbus_device_shape(d));
    buf_u16(&note, (uint16_t)post->cut_count);
    for (size_t i = 0; i < post->cut_count; i++) {
        buf_u8(&note, (uint8_t)post->cuts[i].table);
        buf_u16(&note, post->cuts[i].address);
    }
    log_info("device %s: refuses a request across %s:%u; it is not asked so again", d->name,
             modbus_table_name(newest->table), newest->address);
    field_remember(r->field, d->name, "cuts", (struct bytes){note.data, note.len});
    buf_free(&note);
}

static void recall(struct modbus_front *r, struct modbus_device *d)
{
    struct bytes note = field_recall(r->field, d->name, "cuts");
    struct cursor c = cursor_of(note.data, note.len);
    uint64_t shape = cursor_u64(&c);
    size_t count = cursor_u16(&c);

    if (c.failed || shape != modbus_device_shape(d) || count > CUTS_MAX)
        return;
    struct plan_cut *cuts = mem_alloc((count + 1) * sizeof *cuts);
    for (size_t i = 0; i < count; i++) {
        cuts[i].table = cursor_u8(&c);
        cuts[i].address = cursor_u16(&c);
    }
    d->limits.cuts = cuts;
    d->limits.cut_count = c.failed ? 0 : count;
}

static void take_state(struct modbus_front *r, const struct modbus_post *post)
{
    const struct modbus_device *d = &r->m->devices[post->device];
    struct modbus_front_device *to = &r->devices[post->device];

    to->state = post->state;
    to->since_us = post->at_us;
    memcpy(to->reason, post->reason, sizeof to->reason);
    log_line(post->state == DEVICE_ONLINE ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "device %s: %s (%s)", d->name,
             device_state_name(post->state), post->reason);
    field_publish_state(r->field, d->name, post->state, post->at_us, post->reason);
}

static void take_line(struct modbus_front *r, const struct modbus_post *post)
{
    r->known = true;
    r->open = post->open;
    r->since_us = post->at_us;
    memcpy(r->why, post->reason, sizeof r->why);
}

static void take_one(struct modbus_front *r, struct modbus_post *post)
{
    r->counts = post->line;
    if (post->kind < POST_RAW)
        r->devices[post->device].counts = post->unit;
    switch (post->kind) {
    case POST_READING:
        take_reading(r, post);
        break;
    case POST_STATE:
        take_state(r, post);
        break;
    case POST_LEARNT:
        take_learnt(r, post);
        break;
    case POST_ORDER:
        modbus_front_took(r, post->order);
        break;
    case POST_RAW:
        modbus_front_took_raw(r, post->order);
        break;
    case POST_LINE:
        take_line(r, post);
        break;
    }
    modbus_post_free(post);
}

void modbus_front_take(struct modbus_front *r, struct mailbox *box)
{
    struct list mail = LIST_INIT(mail);

    mailbox_take(box, &mail);
    for (struct list *it; (it = list_pop(&mail));)
        take_one(r, list_entry(it, struct modbus_post, link));
}

/* ---- start and end ---- */

/* The note holds the profile that the device has and, behind a blank, the one that it had before: who updates
 * a box learns that a device is read in another way than before. */
static void note_profile(struct modbus_front *r, const struct modbus_device *d,
                         struct modbus_front_device *to)
{
    struct bytes note = field_recall(r->field, d->name, "profile");
    char *was = mem_strndup(note.len ? (const char *)note.data : "", note.len), *before = strchr(was, ' ');
    const char *is = d->profile ? d->profile : "";

    if (before)
        *before++ = 0;
    if (strcmp(was, is) != 0) {
        if (was[0] && is[0])
            log_warn("device %s: its profile is now %s, and was %s when it ran before", d->name, is, was);
        before = was;
        char *text = mem_format("%s%s%s", is, is[0] && before[0] ? " " : "", is[0] ? before : "");
        field_remember(r->field, d->name, "profile", bytes_of(text));
        free(text);
    }
    to->profile_before = before && before[0] && is[0] ? mem_strdup(before) : NULL;
    free(was);
}

static void init_device(struct modbus_front *r, struct modbus_device *d, struct modbus_front_device *to)
{
    size_t at = 0, points = 0;

    recall(r, d);
    note_profile(r, d, to);
    to->since_us = r->since_us;
    for (size_t i = 0; i < d->group_count; i++)
        points += d->groups[i].point_count;
    to->specs = mem_alloc((points + 1) * sizeof *to->specs);
    to->publishers = mem_alloc((d->group_count + 1) * sizeof(struct publisher *));
    for (size_t i = 0; i < d->group_count; i++) {
        const struct modbus_group *g = &d->groups[i];
        for (size_t k = 0; k < g->point_count; k++)
            to->specs[at + k] = &g->points[k].publish;
        to->publishers[i] =
            publisher_new(r->field, d->name, g->name, &g->publish, &to->specs[at], g->point_count);
        at += g->point_count;
    }
}

void modbus_front_init(struct modbus_front *r, struct field *f, struct modbus_line *m)
{
    struct driver_load load;

    *r = (struct modbus_front){.field = f, .m = m, .since_us = clock_boot_us()};
    list_init(&r->orders);
    list_init(&r->raws);
    r->devices = mem_alloc((r->m->device_count + 1) * sizeof *r->devices);
    for (size_t i = 0; i < r->m->device_count; i++)
        init_device(r, &r->m->devices[i], &r->devices[i]);
    modbus_predict(r->m, &load);
    r->predicted_load = load.load;
    r->cycle_us = load.cycle_us;
}

void modbus_front_free(struct modbus_front *r)
{
    for (size_t i = 0; i < r->m->device_count; i++) {
        for (size_t k = 0; k < r->m->devices[i].group_count; k++)
            publisher_free(r->devices[i].publishers[k]);
        free(r->devices[i].publishers);
        free(r->devices[i].specs);
        free(r->devices[i].profile_before);
    }
    free(r->devices);
    modbus_line_free(r->m);
}

/* ---- status ---- */

static void add_time(cJSON *to, const char *name, uint64_t boot_us)
{
    char text[32];

    clock_format((int64_t)boot_us + clock_offset_us(), text);
    cJSON_AddStringToObject(to, name, text);
}

static void add_counts(cJSON *to, const struct modbus_counts *c)
{
    const struct {
        const char *name;
        uint64_t count;
    } counts[] = {{"polls", c->polls},
                  {"skipped", c->skipped},
                  {"overruns", c->overruns},
                  {"requests", c->requests},
                  {"ok", c->ok},
                  {"timeouts", c->timeouts},
                  {"crc", c->crc},
                  {"exceptions", c->exceptions},
                  {"busy", c->busy},
                  {"late", c->late}};

    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        cJSON_AddNumberToObject(to, counts[i].name, (double)counts[i].count);
}

static cJSON *add_line(const struct modbus_front *r, const char *protocol, cJSON *lines)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "name", r->m->name);
    cJSON_AddStringToObject(o, "protocol", protocol);
    cJSON_AddStringToObject(o, "port", r->m->port);
    cJSON_AddStringToObject(o, "state", !r->known ? "opening" : r->open ? "open" : "down");
    add_time(o, "since", r->since_us);
    if (r->known && !r->open)
        cJSON_AddStringToObject(o, "error", r->why);
    cJSON_AddNumberToObject(o, "load", r->counts.load);
    cJSON_AddNumberToObject(o, "predicted_load", r->predicted_load);
    cJSON_AddNumberToObject(o, "cycle_ms", (double)r->cycle_us / 1000);
    add_counts(o, &r->counts);
    cJSON_AddNumberToObject(o, "raw", (double)r->counts.raw);
    cJSON_AddItemToArray(lines, o);
    return o;
}

static void add_device(const struct modbus_front *r, size_t index, cJSON *devices)
{
    const struct modbus_device *m = &r->m->devices[index];
    const struct modbus_front_device *d = &r->devices[index];
    cJSON *o = cJSON_CreateObject(), *groups = cJSON_CreateObject();
    uint64_t newest = 0;

    cJSON_AddStringToObject(o, "name", m->name);
    cJSON_AddStringToObject(o, "line", r->m->name);
    cJSON_AddNumberToObject(o, "unit", m->unit);
    if (m->profile)
        cJSON_AddStringToObject(o, "profile", m->profile);
    if (d->profile_before)
        cJSON_AddStringToObject(o, "profile_before", d->profile_before);
    cJSON_AddStringToObject(o, "state", device_state_name(d->state));
    add_time(o, "since", d->since_us);
    cJSON_AddStringToObject(o, "reason", d->reason);
    for (size_t i = 0; i < m->group_count; i++) {
        struct field_series *s = publisher_series(d->publishers[i]);
        cJSON *g = cJSON_AddObjectToObject(groups, m->groups[i].name);
        cJSON_AddNumberToObject(g, "n", (double)s->published);
        cJSON_AddNumberToObject(g, "committed", (double)field_committed(r->field, s));
        newest = s->published > newest ? s->published : newest;
    }
    cJSON_AddNumberToObject(o, "n", (double)newest);
    add_counts(o, &d->counts);
    if (d->taken_us)
        cJSON_AddNumberToObject(o, "age_s", (double)(clock_boot_us() - d->taken_us) / 1e6);
    cJSON_AddNumberToObject(o, "response_ms", (double)d->counts.response_us / 1000);
    cJSON_AddNumberToObject(o, "turnaround_ms", (double)d->counts.turnaround_us / 1000);
    cJSON_AddNumberToObject(o, "response_limit_ms", (double)d->counts.limit_us / 1000);
    cJSON_AddItemToObject(o, "groups", groups);
    cJSON_AddItemToArray(devices, o);
}

cJSON *modbus_front_status(struct modbus_front *r, const char *protocol, cJSON *lines, cJSON *devices)
{
    cJSON *line = add_line(r, protocol, lines);

    for (size_t i = 0; i < r->m->device_count; i++)
        add_device(r, i, devices);
    return line;
}
