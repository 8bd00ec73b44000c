/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/layer.h"
#include "net/tls.h"

enum { MOST_ADDRESSES = 8 };

union socket_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

/* A socket that is being connected. */
struct attempt {
    struct connector *connector;
    uv_poll_t poll;
    int fd;
};

struct connector {
    struct conn *conn;
    uv_timer_t timer;
    uv_getaddrinfo_t lookup;
    unsigned pins; /* timer, look-up and attempts: what libuv still refers to */
    bool looking, ended;
    uint64_t deadline;
    struct attempt *trying; /* or NULL */
    char *host, *path, *server_name;
    uint16_t port;
    struct tls_context *tls;
    union socket_address addr[MOST_ADDRESSES];
    unsigned count, at; /* of addresses; at: the one that is tried */
    char failures[WHY_SIZE];
};

static void try_next(struct connector *k);

static void unpin(struct connector *k)
{
    struct conn *c = k->conn;

    if (!--k->pins) {
        free(k->host);
        free(k->path);
        free(k->server_name);
        tls_context_free(k->tls);
        free(k);
    }
    net_unpin(c);
}

static void pin(struct connector *k)
{
    k->pins++;
    k->conn->pins++;
}

static void on_attempt_closed(uv_handle_t *handle)
{
    struct attempt *a = container_of((uv_poll_t *)handle, struct attempt, poll);
    struct connector *k = a->connector;

    free(a);
    unpin(k);
}

/* The attempt is over; its socket is the caller's. */
static int take_socket(struct connector *k)
{
    int fd = k->trying->fd;

    uv_close((uv_handle_t *)&k->trying->poll, on_attempt_closed);
    k->trying = NULL;
    return fd;
}

static void give_up(struct connector *k)
{
    if (k->trying)
        close(take_socket(k));
}

static void on_timer_closed(uv_handle_t *handle)
{
    unpin(container_of(handle, struct connector, timer));
}

void connector_end(struct conn *c)
{
    struct connector *k = c->connector;

    if (!k)
        return;
    c->connector = NULL;
    k->ended = true;
    if (k->looking)
        uv_cancel((uv_req_t *)&k->lookup);
    give_up(k);
    uv_close((uv_handle_t *)&k->timer, on_timer_closed);
}

/* "connect to 192.0.2.1:8883" */
static void place(const struct connector *k, char *out, size_t size)
{
    const union socket_address *a = &k->addr[k->at];
    char host[INET6_ADDRSTRLEN] = "";

    if (k->path) {
        snprintf(out, size, "%s", k->path);
        return;
    }
    if (a->any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof(host));
    else
        inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof(host));
    snprintf(out, size, a->any.sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, k->port);
}

static void try_failed(struct connector *k, int status)
{
    size_t len = strlen(k->failures);
    char where[128];

    place(k, where, sizeof(where));
    snprintf(k->failures + len, sizeof(k->failures) - len, "%sconnect to %s: %s", len ? "; " : "", where,
             status == UV_ETIMEDOUT ? "timed out" : uv_strerror(status));
    give_up(k);
    if (++k->at < k->count)
        try_next(k);
    else
        conn_fail(k->conn, false, "%s", k->failures);
}

static uint64_t time_left(const struct connector *k)
{
    uint64_t now = uv_now(k->timer.loop);

    return k->deadline > now ? k->deadline - now : 0;
}

static void on_timeout(uv_timer_t *timer)
{
    struct connector *k = container_of(timer, struct connector, timer);

    if (k->trying)
        try_failed(k, UV_ETIMEDOUT);
    else if (k->looking)
        conn_fail(k->conn, false, "look-up of %s: timed out", k->host);
    else
        conn_fail(k->conn, false, "timed out");
}

static const struct sockaddr *address(const struct connector *k)
{
    return &k->addr[k->at].any;
}

static void connected(struct connector *k)
{
    struct accepted a = {.fd = take_socket(k)};
    int on = 1;

    if (!k->path)
        setsockopt(a.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    address_set(&a.peer, address(k));
    int err = conn_stack(k->conn, k->conn->net, &a, &(struct conn_layers){.tls = k->tls}, k->server_name);
    if (err) {
        conn_fail(k->conn, false, "%s", uv_strerror(err));
        return;
    }
    uv_timer_start(&k->timer, on_timeout, time_left(k), 0);
    conn_start(k->conn);
}

static void on_tried(uv_poll_t *poll, int status, int events)
{
    struct attempt *a = container_of(poll, struct attempt, poll);
    socklen_t size = sizeof(int);
    int err = 0;

    (void)events;
    getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &err, &size);
    if (err || status)
        try_failed(a->connector, err ? -err : status);
    else
        connected(a->connector);
}

