/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the uplink share and nobody else sees. Times are CLOCK_BOOTTIME in microseconds. */
#ifndef SLUICE_BRIDGE_UPLINK_PRIVATE_H
#define SLUICE_BRIDGE_UPLINK_PRIVATE_H

#include <uv.h>

#include "bridge/backoff.h"
#include "bridge/lanes.h"
#include "bridge/pace.h"
#include "bridge/uplink.h"
#include "broker/broker.h"
#include "net/conn.h"

enum uplink_state {
    UPLINK_WAITING,    /* for the next try */
    UPLINK_CONNECTING, /* looks up, connects, shakes hands */
    UPLINK_GREETING,   /* CONNECT went, CONNACK is awaited */
    UPLINK_CONNECTED,
    UPLINK_STOPPED,
};

/* One connection; it outlives the uplink's interest in it until net has buried it. */
struct attempt {
    struct conn conn;
    struct uplink *uplink; /* NULL: nobody is interested any more */
    struct uplink_ends *ends;
    struct list link; /* in ends->leaving */
};

struct uplink_counts {
    uint64_t sent, received;                     /* PUBLISH, repeats included */
    uint64_t skipped;                            /* of the session's deliveries, those that were never sent */
    uint64_t loop, no_rule, no_topic, too_large; /* out: kept back, and why */
    uint64_t in_no_rule, in_no_topic, in_too_large, in_refused;
    uint64_t rejected; /* by the upstream, with a reason code */
    uint64_t unknown_acks;
    uint64_t connects, losses;
};

/* What this upstream said of itself in CONNACK. */
struct uplink_peer {
    uint32_t packet_max;
    uint16_t window;
    uint32_t keepalive_s;
    bool retain;
    bool session_present;
};

struct uplink {
    struct gateway *gw;
    struct settings *settings;
    struct lanes lanes;
    struct attempt *attempt; /* NULL while waiting */
    uv_timer_t timer;        /* the next try; while there is an attempt: a tick each second */
    uv_timer_t again;        /* pace allows the next message */
    int open_timers;
    struct uplink_ends *ends;

    enum uplink_state state;
    uint64_t since;
    uint64_t turned;     /* when it was last connected or lost */
    int64_t turned_wall; /* the same by the wall clock */
    size_t url;          /* tried now or next */
    char **faults;       /* of each url: why it failed last; NULL: it did not since we were connected */
    char *fault;         /* the last one; NULL: none since the start */
    struct backoff backoff;
    bool refused; /* in this round one url refused us for a reason that people have to mend */

    struct uplink_peer peer;
    uint64_t tried_at, heard_at, spoke_at, progress_at;
    uint64_t ping_at;     /* 0: no PINGRESP is awaited */
    uint64_t rtt;         /* of the last ping; 0: none yet */
    uint64_t withheld_at; /* an acknowledgement was withheld; 0: none */
    size_t backlog;       /* of the connection, at the last tick */
    uint64_t skip;        /* bytes of a packet too large that are still to come */
    struct pace pace;
    struct broker_waiter waiter; /* while the broker is congested */
    bool paused;

    uint16_t last_id, presence_id, subscribe_id, unsubscribe_id;
    size_t subscribed; /* 1 + the url whose session has our `in` rules as they are now; 0: none */
    char **stale;      /* filters to unsubscribe */
    size_t stale_count;
    char *subscription_fault; /* filters that the upstream refuses; NULL: none */
    struct buf topic;         /* of the message at hand */
    struct buf props;
    struct uplink_counts counts;
};

/* uplink.c */
/* The attempt has failed or the connection is lost: tells it once, and waits for the next try. mend: somebody
 * has to change something first, so do not hurry. */
void uplink_lost(struct uplink *u, bool mend, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* CONNACK was good; u->peer is set. */
void uplink_connected(struct uplink *u);
struct buf *uplink_free_lane(struct uplink *u);
struct buf *uplink_held_lane(struct uplink *u, store_ticket ticket);

/* uplink_peer.c: what the upstream says. As conn_events.on_data. */
size_t uplink_hear(struct uplink *u, const uint8_t *data, size_t len);

/* uplink_session.c */
void uplink_session_attach(struct uplink *u);

#endif
