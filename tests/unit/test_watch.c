/* SPDX-License-Identifier: Apache-2.0 */
/* What is looked at without waiting for readings: the newest value is one only while it is good and not old.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/watch.h"

static struct reading_point good(uint64_t u)
{
    return (struct reading_point){.name = "p", .value = {.kind = VALUE_UINT, .u = u}};
}

static void a_value_stands_while_it_is_good_and_new(void **state)
{
    struct watches all = {0};
    struct watched *w = watch_open(&all, "d", "g", "p");
    struct reading_point p = good(7);
    struct value v;

    (void)state;
    assert_false(watch_value(w, 1, &v));
    watch_take(w, &p, 1000, 500);
    assert_true(watch_value(w, 1500, &v));
    assert_int_equal(v.u, 7);
    assert_false(watch_value(w, 1501, &v)); /* another reading should have come */
    p = good(8);
    watch_take(w, &p, 2000, 0);
    assert_true(watch_value(w, UINT64_MAX, &v));
    for (enum quality q = QUALITY_GOOD; q < QUALITY_COUNT; q++) {
        p.quality = q;
        watch_take(w, &p, 3000, 500);
        assert_int_equal(watch_value(w, 3000, &v), quality_has_value(q));
    }
    p = good(9);
    watch_take(w, &p, 4000, 500);
    watch_lose(w); /* the line has gone */
    assert_false(watch_value(w, 4000, &v));
    watch_close(&all, w);
}

static void a_text_is_its_own(void **state)
{
    struct watches all = {0};
    struct watched *w = watch_open(&all, "d", "g", "p");
    char text[] = "Pump 7";
    struct reading_point p = {.name = "p", .value = {.kind = VALUE_TEXT, .len = 4, .text = text}};
    struct value v;

    (void)state;
    watch_take(w, &p, 1, 0);
    memset(text, 'x', sizeof text - 1);
    assert_true(watch_value(w, 1, &v));
    assert_int_equal(v.len, 4);
    assert_memory_equal(v.text, "Pump", 4);
    watch_take(w, &p, 2, 0);
    watch_close(&all, w);
}

static void those_who_look_share_and_are_found_by_name(void **state)
{
    struct watches all = {0};
    struct watched *a = watch_open(&all, "d", "g", "p"), *b = watch_open(&all, "d", "g", "p");
    unsigned round = all.round;
    struct watched *other = watch_open(&all, "d", "g", "q");

    (void)state;
    assert_ptr_equal(a, b);
    assert_ptr_equal(watch_find(&all, "d", "g", "p"), a);
    assert_null(watch_find(&all, "d", "h", "p"));
    assert_int_not_equal(all.round, round);
    watch_close(&all, a);
    assert_ptr_equal(watch_find(&all, "d", "g", "p"), b);
    round = all.round;
    watch_close(&all, b);
    assert_null(watch_find(&all, "d", "g", "p"));
    assert_int_not_equal(all.round, round);
    watch_close(&all, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_stands_while_it_is_good_and_new),
        cmocka_unit_test(a_text_is_its_own),
        cmocka_unit_test(those_who_look_share_and_are_found_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
