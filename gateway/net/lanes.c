/* SPDX-License-Identifier: Apache-2.0 */
/* The lanes of a connection. What may leave and is small is in c->out; large payloads are referenced, and
 * what follows one, or waits for a ticket, is in segments. */
#include <stdlib.h>

#include "base/mem.h"
#include "net/layer.h"

enum { SLICE = POOL_CAP /* of a large payload that the layers get at once */ };

/* Bytes, then perhaps a large payload. */
struct segment {
    struct segment *next;
    uint64_t ticket; /* in the held lane */
    struct buf bytes;
    struct bytes large; /* what of it has not been taken yet */
    void *owner;
    void (*drop)(void *owner);
};

struct lane {
    struct segment *first, *last;
};

struct conn_lanes {
    struct lane free, held;
    size_t parked; /* bytes of all segments, but for those to whose bytes something may still be appended */
};

static struct buf *with_memory(struct conn *c, struct buf *b)
{
    if (!b->data)
        net_buf_get(c->net, b);
    return b;
}

static struct buf *sink(struct conn *c)
{
    c->net->sink.len = 0;
    return &c->net->sink;
}

static void push(struct conn_lanes *lanes, struct lane *l, struct segment *s)
{
    if (l->last) {
        lanes->parked += l->last->bytes.len;
        l->last->next = s;
    } else {
        l->first = s;
    }
    l->last = s;
    s->next = NULL;
}

static struct segment *pop(struct conn_lanes *lanes, struct lane *l)
{
    struct segment *s = l->first;

    if (s != l->last)
        lanes->parked -= s->bytes.len;
    l->first = s->next;
    if (!l->first)
        l->last = NULL;
    return s;
}

static struct segment *add(struct conn *c, bool held, uint64_t ticket)
{
    struct segment *s = mem_alloc(sizeof(*s));

    if (!c->lanes)
        c->lanes = mem_alloc(sizeof(*c->lanes));
    s->ticket = ticket;
    push(c->lanes, held ? &c->lanes->held : &c->lanes->free, s);
    return s;
}

static void segment_free(struct conn *c, struct segment *s)
{
    net_buf_put(c->net, &s->bytes);
    c->lanes->parked -= s->large.len;
    if (s->owner)
        s->drop(s->owner);
    free(s);
}

static void drop(struct conn *c, struct lane *l)
{
    while (l->first)
        segment_free(c, pop(c->lanes, l));
}

static void drop_empty(struct conn *c)
{
    if (c->lanes && !c->lanes->free.first && !c->lanes->held.first) {
        free(c->lanes);
        c->lanes = NULL;
    }
}

size_t conn_parked(const struct conn *c)
{
    const struct lane *free = &c->lanes->free, *held = &c->lanes->held;

    return c->lanes->parked + (free->last ? free->last->bytes.len : 0) +
           (held->last ? held->last->bytes.len : 0);
}

bool conn_holds(const struct conn *c)
{
    return c->lanes && c->lanes->held.first;
}

static struct buf *behind(struct conn *c)
{
    struct segment *last = c->lanes ? c->lanes->free.last : NULL;

    if (last && last->owner)
        last = add(c, false, 0);
    return with_memory(c, last ? &last->bytes : &c->out);
}

struct buf *conn_free_lane(struct conn *c)
{
    if (c->state >= CONN_LINGERING)
        return sink(c);
    net_dirty(c);
    return behind(c);
}

struct buf *conn_held_lane(struct conn *c, uint64_t ticket)
{
    if (c->state >= CONN_LINGERING)
        return sink(c);
    net_dirty(c);
    struct segment *last = conn_holds(c) ? c->lanes->held.last : NULL;
    if (!last) {
        if (ticket <= c->net->committed)
            return behind(c);
        list_add_tail(&c->net->holding, &c->hold);
    }
    if (!last || last->owner || ticket > last->ticket)
        last = add(c, true, last && last->ticket > ticket ? last->ticket : ticket);
    return with_memory(c, &last->bytes);
}

struct buf *conn_last_lane(struct conn *c)
{
    if (c->state >= CONN_LINGERING)
        return sink(c);
    conn_release(c);
    if (conn_holds(c)) {
        conn_drop_held(c);
        list_remove(&c->hold);
    }
    return conn_free_lane(c);
}

void conn_append_large(struct conn *c, struct buf *lane, struct bytes data, void *owner,
                       void (*drop_owner)(void *owner))
{
    if (lane == &c->net->sink) {
        drop_owner(owner);
        return;
    }
    struct segment *s = c->lanes ? c->lanes->free.last : NULL;
    if (lane == &c->out) {
        s = add(c, false, 0);
        s->bytes = c->out;
        c->out = (struct buf){0};
    } else if (!s || lane != &s->bytes) {
        s = c->lanes->held.last;
    }
    s->large = data;
    s->owner = owner;
    s->drop = drop_owner;
    c->lanes->parked += data.len;
}

/* One segment whose ticket is done. */
static void let_go(struct conn *c, struct segment *s)
{
    struct segment *last = c->lanes->free.last;
    struct buf *end = last ? &last->bytes : &c->out;

    if (s->owner || (last && last->owner)) {
        push(c->lanes, &c->lanes->free, s);
        return;
    }
    if (end->len) {
        buf_append(end, s->bytes.data, s->bytes.len);
    } else {
        struct buf empty = *end;
        *end = s->bytes;
        s->bytes = empty;
    }
    segment_free(c, s);
}

void conn_release(struct conn *c)
{
    if (!conn_holds(c) || c->lanes->held.first->ticket > c->net->committed)
        return;
    net_dirty(c);
    while (conn_holds(c) && c->lanes->held.first->ticket <= c->net->committed)
        let_go(c, pop(c->lanes, &c->lanes->held));
    if (!conn_holds(c) && c->state < CONN_LINGERING)
        list_remove(&c->hold);
    drop_empty(c);
}

bool conn_refill(struct conn *c)
{
    if (!c->lanes || !c->lanes->free.first)
        return false;
    struct conn_lanes *lanes = c->lanes;
    struct segment *s = lanes->free.first;
    if (s->bytes.len) {
        if (s != lanes->free.last)
            lanes->parked -= s->bytes.len;
        net_buf_put(c->net, &c->out);
        c->out = s->bytes;
        s->bytes = (struct buf){0};
    }
    size_t room = c->out.len < SLICE ? SLICE - c->out.len : 0;
    size_t len = s->large.len < room ? s->large.len : room;
    buf_append(with_memory(c, &c->out), s->large.data, len);
    s->large.data += len;
    s->large.len -= len;
    lanes->parked -= len;
    if (!s->large.len)
        segment_free(c, pop(lanes, &lanes->free));
    drop_empty(c);
    return true;
}

void conn_drop_held(struct conn *c)
{
    if (c->lanes)
        drop(c, &c->lanes->held);
    drop_empty(c);
}

void conn_drop_lanes(struct conn *c)
{
    net_buf_put(c->net, &c->out);
    if (c->lanes)
        drop(c, &c->lanes->free);
    conn_drop_held(c);
}
