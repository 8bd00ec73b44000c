/* SPDX-License-Identifier: Apache-2.0 */
/* Who wants a topic: a tree of filters by level, and a cache of its answers. A topic is matched once and the
 * result remembered until a subscription changes. Overlapping subscriptions of one session come out as one
 * target with the highest QoS and all identifiers ([MQTT-3.3.4-2], -3). Walks iterate: depth costs memory of
 * the filter that has it, never stack. Loop thread only. */
#ifndef SLUICE_BROKER_ROUTER_H
#define SLUICE_BROKER_ROUTER_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/session.h"

struct router;
struct router_node;
struct share;

/* One filter of one session. */
struct subscription {
    struct map_node by_filter; /* in the router, by session and filter */
    struct list in_session;
    struct list in_node; /* of its node or share */
    struct session *session;
    union {
        struct router_node *node;
        struct share *share; /* when shared */
    };
    struct subscription_options options;
    uint16_t filter_len;
    bool shared;
    bool replaying; /* not all of its retained messages have gone out */
    char filter[];
};

struct target {
    struct session *session;
    struct share *share; /* instead of session: whoever of it is next */
    uint32_t *sub_ids;   /* sub_ids[0] says how many follow; NULL: none */
    uint8_t qos;
    bool raise, retain_as_published;
    bool not_own;  /* not for what the session itself has published: no_local */
    bool own_only; /* for that alone, when others with no_local matched too */
};

struct route {
    uint64_t generation;
    uint32_t count;
    size_t topic_len;
    struct target *targets;
    char topic[];
};

struct router *router_new(void);
void router_free(struct router *r);

/* Adds sub (with filter filled in) at its place; the router does not own it. */
void router_add(struct router *r, struct subscription *sub);
void router_remove(struct router *r, struct subscription *sub);
/* The session's subscription with exactly this filter, or NULL. */
struct subscription *router_find(const struct router *r, const struct session *s, struct bytes filter);
/* A subscription's options were changed: remembered routes are stale. */
void router_changed(struct router *r);

/* The targets of a topic. Lives until the next call of any function here. */
const struct route *router_match(struct router *r, struct bytes topic);

#endif
