/* SPDX-License-Identifier: Apache-2.0 */
/* A loop with a net, whose turns end as the daemon's do, and connections that note what happens to them. What
 * embeds a struct conn is freed in on_gone, so that AddressSanitizer sees every touch that comes later. */
#ifndef SLUICE_TESTS_NET_WORLD_H
#define SLUICE_TESTS_NET_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/conn.h"
#include "net/listener.h"
#include "net/tls.h"

struct end;

struct world {
    uv_loop_t loop;
    uv_prepare_t turn;
    uv_timer_t guard;
    struct net *net;
    uint64_t committed;
    struct listener *listener;
    struct tls_context *tls; /* layers of accepted connections; and two more: */
    const struct proxy_config *proxy;
    const struct ws_config *ws;
    struct list ends;
    struct end *accepted; /* the last one */
    unsigned accepts;
    void (*on_accept)(struct end *e); /* to set its hooks */
};

struct end {
    struct list link;
    struct world *world;
    struct conn *conn; /* NULL when it is gone */
    struct buf got;
    bool open, closed, has_why;
    unsigned opens, closes, drains;
    char why[600];
    /* What to do; each may be NULL. The default takes all data and keeps it in got. */
    size_t (*take)(struct end *e, const uint8_t *data, size_t len);
    void (*opened)(struct end *e);
    void (*drained)(struct end *e);
    void (*ended)(struct end *e);
    void *arg;
    unsigned n;
};

void world_open(struct world *w);
/* Aborts what is left, checks that every connection went as it should, and that the loop ends. */
void world_close(struct world *w);
/* Listens on 127.0.0.1 at a free port, which it returns. */
uint16_t world_listen(struct world *w);
void world_listen_at(struct world *w, const char *bind);

/* One more connection, not yet connected. */
struct end *end_new(struct world *w);
struct end *end_connect(struct world *w, const char *host, uint16_t port);
struct end *end_connect_to(struct world *w, const struct conn_target *target);
/* A connection between two of ours. */
void end_pair(struct world *w, struct end **near, struct end **far);
void end_send(struct end *e, const void *data, size_t len);
void end_say(struct end *e, const char *text);
void end_hold(struct end *e, uint64_t ticket, const char *text);
bool end_got(const struct end *e, const char *text);

/* Runs the loop until the condition holds; fails when that takes unreasonably long. */
#define PUMP_UNTIL(w, condition)                                                                             \
    do {                                                                                                     \
        world_guard((w), __FILE__, __LINE__, #condition);                                                    \
        while (!(condition))                                                                                 \
            uv_run(&(w)->loop, UV_RUN_ONCE);                                                                 \
        uv_timer_stop(&(w)->guard);                                                                          \
    } while (0)
void world_guard(struct world *w, const char *file, int line, const char *what);
/* Some turns without waiting. */
void world_turns(struct world *w, int count);

/* A socket of the test itself, not blocking, connected to 127.0.0.1:port. */
int raw_connect(uint16_t port, int receive_buffer);
/* Reads what is there onto b; false at the end of the stream or an error. */
bool raw_read(int fd, struct buf *b);
void raw_write(int fd, const void *data, size_t len);
/* Closes with a reset. */
void raw_reset(int fd);

#endif
