/* SPDX-License-Identifier: Apache-2.0 */
/* What both makers of stores keep: tickets in order, queues, reads that see what is not committed yet. */
#include "tests/unit/test_store_fixture.h"

static bool memory;

static int begin(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));

    fix_begin(f);
    *state = f;
    return fix_open(f, memory);
}

static int end(void **state)
{
    struct fixture *f = *state;

    fix_free_rows(f);
    fix_end(f);
    free(f);
    return 0;
}

static void tickets_are_done_in_order(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(store_done_ticket(f->s), 0);
    for (int i = 0; i < 50; i++) {
        store_ticket ticket = store_open_ticket(f->s);
        assert_true(ticket > store_done_ticket(f->s));
        fix_put(f, 1, (uint64_t)i);
        assert_int_equal(store_open_ticket(f->s), ticket);
        store_want(f->s);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    fix_settle(f);
    assert_int_equal(store_done_ticket(f->s), store_open_ticket(f->s) - 1);
}

static void a_wanted_ticket_of_nothing_is_done(void **state)
{
    struct fixture *f = *state;
    store_ticket ticket = store_open_ticket(f->s);

    store_want(f->s);
    while (f->told < ticket)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static void an_unwanted_batch_goes_by_itself(void **state)
{
    struct fixture *f = *state;

    fix_put(f, 1, 0);
    while (!f->told)
        uv_run(&f->loop, UV_RUN_ONCE);
    fix_read(f, 1, 0, 10, 1000);
    fix_expect(f, 1, 0, 1);
}

static void rows_come_back_in_order(void **state)
{
    struct fixture *f = *state;

    for (uint64_t seq = 0; seq < 300; seq++) {
        fix_put(f, 1, seq);
        fix_put(f, 2, seq + 1000);
    }
    fix_settle(f);
    fix_read(f, 1, 0, 1000, 1 << 20);
    fix_expect(f, 1, 0, 300);
    fix_read(f, 2, 1100, 50, 1 << 20);
    fix_expect(f, 2, 1100, 1150);
    fix_read(f, 3, 0, 50, 1 << 20);
    assert_int_equal(f->count, 0);
}

static void a_read_stops_at_bytes_but_gives_one_row(void **state)
{
    struct fixture *f = *state;

    for (uint64_t seq = 10; seq < 20; seq++)
        fix_put(f, 1, seq); /* 4 bytes each */
    fix_settle(f);
    fix_read(f, 1, 10, 10, 1);
    fix_expect(f, 1, 10, 11);
    fix_read(f, 1, 10, 10, 12);
    fix_expect(f, 1, 10, 13);
}

static void removed_rows_are_gone(void **state)
{
    struct fixture *f = *state;

    for (uint64_t seq = 0; seq < 100; seq++)
        fix_put(f, 1, seq);
    fix_settle(f);
    for (uint64_t seq = 0; seq < 40; seq++)
        store_queue_remove(f->s, 1, seq, seq + 1);
    store_queue_remove(f->s, 1, 60, 90);
    fix_settle(f);
    fix_read(f, 1, 0, 20, 1 << 20);
    fix_expect(f, 1, 40, 60);
    fix_read(f, 1, 60, 20, 1 << 20);
    fix_expect(f, 1, 90, 100);
}

static void a_released_row_is_empty(void **state)
{
    struct fixture *f = *state;

    for (uint64_t seq = 0; seq < 5; seq++)
        fix_put(f, 1, seq);
    fix_settle(f);
    store_queue_release(f->s, 1, 2);
    store_queue_release(f->s, 1, 77);
    fix_settle(f);
    fix_read(f, 1, 0, 10, 1 << 20);
    assert_int_equal(f->count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(f->rows[i].seq, i);
        assert_int_equal(f->rows[i].released, i == 2);
        assert_int_equal(f->rows[i].record.len, i == 2 ? 0 : 3);
    }
}

/* Rows on disk, in the running batch and in the open one, with removals and releases of each. */
static void a_read_sees_what_is_not_committed(void **state)
{
    struct fixture *f = *state;

    for (uint64_t seq = 0; seq < 10; seq++)
        fix_put(f, 1, seq);
    fix_settle(f);
    for (uint64_t seq = 10; seq < 20; seq++)
        fix_put(f, 1, seq);
    store_queue_remove(f->s, 1, 0, 3);
    store_want(f->s);
    store_submit(f->s);
    for (uint64_t seq = 20; seq < 30; seq++)
        fix_put(f, 1, seq);
    store_queue_remove(f->s, 1, 3, 5);
    store_queue_remove(f->s, 1, 12, 14);
    store_queue_release(f->s, 1, 7);
    store_queue_release(f->s, 1, 15);
    store_queue_release(f->s, 1, 25);
    fix_read(f, 1, 0, 1000, 1 << 20);
    assert_int_equal(f->count, 23);
    for (size_t i = 0; i < f->count; i++) {
        uint64_t seq = 5 + i + (i >= 7 ? 2 : 0);
        assert_int_equal(f->rows[i].seq, seq);
        assert_int_equal(f->rows[i].released, seq == 7 || seq == 15 || seq == 25);
    }
    fix_read(f, 1, 18, 5, 1 << 20);
    fix_expect(f, 1, 18, 23);
}

static void a_read_after_purge_is_empty(void **state)
{
    struct fixture *f = *state;

    for (uint64_t seq = 0; seq < 10; seq++)
        fix_put(f, 1, seq);
    store_session_purge(f->s, 1);
    fix_read(f, 1, 0, 100, 1 << 20);
    assert_int_equal(f->count, 0);
    fix_settle(f);
    while (!f->gone_count)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->gone[0], 1);
}

static int released_bodies;

static void count_release(void *owner)
{
    assert_ptr_equal(owner, &released_bodies);
    released_bodies++;
}

static void bodies_are_shared_and_released(void **state)
{
    struct fixture *f = *state;
    uint8_t *data = mem_alloc(200000);
    struct store_body body = {store_next_body(f->s), {data, 200000}, &released_bodies, count_release};

    for (size_t i = 0; i < 200000; i++)
        data[i] = (uint8_t)(i * 7 + i / 65536);
    assert_true(store_next_body(f->s) > body.id);
    released_bodies = 0;
    store_queue_put(f->s, 1, 0, bytes_of("one"), &body);
    store_queue_put(f->s, 2, 0, bytes_of("two"), &body);
    fix_read(f, 2, 0, 1, 1 << 20);
    assert_int_equal(f->count, 1);
    fix_settle(f);
    assert_int_equal(released_bodies, 2);
    store_queue_remove(f->s, 1, 0, 1);
    fix_settle(f);
    fix_read(f, 2, 0, 1, 1 << 20);
    assert_int_equal(f->count, 1);
    assert_int_equal(f->rows[0].body_id, body.id);
    assert_int_equal(f->rows[0].body.len, 200000);
    assert_memory_equal(f->rows[0].body.data, data, 200000);
    free(data);
}

static void a_sequence_that_is_taken_is_refused_alone(void **state)
{
    struct fixture *f = *state;
    struct store_stats stats;

    fix_put(f, 1, 5);
    fix_settle(f);
    fix_put(f, 2, 0);
    store_queue_put(f->s, 1, 5, bytes_of("other"), NULL);
    fix_put(f, 3, 0);
    fix_settle(f);
    store_get_stats(f->s, &stats);
    assert_int_equal(stats.refused, 1);
    assert_int_equal(stats.failures, 0);
    fix_read(f, 1, 0, 10, 1 << 20);
    fix_expect(f, 1, 5, 6);
    fix_read(f, 2, 0, 10, 1 << 20);
    fix_expect(f, 2, 0, 1);
    fix_read(f, 3, 0, 10, 1 << 20);
    fix_expect(f, 3, 0, 1);
}

static void closing_cancels_reads(void **state)
{
    struct fixture *f = *state;

    fix_put(f, 1, 0);
    f->read_back = false;
    store_queue_read(f->s, 1, 0, 1, 1000, fix_on_read, f);
    assert_int_equal(fix_close(f), 0);
    assert_true(f->read_back);
    assert_int_equal(f->read_err, -ECANCELED);
}

static void closing_releases_bodies(void **state)
{
    struct fixture *f = *state;
    struct store_body body = {
        store_next_body(f->s), {(const uint8_t *)"xyz", 3}, &released_bodies, count_release};

    released_bodies = 0;
    store_queue_put(f->s, 1, 0, bytes_of("one"), &body);
    assert_int_equal(fix_close(f), 0);
    assert_int_equal(released_bodies, 1);
}

static int begin_lingering(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));

    fix_begin(f);
    f->config.linger_idle_ms = 600000;
    f->config.batch_max = 1000;
    *state = f;
    return fix_open(f, false);
}

