/* SPDX-License-Identifier: Apache-2.0 */
/* Who speaks next on a line. Tasks (a unit's poll group) come due every period, phases spread; among those
 * that are due or under way the earliest deadline wins, at every exchange anew. A unit that is dead is only
 * probed: ever more rarely, and all probes together take at most a share of the line's time. Pure: the caller
 * brings the clock (microseconds, steady) and does the exchange. A command, where there is one, simply goes
 * before schedule_next. */
#ifndef SLUICE_DRIVERS_SCHEDULE_H
#define SLUICE_DRIVERS_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct schedule_task {
    unsigned unit; /* index into units */
    uint64_t period_us;
    uint64_t due_us; /* of the poll that comes or is under way; its deadline is a period later */
    bool under_way;
    bool busy;         /* set by who has several requests in flight: one of this task's is */
    uint64_t overruns; /* polls that never began, because the line had no time */
};

struct schedule_unit {
    bool dead;
    bool busy;       /* the same of a probe */
    unsigned misses; /* timeouts in a row */
    uint64_t probe_us, backoff_us;
};

struct schedule_limits {
    unsigned dead_after;
    uint64_t probe_first_us, probe_most_us;
    unsigned probe_share; /* percent of the line's time */
};

struct schedule {
    struct schedule_limits limits;
    struct schedule_task *tasks;
    struct schedule_unit *units;
    size_t task_count, unit_count;
    int64_t probe_credit_us; /* may go below 0 by one probe */
    uint64_t credited_us;
};

/* The arrays are the caller's; tasks need unit and period_us. */
void schedule_init(struct schedule *s, const struct schedule_limits *limits, struct schedule_task *tasks,
                   size_t task_count, struct schedule_unit *units, size_t unit_count, uint64_t now_us);

enum schedule_what { SCHEDULE_WAIT, SCHEDULE_POLL, SCHEDULE_PROBE };

/* WAIT: nothing until *until_us (UINT64_MAX: nothing ever). POLL: *index is a task, which is now under way.
 * PROBE: *index is a unit. */
enum schedule_what schedule_next(struct schedule *s, uint64_t now_us, size_t *index, uint64_t *until_us);

/* The task's poll is over: it is due again a period later, or where its phase next falls. */
void schedule_polled(struct schedule *s, size_t task, uint64_t now_us);

/* The unit answered (whatever it said): true when it was dead; then its tasks are due again. */
bool schedule_answered(struct schedule *s, size_t unit, uint64_t now_us);

/* The unit did not answer: true when it just died. */
bool schedule_missed(struct schedule *s, size_t unit, uint64_t now_us);

/* A probe is over, whatever came of it; what it cost is the line's time since began_us. */
void schedule_probed(struct schedule *s, uint64_t began_us, uint64_t now_us);

#endif
