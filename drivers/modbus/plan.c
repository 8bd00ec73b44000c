/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/plan.h"

#include <stdlib.h>

#include "base/mem.h"

enum { REQUEST_CHARS = 8, REPLY_FRAME_CHARS = 5 };

bool table_is_bits(enum modbus_table t)
{
    return t == TABLE_COIL || t == TABLE_DISCRETE;
}

size_t table_bytes(enum modbus_table t, unsigned count)
{
    return table_is_bits(t) ? (count + 7) / 8 : 2 * count;
}

uint64_t plan_read_us(const struct plan_cost *c, enum modbus_table table, unsigned count)
{
    return rtu_wire_us(&c->timing, REQUEST_CHARS + REPLY_FRAME_CHARS + table_bytes(table, count)) +
           c->turnaround_us + 2 * c->timing.silence_us;
}

unsigned plan_most(const struct plan_limits *l, enum modbus_table table)
{
    return table_is_bits(table) ? l->bits : l->registers;
}

bool plan_allows(const struct plan_limits *l, const struct plan_block *b)
{
    unsigned end = b->address + (unsigned)b->count;

    if (b->count > plan_most(l, b->table) || end > 65536)
        return false;
    for (size_t i = 0; i < l->forbidden_count; i++)
        if (l->forbidden[i].table == b->table && l->forbidden[i].first < end &&
            l->forbidden[i].last >= b->address)
            return false;
    for (size_t i = 0; i < l->cut_count; i++)
        if (l->cuts[i].table == b->table && l->cuts[i].address > b->address && l->cuts[i].address < end)
            return false;
    return true;
}

static int by_place(const void *a, const void *b)
{
    const struct plan_item *x = *(struct plan_item *const *)a, *y = *(struct plan_item *const *)b;

    if (x->table != y->table)
        return x->table < y->table ? -1 : 1;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return x->count < y->count ? -1 : x->count > y->count;
}

/* best[i]: the cheapest way to read the first i items; from[i]: where its last block begins. */
struct step {
    uint64_t best;
    size_t from;
};

static bool gap_is_too_wide(const struct plan_limits *l, enum modbus_table table, unsigned gap)
{
    return l->gap != PLAN_GAP_BY_COST && gap > (unsigned)l->gap * (table_is_bits(table) ? 16 : 1);
}

static void try_blocks(const struct plan_cost *c, const struct plan_limits *l,
                       struct plan_item *const *sorted, size_t first, size_t count, struct step *steps)
{
    enum modbus_table table = sorted[first]->table;
    unsigned begin = sorted[first]->address, end = begin;

    for (size_t i = first; i < count && sorted[i]->table == table; i++) {
        unsigned at = sorted[i]->address, item_end = at + (unsigned)sorted[i]->count;
        if (at > end && gap_is_too_wide(l, table, at - end))
            break;
        end = item_end > end ? item_end : end;
        const struct plan_block b = {table, (uint16_t)begin, (uint16_t)(end - begin)};
        if (i > first && !plan_allows(l, &b))
            break;
        uint64_t cost = steps[first].best + plan_read_us(c, table, end - begin);
        if (cost < steps[i + 1].best)
            steps[i + 1] = (struct step){cost, first};
    }
}

static struct plan_block block_of(struct plan_item *const *sorted, size_t from, size_t to, size_t index)
{
    unsigned begin = sorted[from]->address, end = begin;

    for (size_t i = from; i < to; i++) {
        unsigned item_end = sorted[i]->address + (unsigned)sorted[i]->count;
        end = item_end > end ? item_end : end;
        sorted[i]->block = (uint16_t)index;
    }
    return (struct plan_block){sorted[from]->table, (uint16_t)begin, (uint16_t)(end - begin)};
}

size_t plan_make(const struct plan_cost *c, const struct plan_limits *l, struct plan_item *items,
                 size_t count, struct plan_block **blocks)
{
    struct plan_item **sorted = mem_alloc((count + 1) * sizeof *sorted);
    struct step *steps = mem_alloc((count + 1) * sizeof *steps);
    size_t made = 0;

    for (size_t i = 0; i < count; i++) {
        sorted[i] = &items[i];
        steps[i + 1].best = UINT64_MAX;
    }
    qsort(sorted, count, sizeof *sorted, by_place);
    for (size_t i = 0; i < count; i++)
        try_blocks(c, l, sorted, i, count, steps);
    for (size_t at = count; at; at = steps[at].from)
        made++;
    *blocks = mem_alloc((made + 1) * sizeof **blocks);
    size_t index = made;
    for (size_t at = count; at; at = steps[at].from) {
        index--;
        (*blocks)[index] = block_of(sorted, steps[at].from, at, index);
    }
    free(sorted);
    free(steps);
    return made;
}
