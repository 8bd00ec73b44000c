/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "base/mem.h"
#include "net/layer.h"
#include "net/tls.h"

enum { MOST_ADDRESSES = 8 };

union socket_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct connector {
    struct conn *conn;
    uv_timer_t timer;
    uv_getaddrinfo_t lookup;
    unsigned pins; /* timer, look-up and connect request: what libuv still refers to */
    bool looking, ended;
    uint64_t deadline;
    struct stream *trying;
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
    if (k->trying)
        stream_drop(k->trying);
    k->trying = NULL;
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
    if (k->trying)
        stream_drop(k->trying);
    k->trying = NULL;
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

static void connected(struct connector *k)
{
    struct stream *s = k->trying;

    k->trying = NULL;
    struct layer *tls = k->tls ? tls_layer_new(k->tls, k->server_name) : NULL;
    if (k->tls && !tls) {
        stream_drop(s);
        conn_fail(k->conn, false, "out of memory");
        return;
    }
    conn_stack(k->conn, stream_layer(s));
    if (tls)
        conn_add_layer(k->conn, tls);
    uv_timer_start(&k->timer, on_timeout, time_left(k), 0);
    conn_start(k->conn);
}

struct attempt {
    struct connector *connector;
    struct stream *stream;
};

static void on_tried(void *arg, int status)
{
    struct attempt *a = arg;
    struct connector *k = a->connector;

    /* An attempt that was given up answers late. */
    if (!k->ended && k->trying == a->stream) {
        if (status)
            try_failed(k, status);
        else
            connected(k);
    }
    free(a);
    unpin(k);
}

/* Every address gets an equal part of the time that is left, so that one that is black-holed does not take
 * all. */
static void try_next(struct connector *k)
{
    struct attempt *a = mem_alloc(sizeof(*a));

    k->trying = stream_new(k->timer.loop, !k->path);
    *a = (struct attempt){k, k->trying};
    uv_timer_start(&k->timer, on_timeout, time_left(k) / (k->count - k->at), 0);
    int err = stream_connect(k->trying, k->path ? NULL : &k->addr[k->at].any, k->path, on_tried, a);
    if (err) {
        free(a);
        try_failed(k, err);
        return;
    }
    pin(k);
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
