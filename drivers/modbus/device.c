/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const struct {
    const char *name;
    enum modbus_table table;
} tables[] = {{"coil:", TABLE_COIL},
              {"discrete:", TABLE_DISCRETE},
              {"input:", TABLE_INPUT},
              {"holding:", TABLE_HOLDING}};

/* "holding:100", "input:7.3". *bit: -1 when there is none. */
static bool parse_at(const char *at, struct modbus_point *p, int *bit)
{
    unsigned address, b;
    int end = 0;

    *bit = -1;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        size_t len = strlen(tables[i].name);
        const char *rest = at + len;
        if (strncmp(at, tables[i].name, len) || rest[0] < '0' || rest[0] > '9' || strlen(rest) > 8)
            continue;
        if (sscanf(rest, "%5u.%2u%n", &address, &b, &end) == 2)
            *bit = (int)b;
        else if (sscanf(rest, "%5u%n", &address, &end) != 1)
            return false;
        p->table = tables[i].table;
        p->address = (uint16_t)address;
        return !rest[end] && address <= 65535 && *bit <= 15;
    }
    return false;
}

/* The type that is written, or the only one that the address allows. */
static const struct value_type *type_of(const struct conf_node *point, const struct modbus_point *p, int bit)
{
    const struct conf_node *type = conf_get(point, "type");

    if (type)
        return &value_types[type->i];
    for (size_t i = 0; value_type_names[i]; i++)
        if ((table_is_bits(p->table) && !strcmp(value_type_names[i], "bool")) ||
            (bit >= 0 && !strcmp(value_type_names[i], "bit")))
            return &value_types[i];
    return NULL;
}

static const char *type_mistake(const struct value_type *t, const struct modbus_point *p, int bit)
{
    bool one_bit = value_is_bit(t);

    if (table_is_bits(p->table))
        return bit >= 0   ? "a coil or discrete input has no bits; leave the part behind the point away"
               : !one_bit ? "a coil or discrete input is a bool"
                          : NULL;
    if (one_bit && bit < 0)
        return "a register has 16 bits; say which one, as in \"input:7.3\"";
    if (!one_bit && bit >= 0)
        return "a single bit of a register has the type bit";
    return NULL;
}

static bool read_order(const struct conf_node *device, const struct conf_node *point, struct modbus_point *p,
                       char *error, size_t size)
{
    const struct conf_node *own = conf_get(point, "order");
    size_t bytes = value_is_bit(p->spec.type) ? 2 : p->spec.type->bytes;

    p->spec.order = &value_orders[own ? own->i : conf_int(device, "order")];
    if (value_order_for(p->spec.order, bytes))
        return true;
    snprintf(error, size,
             "order %s is for values of 8 bytes, and %s has %zu; use one of ABCD, CDAB, BADC, DCBA",
             p->spec.order->name, p->spec.type->name, bytes);
    return false;
}

static bool read_scale(const struct conf_node *point, struct modbus_point *p, char *error, size_t size)
{
    double scale = conf_float(point, "scale");

    p->spec.scale = value_scale_of(scale, conf_float(point, "offset"));
    if (p->spec.scale.on && value_is_bit(p->spec.type)) {
        snprintf(error, size, "a %s has no scale or offset", p->spec.type->name);
        return false;
    }
    if (scale == 0.0)
        snprintf(error, size, "scale 0 would make every value the same; 1 leaves it as it is");
    return scale != 0.0;
}

bool modbus_point_read(const struct conf_node *device, const struct conf_node *point,
                       struct modbus_point *out, char *error, size_t size)
{
    const char *at = conf_string(point, "at");
    int bit;

    if (!parse_at(at, out, &bit)) {
        snprintf(error, size,
                 "at = \"%s\" is no address; write coil:N, discrete:N, input:N or holding:N with N from 0 to "
                 "65535, and input:N.B or holding:N.B for bit B (0 to 15) of a register",
                 at);
        return false;
    }
    out->spec.type = type_of(point, out, bit);
    const char *wrong = out->spec.type ? type_mistake(out->spec.type, out, bit)
                                       : "`type` is missing; say what the registers hold, as in \"int16\"";
    if (wrong) {
        snprintf(error, size, "%s: %s", at, wrong);
        return false;
    }
    out->spec.bit = (uint8_t)(bit < 0 ? 0 : bit);
    out->count = (uint16_t)(out->spec.type->bytes > 2 ? out->spec.type->bytes / 2 : 1);
    if (out->address + out->count > 65536) {
        snprintf(error, size, "%s: a %s needs %u registers and the last one is 65535", at,
                 out->spec.type->name, out->count);
        return false;
    }
    return read_order(device, point, out, error, size) && read_scale(point, out, error, size);
}

