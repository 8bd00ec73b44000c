/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "net/http.h"
#include "net/layer.h"
#include "net/ws.h"

enum { FRAME_MOST = 64 * 1024 /* of ours; a longer packet goes in several */ };

struct ws {
    struct layer layer;
    const struct ws_config *config;
    struct http_head *head; /* of the request, until it is whole */
    struct ws_stream in;
    struct buf out;  /* frames for the layer below */
    struct buf rest; /* what was taken from above, from rest_at on: not yet in frames */
    size_t rest_at;
};

static struct ws *of_layer(struct layer *l)
{
    return container_of(l, struct ws, layer);
}

static void open_ws(struct layer *l)
{
    (void)l; /* the peer has the first word */
}

/* ---- from the peer ---- */

/* Returns how many bytes of data were the request's. */
static size_t shake(struct ws *w, const uint8_t *data, size_t len)
{
    const char *why = NULL;
    size_t used = len;

    if (!w->head)
        w->head = http_head_new();
    unsigned status = http_head_feed(w->head, data, len, &used, &why);
    if (!status)
        return len;
    bool agreed = status == 200 && ws_answer(w->head, w->config, &w->out, &why);
    if (status != 200)
        http_answer(&w->out, status, "", why);
    http_head_free(w->head);
    w->head = NULL;
    net_dirty(w->layer.conn);
    if (agreed)
        layer_stands(&w->layer);
    else
        conn_fail(w->layer.conn, true, "%s", why);
    return used;
}

static void over(struct ws *w)
{
    if (w->in.why)
        conn_fail(w->layer.conn, true, "WebSocket: %s", w->in.why);
    else if (w->in.close == WS_NORMAL || w->in.close == WS_NO_CODE)
        layer_ended(&w->layer);
    else
        conn_fail(w->layer.conn, true, "closed by the peer, WebSocket code %u", w->in.close);
}

static void input(struct layer *l, uint8_t *data, size_t len, size_t room)
{
    struct ws *w = of_layer(l);

    if (!l->stands) {
        size_t used = shake(w, data, len);
        data += used;
        len -= used;
    }
    if (!len || !l->stands || !conn_listens(l->conn))
        return;
    size_t got = ws_read(&w->in, data, len);
    if (w->in.pong.len)
        net_dirty(l->conn);
    if (got)
        layer_pass_up(l, data, got, room);
    if (w->in.close && conn_listens(l->conn))
        over(w);
}

/* ---- to the peer ---- */

static void push(struct ws *w)
{
    layer_output(w->layer.below, &w->out);
    if (!w->out.len)
        net_buf_put(w->layer.conn->net, &w->out);
}

static void take_pong(struct ws *w)
{
    buf_append(&w->out, w->in.pong.data, w->in.pong.len);
    buf_free(&w->in.pong);
    w->in.pong = (struct buf){0};
}

/* False when there is nothing to send. */
static bool make_frame(struct ws *w, struct buf *data)
{
    if (!w->rest.len && data->len) {
        w->rest = *data;
        *data = (struct buf){0};
    }
    size_t len = w->rest.len - w->rest_at;
    if (!len && !w->in.pong.len)
        return false;
    net_buf_get(w->layer.conn->net, &w->out);
    if (w->in.pong.len)
        take_pong(w);
    if (!len)
        return true;
    len = len < FRAME_MOST ? len : FRAME_MOST;
    ws_binary(&w->out, len);
    buf_append(&w->out, w->rest.data + w->rest_at, len);
    w->rest_at += len;
    if (w->rest_at == w->rest.len) {
        net_buf_put(w->layer.conn->net, &w->rest);
        w->rest_at = 0;
    }
    return true;
}

static void settle(struct ws *w)
{
    w->layer.waiting = w->out.len + w->rest.len - w->rest_at;
}

static void output(struct layer *l, struct buf *data)
{
    struct ws *w = of_layer(l);

    push(w);
    while (l->stands && !w->out.len && !layer_blocked(l) && l->conn->state != CONN_ENDED &&
           make_frame(w, data))
        push(w);
    settle(w);
}

static void farewell(struct layer *l)
{
    struct ws *w = of_layer(l);

    if (l->stands)
        ws_close(&w->out, w->in.close ? w->in.close : WS_NORMAL);
    push(w);
    settle(w);
    l->below->ops->farewell(l->below);
}

static void free_ws(struct layer *l)
{
    struct ws *w = of_layer(l);

    http_head_free(w->head);
    ws_stream_free(&w->in);
    buf_free(&w->out);
    buf_free(&w->rest);
    free(w);
}

static const struct conn_layer ws_layer = {
    .name = "WebSocket",
    .open = open_ws,
    .input = input,
    .ended = layer_ended,
    .output = output,
    .farewell = farewell,
    .free = free_ws,
};

struct layer *ws_layer_new(const struct ws_config *config)
{
    struct ws *w = mem_alloc(sizeof(*w));

    w->layer.ops = &ws_layer;
    w->config = config;
    return &w->layer;
}
