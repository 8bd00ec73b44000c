/* SPDX-License-Identifier: Apache-2.0 */
/* MQTT over WebSocket (RFC 6455, the server's side; MQTT 5.0 §6): the answer to the opening request, and
 * frames. Pure but for memory; ws_layer.c puts it on a connection. A frame is digested as its bytes come,
 * however long it is; between frames nothing is kept. Any thread, one at a time. */
#ifndef SLUICE_NET_WS_H
#define SLUICE_NET_WS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct http_head;

#define WS_PATH "/mqtt"

/* Must outlive the connections of a listener; may change meanwhile. */
struct ws_config {
    char **origins; /* of pages that may connect: "https://hmi.example.com", "*"; ends with NULL. NULL: those
                     * that come from the host that they connect to */
    bool local;     /* it listens on loopback, so without origins that host has no name but localhost */
};

enum ws_code {
    WS_NORMAL = 1000,
    WS_PROTOCOL_ERROR = 1002,
    WS_UNSUPPORTED = 1003,
    WS_NO_CODE = 1005, /* never sent: a Close without one */
};

/* Judges a request and writes the answer. True: frames follow; false: it is refused, *why for the log. */
bool ws_answer(const struct http_head *h, const struct ws_config *config, struct buf *answer,
               const char **why);

/* What comes from the peer. All zeroes is the beginning. */
struct ws_stream {
    struct ws_frame *frame; /* the one that is half there; NULL: none */
    struct buf pong;        /* the answer to the last Ping, a whole frame, for the owner to send; or empty */
    bool in_message;        /* fragments of a message follow */
    uint16_t close;         /* 0; else it is over, and this is to be sent as the reason */
    const char *why;        /* of our own: what the peer did wrong. NULL: the peer has closed */
};

/* Digests len bytes in place. Returns how many bytes for the owner are now at data. */
size_t ws_read(struct ws_stream *s, uint8_t *data, size_t len);
void ws_stream_free(struct ws_stream *s);

/* The head of a binary message of len bytes, which the caller appends. */
void ws_binary(struct buf *out, size_t len);
void ws_close(struct buf *out, uint16_t code);

#endif
