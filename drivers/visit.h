/* SPDX-License-Identifier: Apache-2.0 */
/* Somebody has a line to himself for a while, and nothing is polled on it: it is said in the log, as an event
 * and in the status, it has an end, and the line is as it was afterwards, whatever happens. One on a line at
 * a time. Loop thread. */
#ifndef SLUICE_DRIVERS_VISIT_H
#define SLUICE_DRIVERS_VISIT_H

#include "drivers/lines.h"

struct visit_plan {
    const char *tool, *by;
    bool listen; /* nothing is sent at all */
    uint32_t seconds;
};

/* False: it cannot be, and answer says why. */
bool visit_may(const struct running *r, struct cJSON *answer);

/* over: it has ended by itself; not after visit_end. */
struct visit *visit_begin(struct running *r, const struct visit_plan *plan,
                          void (*over)(void *arg, const char *why), void *arg);
void visit_end(struct visit *v, const char *why);
/* It ends by itself before its time: over() is called. */
void visit_stop(struct visit *v, const char *why);

/* From the next request of the visitor on. baud 0: the line's own. */
void visit_speed(struct visit *v, uint32_t baud, unsigned format);

/* Adds "visit" to the line's object. */
void visit_status(const struct visit *v, struct cJSON *line);

#endif
