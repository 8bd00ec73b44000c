/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of one unit that never got an accepted answer. Until the unit answers something else, a reply to
 * one of them may still come, and a Modbus RTU reply does not say which request it answers: so no request of
 * the same shape (function and length of the reply) may be sent before. A short read of another length brings
 * unit and line in step again, because a unit answers in order. Pure; one struct a unit. */
#ifndef SLUICE_DRIVERS_MODBUS_LATE_H
#define SLUICE_DRIVERS_MODBUS_LATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LATE_MAX = 4 };

struct late {
    struct {
        uint8_t function;
        uint16_t reply_len;
        uint64_t sent_us;
    } open[LATE_MAX]; /* oldest first; when it is full, the oldest is forgotten */
    uint8_t count;
    uint64_t frames; /* late replies so far */
};

void late_add(struct late *l, uint8_t function, size_t reply_len, uint64_t sent_us);

/* True when a request of this shape cannot be confused with an open one. */
bool late_safe(const struct late *l, uint8_t function, size_t reply_len);

/* A frame of this unit that nobody awaits: true when it answers an open request; then that one and the older
 * ones are done, and *sent_us says when it was sent. */
bool late_match(struct late *l, uint8_t function, size_t len, uint64_t *sent_us);

/* The unit has answered a request of a shape of its own. */
void late_clear(struct late *l);

#endif
