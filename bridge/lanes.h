/* SPDX-License-Identifier: Apache-2.0 */
/* The two queues of a bridge: the session "\1bridge:NAME", and for what is urgent "\1urgent:NAME", which is
 * read first. What is offered to both goes to the one that the rules say, when it comes; what waits stays
 * where it is. Each has packet identifiers of its own, and both share the window that the upstream allows.
 * The second is there while a rule wants it or something waits in it. Loop thread only. */
#ifndef SLUICE_BRIDGE_LANES_H
#define SLUICE_BRIDGE_LANES_H

#include "bridge/settings.h"
#include "broker/broker.h"

struct lanes {
    struct session *normal, *urgent; /* urgent: NULL: there is none */
    uint16_t window;                 /* of both together */
};

/* What the sessions' names begin with; the bridge's name follows. */
#define LANES_NORMAL "\1bridge:"
#define LANES_URGENT "\1urgent:"

/* The name of the bridge whose queue this session is; NULL: of none. */
const char *lanes_bridge(const struct session *s);

/* Makes or finds the sessions and brings their limits and subscriptions to what the settings say. Nobody
 * reads them. 0 or -E…. */
int lanes_open(struct lanes *l, struct broker *b, const struct settings *settings);
/* A connection begins: ops and reader are those of both sessions. */
void lanes_attach(struct lanes *l, const struct session_ops *ops, void *reader, uint16_t window);
void lanes_detach(struct lanes *l);
/* Both sessions end with what waits in them. */
void lanes_end(struct lanes *l);

/* The reader has room again. */
void lanes_wake(const struct lanes *l);
/* Whether s may send now: the window is not full and nothing urgent comes before it. When it may not it is
 * woken as soon as that changes, as long as lanes_pumped and lanes_acked are called. */
bool lanes_may_send(const struct lanes *l, const struct session *s);
void lanes_pumped(const struct lanes *l, const struct session *s);
void lanes_acked(const struct lanes *l);

/* The session that has this packet identifier. */
struct session *lanes_owner(const struct lanes *l, uint16_t id);
uint64_t lanes_backlog(const struct lanes *l);
uint32_t lanes_in_flight(const struct lanes *l);

#endif
