/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/late.h"

#include <string.h>

static void forget(struct late *l, unsigned at)
{
    l->count--;
    memmove(l->open + at, l->open + at + 1, (l->count - at) * sizeof l->open[0]);
}

void late_add(struct late *l, uint8_t function, size_t reply_len, uint64_t sent_us)
{
    if (l->count == LATE_MAX)
        forget(l, 0);
    l->open[l->count].function = function;
    l->open[l->count].reply_len = (uint16_t)reply_len;
    l->open[l->count].sent_us = sent_us;
    l->count++;
}

void late_expire(struct late *l, uint64_t now_us)
{
    while (l->count && l->open[0].sent_us + LATE_LIFE_US < now_us)
        forget(l, 0);
}

static size_t reply_len(const struct plan_block *b)
{
    return 5 + table_bytes(b->table, b->count);
}

/* True when a read of this shape cannot be confused with an open one. */
static bool is_safe(const struct late *l, const struct plan_block *b)
{
    for (unsigned i = 0; i < l->count; i++)
        if (l->open[i].function == b->table && l->open[i].reply_len == reply_len(b))
            return false;
    return true;
}

bool late_forget_reads(struct late *l, const struct plan_block *b, uint64_t now_us)
{
    for (unsigned i = l->count; i--;)
        if (l->open[i].function <= TABLE_INPUT && l->open[i].sent_us + LATE_SURE_US < now_us)
            forget(l, i);
    return is_safe(l, b);
}

bool late_is_ripe(const struct late *l, uint64_t now_us)
{
    for (unsigned i = 0; i < l->count; i++)
        if (l->open[i].function <= TABLE_INPUT && l->open[i].sent_us + LATE_SURE_US >= now_us)
            return false;
    return true;
}

bool late_has(const struct late *l, uint8_t function)
{
    for (unsigned i = 0; i < l->count; i++)
        if (l->open[i].function == function)
            return true;
    return false;
}

bool late_match(struct late *l, uint8_t function, size_t len, uint64_t *sent_us)
{
    for (unsigned i = 0; i < l->count; i++) {
        bool exception = function == (l->open[i].function | 0x80);
        bool fits = !l->open[i].reply_len || l->open[i].reply_len == len;
        if (!exception && (l->open[i].function != function || !fits))
            continue;
        *sent_us = l->open[i].sent_us;
        forget(l, i);
        return true;
    }
    return false;
}

/* Items that fill whole bytes of the reply. */
static unsigned step_of(const struct plan_block *b)
{
    return table_is_bits(b->table) ? 8 : 1;
}

/* A cut between two points: what belongs together must come from one reply. The parts differ in length, so
 * that the second cannot be taken for the first either. */
static bool in_two(const struct late *l, const struct plan_block *b, unsigned at, struct plan_block parts[2])
{
    parts[0] = parts[1] = *b;
    parts[0].count = (uint16_t)at;
    parts[1].address = (uint16_t)(b->address + at);
    parts[1].count = (uint16_t)(b->count - at);
    return reply_len(&parts[0]) != reply_len(&parts[1]) && is_safe(l, &parts[0]) && is_safe(l, &parts[1]);
}

static bool wider(const struct late *l, const struct plan_block *b, const struct plan_limits *limits,
                  struct plan_block *out)
{
    *out = *b;
    for (unsigned count = b->count + step_of(b); count <= plan_most(limits, b->table); count += step_of(b)) {
        out->count = (uint16_t)count;
        if (!plan_allows(limits, out))
            return false;
        if (is_safe(l, out))
            return true;
    }
    return false;
}

unsigned late_parts(const struct late *l, const struct plan_block *b, const struct plan_limits *limits,
                    bool (*may_cut)(void *arg, unsigned address), void *arg, struct plan_block parts[2])
{
    parts[0] = *b;
    if (is_safe(l, b))
        return 1;
    for (unsigned at = step_of(b); at < b->count; at += step_of(b))
        if (may_cut(arg, b->address + at) && in_two(l, b, at, parts))
            return 2;
    return wider(l, b, limits, &parts[0]) ? 1 : 0;
}

struct plan_block late_probe(const struct late *l, const struct plan_block *b,
                             const struct plan_limits *limits)
{
    struct plan_block out = *b, wide;

    if (out.count > step_of(b))
        out.count = (uint16_t)step_of(b);
    return !is_safe(l, &out) && wider(l, &out, limits, &wide) ? wide : out;
}
