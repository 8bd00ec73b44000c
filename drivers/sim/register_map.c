/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/register_map.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"

enum { ADDRESSES = 65536 };

#define RANGE_ROWS(what)                                                                                     \
    {.name = "at",                                                                                           \
     .type = CONF_INT,                                                                                       \
     .flags = CONF_REQUIRED,                                                                                 \
     .max = ADDRESSES - 1,                                                                                   \
     .help = "First address, as on the wire (from 0)"},                                                      \
        {.name = "count",                                                                                    \
         .type = CONF_INT,                                                                                   \
         .def = "1",                                                                                         \
         .min = 1,                                                                                           \
         .max = ADDRESSES,                                                                                   \
         .help = "How many values"},                                                                         \
        {.name = "name",                                                                                     \
         .type = CONF_NAME,                                                                                  \
         .help = "What the log calls it; the table and address otherwise"},                                  \
        {.name = "spread",                                                                                   \
         .type = CONF_FLOAT,                                                                                 \
         .def = "0",                                                                                         \
         .min = -1e9,                                                                                        \
         .max = 1e9,                                                                                         \
         .help = "Added once more to each further " what},                                                   \
        {.name = "writable", .type = CONF_BOOL, .def = "false", .help = "Whether the master may write it"},  \
        {.name = "exception",                                                                                \
         .type = CONF_INT,                                                                                   \
         .def = "0",                                                                                         \
         .max = 127,                                                                                         \
         .help = "Answer this exception to whoever reads or writes it; 0: none"},                            \
    {                                                                                                        \
        .name = "value", .type = CONF_CHOICE, .def = "constant", .choices = sim_script_names,                \
        .help = "The function that its value follows"                                                        \
    }

const struct conf_row sim_bit_rows[] = {RANGE_ROWS("bit"), {0}};

const struct conf_row sim_register_rows[] = {
    RANGE_ROWS("value"),
    {.name = "type",
     .type = CONF_CHOICE,
     .def = "uint16",
     .choices = sim_type_names,
     .help = "Type of the value"},
    {.name = "order",
     .type = CONF_CHOICE,
     .def = "ABCD",
     .choices = sim_order_names,
     .help = "Order of its bytes"},
    {0},
};

static size_t step(const struct sim_map *m, const struct sim_range *r)
{
    return m->bits ? 1 : sim_type_words(r->type);
}

static void range_load(struct sim_map *m, struct sim_range *r, const struct conf_node *node,
                       const char *table)
{
    const char *name = conf_string(node, "name");

    r->at = (uint32_t)conf_int(node, "at");
    r->name = name ? mem_strdup(name) : mem_format("%s:%u", table, r->at);
    r->spread = conf_float(node, "spread");
    r->writable = conf_bool(node, "writable");
    r->exception = (uint8_t)conf_int(node, "exception");
    sim_script_load(&r->script, conf_string(node, "value"), node);
    if (!m->bits) {
        r->type = (enum sim_type)conf_int(node, "type");
        r->order = (enum sim_order)conf_int(node, "order");
    }
    size_t size = (size_t)conf_int(node, "count") * step(m, r);
    r->end = r->at + (uint32_t)size;
    r->words = mem_alloc(size * sizeof(*r->words));
}

static int by_address(const void *a, const void *b)
{
    const struct sim_range *x = a, *y = b;

    return x->at < y->at ? -1 : x->at > y->at;
}

static const struct sim_range *clash(const struct sim_map *m, const struct sim_range *r)
{
    for (const struct sim_range *o = m->ranges; o < r; o++)
        if (o->at < r->end && r->at < o->end)
            return o;
    return NULL;
}

void sim_map_load(struct sim_map *m, struct conf *conf, const struct conf_node *node, const char *table,
                  bool bits)
{
    size_t count = conf_count(node, table);

    m->bits = bits;
    m->ranges = mem_alloc((count + 1) * sizeof(*m->ranges));
    for (; m->count < count; m->count++) {
        const struct conf_node *at = conf_at(node, table, m->count);
        struct sim_range *r = &m->ranges[m->count];
        const struct sim_range *other;

        range_load(m, r, at, table);
        if (r->end > ADDRESSES)
            conf_error(conf, at, "the range ends at address %u; the last one of a table is 65535",
                       r->end - 1);
        else if ((other = clash(m, r)))
            conf_error(conf, at, "addresses %u to %u overlap with \"%s\", which has %u to %u", r->at,
                       r->end - 1, other->name, other->at, other->end - 1);
    }
    qsort(m->ranges, m->count, sizeof(*m->ranges), by_address);
}

