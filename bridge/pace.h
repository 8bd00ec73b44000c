/* SPDX-License-Identifier: Apache-2.0 */
/* How fast a backlog may drain: a token bucket of `rate` messages a second, and one token more for each
 * message that was queued since the connection began. So the backlog shrinks by `rate` a second however much
 * live data comes, live data is never throttled by the limit, and the order of the queue is kept. Pure: time
 * and the queue's tail are given. */
#ifndef SLUICE_BRIDGE_PACE_H
#define SLUICE_BRIDGE_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint32_t rate; /* messages a second; 0: no limit */
    uint64_t last_us;
    uint64_t drain_millionths; /* of a token: at most one second's worth, at least one token */
    uint64_t tail, live;       /* of the queue, when last seen; tokens for what came since */
};

/* A connection begins. tail: the queue's, one after the newest message. */
void pace_start(struct pace *p, uint32_t rate, uint64_t now_us, uint64_t tail);
/* True when one message may go now. */
bool pace_ready(struct pace *p, uint64_t now_us, uint64_t tail);
/* One message went. */
void pace_take(struct pace *p);
/* After pace_ready said no: milliseconds until it will say yes, at least 1. */
uint32_t pace_wait_ms(const struct pace *p);

#endif
