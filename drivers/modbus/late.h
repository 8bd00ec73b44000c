/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of one unit that never got an accepted answer. For a while a reply to one of them may still come,
 * and a Modbus RTU reply does not say which request it answers: so no request of the same shape (function and
 * length of the reply) is sent until it has come or the while is over. What is to be read meanwhile is read
 * in other shapes: in two parts, or a little more than is wanted. Pure; one struct a unit. */
#ifndef SLUICE_DRIVERS_MODBUS_LATE_H
#define SLUICE_DRIVERS_MODBUS_LATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/modbus/plan.h"

enum { LATE_MAX = 8, LATE_LIFE_US = 10000000, LATE_SURE_US = 2000000 };

struct late {
    struct {
        uint8_t function;
        uint16_t reply_len; /* 0: any */
        uint64_t sent_us;
    } open[LATE_MAX]; /* oldest first; when it is full, the oldest is forgotten */
    uint8_t count;
    bool narrow;      /* the unit has refused the last read that went on behind what is wanted */
    uint64_t frames;  /* late replies so far */
    uint32_t took_us; /* the last of them: from the request's last bit to its own */
};

void late_add(struct late *l, uint8_t function, size_t reply_len, uint64_t sent_us);

/* Forgets what is too old to be answered. */
void late_expire(struct late *l, uint64_t now_us);

/* A frame of this unit that nobody awaits: true when it answers an open request; then that one is done, and
 * *sent_us says when it was sent. */
bool late_match(struct late *l, uint8_t function, size_t len, uint64_t *sent_us);

/* The unit has answered something newer, and units answer in order: reads that were sent more than
 * LATE_SURE_US ago will not be answered any more. Open writes are kept, as they cost the next write a read at
 * most. True when a read of this shape is safe now. */
bool late_forget_reads(struct late *l, const struct plan_block *b, uint64_t now_us);

/* True when late_forget_reads could allow the read, if the unit answered something now. */
bool late_is_ripe(const struct late *l, uint64_t now_us);

/* True when a request of this function is open: a reply to it may look like that to a new one. */
bool late_has(const struct late *l, uint8_t function);

/* How to read the block, which is within limits: as it is, in two parts cut where may_cut(arg, address) says
 * so, or as one read that goes on behind its end (then parts[0].count is larger than the block's). Returns
 * the number of parts; 0 when there is no safe way. */
unsigned late_parts(const struct late *l, const struct plan_block *b, const struct plan_limits *limits,
                    bool (*may_cut)(void *arg, unsigned address), void *arg, struct plan_block parts[2]);

/* The shortest safe read that begins where the block begins; for asking whether the unit is there. */
struct plan_block late_probe(const struct late *l, const struct plan_block *b,
                             const struct plan_limits *limits);

#endif
