/* SPDX-License-Identifier: Apache-2.0 */
/* A byte stream to a peer: stacked layers (tcp or unix at the bottom, proxy, tls, ws above), each knowing
 * only the one below. Nothing is written while a turn dispatches: output collects in two lanes of whole
 * packets and leaves in net_flush at the end of the turn, the free lane first, then what of the held lane is
 * on disk. The owner embeds struct conn in its own object and gets it back by container_of. Loop thread only.
 */
#ifndef SLUICE_NET_CONN_H
#define SLUICE_NET_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/list.h"
#include "net/address.h"

struct conn;
struct proxy_config; /* net/proxy.h */
struct tls_context;  /* net/tls.h */
struct ws_config;    /* net/ws.h */

/* What all connections of the process share: the read buffer that is borrowed while reading, the connections
 * that have output, and those whose handles have closed. */
struct net;
struct net *net_new(uv_loop_t *loop);
/* When nothing is left to bury. Its own handles close in the turns that follow. */
void net_free(struct net *n);
/* End of the turn: every connection with output writes what it may. committed: the store's done ticket. */
void net_flush(struct net *n, uint64_t committed);
/* Connections have got output since the last net_flush. */
bool net_waiting(const struct net *n);
/* End of the turn: on_gone of connections whose last handle has closed. */
void net_bury(struct net *n);
/* Whoever writes datagrams at the end of a turn: flush is called in each net_flush. May be removed at any
 * time. */
struct net_flusher {
    struct list link;
    void (*flush)(struct net_flusher *f, uint64_t committed);
};
void net_add_flusher(struct net *n, struct net_flusher *f);
/* Ends the lingering of connections that are closed but whose peers have not closed: the process is about to
 * end. */
void net_hurry(struct net *n);
/* Connections that are not buried yet. */
size_t net_count(const struct net *n);

struct conn_events {
    /* All layers stand (TLS: the handshake is done and the peer is verified). */
    void (*on_open)(struct conn *c);
    /* Bytes from the peer, all that have not been consumed yet, contiguous. Returns how many it has consumed;
     * the rest is kept and offered again with what follows. It may close c, and must then return any number.
     */
    size_t (*on_data)(struct conn *c, const uint8_t *data, size_t len);
    /* The backlog that made conn_backlog() exceed high has fallen to half of that or less. May be NULL. */
    void (*on_drain)(struct conn *c);
    /* The stream has ended: by the peer, an error, or conn_close. Once, also when it never opened. why: for
     * people, NULL after conn_close. c must not be written to any more; it is not to be freed before on_gone.
     */
    void (*on_close)(struct conn *c, const char *why);
    /* From net_bury: nothing refers to c any more; the owner may free what embeds it. */
    void (*on_gone)(struct conn *c);
};

struct conn_lanes; /* lanes.c */
struct connector;  /* what connecting needs */
struct layer;      /* net/layer.h */

struct conn {
    const struct conn_events *events;
    struct buf out;           /* free lane and what the held lane has let go: whole packets, in order */
    struct conn_lanes *lanes; /* what follows out, and the held lane; NULL: nothing */
    size_t below;             /* bytes that the layers have taken and not yet got rid of */
    size_t high;              /* backlog above which on_drain will be called; 0: never */

    /* private to net/ */
    struct net *net;
    struct list link;  /* in the net's dirty list or graveyard */
    struct list ready; /* in the net's list of those that have something due */
    struct list hold;  /* in the net's list of holding, later of lingering connections */
    struct buf in;     /* bytes not consumed yet; empty for most */
    struct layer *top, *bottom;
    struct connector *connector;
    char *why;         /* of an end that is due to be told */
    uint64_t deadline; /* of lingering, by the loop's clock */
    uint16_t pins;     /* handles and requests of libuv that refer to us */
    uint8_t state, due;
    bool paused : 1, dirty : 1, above_high : 1, delivering : 1, farewell : 1, eof : 1;
    bool taken : 1; /* to be read by on_data: conn_take_input has given a part away, return at once */
};

