/* SPDX-License-Identifier: Apache-2.0 */
/* Who speaks next: deadlines, phases, overload, dead units; on a virtual clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/schedule.h"

enum { MOST = 40 };

static const struct schedule_limits limits = {
    .dead_after = 3, .probe_first_us = 5000000, .probe_most_us = 300000000, .probe_share = 5};

struct world {
    struct schedule s;
    struct schedule_task tasks[MOST];
    struct schedule_unit units[MOST];
    bool silent[MOST];
    uint64_t now, polls[MOST], probes, probe_us, last_due[MOST], worst_late;
};

static void open_world(struct world *w, size_t units, const uint64_t *periods)
{
    memset(w, 0, sizeof *w);
    for (unsigned i = 0; i < units; i++)
        w->tasks[i] = (struct schedule_task){.unit = i, .period_us = periods[i]};
    schedule_init(&w->s, &limits, w->tasks, units, w->units, units, w->now);
}

/* Polls take poll_us, timeouts 700 ms. */
static void run_until(struct world *w, uint64_t end, uint64_t poll_us)
{
    while (w->now < end) {
        size_t i;
        uint64_t until, began = w->now;
        switch (schedule_next(&w->s, w->now, &i, &until)) {
        case SCHEDULE_WAIT:
            w->now = until < end ? until : end;
            break;
        case SCHEDULE_POLL:
            if (!w->silent[i] && w->now - w->tasks[i].due_us > w->worst_late)
                w->worst_late = w->now - w->tasks[i].due_us;
            w->now += w->silent[i] ? 700000 : poll_us;
            w->polls[i]++;
            if (w->silent[i])
                schedule_missed(&w->s, i, w->now);
            else
                schedule_answered(&w->s, i, w->now);
            schedule_polled(&w->s, i, w->now);
            break;
        case SCHEDULE_PROBE:
            w->probes++;
            w->now += w->silent[i] ? 700000 : poll_us;
            if (w->silent[i])
                schedule_missed(&w->s, i, w->now);
            else
                schedule_answered(&w->s, i, w->now);
            schedule_probed(&w->s, began, w->now);
            w->probe_us += w->now - began;
            break;
        }
    }
}

static void each_task_gets_its_rate(void **state)
{
    const uint64_t periods[] = {100000, 200000, 1000000, 5000000};
    struct world w;

    (void)state;
    open_world(&w, 4, periods);
    run_until(&w, 100000000, 20000);
    for (size_t i = 0; i < 4; i++)
        assert_in_range(w.polls[i], 100000000 / periods[i] - 1, 100000000 / periods[i] + 1);
    assert_int_equal(w.probes, 0);
}

/* Ten tasks of one second and 50 ms each: spread evenly, none waits for another. */
static void phases_are_spread(void **state)
{
    uint64_t periods[10];
    struct world w;

    (void)state;
    for (int i = 0; i < 10; i++)
        periods[i] = 1000000;
    open_world(&w, 10, periods);
    for (int i = 0; i < 10; i++)
        assert_int_equal(w.tasks[i].due_us, 100000 * (unsigned)i);
    run_until(&w, 60000000, 50000);
    assert_int_equal(w.worst_late, 0);
}

static void the_earliest_deadline_goes_first(void **state)
{
    const uint64_t periods[] = {5000000, 300000};
    struct world w;
    size_t i;
    uint64_t until;

    (void)state;
    open_world(&w, 2, periods);
    assert_int_equal(schedule_next(&w.s, 0, &i, &until), SCHEDULE_POLL);
    assert_int_equal(i, 1);
    schedule_polled(&w.s, 1, 10000);
    assert_int_equal(schedule_next(&w.s, 10000, &i, &until), SCHEDULE_POLL);
    assert_int_equal(i, 0);
    schedule_polled(&w.s, 0, 20000);
    assert_int_equal(schedule_next(&w.s, 20000, &i, &until), SCHEDULE_WAIT);
    assert_int_equal(until, 300000);
}

/* Twice as much asked for as there is: nobody is forgotten, slow groups least, and what was left out is
 * counted. */
static void overload_starves_nobody(void **state)
{
    const uint64_t periods[] = {100000, 100000, 100000, 100000, 10000000};
    struct world w;
    uint64_t overruns = 0;

    (void)state;
    open_world(&w, 5, periods);
    run_until(&w, 100000000, 50000);
    for (size_t i = 0; i < 4; i++) {
        assert_in_range(w.polls[i], 450, 550);
        overruns += w.tasks[i].overruns;
    }
    assert_in_range(w.polls[4], 9, 11);
    assert_in_range(overruns, 1800, 2200);
}

static void dead_units_are_probed_ever_more_rarely(void **state)
{
    const uint64_t periods[] = {1000000, 1000000};
    struct world w;

    (void)state;
    open_world(&w, 2, periods);
    w.silent[1] = true;
    run_until(&w, 4000000, 20000);
    assert_true(w.units[1].dead);
    assert_int_equal(w.polls[1], 3);
    run_until(&w, 3600000000, 20000);
    /* 5, 10, 20 … 160, then 300 s: 6 + 11 in an hour. */
    assert_in_range(w.probes, 15, 18);
    assert_int_equal(w.polls[1], 3);
    w.silent[1] = false;
    run_until(&w, 3600000000 + 301000000, 20000);
    assert_false(w.units[1].dead);
    assert_true(w.polls[1] > 3);
    uint64_t before = w.polls[1];
    run_until(&w, w.now + 10000000, 20000);
    assert_in_range(w.polls[1] - before, 9, 11);
}

/* 31 live units and eight dead ones on a line that is half full: probes stay within their share, and the live
 * ones keep nine tenths of their rate from the second minute on. */
static void dead_units_starve_nobody(void **state)
{
    uint64_t periods[39];
    struct world w;

    (void)state;
    for (int i = 0; i < 39; i++)
        periods[i] = 1500000;
    open_world(&w, 39, periods);
    for (int i = 31; i < 39; i++)
        w.silent[i] = true;
    run_until(&w, 120000000, 25000);
    uint64_t live = 0, probe_us = w.probe_us;
    for (int i = 0; i < 31; i++)
        live -= w.polls[i];
    run_until(&w, 720000000, 25000);
    for (int i = 0; i < 31; i++)
        live += w.polls[i];
    assert_true(live >= 31 * 400 * 9 / 10);
    assert_true(w.probe_us - probe_us <= 600000000 / 20 + 2 * 700000);
    assert_true(w.probes > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_task_gets_its_rate),
        cmocka_unit_test(phases_are_spread),
        cmocka_unit_test(the_earliest_deadline_goes_first),
        cmocka_unit_test(overload_starves_nobody),
        cmocka_unit_test(dead_units_are_probed_ever_more_rarely),
        cmocka_unit_test(dead_units_starve_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
