/* SPDX-License-Identifier: Apache-2.0 */
/* Modbus RTU as a driver: the loop's side of a line. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "drivers/driver.h"
#include "drivers/field.h"
#include "drivers/line.h"
#include "drivers/modbus/config.h"
#include "drivers/modbus/poller.h"

struct device {
    enum device_state state;
    uint64_t since_us;
    char reason[160];
    struct modbus_counts counts;
    struct field_series **series; /* by group */
};

struct rtu_line {
    struct field *field;
    struct modbus_line *m;
    struct poller *poller;
    struct line line;
    struct device *devices; /* as m->devices */
    struct modbus_counts counts;
    bool open, known; /* known: the thread has said whether the port is open */
    uint64_t since_us;
    char why[160];
    double predicted_load;
};

/* ---- what the thread brings ---- */

static void take_reading(struct rtu_line *r, const struct modbus_post *post)
{
    const struct modbus_device *d = &r->m->devices[post->device];
    const struct modbus_group *g = &d->groups[post->group];
    struct reading reading = {.device = d->name,
                              .group = g->name,
                              .taken_us = post->at_us,
                              .points = post->points,
                              .point_count = g->point_count};

    field_publish(r->field, r->devices[post->device].series[post->group], &reading, g->qos, g->per_point);
}

static void take_state(struct rtu_line *r, const struct modbus_post *post)
{
    const struct modbus_device *d = &r->m->devices[post->device];
    struct device *to = &r->devices[post->device];

    to->state = post->state;
    to->since_us = post->at_us;
    memcpy(to->reason, post->reason, sizeof to->reason);
    log_line(post->state == DEVICE_ONLINE ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "device %s: %s (%s)", d->name,
             device_state_name(post->state), post->reason);
    field_publish_state(r->field, d->name, post->state, post->at_us, post->reason);
}

static void take_line(struct rtu_line *r, const struct modbus_post *post)
{
    r->known = true;
    r->open = post->open;
    r->since_us = post->at_us;
    memcpy(r->why, post->reason, sizeof r->why);
}

static void take_one(struct rtu_line *r, struct modbus_post *post)
{
    r->counts = post->line;
    if (post->kind != POST_LINE)
        r->devices[post->device].counts = post->unit;
    switch (post->kind) {
    case POST_READING:
        take_reading(r, post);
        break;
    case POST_STATE:
        take_state(r, post);
        break;
    case POST_LINE:
        take_line(r, post);
        break;
    }
    modbus_post_free(post);
}

static void take(void *line)
{
    struct rtu_line *r = line;
    struct list mail = LIST_INIT(mail);

    mailbox_take(&r->line.mail, &mail);
    for (struct list *it; (it = list_pop(&mail));)
        take_one(r, list_entry(it, struct modbus_post, link));
}

/* ---- start and end ---- */

static void release(struct rtu_line *r)
{
    poller_free(r->poller);
    for (size_t i = 0; r->devices && i < r->m->device_count; i++)
        free(r->devices[i].series);
    free(r->devices);
    modbus_line_free(r->m);
    free(r);
}

static void make_devices(struct rtu_line *r)
{
    r->devices = mem_alloc((r->m->device_count + 1) * sizeof *r->devices);
    for (size_t i = 0; i < r->m->device_count; i++) {
        const struct modbus_device *d = &r->m->devices[i];
        r->devices[i].since_us = clock_boot_us();
        r->devices[i].series = mem_alloc((d->group_count + 1) * sizeof(struct field_series *));
        for (size_t k = 0; k < d->group_count; k++)
            r->devices[i].series[k] = field_series(r->field, d->name, d->groups[k].name);
    }
}

static int start(void **out, struct field *f, const struct driver_conf *conf)
{
    struct rtu_line *r = mem_alloc(sizeof *r);
    struct driver_load load;

    r->field = f;
    r->m = modbus_line_new(conf);
    modbus_predict(r->m, &load);
    r->predicted_load = load.load;
    r->since_us = clock_boot_us();
    make_devices(r);
    int err = poller_new(&r->poller, r->m);
    if (!err) {
        r->line.name = r->m->name;
        r->line.settings = (struct port_settings){r->m->port, r->m->baud, r->m->format};
        r->line.ops = &poller_ops;
        r->line.arg = r->poller;
        err = line_start(&r->line, field_wake, f);
    }
    if (err) {
        log_error("line %s: cannot start: %s", r->m->name, strerror(-err));
        release(r);
        return err;
    }
    *out = r;
    return 0;
}