/* What lies between a socket and its owner, from the socket on; NULL: left out. */
struct conn_layers {
    const struct proxy_config *proxy;
    struct tls_context *tls; /* each connection takes a reference */
    const struct ws_config *ws;
};

/* A socket that does not block, just connected, and where its peer is. */
struct accepted {
    int fd;
    struct address peer;
};

/* An accepted stream; takes its socket. layers NULL: none. c is zeroed by the caller but for what it embeds.
 * on_open follows, never from within this call; how long to wait for it is the owner's to decide. 0 or -E…
 * (then the peer has been let go, no event follows and c is untouched). */
int conn_accept(struct conn *c, struct net *n, const struct accepted *a, const struct conn_layers *layers,
                const struct conn_events *events);

struct conn_target {
    const char *host; /* a name, an address, or NULL with path */
    uint16_t port;
    const char *path;        /* a Unix socket */
    struct tls_context *tls; /* NULL: plain */
    const char *server_name; /* TLS: checked against the certificate and sent as SNI; NULL: host */
    uint32_t timeout_ms;     /* for look-up, connecting and handshake together */
};
/* Looks up (on the worker pool), connects to one address after the other, shakes hands. The strings may go
 * after the call. 0 or -E… (then no event follows); later failures come as on_close with what failed. */
int conn_connect(struct conn *c, struct net *n, const struct conn_target *target,
                 const struct conn_events *events);

/* The buffer to which the caller now appends exactly one whole packet, before anything else happens to c.
 * conn_free_lane: leaves at the end of this turn, before what is held. conn_held_lane: leaves in order, not
 * before ticket is done (0: only in order). On a closed connection both give a buffer that goes nowhere. */
struct buf *conn_free_lane(struct conn *c);
struct buf *conn_held_lane(struct conn *c, uint64_t ticket);
/* The free lane for a packet after which nothing may come: what is held and on disk leaves before it, the
 * rest of the held lane is given up. conn_close is to follow. */
struct buf *conn_last_lane(struct conn *c);

/* Behind what has just been appended to lane: a part of the packet so large that it is referenced, not
 * copied. It is dropped when it has left or never will. */
void conn_append_large(struct conn *c, struct buf *lane, struct bytes data, void *owner,
                       void (*drop_owner)(void *owner));

/* In on_data: gives the memory in which part (of what on_data was offered) lies to the caller, to be freed,
 * when that saves copying; NULL otherwise. What follows part is offered anew: on_data returns at once. */
uint8_t *conn_take_input(struct conn *c, struct bytes part);

/* Bytes that wait to leave, all lanes and layers. */
size_t conn_parked(const struct conn *c);
static inline size_t conn_backlog(const struct conn *c)
{
    return c->out.len + (c->lanes ? conn_parked(c) : 0) + c->below;
}

/* True while something waits in the held lane for a ticket. */
bool conn_holds(const struct conn *c);

/* The peer has ended its side. */
static inline bool conn_left(const struct conn *c)
{
    return c->eof;
}

/* Stops and resumes reading from the peer (back-pressure). Kept data is offered again after resume, in the
 * next turn, which then comes at once. */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);

/* Ends the stream; on_close comes before it returns unless it came before. The free lane, and of the held
 * lane what is committed, still leaves, then (TLS) close_notify, then a lingering close of at most 2 s so
 * that it arrives. conn_abort: at once. */
void conn_close(struct conn *c);
void conn_abort(struct conn *c);

/* Where the peer is, as a proxy has announced it or as the socket has it: "192.0.2.7:51234", "unix", for logs
 * and status. */
void conn_peer(const struct conn *c, char out[64]);
/* Subject common name of the verified peer certificate, of TLS or as a proxy has announced it, into out;
 * false when there is none. */
bool conn_peer_name(const struct conn *c, char *out, size_t size);
/* The local user behind a Unix socket; false when there is none. */
bool conn_peer_uid(const struct conn *c, uint32_t *out);
/* "TLSv1.3 TLS1-3-AES-256-GCM-SHA384", or "" when plain. */
const char *conn_cipher(const struct conn *c);

#endif
