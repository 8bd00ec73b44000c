/* SPDX-License-Identifier: Apache-2.0 */
/* Coarse timers for things of which there are thousands (keepalives, expiries): a wheel of seconds over one
 * uv_timer, which is armed for the next second in which something waits. For something precise use a
 * uv_timer_t of your own. Owners embed struct timer. Loop thread only. */
#ifndef SLUICE_BASE_TIMER_H
#define SLUICE_BASE_TIMER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/list.h"

struct timer {
    struct list link;
    uint64_t due_s; /* CLOCK_BOOTTIME */
    void (*fire)(struct timer *t);
};

struct timers;
struct timers *timers_new(uv_loop_t *loop);
/* Its handle closes while the loop runs; frees itself then. Timers that wait are forgotten. */
void timers_close(struct timers *w);

/* A timer must be initialised once, by timer_init, before anything else. */
void timer_init(struct timer *t, void (*fire)(struct timer *t));
/* Fires after seconds (at least 1, late by up to one), once. A waiting timer is moved. */
void timer_start(struct timers *w, struct timer *t, uint32_t seconds);
void timer_stop(struct timer *t);
bool timer_waits(const struct timer *t);

#endif
