/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on their way to one session, in the order of their sequences: a ring that grows. It owns the
 * references and identifiers of what is in it. Loop thread only. */
#ifndef SLUICE_BROKER_DELIVERIES_H
#define SLUICE_BROKER_DELIVERIES_H

#include "broker/message.h"
#include "store/store.h"

enum delivery_state {
    DELIVERY_QUEUED,
    DELIVERY_SENT,     /* waits for PUBACK or PUBREC */
    DELIVERY_RELEASED, /* PUBREC came: PUBREL goes, PUBCOMP is awaited; the message is gone */
    DELIVERY_DONE,     /* waits for older ones to be done */
};

/* One message on its way to one session. */
struct delivery {
    struct message *message; /* a reference; for QoS 0 in on_deliver it may be borrowed */
    uint32_t *sub_ids;   /* MQTT 5 subscription identifiers, sub_ids[0] says how many follow; NULL: none */
    store_ticket ticket; /* must be done before it may leave */
    uint64_t seq;        /* place in the session's queue */
    uint8_t qos, state;
    bool retain, dup;
    bool shared; /* by a shared subscription: another member's when this session ends */
    uint16_t id; /* packet identifier, once it is sent; 0 for QoS 0 */
};

struct deliveries {
    struct delivery *slots;
    uint32_t size, first, count; /* size: a power of two, or 0 */
};

static inline struct delivery *deliveries_at(const struct deliveries *r, uint32_t i)
{
    return &r->slots[(r->first + i) & (r->size - 1)];
}

/* A place at the end. */
struct delivery *deliveries_push(struct deliveries *r);
/* Drops the first place; an empty large ring gives its memory back. */
void deliveries_shift(struct deliveries *r);
void deliveries_free(struct deliveries *r);

#endif
