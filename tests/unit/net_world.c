/* SPDX-License-Identifier: Apache-2.0 */
#include "net_world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

struct holder {
    struct conn conn;
    struct end *end;
};

static struct end *of(struct conn *c)
{
    return container_of(c, struct holder, conn)->end;
}

static void on_open(struct conn *c)
{
    struct end *e = of(c);

    assert_false(e->closed);
    e->open = true;
    assert_int_equal(++e->opens, 1);
    if (e->opened)
        e->opened(e);
}

static size_t on_data(struct conn *c, const uint8_t *data, size_t len)
{
    struct end *e = of(c);

    assert_true(e->open);
    assert_false(e->closed);
    assert_true(len > 0);
    if (e->take)
        return e->take(e, data, len);
    buf_append(&e->got, data, len);
    return len;
}

static void on_drain(struct conn *c)
{
    struct end *e = of(c);

    assert_false(e->closed);
    e->drains++;
    if (e->drained)
        e->drained(e);
}

static void on_close(struct conn *c, const char *why)
{
    struct end *e = of(c);

    assert_int_equal(++e->closes, 1);
    e->closed = true;
    e->has_why = why;
    snprintf(e->why, sizeof(e->why), "%s", why ? why : "");
    if (e->ended)
        e->ended(e);
}

static void on_gone(struct conn *c)
{
    struct end *e = of(c);

    assert_true(e->closed);
    assert_ptr_equal(e->conn, c);
    e->conn = NULL;
    free(container_of(c, struct holder, conn));
}

static const struct conn_events events = {on_open, on_data, on_drain, on_close, on_gone};

static void on_turn(uv_prepare_t *turn)
{
    struct world *w = container_of(turn, struct world, turn);

    net_flush(w->net, w->committed);
    net_bury(w->net);
}

static struct {
    const char *file, *what;
    int line, ticks;
} guarded;

/* It also wakes the loop, because conditions may look at what the loop does not see: sockets of the test
 * itself. */
static void on_guard(uv_timer_t *guard)
{
    (void)guard;
    if (--guarded.ticks)
        return;
    print_error("stuck at %s:%d, waiting for: %s\n", guarded.file, guarded.line, guarded.what);
    abort();
}

void world_guard(struct world *w, const char *file, int line, const char *what)
{
    guarded.file = file;
    guarded.line = line;
    guarded.what = what;
    guarded.ticks = 12000;
    uv_update_time(&w->loop);
    uv_timer_start(&w->guard, on_guard, 5, 5);
}

void world_open(struct world *w)
{
    memset(w, 0, sizeof(*w));
    uv_loop_init(&w->loop);
    uv_prepare_init(&w->loop, &w->turn);
    uv_prepare_start(&w->turn, on_turn);
    uv_timer_init(&w->loop, &w->guard);
    w->net = net_new(&w->loop);
    list_init(&w->ends);
}

void world_close(struct world *w)
{
    listener_close(w->listener);
    list_for(it, &w->ends)
    {
        struct end *e = list_entry(it, struct end, link);
        if (e->conn)
            conn_abort(e->conn);
    }
    PUMP_UNTIL(w, net_count(w->net) == 0);
    list_for_safe(it, &w->ends)
    {
        struct end *e = list_entry(it, struct end, link);
        assert_null(e->conn);
        assert_int_equal(e->closes, 1);
        buf_free(&e->got);
        free(e);
    }
    net_free(w->net);
    tls_context_free(w->tls);
    uv_close((uv_handle_t *)&w->turn, NULL);
    uv_close((uv_handle_t *)&w->guard, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

struct end *end_new(struct world *w)
{
    struct end *e = mem_alloc(sizeof(*e));
    struct holder *h = mem_alloc(sizeof(*h));

    h->end = e;
    e->world = w;
    e->conn = &h->conn;
    list_add_tail(&w->ends, &e->link);
    return e;
}

static void on_peer(void *arg, const struct accepted *a)
{
    struct world *w = arg;
    struct end *e = end_new(w);
    const struct conn_layers layers = {w->proxy, w->tls, w->ws};

    assert_int_equal(conn_accept(e->conn, w->net, a, &layers, &events), 0);
    assert_false(e->open);
    w->accepted = e;
    w->accepts++;
    if (w->on_accept)
        w->on_accept(e);
}

void world_listen_at(struct world *w, const char *bind)
{
    assert_int_equal(listener_open(&w->listener, &w->loop, bind, on_peer, w), 0);
}

uint16_t world_listen(struct world *w)
{
    world_listen_at(w, "127.0.0.1:0");
    return listener_port(w->listener);
}

struct end *end_connect_to(struct world *w, const struct conn_target *target)
{
    struct end *e = end_new(w);

    assert_int_equal(conn_connect(e->conn, w->net, target, &events), 0);
    assert_false(e->open || e->closed);
    return e;
}

struct end *end_connect(struct world *w, const char *host, uint16_t port)
{
    struct conn_target target = {.host = host, .port = port, .timeout_ms = 20000};

    return end_connect_to(w, &target);
}

void end_pair(struct world *w, struct end **near, struct end **far)
{
    uint16_t port = w->listener ? listener_port(w->listener) : world_listen(w);
    unsigned before = w->accepts;

    *near = end_connect(w, "127.0.0.1", port);
    PUMP_UNTIL(w, (*near)->open && w->accepts > before && w->accepted->open);
    *far = w->accepted;
}

void end_send(struct end *e, const void *data, size_t len)
{
    buf_append(conn_free_lane(e->conn), data, len);
}

void end_say(struct end *e, const char *text)
{
    end_send(e, text, strlen(text));
}

void end_hold(struct end *e, uint64_t ticket, const char *text)
{
    buf_append(conn_held_lane(e->conn, ticket), text, strlen(text));
}

bool end_got(const struct end *e, const char *text)
{
    return bytes_equal((struct bytes){e->got.data, e->got.len}, bytes_of(text));
}

void world_turns(struct world *w, int count)
{
    while (count--)
        uv_run(&w->loop, UV_RUN_NOWAIT);
}

int raw_connect(uint16_t port, int receive_buffer)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (receive_buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

bool raw_read(int fd, struct buf *b)
{
    static uint8_t chunk[65536];

    for (;;) {
        ssize_t len = recv(fd, chunk, sizeof(chunk), 0);
        if (len <= 0)
            return len < 0 && errno == EAGAIN;
        buf_append(b, chunk, (size_t)len);
    }
}

void raw_write(int fd, const void *data, size_t len)
{
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

void raw_reset(int fd)
{
    struct linger now = {1, 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}
