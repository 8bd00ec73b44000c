/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/serve_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/lines.h"
#include "drivers/modbus/serve_source.h"
#include "drivers/watch.h"

/* ---- from the configuration ---- */

static int by_place(const void *x, const void *y)
{
    const struct modbus_point *a = &((const struct serve_point *)x)->at,
                              *b = &((const struct serve_point *)y)->at;

    return a->table != b->table ? (int)a->table - (int)b->table : (int)a->address - (int)b->address;
}

static void add_point(struct serve_map *m, const struct modbus_point *at, const struct serve_source *from,
                      bool writable, bool quality)
{
    m->points = mem_resize(m->points, (m->count + 1) * sizeof *m->points);
    m->points[m->count++] =
        (struct serve_point){.at = *at,
                             .device = mem_strdup(from->device->name),
                             .point = mem_strdup(from->point->name),
                             .watch = lines_watch(from->device->name, from->group->name, from->point->name),
                             .writable = writable,
                             .quality = quality};
}

struct serve_map *serve_map_new(const struct conf_node *unit, const struct conf_node *root)
{
    const struct conf_node *fill = conf_get(unit, "fill");
    struct serve_map *m = mem_alloc(sizeof *m);
    char error[256];

    m->has_fill = fill;
    m->fill = fill ? (uint16_t)fill->i : 0;
    for (size_t i = 0; i < conf_count(unit, "points"); i++) {
        const struct conf_node *n = conf_at(unit, "points", i);
        struct serve_source from;
        struct modbus_point at;
        if (!serve_source_find(root, n, &from, error, sizeof error) ||
            !modbus_place_read(NULL, unit, n, &at, error, sizeof error))
            continue;
        add_point(m, &at, &from, conf_bool(n, "write"), false);
        if (serve_quality_place(unit, n, &at))
            add_point(m, &at, &from, false, true);
    }
    if (m->count)
        qsort(m->points, m->count, sizeof *m->points, by_place);
    return m;
}

void serve_map_free(struct serve_map *m)
{
    for (size_t i = 0; i < m->count; i++) {
        lines_unwatch(m->points[i].watch);
        free(m->points[i].device);
        free(m->points[i].point);
    }
    free(m->points);
    free(m);
}

/* ---- reading ---- */

/* The first point of the table that ends behind the address. */
static size_t find(const struct serve_map *m, enum modbus_table table, unsigned address)
{
    size_t low = 0, high = m->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct modbus_point *p = &m->points[middle].at;
        if (p->table < table || (p->table == table && p->address + (unsigned)p->count <= address))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* As the bytes of its registers, or as data[0] of a bit. */
static bool encode(const struct serve_point *p, uint64_t now_us, uint8_t *data)
{
    struct value v;

    if (p->quality) {
        bool good = watch_value(p->watch, now_us, &v);
        enum quality q = p->watch->ever ? p->watch->quality : QUALITY_STALE;
        data[0] = 0;
        data[1] = (uint8_t)(good || !quality_has_value(q) ? q : QUALITY_STALE);
        return true;
    }
    if (!watch_value(p->watch, now_us, &v))
        return false;
    if (v.kind == VALUE_BOOL && !value_is_bit(p->at.spec.type))
        v = (struct value){.kind = VALUE_INT, .i = v.b};
    return !value_write(&p->at.spec, &v, data);
}

static unsigned bit_mask(const struct serve_point *p)
{
    unsigned mask = 1u << p->at.spec.bit;

    return value_order_for(p->at.spec.order, 2)[0] == 'A' ? mask : (mask >> 8 | mask << 8) & 0xffff;
}

static void put_word(uint8_t *at, unsigned word)
{
    at[0] = (uint8_t)(word >> 8);
    at[1] = (uint8_t)word;
}

/* to: of the point's first register. More bits of the same register may come. */
static void put_registers(const struct serve_map *m, const struct serve_point *p, bool good,
                          const uint8_t *data, bool first, uint8_t *to)
{
    if (value_is_bit(p->at.spec.type) && !p->quality) {
        unsigned was = first ? 0 : (unsigned)to[0] << 8 | to[1];
        unsigned on = good ? data[0] : m->fill & 1;
        put_word(to, on ? was | bit_mask(p) : was);
        return;
    }
    if (good)
        memcpy(to, data, 2u * p->at.count);
    for (unsigned i = 0; !good && i < p->at.count; i++)
        put_word(to + 2 * i, m->fill);
}

static void put_fill(const struct serve_map *m, enum modbus_table table, unsigned count, uint8_t *data)
{
    memset(data, 0, table_bytes(table, count));
    for (unsigned i = 0; i < count; i++)
        if (!table_is_bits(table))
            put_word(data + 2 * i, m->fill);
        else if (m->fill & 1)
            data[i / 8] |= (uint8_t)(1 << i % 8);
}

static void put_bit(const struct serve_map *m, unsigned at, bool good, bool on, uint8_t *data)
{
    uint8_t mask = (uint8_t)(1 << at % 8);

    if (good ? on : m->fill & 1)
        data[at / 8] |= mask;
    else
        data[at / 8] &= (uint8_t)~mask;
}

uint8_t serve_map_read(const struct serve_map *m, enum modbus_table table, unsigned first, unsigned count,
                       uint64_t now_us, uint8_t *data)
{
    unsigned next = first; /* all before it is there */
    uint8_t bytes[VALUE_BYTES_MAX];

    put_fill(m, table, count, data);
    for (size_t i = find(m, table, first); i < m->count; i++) {
        const struct serve_point *p = &m->points[i];
        if (p->at.table != table || p->at.address >= first + count)
            break;
        if (p->at.address < first || p->at.address + (unsigned)p->at.count > first + count ||
            (p->at.address > next && !m->has_fill))
            return MODBUS_ILLEGAL_ADDRESS;
        bool good = encode(p, now_us, bytes);
        if (!good && !m->has_fill)
            return MODBUS_NO_ANSWER;
        if (table_is_bits(table))
            put_bit(m, p->at.address - first, good, bytes[0], data);
        else
            put_registers(m, p, good, bytes, p->at.address >= next, data + 2 * (p->at.address - first));
        next = p->at.address + (unsigned)p->at.count;
    }
    return next == first || (next < first + count && !m->has_fill) ? MODBUS_ILLEGAL_ADDRESS : 0;
}

const struct serve_point *serve_map_writable(const struct serve_map *m, enum modbus_table table,
                                             unsigned address)
{
    size_t i = find(m, table, address);
    const struct serve_point *p = i < m->count ? &m->points[i] : NULL;

    return p && p->at.table == table && p->at.address == address && p->writable ? p : NULL;
}
