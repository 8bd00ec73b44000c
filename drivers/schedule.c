/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/schedule.h"

/* Probe time that may be saved up while nobody is dead, so that the first probes are not late. */
#define CREDIT_MOST_US 1000000

/* Tasks of the same period are spread evenly over it; where the period is long, over its first ten seconds,
 * so that nobody waits an hour for the first value. */
static void spread(struct schedule *s, uint64_t now_us)
{
    for (size_t i = 0; i < s->task_count; i++) {
        size_t same = 0, before = 0;
        for (size_t k = 0; k < s->task_count; k++) {
            same += s->tasks[k].period_us == s->tasks[i].period_us;
            before += k < i && s->tasks[k].period_us == s->tasks[i].period_us;
        }
        uint64_t span = s->tasks[i].period_us < 10000000 ? s->tasks[i].period_us : 10000000;
        s->tasks[i].due_us = now_us + span * before / same;
    }
}

void schedule_init(struct schedule *s, const struct schedule_limits *limits, struct schedule_task *tasks,
                   size_t task_count, struct schedule_unit *units, size_t unit_count, uint64_t now_us)
{
    *s = (struct schedule){.limits = *limits,
                           .tasks = tasks,
                           .units = units,
                           .task_count = task_count,
                           .unit_count = unit_count,
                           .credited_us = now_us,
                           .probe_credit_us = CREDIT_MOST_US};
    spread(s, now_us);
}

static void credit(struct schedule *s, uint64_t now_us)
{
    int64_t earned = (int64_t)((now_us - s->credited_us) * s->limits.probe_share / 100);

    if (!earned)
        return;
    s->credited_us = now_us;
    s->probe_credit_us += earned;
    if (s->probe_credit_us > CREDIT_MOST_US)
        s->probe_credit_us = CREDIT_MOST_US;
}

/* When the line's share for probes allows the next one. */
static uint64_t probe_allowed_us(const struct schedule *s, uint64_t now_us)
{
    if (s->probe_credit_us >= 0)
        return now_us;
    if (!s->limits.probe_share)
        return UINT64_MAX;
    return now_us + (uint64_t)-s->probe_credit_us * 100 / s->limits.probe_share + 1;
}

struct choice {
    enum schedule_what what;
    size_t index;
    uint64_t deadline_us, until_us;
};

static void offer(struct choice *c, enum schedule_what what, size_t index, uint64_t from_us,
                  uint64_t deadline_us, uint64_t now_us)
{
    if (from_us > now_us) {
        if (from_us < c->until_us)
            c->until_us = from_us;
    } else if (deadline_us < c->deadline_us) {
        c->what = what;
        c->index = index;
        c->deadline_us = deadline_us;
    }
}

static void offer_probes(struct schedule *s, struct choice *c, uint64_t now_us)
{
    uint64_t allowed = probe_allowed_us(s, now_us);

    for (size_t i = 0; i < s->unit_count; i++) {
        const struct schedule_unit *u = &s->units[i];
        if (!u->dead || u->busy)
            continue;
        uint64_t from = u->probe_us > allowed ? u->probe_us : allowed;
        offer(c, SCHEDULE_PROBE, i, from, u->probe_us + s->limits.probe_first_us, now_us);
    }
}

enum schedule_what schedule_next(struct schedule *s, uint64_t now_us, size_t *index, uint64_t *until_us)
{
    struct choice c = {SCHEDULE_WAIT, 0, UINT64_MAX, UINT64_MAX};

    credit(s, now_us);
    for (size_t i = 0; i < s->task_count; i++) {
        const struct schedule_task *t = &s->tasks[i];
        if (!s->units[t->unit].dead && !t->busy)
            offer(&c, SCHEDULE_POLL, i, t->due_us, t->due_us + t->period_us, now_us);
    }
    offer_probes(s, &c, now_us);
    *index = c.index;
    *until_us = c.until_us;
    if (c.what == SCHEDULE_POLL)
        s->tasks[c.index].under_way = true;
    return c.what;
}

void schedule_polled(struct schedule *s, size_t task, uint64_t now_us)
{
    struct schedule_task *t = &s->tasks[task];

    t->under_way = false;
    t->due_us += t->period_us;
    if (t->due_us + t->period_us <= now_us) {
        uint64_t behind = (now_us - t->due_us) / t->period_us;
        t->overruns += behind;
        t->due_us += behind * t->period_us;
    }
}

bool schedule_answered(struct schedule *s, size_t unit, uint64_t now_us)
{
    struct schedule_unit *u = &s->units[unit];
    bool revived = u->dead;

    u->misses = 0;
    u->backoff_us = 0;
    u->dead = false;
    for (size_t i = 0; revived && i < s->task_count; i++)
        if (s->tasks[i].unit == unit) {
            s->tasks[i].due_us = now_us;
            s->tasks[i].under_way = false;
        }
    return revived;
}

bool schedule_missed(struct schedule *s, size_t unit, uint64_t now_us)
{
    struct schedule_unit *u = &s->units[unit];
    bool died = !u->dead && u->misses + 1 >= s->limits.dead_after;

    u->misses++;
    if (!u->dead && !died)
        return false;
    u->dead = true;
    u->backoff_us = u->backoff_us ? 2 * u->backoff_us : s->limits.probe_first_us;
    if (u->backoff_us > s->limits.probe_most_us)
        u->backoff_us = s->limits.probe_most_us;
    u->probe_us = now_us + u->backoff_us;
    return died;
}

void schedule_probed(struct schedule *s, uint64_t began_us, uint64_t now_us)
{
    credit(s, now_us);
    s->probe_credit_us -= (int64_t)(now_us - began_us);
}
