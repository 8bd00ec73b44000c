/* SPDX-License-Identifier: Apache-2.0 */
#include "base/timer.h"

#include <stdlib.h>

#include "base/clock.h"

enum { SLOTS = 256 };

struct timers {
    uv_timer_t tick;
    struct list slots[SLOTS];
    uint64_t swept_s; /* all slots up to this second have been looked at */
    uint64_t tick_s;  /* when tick fires; 0: it is not armed */
};

static uint64_t now_s(void)
{
    return clock_boot_us() / 1000000;
}

static void on_tick(uv_timer_t *tick);

static void arm(struct timers *w, uint64_t second)
{
    uint64_t now_us = clock_boot_us(), at_us = second * 1000000;

    w->tick_s = second;
    uv_timer_start(&w->tick, on_tick, at_us > now_us ? (at_us - now_us) / 1000 + 1 : 0, 0);
}

struct timers *timers_new(uv_loop_t *loop)
{
    struct timers *w = mem_alloc(sizeof(*w));

    for (size_t i = 0; i < SLOTS; i++)
        list_init(&w->slots[i]);
    uv_timer_init(loop, &w->tick);
    return w;
}

static void on_closed(uv_handle_t *h)
{
    free(container_of(h, struct timers, tick));
}

void timers_close(struct timers *w)
{
    for (size_t i = 0; i < SLOTS; i++)
        while (list_pop(&w->slots[i]))
            ;
    uv_close((uv_handle_t *)&w->tick, on_closed);
}

/* The loop sleeps until the next slot in which something waits, though perhaps for a later round. */
static void arm_next(struct timers *w)
{
    w->tick_s = 0;
    for (uint64_t s = w->swept_s + 1; s <= w->swept_s + SLOTS; s++) {
        if (list_empty(&w->slots[s % SLOTS]))
            continue;
        arm(w, s);
        return;
    }
}

static void sweep(struct timers *w, uint64_t second, uint64_t now)
{
    struct list due = LIST_INIT(due);
    struct list *slot = &w->slots[second % SLOTS];

    list_for_safe(it, slot)
    {
        if (list_entry(it, struct timer, link)->due_s > now)
            continue;
        list_remove(it);
        list_add_tail(&due, it);
    }
    /* What fires may stop or free others that are due: take them one by one. */
    for (struct list *it; (it = list_pop(&due));) {
        struct timer *t = list_entry(it, struct timer, link);
        t->fire(t);
    }
}

static void on_tick(uv_timer_t *tick)
{
    struct timers *w = container_of(tick, struct timers, tick);
    uint64_t now = now_s();
    uint64_t from = now - w->swept_s > SLOTS ? now - SLOTS : w->swept_s;

    for (uint64_t s = from + 1; s <= now; s++)
        sweep(w, s, now);
    w->swept_s = now;
    arm_next(w);
}

void timer_init(struct timer *t, void (*fire)(struct timer *t))
{
    list_init(&t->link);
    t->due_s = 0;
    t->fire = fire;
}

void timer_start(struct timers *w, struct timer *t, uint32_t seconds)
{
    uint64_t now = now_s(), tick_s = now + SLOTS;

    list_remove(&t->link);
    t->due_s = now + (seconds ? seconds : 1) + 1;
    list_add_tail(&w->slots[t->due_s % SLOTS], &t->link);
    if (t->due_s < tick_s)
        tick_s = t->due_s;
    if (!w->tick_s)
        w->swept_s = now;
    if (!w->tick_s || tick_s < w->tick_s)
        arm(w, tick_s);
}

void timer_stop(struct timer *t)
{
    list_remove(&t->link);
}

bool timer_waits(const struct timer *t)
{
    return !list_empty(&t->link);
}
