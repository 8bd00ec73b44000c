/* SPDX-License-Identifier: Apache-2.0 */
#include "net/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/layer.h"

static void note_high(struct conn *c)
{
    if (c->high && conn_backlog(c) > c->high)
        c->above_high = true;
}

/* Counts anew what the layers have on their way out. */
static void settle(struct conn *c)
{
    c->below = 0;
    for (struct layer *l = c->bottom; l; l = l->above)
        c->below += l->waiting;
    if (c->above_high && conn_backlog(c) <= c->high / 2) {
        c->above_high = false;
        net_due(c, DUE_DRAIN);
    }
}

static void tear_down(struct conn *c)
{
    c->state = CONN_ENDED;
    c->dirty = false;
    list_remove(&c->link);
    list_remove(&c->hold);
    conn_drop_lanes(c);
    if (!c->delivering)
        net_buf_put(c->net, &c->in);
    c->pins++; /* for the case that nothing else is open: the last unpin sends to the graveyard */
    connector_end(c);
    if (c->bottom)
        c->bottom->ops->abort(c->bottom);
    net_unpin(c);
}

static void end(struct conn *c, bool linger, const char *why)
{
    bool told = c->state >= CONN_LINGERING;

    if (c->state == CONN_ENDED || (linger && told))
        return;
    if (linger) {
        c->state = CONN_LINGERING;
        net_linger(c);
        net_dirty(c);
        connector_end(c);
        if (!c->eof)
            c->bottom->ops->read(c->bottom, true);
        if (!c->delivering)
            net_buf_put(c->net, &c->in);
    }
    if (!told && c->net->hush) {
        c->why = mem_strdup(why ? why : "closed");
        net_due(c, DUE_CLOSE);
    }
    bool tell = !told && !c->net->hush;
    if (!linger)
        tear_down(c);
    if (tell)
        c->events->on_close(c, why);
}

static bool take_due(struct conn *c, enum conn_due what)
{
    bool is = c->due & what;

    c->due = (uint8_t)(c->due & ~what);
    return is;
}

static void close_by_owner(struct conn *c, bool linger)
{
    end(c, linger, NULL);
    if (take_due(c, DUE_CLOSE))
        c->events->on_close(c, NULL);
}

void conn_close(struct conn *c)
{
    close_by_owner(c, c->state == CONN_OPEN || c->state == CONN_LINGERING);
}

void conn_abort(struct conn *c)
{
    close_by_owner(c, false);
}

void conn_linger_over(struct conn *c)
{
    end(c, false, NULL);
}

/* The layer that is shaking hands. */
static const char *shaking_name(const struct conn *c)
{
    struct layer *l = c->bottom;

    while (l->stands && l->above)
        l = l->above;
    return l->ops->name;
}

void conn_fail(struct conn *c, bool linger, const char *fmt, ...)
{
    char why[WHY_SIZE];
    int at = 0;
    va_list args;

    if (c->state == CONN_SHAKING)
        at = snprintf(why, sizeof(why), "%s handshake: ", shaking_name(c));
    va_start(args, fmt);
    vsnprintf(why + at, sizeof(why) - (size_t)at, fmt, args);
    va_end(args);
    end(c, linger, why);
}

/* All has left: say goodbye, then wait for the peer's end, so that a reset does not destroy what it has not
 * read. */
static void part(struct conn *c)
{
    if (conn_backlog(c))
        return;
    if (!c->farewell) {
        c->farewell = true;
        c->top->ops->farewell(c->top);
        if (c->state == CONN_ENDED)
            return;
        settle(c);
    }
    if (c->below)
        return;
    if (c->eof)
        end(c, false, NULL);
    else
        c->bottom->ops->shut(c->bottom);
}

void conn_flush(struct conn *c)
{
    if (c->state == CONN_CONNECTING || c->state == CONN_ENDED)
        return;
    note_high(c);
    if (c->state == CONN_LINGERING) {
        conn_release(c);
        conn_drop_held(c);
    }
    do {
        layer_output(c->top, &c->out);
        if (c->state == CONN_ENDED)
            return;
    } while (!c->out.len && !c->top->waiting && !layer_blocked(c->top) && conn_refill(c));
    if (!c->out.len)
        net_buf_put(c->net, &c->out);
    settle(c);
    if (c->state == CONN_LINGERING)
        part(c);
}

void conn_written(struct conn *c)
{
    note_high(c);
    settle(c);
    net_dirty(c);
}

static void keep(struct conn *c, const uint8_t *data, size_t len)
{
    if (!len)
        return;
    if (!c->in.data)
        net_buf_get(c->net, &c->in);
    buf_append(&c->in, data, len);
}

uint8_t *conn_take_input(struct conn *c, struct bytes part)
{
    struct buf in = c->in;
    size_t begin = (size_t)(part.data - in.data), end = begin + part.len;

    if (!in.len || part.data < in.data || end > in.len || part.len < in.cap / 2)
        return NULL;
    c->in = (struct buf){0};
    keep(c, in.data + end, in.len - end);
    c->taken = true;
    return in.data;
}

/* Keeps what on_data has left of data, which is in c->in already or not. */
static void keep_rest(struct conn *c, const uint8_t *data, size_t len, size_t used)
{
    bool inside = data == c->in.data;

    if (used > len)
        used = len;
    if (inside && (used == 0 || c->in.cap <= POOL_CAP || len - used > READ_ROOM)) {
        buf_consume(&c->in, used);
    } else {
        struct buf old = c->in;
        c->in = inside ? (struct buf){0} : (struct buf){old.data, 0, old.cap};
        keep(c, data + used, len - used);
        if (inside)
            net_buf_put(c->net, &old);
    }
    if (!c->in.len)
        net_buf_put(c->net, &c->in);
}

