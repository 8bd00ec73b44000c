/* SPDX-License-Identifier: Apache-2.0 */
/* Limits by address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "broker/places.h"

enum { WINDOW_MS = 1000, MOST = 100 };

struct mine {
    struct place place;
    uint32_t seen;
};

static uv_loop_t loop;
static struct places *p;

static int set_up(void **state)
{
    (void)state;
    uv_loop_init(&loop);
    p = places_new(&loop, MOST, WINDOW_MS, sizeof(struct mine));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    places_free(p);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

/* Once more from there: was it allowed? */
static bool once(const char *peer)
{
    struct place *place = place_enter(p, peer);
    bool may = place_may(place);

    if (may)
        place_spend(place);
    place_leave(place);
    return may;
}

static unsigned times(const char *peer)
{
    unsigned n = 0;

    while (n < 1000 && once(peer))
        n++;
    return n;
}

static void counts_by_address(void **state)
{
    (void)state;
    places_limit(p, 7);
    assert_int_equal(times("192.0.2.7:1"), 7);
    assert_int_equal(times("192.0.2.7:2"), 0);
    assert_int_equal(times("192.0.2.8:1"), 7);
    assert_int_equal(times("[::ffff:192.0.2.8]:1"), 0);
    assert_int_equal(times("[2001:db8:0:1::1]:1"), 7);
    assert_int_equal(times("[2001:db8:0:1:ffff::2]:1"), 0);
    assert_int_equal(times("[2001:db8:0:2::1]:1"), 7);
    places_limit(p, 999);
    assert_int_equal(times("192.0.2.9:1"), 999);
}

static void does_not_limit_what_has_no_address(void **state)
{
    (void)state;
    places_limit(p, 1);
    assert_int_equal(times("unix"), 1000);
    assert_int_equal(times(""), 1000);
    places_limit(p, 0);
    assert_int_equal(times("192.0.2.7:1"), 1000);
}

static void a_new_limit_holds_at_once(void **state)
{
    (void)state;
    places_limit(p, 3);
    assert_int_equal(times("192.0.2.7:1"), 3);
    places_limit(p, 6);
    assert_int_equal(times("192.0.2.7:1"), 0); /* the whole window is spent */
    assert_int_equal(times("192.0.2.8:1"), 6);
}

/* The one that was left longest ago is forgotten for a new one; whoever is inside is not. */
static void remembers_a_bounded_number(void **state)
{
    char peer[32];

    (void)state;
    places_limit(p, 1);
    struct place *inside = place_enter(p, "198.51.100.1:1");
    place_spend(inside);
    for (int i = 0; i < MOST + 20; i++) {
        snprintf(peer, sizeof(peer), "10.0.0.%d:1", i);
        assert_true(once(peer));
    }
    assert_true(once("10.0.0.0:1"));
    assert_false(once("10.0.0.119:1"));
    assert_false(place_may(inside));
    place_leave(inside);
    assert_false(once("198.51.100.1:9"));
}

static void keeps_what_its_user_adds(void **state)
{
    (void)state;
    struct place *place = place_enter(p, "192.0.2.7:1");
    struct mine *mine = (struct mine *)place;
    assert_int_equal(mine->seen, 0);
    mine->seen = 5;
    assert_ptr_equal(place_enter(p, "192.0.2.7:2"), place);
    place_leave(place);
    assert_int_equal(mine->seen, 5);
    place_leave(place); /* nothing is held against it: it is forgotten */
    place = place_enter(p, "192.0.2.7:1");
    assert_int_equal(((struct mine *)place)->seen, 0);
    place_leave(place);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(counts_by_address),         TEST(does_not_limit_what_has_no_address),
        TEST(a_new_limit_holds_at_once), TEST(remembers_a_bounded_number),
        TEST(keeps_what_its_user_adds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
