/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/layer.h"

enum { READS_A_TURN = 32 /* of one peer, so that the others get theirs */ };

/* What the kernel did not take at once. */
struct rest {
    struct buf data;
    size_t at;
};

/* There are thousands: no more than libuv's smallest handle, and not a field that it has already. */
struct stream {
    struct layer layer;
    struct address peer; /* kept, because people ask after the socket is gone */
    bool reading, closing;
    uint8_t polled; /* what libuv looks out for */
    uv_poll_t poll; /* knows the descriptor; data: struct rest, or NULL */
};

static struct stream *of_layer(struct layer *l)
{
    return container_of(l, struct stream, layer);
}

static int descriptor(const struct stream *s)
{
    uv_os_fd_t fd = -1;

    uv_fileno((const uv_handle_t *)&s->poll, &fd);
    return fd;
}

static void on_ready(uv_poll_t *poll, int status, int events);

/* Who has stopped reading is taken out only when something arrives nevertheless: mostly it reads again before
 * that. */
static void watch(struct stream *s)
{
    int wanted = (s->reading ? UV_READABLE : 0) | (s->poll.data ? UV_WRITABLE : 0);

    if (s->closing || wanted == s->polled)
        return;
    s->polled = (uint8_t)wanted;
    if (wanted)
        uv_poll_start(&s->poll, wanted, on_ready);
    else
        uv_poll_stop(&s->poll);
}

static void fail(struct stream *s, int err)
{
    conn_fail(s->layer.conn, false, "%s", uv_strerror(err));
}

/* ---- what comes ---- */

static void ended(struct stream *s)
{
    struct conn *c = s->layer.conn;

    c->eof = true;
    s->reading = false;
    if (conn_listens(c))
        layer_ended(&s->layer);
    else
        net_dirty(c); /* it lingers: the flush finds out whether that was all it waited for */
}

/* True while there may be more. */
static bool read_once(struct stream *s, int status)
{
    struct conn *c = s->layer.conn;
    uint8_t *to = c->net->read + READ_ROOM;
    ssize_t len = recv(descriptor(s), to, READ_SIZE, 0);

    if (len > 0 && conn_listens(c))
        layer_pass_up(&s->layer, to, (size_t)len, READ_ROOM);
    else if (len == 0)
        ended(s);
    else if (len < 0 && errno != EAGAIN)
        fail(s, -errno);
    else if (len < 0 && status)
        fail(s, status);
    return len == READ_SIZE;
}

static void read_stream(struct layer *l, bool on)
{
    struct stream *s = of_layer(l);

    s->reading = on;
    if (on)
        watch(s);
}

/* ---- what goes ---- */

static void drop_rest(struct stream *s)
{
    struct rest *r = s->poll.data;

    if (!r)
        return;
    s->poll.data = NULL;
    s->layer.waiting = 0;
    net_buf_put(s->layer.conn->net, &r->data);
    free(r);
}

static void send_rest(struct stream *s, int status)
{
    struct rest *r = s->poll.data;
    ssize_t sent = send(descriptor(s), r->data.data + r->at, r->data.len - r->at, MSG_NOSIGNAL);

    if (sent < 0 && (errno != EAGAIN || status)) {
        fail(s, errno != EAGAIN ? -errno : status);
        return;
    }
    r->at += sent < 0 ? 0 : (size_t)sent;
    s->layer.waiting = r->data.len - r->at;
    if (s->layer.waiting)
        return;
    drop_rest(s);
    conn_written(s->layer.conn);
}

static void output(struct layer *l, struct buf *data)
{
    struct stream *s = of_layer(l);

    if (!data->len || s->poll.data || s->closing)
        return;
    ssize_t sent = send(descriptor(s), data->data, data->len, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        fail(s, -errno);
    } else if (sent >= 0 && (size_t)sent == data->len) {
        data->len = 0;
    } else {
        struct rest *r = s->poll.data = mem_alloc(sizeof(*r));
        *r = (struct rest){*data, sent < 0 ? 0 : (size_t)sent};
        *data = (struct buf){0};
        s->layer.waiting = r->data.len - r->at;
        watch(s);
    }
}

/* status: libuv has found an error and looks no more. Which one, reading or writing tells. */
static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct stream *s = container_of(poll, struct stream, poll);

    if (status)
        s->polled = 0;
    if (s->poll.data && (status || events & UV_WRITABLE))
        send_rest(s, status);
    if (status || events & UV_READABLE)
        for (int i = 0; i < READS_A_TURN && s->reading && !s->closing && read_once(s, status); i++)
            ;
    watch(s);
}

/* ---- how it ends ---- */

static void farewell(struct layer *l)
{
    (void)l; /* the end of the stream says it all: shut */
}

static void shut(struct layer *l)
{
    shutdown(descriptor(of_layer(l)), SHUT_WR);
}

static void on_closed(uv_handle_t *handle)
{
    net_unpin(container_of((uv_poll_t *)handle, struct stream, poll)->layer.conn);
}

static void abort_stream(struct layer *l)
{
    struct stream *s = of_layer(l);
    int fd = descriptor(s);

    if (s->closing)
        return;
    s->closing = true;
    drop_rest(s);
    uv_close((uv_handle_t *)&s->poll, on_closed);
    close(fd);
}

static void free_stream(struct layer *l)
{
    free(of_layer(l));
}

static void peer(const struct layer *l, struct address *out)
{
    *out = container_of(l, struct stream, layer)->peer;
}

static bool peer_uid(const struct layer *l, uint32_t *out)
{
    struct ucred who;
    socklen_t len = sizeof who;

    if (getsockopt(descriptor(container_of(l, struct stream, layer)), SOL_SOCKET, SO_PEERCRED, &who, &len))
        return false;
    *out = who.uid;
    return true;
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
    .peer_uid = peer_uid,
};

int stream_new(struct layer **out, uv_loop_t *loop, int fd, const struct address *peer)
{
    struct stream *s = mem_alloc(sizeof(*s));
    int err = uv_poll_init(loop, &s->poll, fd);

    if (err) {
        free(s);
        return err;
    }
    s->layer.ops = peer->family == AF_UNIX ? &unix_layer : &tcp_layer;
    s->peer = *peer;
    *out = &s->layer;
    return 0;
}
