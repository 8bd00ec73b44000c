/* SPDX-License-Identifier: Apache-2.0 */
/* The broker: routes a message to the sessions that want it. It knows no field bus, no upstream and, beyond
 * the store and net it was given, no I/O. Loop thread only. */
#ifndef SLUICE_BROKER_BROKER_H
#define SLUICE_BROKER_BROKER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/timer.h"
#include "broker/message.h"
#include "broker/session.h"
#include "broker/terms.h"

struct net;

/* Of clients, as they are on the wire (within TLS and WebSocket). */
struct wire_counts {
    uint64_t packets_in, packets_out, bytes_in, bytes_out; /* of all kinds */
    uint64_t publishes, publish_bytes;                     /* PUBLISH from clients, and their payloads */
};

struct broker_stats {
    struct wire_counts wire;
    uint64_t messages_in, messages_out, bytes_in, bytes_out; /* PUBLISH */
    uint64_t dropped;                                        /* by policy, all reasons */
    uint64_t too_large;                                      /* of them: larger than the receiver takes */
    uint64_t queue_full, slow_reader; /* of them: a full queue; QoS 0 for who does not read in time */
    uint64_t unknown_acks;            /* of what was not sent */
    uint64_t unread_answers; /* clients that were not read any more because they did not read themselves */
    uint64_t accepted, connects, refused_connects, clients, clients_most;
    uint64_t expired; /* sessions */
    uint64_t protocol_errors, keepalive_timeouts, connect_timeouts, taken_over;
};

struct broker_limits {
    uint32_t packet;         /* bytes; largest packet taken */
    uint16_t inflight;       /* most in flight to one session */
    uint16_t receive;        /* most in flight from one MQTT 5 client: our Receive Maximum */
    uint16_t keep_alive_max; /* s; longest keepalive of an MQTT 5 client; 0: any */
    uint32_t clients, sessions, subscriptions, retained; /* most of each */
    size_t reader_backlog; /* bytes that may wait for one slow reader before QoS 0 is dropped and the pump
                              pauses */
    uint32_t connect_ms;   /* from accept to CONNECT */
    uint32_t session_expiry_max_s;
    struct queue_limits queue; /* of clients' sessions */
    struct terms terms;
};

struct broker *broker_new(uv_loop_t *loop, struct net *net, struct store *store,
                          const struct broker_limits *limits);
/* Reads sessions, subscriptions, retained messages from the store; once, before anything else. The store's
 * named values go to value, before all others. */
int broker_load(struct broker *b, void (*value)(void *arg, const char *name, struct bytes value), void *arg);
void broker_free(struct broker *b);

/* End of the turn, part one: sessions with room pull their next messages. */
void broker_wake(struct broker *b);
/* Sessions wait for the next broker_wake. */
bool broker_waking(const struct broker *b);
/* A commit is done. */
void broker_on_commit(struct broker *b);

/* Routes m (borrowed or kept; not consumed), retains it when it says so. Returns the ticket at which an
 * acknowledgement must be held (0: at once), or SESSION_REFUSED when a full queue with policy refuse would
 * have taken it (then it was not queued there). *receivers (may be NULL): how many sessions matched. */
store_ticket broker_publish(struct broker *b, struct message *m, uint32_t *receivers);

/* The same for the box's own messages: copies nothing that nobody keeps. payload as text or bytes. */
store_ticket broker_publish_bytes(struct broker *b, const char *topic, struct bytes payload, uint8_t qos,
                                  bool retain);

/* A retained message that is not routed and not on disk, under a topic that begins with $: what the box says
 * of itself (MQTT 3.1.1 §4.7.2). */
void broker_set_volatile(struct broker *b, const char *topic, struct bytes payload);
/* Somebody has subscribed to a filter that begins with "$SYS/" (or shares one). Called before retained
 * messages are delivered to him; must not subscribe. */
void broker_on_sys_wanted(struct broker *b, void (*wanted)(void *arg), void *arg);
/* Sessions that a message of this topic would go to now. */
uint32_t broker_receivers(struct broker *b, struct bytes topic);

struct timers *broker_timers(struct broker *b);
struct store *broker_store(struct broker *b);
/* An acknowledgement is held at ticket: the disk is not to linger. */
void broker_want(struct broker *b, store_ticket ticket);
/* All that broker_publish promised by tickets up to this one is on disk. */
store_ticket broker_done_ticket(const struct broker *b);
struct net *broker_net(struct broker *b);
uv_loop_t *broker_loop(const struct broker *b);
/* Number of this start (struct gateway.boot), which messages carry from now on. */
uint32_t broker_boot(const struct broker *b);
void broker_set_boot(struct broker *b, uint32_t boot);
void broker_set_limits(struct broker *b, const struct broker_limits *limits);
struct broker_counts {
    size_t sessions, subscriptions, shared, retained; /* shared: of the subscriptions */
    uint64_t retained_bytes;                          /* of payloads */
    uint64_t retained_refused; /* messages that were not kept: too many topics had one */
};
struct broker_counts broker_counts(const struct broker *b);
const struct broker_limits *broker_limits(const struct broker *b);
struct broker_stats *broker_stats(struct broker *b);
/* True while publishers are not to be read (the open batch is full). Readers register with broker_when_calm.
 */
bool broker_congested(const struct broker *b);
struct broker_waiter {
    struct list link;
    void (*calm)(struct broker_waiter *w);
};
void broker_when_calm(struct broker *b, struct broker_waiter *w);

/* Who published a message with this struct message.publisher; NULL: the box, or somebody who is gone. */
struct session *broker_publisher(struct broker *b, uint64_t key);

/* Sessions, in no order; the callback must not end sessions. */
void broker_each_session(struct broker *b, void (*each)(void *arg, struct session *s), void *arg);

#endif