static void a_full_batch_does_not_linger(void **state)
{
    struct fixture *f = *state;
    char big[2000] = {0};

    fix_put(f, 1, 0);
    assert_false(store_full(f->s));
    store_queue_put(f->s, 1, 1, (struct bytes){(const uint8_t *)big, sizeof(big)}, NULL);
    assert_true(store_full(f->s));
    while (!f->told)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_false(store_full(f->s));
}

static void a_removal_rides_with_the_next_wanted_batch(void **state)
{
    struct fixture *f = *state;
    struct store_stats stats;

    fix_put(f, 1, 0);
    fix_settle(f);
    store_queue_remove(f->s, 1, 0, 1);
    for (int i = 0; i < 5; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    store_get_stats(f->s, &stats);
    assert_int_equal(stats.commits, 1);
    fix_put(f, 1, 1);
    fix_settle(f);
    store_get_stats(f->s, &stats);
    assert_int_equal(stats.commits, 2);
    fix_read(f, 1, 0, 10, 1000);
    fix_expect(f, 1, 1, 2);
}

#define BOTH(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest both[] = {
        BOTH(tickets_are_done_in_order),
        BOTH(a_wanted_ticket_of_nothing_is_done),
        BOTH(an_unwanted_batch_goes_by_itself),
        BOTH(rows_come_back_in_order),
        BOTH(a_read_stops_at_bytes_but_gives_one_row),
        BOTH(removed_rows_are_gone),
        BOTH(a_released_row_is_empty),
        BOTH(a_read_sees_what_is_not_committed),
        BOTH(a_read_after_purge_is_empty),
        BOTH(bodies_are_shared_and_released),
        BOTH(a_sequence_that_is_taken_is_refused_alone),
        BOTH(closing_cancels_reads),
        BOTH(closing_releases_bodies),
    };
    const struct CMUnitTest lingering[] = {
        cmocka_unit_test_setup_teardown(a_full_batch_does_not_linger, begin_lingering, end),
        cmocka_unit_test_setup_teardown(a_removal_rides_with_the_next_wanted_batch, begin_lingering, end),
    };

    memory = true;
    int failed = cmocka_run_group_tests_name("store_memory", both, NULL, NULL);
    memory = false;
    failed += cmocka_run_group_tests_name("store_sqlite", both, NULL, NULL);
    return failed + cmocka_run_group_tests_name("linger", lingering, NULL, NULL);
}
