/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "net/layer.h"

/* What the kernel did not take at once: libuv writes it on when the socket has room. */
struct sending {
    uv_write_t req;
    struct stream *stream;
    struct buf data;
};

struct stream {
    struct layer layer;
    struct sending *sending;
    struct address peer; /* kept, because people ask after the socket is gone */
    bool closing, orphan;
    union {
        uv_handle_t any;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } handle;
};

static struct stream *of_layer(struct layer *l)
{
    return container_of(l, struct stream, layer);
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct net *n = container_of(handle, struct stream, handle.any)->layer.conn->net;

    (void)suggested;
    *buf = uv_buf_init((char *)n->read + READ_ROOM, READ_SIZE);
}

static void ended(struct stream *s)
{
    struct conn *c = s->layer.conn;

    c->eof = true;
    uv_read_stop(&s->handle.stream);
    if (conn_listens(c))
        layer_ended(&s->layer);
    else
        net_dirty(c); /* it lingers: the flush finds out whether that was all it waited for */
}

static void on_read(uv_stream_t *handle, ssize_t len, const uv_buf_t *buf)
{
    struct stream *s = container_of(handle, struct stream, handle.stream);
    struct conn *c = s->layer.conn;

    if (len > 0 && conn_listens(c))
        layer_pass_up(&s->layer, (uint8_t *)buf->base, (size_t)len, READ_ROOM);
    else if (len == UV_EOF)
        ended(s);
    else if (len < 0)
        conn_fail(c, false, "%s", uv_strerror((int)len));
}

static void read_stream(struct layer *l, bool on)
{
    struct stream *s = of_layer(l);

    if (s->closing)
        return;
    if (on)
        uv_read_start(&s->handle.stream, give_room, on_read);
    else
        uv_read_stop(&s->handle.stream);
}

static void on_sent(uv_write_t *req, int status)
{
    struct sending *w = container_of(req, struct sending, req);
    struct stream *s = w->stream;

    s->sending = NULL;
    s->layer.waiting = 0;
    net_buf_put(s->layer.conn->net, &w->data);
    free(w);
    if (s->closing)
        return;
    if (status)
        conn_fail(s->layer.conn, false, "%s", uv_strerror(status));
    else
        conn_written(s->layer.conn);
}

static int send_later(struct stream *s, struct buf *data, size_t from)
{
    struct sending *w = mem_alloc(sizeof(*w));
    uv_buf_t rest = uv_buf_init((char *)data->data + from, (unsigned)(data->len - from));

    w->stream = s;
    w->data = *data;
    int err = uv_write(&w->req, &s->handle.stream, &rest, 1, on_sent);
    if (err) {
        free(w);
        return err;
    }
    *data = (struct buf){0};
    s->sending = w;
    s->layer.waiting = rest.len;
    return 0;
}

static void output(struct layer *l, struct buf *data)
{
    struct stream *s = of_layer(l);

    if (!data->len || s->sending || s->closing)
        return;
    uv_buf_t all = uv_buf_init((char *)data->data, (unsigned)data->len);
    int sent = uv_try_write(&s->handle.stream, &all, 1);
    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent >= 0 && (size_t)sent == data->len) {
        data->len = 0;
        return;
    }
    int err = sent < 0 ? sent : send_later(s, data, (size_t)sent);
    if (err)
        conn_fail(l->conn, false, "%s", uv_strerror(err));
}

static void farewell(struct layer *l)
{
    (void)l; /* the end of the stream says it all: shut */
}

static void shut(struct layer *l)
{
    uv_os_fd_t fd;

    if (!uv_fileno(&of_layer(l)->handle.any, &fd))
        shutdown(fd, SHUT_WR);
}

static void on_closed(uv_handle_t *handle)
{
    struct stream *s = container_of(handle, struct stream, handle.any);

    if (s->orphan)
        free(s);
    else
        net_unpin(s->layer.conn);
}

static void abort_stream(struct layer *l)
{
    struct stream *s = of_layer(l);

    if (s->closing)
        return;
    s->closing = true;
    uv_close(&s->handle.any, on_closed);
}

static void free_stream(struct layer *l)
{
    free(of_layer(l));
}

static void peer(const struct layer *l, struct address *out)
{
    *out = container_of(l, struct stream, layer)->peer;
}

static const struct conn_layer tcp_layer = {
    .name = "TCP",
    .output = output,
    .farewell = farewell,
    .free = free_stream,
    .read = read_stream,
    .shut = shut,
    .abort = abort_stream,
    .peer = peer,
};

static const struct conn_layer unix_layer = {
    .name = "Unix socket",
    .output = output,
    .farewell = farewell,
    .free = free_stream,
    .read = read_stream,
    .shut = shut,
    .abort = abort_stream,
    .peer = peer,
};

struct stream *stream_new(uv_loop_t *loop, bool tcp)
{
    size_t handle = tcp ? sizeof(uv_tcp_t) : sizeof(uv_pipe_t);
    struct stream *s = mem_alloc(offsetof(struct stream, handle) + handle);

    s->layer.ops = tcp ? &tcp_layer : &unix_layer;
    s->peer.family = tcp ? AF_INET : AF_UNIX;
    if (tcp)
        uv_tcp_init(loop, &s->handle.tcp);
    else
        uv_pipe_init(loop, &s->handle.pipe, 0);
    return s;
}

struct layer *stream_layer(struct stream *s)
{
    return &s->layer;
}

int stream_accept(struct stream *s, uv_stream_t *server)
{
    struct sockaddr_storage addr;
    int len = sizeof(addr);
    int err = uv_accept(server, &s->handle.stream);

    if (err || s->handle.any.type != UV_TCP)
        return err;
    uv_tcp_nodelay(&s->handle.tcp, 1);
    if (!uv_tcp_getpeername(&s->handle.tcp, (struct sockaddr *)&addr, &len))
        address_set(&s->peer, (struct sockaddr *)&addr);
    return 0;
}

struct connecting {
    uv_connect_t req;
    void (*done)(void *arg, int status);
    void *arg;
};

static void on_connect(uv_connect_t *req, int status)
{
    struct connecting k = *container_of(req, struct connecting, req);

    if (!status && req->handle->type == UV_TCP)
        uv_tcp_nodelay((uv_tcp_t *)req->handle, 1);
    free(container_of(req, struct connecting, req));
    k.done(k.arg, status);
}

int stream_connect(struct stream *s, const struct sockaddr *addr, const char *path,
                   void (*done)(void *arg, int status), void *arg)
{
    struct connecting *k = mem_alloc(sizeof(*k));
    int err = 0;

    k->done = done;
    k->arg = arg;
    if (addr) {
        address_set(&s->peer, addr);
        err = uv_tcp_connect(&k->req, &s->handle.tcp, addr, on_connect);
    } else {
        uv_pipe_connect(&k->req, &s->handle.pipe, path, on_connect);
    }
    if (err)
        free(k);
    return err;
}

void stream_drop(struct stream *s)
{
    s->orphan = true;
    abort_stream(&s->layer);
}