static void stop(void *line)
{
    line_stop(&((struct rtu_line *)line)->line);
}

static bool stopped(void *line)
{
    return line_ended(&((struct rtu_line *)line)->line);
}

static void end(void *line)
{
    struct rtu_line *r = line;

    line_join(&r->line);
    take(r);
    line_free(&r->line);
    release(r);
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

static void add_line(const struct rtu_line *r, cJSON *lines)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "name", r->m->name);
    cJSON_AddStringToObject(o, "protocol", "modbus-rtu");
    cJSON_AddStringToObject(o, "port", r->m->port);
    cJSON_AddStringToObject(o, "state", !r->known ? "opening" : r->open ? "open" : "down");
    add_time(o, "since", r->since_us);
    if (r->known && !r->open)
        cJSON_AddStringToObject(o, "error", r->why);
    cJSON_AddNumberToObject(o, "load", r->counts.load);
    cJSON_AddNumberToObject(o, "predicted_load", r->predicted_load);
    add_counts(o, &r->counts);
    cJSON_AddNumberToObject(o, "foreign", (double)r->counts.foreign);
    cJSON_AddNumberToObject(o, "stray", (double)r->counts.stray);
    cJSON_AddNumberToObject(o, "echoes", (double)r->counts.echoes);
    cJSON_AddNumberToObject(o, "late_ms_most", (double)r->counts.late_us_most / 1000);
    cJSON_AddItemToArray(lines, o);
}

static void add_device(const struct rtu_line *r, size_t index, cJSON *devices)
{
    const struct modbus_device *m = &r->m->devices[index];
    const struct device *d = &r->devices[index];
    cJSON *o = cJSON_CreateObject(), *groups = cJSON_CreateObject();
    uint64_t newest = 0;

    cJSON_AddStringToObject(o, "name", m->name);
    cJSON_AddStringToObject(o, "line", r->m->name);
    cJSON_AddNumberToObject(o, "unit", m->unit);
    cJSON_AddStringToObject(o, "state", device_state_name(d->state));
    add_time(o, "since", d->since_us);
    cJSON_AddStringToObject(o, "reason", d->reason);
    for (size_t i = 0; i < m->group_count; i++) {
        struct field_series *s = d->series[i];
        cJSON *g = cJSON_AddObjectToObject(groups, m->groups[i].name);
        cJSON_AddNumberToObject(g, "n", (double)s->published);
        cJSON_AddNumberToObject(g, "committed", (double)field_committed(r->field, s));
        newest = s->published > newest ? s->published : newest;
    }
    cJSON_AddNumberToObject(o, "n", (double)newest);
    add_counts(o, &d->counts);
    cJSON_AddNumberToObject(o, "response_ms", (double)d->counts.response_us / 1000);
    cJSON_AddItemToObject(o, "groups", groups);
    cJSON_AddItemToArray(devices, o);
}

static void status(void *line, cJSON *lines, cJSON *devices)
{
    const struct rtu_line *r = line;

    add_line(r, lines);
    for (size_t i = 0; i < r->m->device_count; i++)
        add_device(r, i, devices);
}

static void predict(const struct driver_conf *conf, struct driver_load *out)
{
    struct modbus_line *m = modbus_line_new(conf);

    modbus_predict(m, out);
    modbus_line_free(m);
}

const struct driver driver_modbus_rtu = {
    .name = "modbus-rtu",
    .device = "modbus",
    .line_rows = modbus_rtu_line_rows,
    .device_rows = modbus_device_rows,
    .check = modbus_check,
    .predict = predict,
    .start = start,
    .take = take,
    .stop = stop,
    .stopped = stopped,
    .free = end,
    .status = status,
};