static socklen_t address_size(const struct sockaddr *a)
{
    return a->sa_family == AF_INET    ? sizeof(struct sockaddr_in)
           : a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                      : sizeof(struct sockaddr_un);
}

/* Begins to connect: the socket, or -E…. */
static int dial(const struct sockaddr *to)
{
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (!connect(fd, to, address_size(to)) || errno == EINPROGRESS)
        return fd;
    int err = -errno;
    close(fd);
    return err;
}

/* Every address gets an equal part of the time that is left, so that one that is black-holed does not take
 * all. */
static void try_next(struct connector *k)
{
    struct attempt *a = mem_alloc(sizeof(*a));
    int err = a->fd = dial(address(k));

    uv_timer_start(&k->timer, on_timeout, time_left(k) / (k->count - k->at), 0);
    if (err >= 0)
        err = uv_poll_init(k->timer.loop, &a->poll, a->fd);
    if (err) {
        if (a->fd >= 0)
            close(a->fd);
        free(a);
        try_failed(k, err);
        return;
    }
    a->connector = k;
    k->trying = a;
    pin(k);
    uv_poll_start(&a->poll, UV_WRITABLE, on_tried);
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct connector *k = container_of(req, struct connector, lookup);

    k->looking = false;
    for (struct addrinfo *a = list; a && k->count < MOST_ADDRESSES; a = a->ai_next)
        if (a->ai_addrlen <= sizeof(k->addr[0]))
            memcpy(&k->addr[k->count++], a->ai_addr, a->ai_addrlen);
    uv_freeaddrinfo(list);
    if (!k->ended && (status || !k->count))
        conn_fail(k->conn, false, "look-up of %s: %s", k->host, status ? uv_strerror(status) : "no address");
    else if (!k->ended)
        try_next(k);
    unpin(k);
}

static int look_up(struct connector *k)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char port[8];

    snprintf(port, sizeof(port), "%u", k->port);
    int err = uv_getaddrinfo(k->timer.loop, &k->lookup, on_lookup, k->host, port, &hints);
    if (err)
        return err;
    k->looking = true;
    pin(k);
    uv_timer_start(&k->timer, on_timeout, time_left(k), 0);
    return 0;
}

static bool numeric(struct connector *k)
{
    if (k->path) {
        k->addr[0].local.sun_family = AF_UNIX;
        memcpy(k->addr[0].local.sun_path, k->path, strlen(k->path));
    }
    if (k->path || !uv_ip4_addr(k->host, k->port, &k->addr[0].v4) ||
        !uv_ip6_addr(k->host, k->port, &k->addr[0].v6))
        k->count = 1;
    return k->count;
}

static char *copy(const char *text)
{
    return text ? mem_strdup(text) : NULL;
}

static struct connector *connector_new(struct conn *c, const struct conn_target *target)
{
    struct connector *k = mem_alloc(sizeof(*k));
    uv_loop_t *loop = c->net->loop;

    k->conn = c;
    k->path = copy(target->path);
    k->host = copy(target->host);
    k->port = target->port;
    k->server_name = copy(target->server_name ? target->server_name : target->host);
    k->tls = target->tls ? tls_context_ref(target->tls) : NULL;
    uv_timer_init(loop, &k->timer);
    pin(k);
    uv_update_time(loop);
    k->deadline = uv_now(loop) + target->timeout_ms;
    return k;
}

int conn_connect(struct conn *c, struct net *n, const struct conn_target *target,
                 const struct conn_events *events)
{
    if (!target->host == !target->path || !target->timeout_ms)
        return -EINVAL;
    if (target->path && strlen(target->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return -ENAMETOOLONG;
    net_add(n, c);
    c->events = events;
    c->connector = connector_new(c, target);
    n->hush++;
    if (numeric(c->connector)) {
        try_next(c->connector);
    } else {
        int err = look_up(c->connector);
        if (err)
            conn_fail(c, false, "look-up of %s: %s", target->host, uv_strerror(err));
    }
    n->hush--;
    return 0;
}