void sim_map_free(struct sim_map *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free(m->ranges[i].name);
        free(m->ranges[i].words);
    }
    free(m->ranges);
    *m = (struct sim_map){0};
}

/* The range that holds address at, or NULL. */
static struct sim_range *range_of(const struct sim_map *m, uint32_t at)
{
    size_t low = 0, high = m->count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        struct sim_range *r = &m->ranges[mid];

        if (at >= r->at && at < r->end)
            return r;
        if (at < r->at)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

int sim_map_check(const struct sim_map *m, uint32_t at, uint32_t count, bool write)
{
    int exception = 0;

    for (uint32_t end = at + count; at < end;) {
        const struct sim_range *r = range_of(m, at);

        if (!r || (write && !r->writable))
            return SIM_MODBUS_ADDRESS;
        if (!exception)
            exception = r->exception;
        at = r->end;
    }
    return exception;
}

static struct sim_number value_of(const struct sim_range *r, size_t index, uint64_t now_ns)
{
    struct sim_number n = sim_script_at(&r->script, now_ns, r->reads);

    /* Unlike one of doubles, the sum of integers stays exact beyond 2^53. */
    if (n.exact)
        n.i = (int64_t)((uint64_t)n.i + (uint64_t)(int64_t)((double)index * r->spread));
    else
        n.f += (double)index * r->spread;
    return n;
}

/* Puts what the script says at now_ns in the range's registers. */
static void play(const struct sim_map *m, struct sim_range *r, uint64_t now_ns)
{
    size_t width = step(m, r), values = (r->end - r->at) / width;

    if (r->written)
        return;
    for (size_t i = 0; i < values; i++) {
        struct sim_number n = value_of(r, i, now_ns);

        if (m->bits)
            r->words[i] = sim_number_bit(n);
        else
            sim_number_encode(n, r->type, r->order, r->words + i * width);
    }
}

static void note(const struct sim_map *m, const struct sim_range *r, uint64_t now_ns, struct buf *notes)
{
    char text[40];

    if (r->written)
        snprintf(text, sizeof(text), "written");
    else if (m->bits)
        snprintf(text, sizeof(text), "%u", r->words[0]);
    else
        sim_number_format(value_of(r, 0, now_ns), r->type, text, sizeof(text));
    buf_printf(notes, " %s#%llu=%s", r->name, (unsigned long long)r->reads, text);
}

/* What of one range lies in an access. */
struct piece {
    struct sim_range *range;
    uint32_t from, to; /* to: excluded; before the first piece, where the access begins */
};

static bool piece_next(const struct sim_map *m, struct piece *p, uint32_t end)
{
    p->from = p->to;
    p->range = p->from < end ? range_of(m, p->from) : NULL;
    if (!p->range)
        return false;
    p->to = p->range->end < end ? p->range->end : end;
    return true;
}

static uint16_t *piece_words(const struct piece *p)
{
    return p->range->words + (p->from - p->range->at);
}

void sim_map_read(struct sim_map *m, uint32_t at, uint32_t count, uint64_t now_ns, uint16_t *out,
                  struct buf *notes)
{
    for (struct piece p = {.to = at}; piece_next(m, &p, at + count);) {
        play(m, p.range, now_ns);
        note(m, p.range, now_ns, notes);
        p.range->reads++;
        memcpy(out + (p.from - at), piece_words(&p), (p.to - p.from) * sizeof(*out));
    }
}

void sim_map_peek(struct sim_map *m, uint32_t at, uint32_t count, uint64_t now_ns, uint16_t *out)
{
    for (struct piece p = {.to = at}; piece_next(m, &p, at + count);) {
        play(m, p.range, now_ns);
        memcpy(out + (p.from - at), piece_words(&p), (p.to - p.from) * sizeof(*out));
    }
}

void sim_map_write(struct sim_map *m, uint32_t at, uint32_t count, uint64_t now_ns, const uint16_t *in)
{
    for (struct piece p = {.to = at}; piece_next(m, &p, at + count);) {
        play(m, p.range, now_ns);
        p.range->written = true;
        memcpy(piece_words(&p), in + (p.from - at), (p.to - p.from) * sizeof(*in));
    }
}
