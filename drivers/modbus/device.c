/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/device.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* ---- plans ---- */

void modbus_plan_make(struct modbus_plan *out, const struct plan_cost *cost, const struct plan_limits *limits,
                      const struct modbus_group *g)
{
    struct plan_item *items = mem_alloc((g->point_count + 1) * sizeof *items);

    for (size_t i = 0; i < g->point_count; i++) {
        const struct modbus_point *p = &g->points[i];
        items[i] = (struct plan_item){.table = p->table, .address = p->address, .count = p->count};
    }
    out->block_count = plan_make(cost, limits, items, g->point_count, &out->blocks);
    out->block_of = mem_alloc((g->point_count + 1) * sizeof *out->block_of);
    for (size_t i = 0; i < g->point_count; i++)
        out->block_of[i] = items[i].block;
    free(items);
}

void modbus_plan_free(struct modbus_plan *plan)
{
    free(plan->blocks);
    free(plan->block_of);
    *plan = (struct modbus_plan){0};
}

/* ---- from the configuration ---- */

enum { LASTS_MORE_MS = 10000, LASTS_TIMEOUTS = 4 };

static struct publish_group publish_of(const struct conf_node *n)
{
    const struct conf_node *heartbeat = conf_get(n, "heartbeat");

    return (struct publish_group){
        .mode = (enum publish_mode)conf_int(n, "publish"),
        .payload = (enum publish_payload)conf_int(n, "payload"),
        .heartbeat_us = heartbeat ? (uint64_t)heartbeat->i * 1000 : 0,
        .interval_us = (uint64_t)conf_int(n, "min_interval") * 1000,
        .qos = (uint8_t)conf_int(n, "qos"),
        .retain = conf_bool(n, "retain"),
    };
}

/* A poll may come late behind units that do not answer, and its reading may wait for the disk. */
static uint64_t lasts_us(const struct conf_node *line, const struct conf_node *group)
{
    uint64_t polls = (uint64_t)conf_int(group, "stale_after") + 1;
    uint64_t timeout_ms = (uint64_t)conf_int(conf_get(line, "timing"), "response");

    return ((uint64_t)conf_int(group, "every") * polls + LASTS_TIMEOUTS * timeout_ms + LASTS_MORE_MS) * 1000;
}

static void make_group(struct modbus_group *g, const struct conf_node *line, const struct conf_node *device,
                       const struct conf_node *n)
{
    const struct conf_node *alarm_every = conf_get(n, "alarm_every");
    char error[256];

    g->name = mem_strdup(n->name);
    g->period_us = (uint64_t)conf_int(n, "every") * 1000;
    g->alarm_period_us = alarm_every ? (uint64_t)alarm_every->i * 1000 : g->period_us;
    g->stale_after = (unsigned)conf_int(n, "stale_after");
    g->publish = publish_of(n);
    g->publish.lasts_us = lasts_us(line, n);
    g->point_count = conf_count(n, "points");
    g->points = mem_alloc((g->point_count + 1) * sizeof *g->points);
    for (size_t i = 0; i < g->point_count; i++) {
        struct modbus_point *p = &g->points[i];
        modbus_point_read(line, device, conf_at(n, "points", i), p, error, sizeof error);
        p->text_at = g->text_room;
        g->text_room += value_text_room(&p->spec);
    }
}

struct plan_limits modbus_limits_of(const struct conf_node *device)
{
    const struct conf_node *n = conf_get(device, "limits"), *gap = conf_get(n, "gap");
    size_t count = conf_count(n, "forbidden");
    struct plan_range *ranges = mem_alloc((count + 1) * sizeof *ranges);

    for (size_t i = 0; i < count; i++)
        modbus_range_read(conf_at(n, "forbidden", i)->s, (unsigned)conf_int(device, "base"), &ranges[i]);
    return (struct plan_limits){
        .registers = (uint16_t)conf_int(n, "registers"),
        .bits = (uint16_t)conf_int(n, "bits"),
        .gap = gap ? (int)gap->i : PLAN_GAP_BY_COST,
        .forbidden = ranges,
        .forbidden_count = count,
    };
}

static void make_device(struct modbus_device *d, const struct conf_node *line, const struct conf_node *n)
{
    const struct conf_node *own = conf_get(n, "response"),
                           *all = conf_get(conf_get(line, "timing"), "response");

    d->name = mem_strdup(conf_string(n, "name"));
    d->profile = conf_string(n, "profile") ? mem_strdup(conf_string(n, "profile")) : NULL;
    d->unit = (uint8_t)conf_int(n, "unit");
    d->base = (unsigned)conf_int(n, "base");
    d->order = (unsigned)(conf_get(n, "order") ? conf_get(n, "order")->i : conf_int(line, "order"));
    d->response_us = (uint32_t)(own ? own->i : all->i) * 1000;
    d->learn_response = !own && !all->given;
    d->limits = modbus_limits_of(n);
    d->group_count = conf_count(n, "groups");
    d->groups = mem_alloc((d->group_count + 1) * sizeof *d->groups);
    for (size_t i = 0; i < d->group_count; i++)
        make_group(&d->groups[i], line, n, conf_at(n, "groups", i));
}

static struct schedule_limits dead_of(const struct conf_node *dead)
{
    return (struct schedule_limits){
        .dead_after = (unsigned)conf_int(dead, "after"),
        .probe_first_us = (uint64_t)conf_int(dead, "probe_first") * 1000,
        .probe_most_us = (uint64_t)conf_int(dead, "probe_max") * 1000,
        .probe_share = (unsigned)conf_int(dead, "line_share"),
    };
}

