/* SPDX-License-Identifier: Apache-2.0 */
/* When a point is published and when an alarm goes on and off. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "drivers/publish.h"

#define S 1000000ull

static struct reading_point good(double d)
{
    return (struct reading_point){.name = "x", .value = {.kind = VALUE_DOUBLE, .d = d}};
}

static struct reading_point bad(enum quality q, uint8_t detail)
{
    return (struct reading_point){.name = "x", .quality = q, .detail = detail};
}

static bool due(struct publish_group g, struct publish_point spec, struct reading_point was,
                struct reading_point is, uint64_t after_us)
{
    struct publish_last last = {true, was, 100 * S};

    return publish_due(&g, &spec, &last, &is, 100 * S + after_us);
}

static const struct publish_group change = {.mode = PUBLISH_CHANGE};
static const struct publish_point plain;

static void the_first_value_is_published(void **state)
{
    const struct publish_last never = {0};
    struct reading_point p = good(1);

    (void)state;
    assert_true(publish_due(&change, &plain, &never, &p, 5));
}

static void always_is_always(void **state)
{
    const struct publish_group always = {.mode = PUBLISH_ALWAYS};

    (void)state;
    assert_true(due(always, plain, good(1), good(1), 1));
}

static void any_change_counts_without_a_deadband(void **state)
{
    struct reading_point a = {.value = {.kind = VALUE_UINT, .u = UINT64_MAX}}, b = a;
    struct reading_point t = {.value = {.kind = VALUE_TEXT, .text = "on", .len = 2}}, u = t;
    struct reading_point yes = {.value = {.kind = VALUE_BOOL, .b = true}},
                         no = {.value = {.kind = VALUE_BOOL, .b = false}};

    (void)state;
    assert_false(due(change, plain, good(1), good(1), S));
    assert_true(due(change, plain, good(1), good(1.0000001), S));
    assert_true(due(change, plain, good(1), good(0), S)); /* 0 is a value like any other */
    assert_false(due(change, plain, a, b, S));
    b.value.u--; /* not to be seen in a double */
    assert_true(due(change, plain, a, b, S));
    assert_false(due(change, plain, t, u, S));
    u.value.text = "of";
    assert_true(due(change, plain, t, u, S));
    assert_true(due(change, plain, yes, no, S));
    assert_false(due(change, plain, yes, yes, S));
}

static void a_deadband_is_reached_or_not(void **state)
{
    const struct publish_point fifth = {.deadband = 0.2}, percent = {.deadband_percent = 10};

    (void)state;
    assert_false(due(change, fifth, good(21.5), good(21.6), S));
    assert_true(due(change, fifth, good(21.5), good(21.7), S));
    assert_true(due(change, fifth, good(21.5), good(21.3), S));
    assert_false(due(change, percent, good(200), good(219), S));
    assert_true(due(change, percent, good(200), good(220), S));
    assert_true(due(change, percent, good(-200), good(-180), S));
    assert_true(due(change, percent, good(0), good(0.001), S)); /* of nothing any change is much */
}

static void quality_is_a_change(void **state)
{
    (void)state;
    assert_true(due(change, plain, good(1), bad(QUALITY_TIMEOUT, 0), S));
    assert_false(due(change, plain, bad(QUALITY_TIMEOUT, 0), bad(QUALITY_TIMEOUT, 0), S));
    assert_true(due(change, plain, bad(QUALITY_TIMEOUT, 0), bad(QUALITY_STALE, 0), S));
    assert_true(due(change, plain, bad(QUALITY_EXCEPTION, 2), bad(QUALITY_EXCEPTION, 4), S));
    assert_true(due(change, plain, bad(QUALITY_STALE, 0), good(1), S));
}

static void a_heartbeat_comes_without_a_change(void **state)
{
    struct publish_group g = change;

    (void)state;
    g.heartbeat_us = 60 * S;
    assert_false(due(g, plain, good(1), good(1), 30 * S));
    assert_true(due(g, plain, good(1), good(1), 60 * S));
    /* A poll that comes a little early does not put the heartbeat off by a whole period. */
    assert_true(due(g, plain, good(1), good(1), 60 * S - 5000));
}

static void a_least_interval_holds_values_back_but_no_quality(void **state)
{
    struct publish_group g = change;

    (void)state;
    g.interval_us = 10 * S;
    assert_false(due(g, plain, good(1), good(2), 5 * S));
    assert_true(due(g, plain, good(1), good(2), 10 * S));
    assert_true(due(g, plain, good(1), bad(QUALITY_CRC, 0), 1));
    g.mode = PUBLISH_ALWAYS;
    assert_false(due(g, plain, good(1), good(2), 5 * S));
    assert_true(due(g, plain, good(1), good(1), 10 * S));
}

static const struct alarm_spec spec = {.on = true, .limit = {NAN, 5, 85, 95}, .hysteresis = 1, .delay_us = 0};

static void an_alarm_goes_on_and_off_with_hysteresis(void **state)
{
    struct alarm_state s = {0};

    (void)state;
    assert_false(alarm_step(&spec, &s, ALARM_HIGH, 84.9, S));
    assert_true(alarm_step(&spec, &s, ALARM_HIGH, 85, 2 * S));
    assert_true(s.active);
    assert_false(alarm_step(&spec, &s, ALARM_HIGH, 84.5, 3 * S));
    assert_true(s.active);
    assert_true(alarm_step(&spec, &s, ALARM_HIGH, 83.9, 4 * S));
    assert_false(s.active);
    assert_false(alarm_step(&spec, &s, ALARM_HIGH, 84.5, 5 * S));
    s = (struct alarm_state){0};
    assert_true(alarm_step(&spec, &s, ALARM_LOW, 5, S));
    assert_false(alarm_step(&spec, &s, ALARM_LOW, 5.9, S));
    assert_true(alarm_step(&spec, &s, ALARM_LOW, 6.1, S));
    s = (struct alarm_state){0};
    assert_false(alarm_step(&spec, &s, ALARM_LOW_LOW, -1e9, S)); /* no limit */
}

static void an_alarm_waits_until_it_lasts(void **state)
{
    struct alarm_spec slow = spec;
    struct alarm_state s = {0};

    (void)state;
    slow.delay_us = 10 * S;
    assert_false(alarm_step(&slow, &s, ALARM_HIGH, 90, 100 * S));
    assert_false(alarm_step(&slow, &s, ALARM_HIGH, 90, 109 * S));
    assert_false(alarm_step(&slow, &s, ALARM_HIGH, 80, 109 * S)); /* it did not last */
    assert_false(alarm_step(&slow, &s, ALARM_HIGH, 90, 110 * S));
    assert_false(alarm_step(&slow, &s, ALARM_HIGH, 84.9, 119 * S)); /* neither did that: no hysteresis yet */
    assert_false(alarm_step(&slow, &s, ALARM_HIGH, 90, 120 * S));
    assert_true(alarm_step(&slow, &s, ALARM_HIGH, 91, 130 * S));
    assert_false(alarm_step(&slow, &s, ALARM_HIGH, 91, 150 * S));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_value_is_published),
        cmocka_unit_test(always_is_always),
        cmocka_unit_test(any_change_counts_without_a_deadband),
        cmocka_unit_test(a_deadband_is_reached_or_not),
        cmocka_unit_test(quality_is_a_change),
        cmocka_unit_test(a_heartbeat_comes_without_a_change),
        cmocka_unit_test(a_least_interval_holds_values_back_but_no_quality),
        cmocka_unit_test(an_alarm_goes_on_and_off_with_hysteresis),
        cmocka_unit_test(an_alarm_waits_until_it_lasts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