static void plan_group(struct modbus_group *g, const struct plan_cost *cost)
{
    struct plan_item *items = mem_alloc((g->point_count + 1) * sizeof *items);

    for (size_t i = 0; i < g->point_count; i++) {
        const struct modbus_point *p = &g->points[i];
        items[i] = (struct plan_item){.table = p->table, .address = p->address, .count = p->count};
    }
    g->block_count = plan_make(cost, items, g->point_count, &g->blocks);
    for (size_t i = 0; i < g->point_count; i++)
        g->points[i].block = items[i].block;
    free(items);
}

static void make_group(struct modbus_group *g, const struct conf_node *device, const struct conf_node *n,
                       const struct plan_cost *cost)
{
    char error[256];

    g->name = mem_strdup(n->name);
    g->period_us = (uint64_t)conf_int(n, "every") * 1000;
    g->qos = (uint8_t)conf_int(n, "qos");
    g->per_point = !strcmp(conf_string(n, "payload"), "point");
    g->point_count = conf_count(n, "points");
    g->points = mem_alloc((g->point_count + 1) * sizeof *g->points);
    for (size_t i = 0; i < g->point_count; i++) {
        const struct conf_node *point = conf_at(n, "points", i);
        modbus_point_read(device, point, &g->points[i], error, sizeof error);
        g->points[i].name = mem_strdup(conf_string(point, "name"));
    }
    plan_group(g, cost);
}

static void make_device(struct modbus_device *d, const struct conf_node *n, const struct conf_node *timing,
                        const struct plan_cost *cost)
{
    const struct conf_node *own = conf_get(n, "response");

    d->name = mem_strdup(conf_string(n, "name"));
    d->unit = (uint8_t)conf_int(n, "unit");
    d->response_us = (uint32_t)(own ? own->i : conf_int(timing, "response")) * 1000;
    d->group_count = conf_count(n, "groups");
    d->groups = mem_alloc((d->group_count + 1) * sizeof *d->groups);
    for (size_t i = 0; i < d->group_count; i++)
        make_group(&d->groups[i], n, conf_at(n, "groups", i), cost);
}

static struct schedule_limits limits_of(const struct conf_node *dead)
{
    return (struct schedule_limits){
        .dead_after = (unsigned)conf_int(dead, "after"),
        .probe_first_us = (uint64_t)conf_int(dead, "probe_first") * 1000,
        .probe_most_us = (uint64_t)conf_int(dead, "probe_max") * 1000,
        .probe_share = (unsigned)conf_int(dead, "line_share"),
    };
}

struct modbus_line *modbus_line_new(const struct driver_conf *line)
{
    const struct conf_node *n = line->line, *timing = conf_get(n, "timing"), *port = conf_get(n, "port");
    struct modbus_line *m = mem_alloc(sizeof *m);

    m->name = mem_strdup(conf_string(n, "name"));
    m->port = port_spec_resolve(port->s, port->file);
    m->baud = (uint32_t)conf_int(n, "baud");
    m->format = &serial_formats[conf_int(n, "format")];
    m->cost.timing = rtu_timing(m->baud, m->format->bits_per_char);
    m->cost.turnaround_us = (uint32_t)conf_int(timing, "turnaround") * 1000;
    m->holdoff_us = (uint32_t)conf_int(timing, "holdoff") * 1000;
    m->limits = limits_of(conf_get(n, "dead"));
    m->device_count = line->device_count;
    m->devices = mem_alloc((m->device_count + 1) * sizeof *m->devices);
    for (size_t i = 0; i < m->device_count; i++)
        make_device(&m->devices[i], line->devices[i], timing, &m->cost);
    return m;
}

static void free_group(struct modbus_group *g)
{
    for (size_t i = 0; i < g->point_count; i++)
        free(g->points[i].name);
    free(g->points);
    free(g->blocks);
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
    }
    free(m->devices);
    free(m->name);
    free(m->port);
    free(m);
}

static void predict_group(const struct modbus_line *m, const struct modbus_group *g, struct driver_load *out)
{
    uint64_t once_us = 0;

    for (size_t i = 0; i < g->block_count; i++)
        once_us += plan_read_us(&m->cost, g->blocks[i].table, g->blocks[i].count);
    out->points += g->point_count;
    out->requests += g->block_count;
    out->cycle_us += once_us;
    out->load += (double)once_us / (double)g->period_us;
}

void modbus_predict(const struct modbus_line *m, struct driver_load *out)
{
    *out = (struct driver_load){0};
    for (size_t i = 0; i < m->device_count; i++)
        for (size_t k = 0; k < m->devices[i].group_count; k++)
            predict_group(m, &m->devices[i].groups[k], out);
}
