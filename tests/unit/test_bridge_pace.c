/* SPDX-License-Identifier: Apache-2.0 */
/* How long a bridge waits between tries, and how fast its backlog drains. Time is given, never taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bridge/backoff.h"
#include "bridge/pace.h"

static void test_backoff_bounds(void **state)
{
    struct backoff b = {1000, 60000, 0};

    (void)state;
    /* The first wait lies between the minimum and three times the minimum. */
    assert_int_equal(backoff_next(&b, 0), 1000);
    backoff_reset(&b);
    assert_int_equal(backoff_next(&b, UINT32_MAX), 3000);
    assert_int_equal(backoff_next(&b, UINT32_MAX), 9000);
    assert_int_equal(backoff_next(&b, UINT32_MAX), 27000);
    assert_int_equal(backoff_next(&b, UINT32_MAX), 60000);
    assert_int_equal(backoff_next(&b, UINT32_MAX), 60000);
    /* However long the last one was, the next can be short again. */
    assert_int_equal(backoff_next(&b, 0), 1000);
}

static void test_backoff_spreads(void **state)
{
    enum { BOXES = 1000, BINS = 10 };
    unsigned bins[BINS] = {0};

    (void)state;
    srand(1);
    for (int i = 0; i < BOXES; i++) {
        struct backoff b = {1000, 60000, 20000};
        uint32_t wait = backoff_next(&b, (uint32_t)rand() << 1 ^ (uint32_t)rand());
        assert_in_range(wait, 1000, 60000);
        bins[(wait - 1000) * BINS / 59001]++;
    }
    for (int i = 0; i < BINS; i++)
        assert_in_range(bins[i], BOXES / BINS / 2, BOXES / BINS * 2);
}

static void test_backoff_slow(void **state)
{
    struct backoff b = {1000, 60000, 0}, narrow = {500, 600, 0}, one = {700, 700, 0};

    (void)state;
    assert_int_equal(backoff_slow(&b, 0), 30000);
    assert_int_equal(backoff_slow(&b, UINT32_MAX), 60000);
    assert_int_equal(backoff_slow(&narrow, 0), 500);
    assert_int_equal(backoff_next(&one, 12345), 700);
    assert_int_equal(backoff_next(&one, UINT32_MAX), 700);
}

/* How many go from start to end, when tail grows by live_rate a second and the time passes in steps of a ms.
 */
static uint64_t drained(uint32_t rate, uint32_t live_rate, uint64_t backlog, uint64_t ms)
{
    struct pace p;
    uint64_t sent = 0;

    pace_start(&p, rate, 0, backlog);
    for (uint64_t now = 0; now < ms; now++) {
        uint64_t tail = backlog + now * live_rate / 1000;
        while (sent < tail && pace_ready(&p, now * 1000, tail)) {
            pace_take(&p);
            sent++;
        }
    }
    return sent;
}

static void test_pace_limits_the_backlog(void **state)
{
    (void)state;
    assert_in_range(drained(100, 0, 100000, 10000), 990, 1010);
    assert_in_range(drained(2000, 0, 100000, 10000), 19900, 20100);
    assert_in_range(drained(1, 0, 100000, 10000), 9, 11);
    assert_int_equal(drained(0, 0, 100000, 10000), 100000);
}

/* Live data comes on top: 10 s of a backlog at 100/s and of live data at 5,000/s. */
static void test_pace_lets_live_data_through(void **state)
{
    (void)state;
    assert_in_range(drained(100, 5000, 100000, 10000), 50900, 51100);
    assert_in_range(drained(1, 10, 100000, 100000), 1090, 1110);
    /* and without a backlog all of it goes at once */
    assert_in_range(drained(1, 1000, 0, 10000), 9990, 10000);
}

static void test_pace_does_not_save_up(void **state)
{
    struct pace p;
    unsigned burst = 0;

    (void)state;
    pace_start(&p, 10, 0, 1000);
    for (uint64_t hour = 3600000000; pace_ready(&p, hour, 1000); burst++)
        pace_take(&p);
    assert_int_equal(burst, 10);
}

static void test_pace_says_when(void **state)
{
    struct pace p;
    uint64_t now = 0;

    (void)state;
    pace_start(&p, 3, now, 1000);
    for (int i = 0; i < 100; i++) {
        while (pace_ready(&p, now, 1000))
            pace_take(&p);
        uint32_t wait = pace_wait_ms(&p);
        assert_in_range(wait, 1, 335);
        now += (uint64_t)wait * 1000;
        assert_true(pace_ready(&p, now, 1000));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backoff_bounds),
        cmocka_unit_test(test_backoff_spreads),
        cmocka_unit_test(test_backoff_slow),
        cmocka_unit_test(test_pace_limits_the_backlog),
        cmocka_unit_test(test_pace_lets_live_data_through),
        cmocka_unit_test(test_pace_does_not_save_up),
        cmocka_unit_test(test_pace_says_when),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
