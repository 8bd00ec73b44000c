/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of net/ share: the layers of which a connection is a stack, and struct net. A layer is an
 * object that begins with struct layer; a kind of layer is a table of functions. Bytes from the peer climb by
 * layer_pass_up, bytes to the peer sink by layer_output; a layer touches only its neighbours, so that any can
 * sit on any other. A layer lives until its connection is buried. Nobody outside net/ includes this. Loop
 * thread only. */
#ifndef SLUICE_NET_LAYER_H
#define SLUICE_NET_LAYER_H

#include "net/address.h"
#include "net/conn.h"

struct layer;

struct conn_layer {
    const char *name; /* for people: "TLS" */
    /* What is below stands: begin the handshake; layer_stands when it is done. NULL in a bottom layer. */
    void (*open)(struct layer *l);
    /* Bytes from below, to be digested before it returns. They may be changed in place, and so may the room
     * bytes in front of them. NULL in a bottom layer. */
    void (*input)(struct layer *l, uint8_t *data, size_t len, size_t room);
    /* What is below has ended properly: pass it up by layer_ended or fail. */
    void (*ended)(struct layer *l);
    /* Pushes on what it still has, then takes from data what it can; what it leaves there is offered again.
     * Must keep l->waiting up to date. Takes nothing from data before it stands. */
    void (*output)(struct layer *l, struct buf *data);
    /* Appends its farewell if it stands, and passes the call down. Nothing is output afterwards but what
     * waits. */
    void (*farewell)(struct layer *l);
    void (*free)(struct layer *l);
    /* Of bottom layers only. read: starts or stops reading. shut: nothing more will be sent. abort: closes
     * handles. */
    void (*read)(struct layer *l, bool on);
    void (*shut)(struct layer *l);
    void (*abort)(struct layer *l);
    /* NULL where the layer has nothing to tell. */
    void (*peer)(const struct layer *l, struct address *out);
    const char *(*cipher)(const struct layer *l);
    bool (*peer_name)(const struct layer *l, char *out, size_t size);
    bool (*peer_uid)(const struct layer *l, uint32_t *out);
};

struct layer {
    const struct conn_layer *ops;
    struct layer *above, *below;
    struct conn *conn; /* NULL: nobody's any more */
    size_t waiting;    /* bytes that it holds on their way out */
    bool stands;       /* its handshake is done */
};

enum conn_state {
    CONN_CONNECTING, /* look-up, connect */
    CONN_SHAKING,    /* a layer shakes hands */
    CONN_OPEN,
    CONN_LINGERING, /* on_close is told or due; output leaves, input is thrown away */
    CONN_ENDED,     /* handles are closing */
};

enum conn_due { DUE_OPEN = 1, DUE_DATA = 2, DUE_DRAIN = 4, DUE_CLOSE = 8 };

enum {
    READ_SIZE = 64 * 1024,
    READ_ROOM =
        8 * 1024, /* in front of what is read: a kept rest is put there instead of copying what follows */
    POOL_COUNT = 64,
    POOL_CAP = 32 * 1024, /* bigger buffers are freed */
    LINGER_MS = 2000,
    WHY_SIZE = 512,
};

struct net {
    uv_loop_t *loop;
    uv_idle_t idle;    /* runs while something is due */
    uv_timer_t linger; /* runs while somebody lingers */
    struct list dirty; /* have output */
    struct list flushers;
    struct list ready;     /* have something due */
    struct list holding;   /* hold output for a ticket */
    struct list lingering; /* in the order of their deadlines */
    struct list graveyard; /* to be buried */
    uint64_t committed;
    size_t count;
    unsigned hush;    /* events become due instead of being called */
    unsigned closing; /* own handles that are not closed yet */
    struct buf sink;  /* takes what is written to closed connections */
    struct buf pool[POOL_COUNT];
    unsigned pooled;
    uint8_t *plain; /* READ_ROOM + READ_SIZE for layers that decode; made when first needed */
    uint8_t read[READ_ROOM + READ_SIZE];
};

/* net.c */
void net_add(struct net *n, struct conn *c);
void net_dirty(struct conn *c);
void net_due(struct conn *c, enum conn_due what);
void net_linger(struct conn *c);
/* One handle or request less refers to c; the last one sends it to the graveyard. */
void net_unpin(struct conn *c);
uint8_t *net_plain(struct net *n);
/* An empty buffer, perhaps with memory; and back. */
void net_buf_get(struct net *n, struct buf *b);
void net_buf_put(struct net *n, struct buf *b);

/* lanes.c */
/* A ticket is done: what waited for it moves to the free lane. */
void conn_release(struct conn *c);
/* When c->out is empty: the next that may leave. False when there is nothing. */
bool conn_refill(struct conn *c);
void conn_drop_held(struct conn *c);
void conn_drop_lanes(struct conn *c);

/* conn.c */
/* Called by net.c: what is due; end of turn; lingering has lasted long enough; free what c owns. */
void conn_tell(struct conn *c);
void conn_flush(struct conn *c);
void conn_linger_over(struct conn *c);
void conn_clear(struct conn *c);
/* Stacks a socket and what is above it, and pins c. 0 or -E…, then c is untouched; takes the socket in either
 * case. */
int conn_stack(struct conn *c, struct net *n, const struct accepted *a, const struct conn_layers *layers,
               const char *server_name);
/* The bottom stands: starts reading and the layers above. */
void conn_start(struct conn *c);
/* A write of the bottom has come to its end: counts again what waits. */
void conn_written(struct conn *c);
/* The stream ends. linger: what waits is still sent (a TLS alert). why: for people. */
void conn_fail(struct conn *c, bool linger, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* True while bytes from the peer may go up. */
static inline bool conn_listens(const struct conn *c)
{
    return c->state == CONN_SHAKING || c->state == CONN_OPEN;
}

/* For layers. */
void layer_stands(struct layer *l);
void layer_pass_up(struct layer *l, uint8_t *data, size_t len, size_t room);
void layer_ended(struct layer *l);
static inline void layer_output(struct layer *l, struct buf *data)
{
    l->ops->output(l, data);
}
/* Something below still waits to leave: what is output now would only wait behind it. */
static inline bool layer_blocked(const struct layer *l)
{
    for (l = l->below; l; l = l->below)
        if (l->waiting)
            return true;
    return false;
}

/* stream.c: the bottom layers, on sockets that do not block and are connected. It pins its connection until
 * its handle has closed. 0 or -E… of libuv, then fd is still the caller's. */
int stream_new(struct layer **out, uv_loop_t *loop, int fd, const struct address *peer);

/* connect.c: connecting is over or given up; it goes when libuv lets go of it. Nothing when c has no
 * connector. */
void connector_end(struct conn *c);

/* tls_layer.c. The layer takes a reference of its own to context. NULL when memory is short. */
struct layer *tls_layer_new(struct tls_context *context, const char *server_name);
struct tls_context *tls_context_ref(struct tls_context *t);

/* proxy_layer.c, ws_layer.c: of accepted connections. */
struct layer *proxy_layer_new(const struct proxy_config *config);
struct layer *ws_layer_new(const struct ws_config *config);

#endif
