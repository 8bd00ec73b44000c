/* SPDX-License-Identifier: Apache-2.0 */
/* What carries MQTT-SN packets: UDP, a serial framing, DTLS. A link delivers whole packets with where they
 * came from, takes whole packets for where they go, and knows for how long one keeps the medium busy and
 * whether it can take one now. It knows nothing of what is in them, nor of forwarders' envelopes. A kind of
 * link is a row of a table that the Makefile generates, chosen by how a line's `port` begins. Owned by the
 * line; loop thread only: a kind with threads of its own hands over inside. */
#ifndef SLUICE_DRIVERS_MQTTSN_LINK_H
#define SLUICE_DRIVERS_MQTTSN_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "drivers/field.h"
#include "drivers/port.h"
#include "net/address.h"

struct cJSON;
struct framing_kind;

/* A place on a link. A link with one place alone has family AF_UNSPEC. */
struct link_place {
    struct address at;
    uint32_t scope; /* of an address that is local to an interface */
};

/* Of links that are serial lines. */
struct link_serial {
    uint32_t baud, gap_us;
    size_t most;
    const struct serial_format *format;
    const struct framing_kind *framing;
    struct rs485_settings rs485;
};

/* Of links whose motes are polled: one of them. */
struct link_node {
    const char *name;
    uint8_t unit, function;
    uint64_t every_us; /* between two polls at most */
};

struct link_settings {
    const char *name;      /* of the line, for the log */
    const char *spec;      /* its port, the kind's prefix included */
    const char *multicast; /* group that all gateways and motes hear; NULL: none */
    const char *interface; /* of the group; NULL: the system's choice */
    struct link_serial serial;
    const struct link_node *nodes;
    size_t node_count;
    unsigned share; /* percent of the time of the line that polls go over */
};

struct link_events {
    /* A packet has come. to_all: it was sent to the group. packet lives during the call. */
    void (*on_packet)(void *arg, const struct link_place *from, struct bytes packet, bool to_all);
    /* send() or shout() said no before: there is room again. */
    void (*on_room)(void *arg);
    /* A link that polls: a node of its settings is there, or has gone. */
    void (*on_node)(void *arg, const char *node, enum device_state state, uint64_t since_us,
                    const char *reason);
};

struct link {
    const struct link_kind *kind;
    const struct link_events *events;
    void *arg;
    bool local;  /* only this box, or who is wired to it, can reach it */
    size_t most; /* bytes of the largest packet */
};

struct link_kind {
    const char *prefix; /* "udp:" */
    const char *what;   /* for messages: "udp:ADDRESS:PORT" */
    /* Looks at the settings without opening anything: what is wrong, in words. */
    int (*check)(const struct link_settings *s, char *error, size_t size);
    /* True when check said 0 and only this box, or who is wired to it, could reach the link. */
    bool (*is_local)(const struct link_settings *s);
    /* 0 or -E…, with what is wrong in words. settings need not outlive the call. */
    int (*open)(struct link **out, uv_loop_t *loop, const struct link_settings *s, char *error, size_t size);
    /* Takes a packet whole (true), or cannot now (false; on_room follows). What the medium then loses is
     * lost. */
    bool (*send)(struct link *l, const struct link_place *to, struct bytes packet);
    /* The same to everybody; NULL: this kind cannot. */
    bool (*shout)(struct link *l, struct bytes packet);
    /* For how long a packet of so many bytes keeps the medium busy; 0: that does not matter. */
    uint64_t (*airtime_us)(const struct link *l, size_t bytes);
    /* Adds what people watch of the medium. */
    void (*status)(const struct link *l, struct cJSON *into);
    /* No event comes any more; its memory goes when its handles have closed. */
    void (*close)(struct link *l);
};

extern const struct link_kind *const link_kinds[]; /* generated; ends with NULL */

/* The kind of a port's text; NULL when there is none. */
const struct link_kind *link_kind_of(const char *spec);

#endif