static void offer(struct conn *c, const uint8_t *data, size_t len)
{
    c->delivering = true;
    size_t used = c->events->on_data(c, data, len);
    c->delivering = false;
    if (c->state != CONN_OPEN)
        net_buf_put(c->net, &c->in);
    else if (!c->taken)
        keep_rest(c, data, len, used);
    else if (c->in.len)
        net_due(c, DUE_DATA);
    c->taken = false;
}

static void deliver(struct conn *c, uint8_t *data, size_t len, size_t room)
{
    size_t kept = c->in.len;

    if (take_due(c, DUE_OPEN))
        c->events->on_open(c);
    if (c->state != CONN_OPEN)
        return;
    if (c->paused) {
        keep(c, data, len);
    } else if (kept <= room) {
        if (kept)
            memcpy(data - kept, c->in.data, kept);
        c->in.len = 0;
        offer(c, data - kept, kept + len);
    } else {
        keep(c, data, len);
        offer(c, c->in.data, c->in.len);
    }
}

static void offer_again(struct conn *c)
{
    if (c->in.len)
        offer(c, c->in.data, c->in.len);
    if (c->state == CONN_OPEN && !c->paused)
        c->bottom->ops->read(c->bottom, true);
}

void conn_tell(struct conn *c)
{
    if (take_due(c, DUE_OPEN) && c->state == CONN_OPEN)
        c->events->on_open(c);
    if (take_due(c, DUE_DATA) && c->state == CONN_OPEN && !c->paused)
        offer_again(c);
    if (take_due(c, DUE_DRAIN) && c->state == CONN_OPEN && c->events->on_drain)
        c->events->on_drain(c);
    if (take_due(c, DUE_CLOSE))
        c->events->on_close(c, c->why);
}

void conn_pause(struct conn *c)
{
    c->paused = true;
    if (c->state == CONN_OPEN)
        c->bottom->ops->read(c->bottom, false);
}

void conn_resume(struct conn *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    if (c->state != CONN_OPEN)
        return;
    if (c->delivering || c->in.len)
        net_due(c, DUE_DATA);
    else
        c->bottom->ops->read(c->bottom, true);
}

void conn_clear(struct conn *c)
{
    while (c->top) {
        struct layer *l = c->top;
        c->top = l->below;
        l->ops->free(l);
    }
    c->bottom = NULL;
    buf_free(&c->in);
    free(c->why);
    c->why = NULL;
}

static void add_layer(struct conn *c, struct layer *l)
{
    l->conn = c;
    l->below = c->top;
    if (c->top)
        c->top->above = l;
    else
        c->bottom = l;
    c->top = l;
}

int conn_stack(struct conn *c, struct net *n, const struct accepted *a, const struct conn_layers *layers,
               const char *server_name)
{
    struct layer *bottom = NULL, *tls = layers->tls ? tls_layer_new(layers->tls, server_name) : NULL;
    int err = layers->tls && !tls ? -ENOMEM : stream_new(&bottom, n->loop, a->fd, &a->peer);

    if (err) {
        close(a->fd);
        if (tls)
            tls->ops->free(tls);
        return err;
    }
    add_layer(c, bottom);
    c->pins++;
    if (layers->proxy)
        add_layer(c, proxy_layer_new(layers->proxy));
    if (tls)
        add_layer(c, tls);
    if (layers->ws)
        add_layer(c, ws_layer_new(layers->ws));
    return 0;
}

void conn_start(struct conn *c)
{
    c->state = CONN_SHAKING;
    c->bottom->ops->read(c->bottom, true);
    layer_stands(c->bottom);
}

static void opened(struct conn *c)
{
    c->state = CONN_OPEN;
    connector_end(c);
    if (c->paused)
        c->bottom->ops->read(c->bottom, false);
    if (c->net->hush)
        net_due(c, DUE_OPEN);
    else
        c->events->on_open(c);
}

void layer_stands(struct layer *l)
{
    l->stands = true;
    if (l->above)
        l->above->ops->open(l->above);
    else
        opened(l->conn);
}

void layer_pass_up(struct layer *l, uint8_t *data, size_t len, size_t room)
{
    if (l->above)
        l->above->ops->input(l->above, data, len, room);
    else
        deliver(l->conn, data, len, room);
}

void layer_ended(struct layer *l)
{
    if (l->above)
        l->above->ops->ended(l->above);
    else
        conn_fail(l->conn, true, "closed by the peer");
}

int conn_accept(struct conn *c, struct net *n, const struct accepted *a, const struct conn_layers *layers,
                const struct conn_events *events)
{
    static const struct conn_layers none;
    int err = conn_stack(c, n, a, layers ? layers : &none, NULL);

    if (err)
        return err;
    net_add(n, c);
    c->events = events;
    n->hush++;
    conn_start(c);
    n->hush--;
    return 0;
}

void conn_peer(const struct conn *c, char out[64])
{
    struct address a;
    struct layer *l = c->top;

    out[0] = 0;
    while (l && !l->ops->peer)
        l = l->below;
    if (!l)
        return;
    l->ops->peer(l, &a);
    address_text(&a, out);
}

bool conn_peer_name(const struct conn *c, char *out, size_t size)
{
    for (struct layer *l = c->top; l; l = l->below)
        if (l->ops->peer_name)
            return l->ops->peer_name(l, out, size);
    return false;
}

bool conn_peer_uid(const struct conn *c, uint32_t *out)
{
    return c->bottom && c->bottom->ops->peer_uid && c->bottom->ops->peer_uid(c->bottom, out);
}

const char *conn_cipher(const struct conn *c)
{
    for (struct layer *l = c->top; l; l = l->below)
        if (l->ops->cipher)
            return l->ops->cipher(l);
    return "";
}