static struct modbus_line *new_line(const struct driver_conf *line)
{
    const struct conf_node *n = line->line, *timing = conf_get(n, "timing");
    struct modbus_line *m = mem_alloc(sizeof *m);

    m->name = mem_strdup(conf_string(n, "name"));
    m->in_flight = 1;
    m->cost.turnaround_us = (uint32_t)conf_int(timing, "turnaround") * 1000;
    m->response_us = (uint32_t)conf_int(timing, "response") * 1000;
    m->limits = dead_of(conf_get(n, "dead"));
    m->device_count = line->device_count;
    m->devices = mem_alloc((m->device_count + 1) * sizeof *m->devices);
    for (size_t i = 0; i < m->device_count; i++)
        make_device(&m->devices[i], n, line->devices[i]);
    return m;
}

struct modbus_line *modbus_line_new(const struct driver_conf *line)
{
    const struct conf_node *n = line->line, *port = conf_get(n, "port");
    struct modbus_line *m = new_line(line);

    m->port = port_spec_resolve(port->s, port->file);
    const char *rest;
    m->simulated = port_kind_of(m->port, &rest)->simulated;
    m->baud = (uint32_t)conf_int(n, "baud");
    m->format = &serial_formats[conf_int(n, "format")];
    rs485_read(&m->rs485, conf_get(n, "rs485"));
    m->cost.timing = rtu_timing(m->baud, m->format->bits_per_char);
    m->holdoff_us = (uint32_t)conf_int(conf_get(n, "timing"), "holdoff") * 1000;
    m->slack_us = 100000; /* units have their slow moments, and USB adapters keep bytes back for 16 ms */
    return m;
}

struct modbus_line *modbus_line_new_tcp(const struct driver_conf *line)
{
    struct modbus_line *m = new_line(line);

    m->port = mem_strdup(conf_string(line->line, "port"));
    m->in_flight = (unsigned)conf_int(line->line, "in_flight");
    m->slack_us = 500000; /* a lost packet is sent again after 200 ms or more */
    /* A byte costs next to nothing; a request costs a round trip. */
    m->cost.timing = (struct rtu_timing){.char_ns = 100};
    return m;
}

static void free_group(struct modbus_group *g)
{
    for (size_t i = 0; i < g->point_count; i++)
        modbus_point_free(&g->points[i]);
    free(g->points);
    free(g->name);
}

void modbus_line_free(struct modbus_line *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->device_count; i++) {
        struct modbus_device *d = &m->devices[i];
        for (size_t k = 0; k < d->group_count; k++)
            free_group(&d->groups[k]);
        free(d->groups);
        free(d->name);
        free(d->profile);
        free((void *)(uintptr_t)d->limits.forbidden);
        free((void *)(uintptr_t)d->limits.cuts);
    }
    free(m->devices);
    free(m->name);
    free(m->port);
    free(m);
}

/* ---- of it ---- */

bool modbus_group_may_cut(const struct modbus_group *g, enum modbus_table table, unsigned address)
{
    for (size_t i = 0; i < g->point_count; i++) {
        const struct modbus_point *m = &g->points[i];
        if (m->table == table && m->address < address && address < m->address + (unsigned)m->count)
            return false;
    }
    return true;
}

/* FNV-1a: the same in every run, which the keyed hash of maps is not. */
static void mix(uint64_t *hash, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        *hash = (*hash ^ (value >> 8 * i & 0xff)) * 0x100000001b3;
}

uint64_t modbus_device_shape(const struct modbus_device *d)
{
    uint64_t hash = 0xcbf29ce484222325;

    mix(&hash, d->unit);
    mix(&hash, d->limits.registers);
    mix(&hash, d->limits.bits);
    mix(&hash, (uint64_t)d->limits.gap);
    for (size_t i = 0; i < d->limits.forbidden_count; i++) {
        const struct plan_range *r = &d->limits.forbidden[i];
        mix(&hash, (uint64_t)r->table << 32 | (uint64_t)r->first << 16 | r->last);
    }
    for (size_t i = 0; i < d->group_count; i++)
        for (size_t k = 0; k < d->groups[i].point_count; k++) {
            const struct modbus_point *p = &d->groups[i].points[k];
            mix(&hash, (uint64_t)p->table << 32 | (uint64_t)p->address << 16 | p->count);
        }
    return hash;
}

static void predict_group(const struct modbus_line *m, const struct plan_limits *limits,
                          const struct modbus_group *g, struct driver_load *out)
{
    struct modbus_plan plan;
    uint64_t once_us = 0;

    modbus_plan_make(&plan, &m->cost, limits, g);
    for (size_t i = 0; i < plan.block_count; i++)
        once_us += plan_read_us(&m->cost, plan.blocks[i].table, plan.blocks[i].count);
    out->points += g->point_count;
    out->requests += plan.block_count;
    out->cycle_us += once_us;
    out->load += (double)once_us / (double)g->period_us / m->in_flight;
    modbus_plan_free(&plan);
}

void modbus_predict(const struct modbus_line *m, struct driver_load *out)
{
    *out = (struct driver_load){0};
    for (size_t i = 0; i < m->device_count; i++)
        for (size_t k = 0; k < m->devices[i].group_count; k++)
            predict_group(m, &m->devices[i].limits, &m->devices[i].groups[k], out);
}
