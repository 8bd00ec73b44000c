/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/layer.h"

static void bury_later(struct conn *c)
{
    if (c->state != CONN_ENDED || c->pins || !list_empty(&c->ready))
        return;
    list_remove(&c->link);
    list_add_tail(&c->net->graveyard, &c->link);
}

/* Things fall due while a turn ends or while the owner is in a call; an idle handle tells them in the next
 * turn, because it runs before the end of that turn and keeps the loop from sleeping until then. */
static void on_idle(uv_idle_t *idle)
{
    struct net *n = container_of(idle, struct net, idle);
    struct list now = LIST_INIT(now), *link;

    list_splice(&now, &n->ready);
    while ((link = list_pop(&now))) {
        struct conn *c = list_entry(link, struct conn, ready);
        conn_tell(c);
        bury_later(c);
    }
    if (list_empty(&n->ready))
        uv_idle_stop(idle);
}

static void on_linger(uv_timer_t *timer)
{
    struct net *n = container_of(timer, struct net, linger);

    while (!list_empty(&n->lingering)) {
        struct conn *c = list_entry(n->lingering.next, struct conn, hold);
        uint64_t now = uv_now(n->loop);
        if (c->deadline > now) {
            uv_timer_start(timer, on_linger, c->deadline - now, 0);
            return;
        }
        conn_linger_over(c);
    }
}

void net_hurry(struct net *n)
{
    while (!list_empty(&n->lingering))
        conn_linger_over(list_entry(n->lingering.next, struct conn, hold));
}

struct net *net_new(uv_loop_t *loop)
{
    struct net *n = mem_alloc(sizeof(*n));

    signal(SIGPIPE, SIG_IGN);
    n->loop = loop;
    list_init(&n->dirty);
    list_init(&n->flushers);
    list_init(&n->ready);
    list_init(&n->holding);
    list_init(&n->lingering);
    list_init(&n->graveyard);
    uv_idle_init(loop, &n->idle);
    uv_timer_init(loop, &n->linger);
    n->closing = 2;
    return n;
}

static void handle_closed(struct net *n)
{
    if (!--n->closing)
        free(n);
}

static void on_idle_closed(uv_handle_t *handle)
{
    handle_closed(container_of(handle, struct net, idle));
}

static void on_linger_closed(uv_handle_t *handle)
{
    handle_closed(container_of(handle, struct net, linger));
}

void net_free(struct net *n)
{
    if (!n)
        return;
    while (n->pooled)
        buf_free(&n->pool[--n->pooled]);
    buf_free(&n->sink);
    free(n->plain);
    n->plain = NULL;
    uv_close((uv_handle_t *)&n->idle, on_idle_closed);
    uv_close((uv_handle_t *)&n->linger, on_linger_closed);
}

void net_flush(struct net *n, uint64_t committed)
{
    struct list now = LIST_INIT(now), *link;

    n->hush++;
    if (committed > n->committed) {
        n->committed = committed;
        list_for_safe(it, &n->holding) conn_release(list_entry(it, struct conn, hold));
    }
    list_splice(&now, &n->dirty);
    while ((link = list_pop(&now))) {
        struct conn *c = list_entry(link, struct conn, link);
        c->dirty = false;
        conn_flush(c);
    }
    list_for_safe(it, &n->flushers)
    {
        struct net_flusher *f = list_entry(it, struct net_flusher, link);
        f->flush(f, committed);
    }
    n->hush--;
}

void net_add_flusher(struct net *n, struct net_flusher *f)
{
    list_add_tail(&n->flushers, &f->link);
}

bool net_waiting(const struct net *n)
{
    return !list_empty(&n->dirty);
}

void net_bury(struct net *n)
{
    struct list *link;

    while ((link = list_pop(&n->graveyard))) {
        struct conn *c = list_entry(link, struct conn, link);
        conn_clear(c);
        n->count--;
        c->events->on_gone(c);
    }
}

size_t net_count(const struct net *n)
{
    return n->count;
}

void net_add(struct net *n, struct conn *c)
{
    c->net = n;
    list_init(&c->link);
    list_init(&c->ready);
    list_init(&c->hold);
    n->count++;
}

void net_dirty(struct conn *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    /* Who receives comes to it after who published, and is flushed before: one waits for the message, the
     * other only learns that it has arrived. */
    list_add_head(&c->net->dirty, &c->link);
}

void net_due(struct conn *c, enum conn_due what)
{
    c->due = (uint8_t)(c->due | what);
    if (!list_empty(&c->ready))
        return;
    list_add_tail(&c->net->ready, &c->ready);
    uv_idle_start(&c->net->idle, on_idle);
}

void net_linger(struct conn *c)
{
    struct net *n = c->net;

    c->deadline = uv_now(n->loop) + LINGER_MS;
    list_remove(&c->hold);
    if (list_empty(&n->lingering))
        uv_timer_start(&n->linger, on_linger, LINGER_MS, 0);
    list_add_tail(&n->lingering, &c->hold);
}

void net_unpin(struct conn *c)
{
    c->pins--;
    bury_later(c);
}

uint8_t *net_plain(struct net *n)
{
    if (!n->plain)
        n->plain = mem_alloc(READ_ROOM + READ_SIZE);
    return n->plain;
}

void net_buf_get(struct net *n, struct buf *b)
{
    if (n->pooled)
        *b = n->pool[--n->pooled];
}

void net_buf_put(struct net *n, struct buf *b)
{
    b->len = 0;
    if (!b->data)
        return;
    if (b->cap > POOL_CAP || n->pooled == POOL_COUNT)
        buf_free(b);
    else
        n->pool[n->pooled++] = *b;
    *b = (struct buf){0};
}
