/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that are not read, or do not read: whatever they do meanwhile, the loop sleeps, and nothing that came
 * before their end is lost. */
#include "net_world.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

static struct world w;
static unsigned turns;

static int set_up(void **state)
{
    (void)state;
    world_open(&w);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

static void count_turn(uv_check_t *check)
{
    (void)check;
    turns++;
}

/* The loop turns only when the test's own timer ticks. */
static void sleeps(void)
{
    uv_check_t check;
    unsigned ticks = 0;

    world_turns(&w, 5);
    uv_check_init(&w.loop, &check);
    uv_check_start(&check, count_turn);
    turns = 0;
    PUMP_UNTIL(&w, ++ticks > 20);
    assert_true(turns <= 30);
    uv_close((uv_handle_t *)&check, NULL);
    world_turns(&w, 1);
}

static int paused_peer(void)
{
    int fd = raw_connect(world_listen(&w), 0);

    PUMP_UNTIL(&w, w.accepted && w.accepted->open);
    conn_pause(w.accepted->conn);
    return fd;
}

static void one_that_goes_on_sending(void **state)
{
    (void)state;
    int fd = paused_peer();
    raw_write(fd, "abc", 3);
    sleeps();
    raw_write(fd, "def", 3);
    sleeps();
    assert_int_equal(w.accepted->got.len, 0);
    conn_resume(w.accepted->conn);
    PUMP_UNTIL(&w, end_got(w.accepted, "abcdef"));
    close(fd);
    PUMP_UNTIL(&w, w.accepted->conn == NULL);
}

static void one_that_ends(void **state)
{
    (void)state;
    int fd = paused_peer();
    raw_write(fd, "abc", 3);
    close(fd);
    sleeps();
    assert_false(w.accepted->closed);
    conn_resume(w.accepted->conn);
    PUMP_UNTIL(&w, w.accepted->conn == NULL);
    assert_true(end_got(w.accepted, "abc"));
    assert_string_equal(w.accepted->why, "closed by the peer");
}

static void one_that_resets(void **state)
{
    (void)state;
    int fd = paused_peer();
    raw_write(fd, "abc", 3);
    raw_reset(fd);
    sleeps();
    assert_false(w.accepted->closed);
    conn_resume(w.accepted->conn);
    PUMP_UNTIL(&w, w.accepted->conn == NULL);
    assert_true(end_got(w.accepted, "abc"));
    assert_string_equal(w.accepted->why, "connection reset by peer");
}

/* Its side is shut: there is an end to be read all the time. */
static void one_that_ended_and_does_not_read(void **state)
{
    uint8_t *much = mem_alloc(16 << 20);

    (void)state;
    int fd = paused_peer();
    end_send(w.accepted, much, 16 << 20);
    shutdown(fd, SHUT_WR);
    sleeps();
    conn_resume(w.accepted->conn);
    sleeps();
    assert_true(w.accepted->closed);
    close(fd);
    PUMP_UNTIL(&w, w.accepted->conn == NULL);
    free(much);
}

static void one_that_does_not_read_and_resets(void **state)
{
    uint8_t *much = mem_alloc(16 << 20);

    (void)state;
    int fd = paused_peer();
    end_send(w.accepted, much, 16 << 20);
    sleeps();
    assert_true(conn_backlog(w.accepted->conn) > 4 << 20);
    raw_reset(fd);
    PUMP_UNTIL(&w, w.accepted->conn == NULL);
    assert_string_equal(w.accepted->why, "connection reset by peer");
    free(much);
}

static void one_that_reads_at_last(void **state)
{
    enum { SIZE = 16 << 20 };
    uint8_t *much = mem_alloc(SIZE);
    struct buf got = {0};

    (void)state;
    for (unsigned i = 0; i < SIZE; i++)
        much[i] = (uint8_t)(i * 2654435761u >> 24);
    int fd = paused_peer();
    end_send(w.accepted, much, SIZE);
    sleeps();
    PUMP_UNTIL(&w, raw_read(fd, &got) && got.len == SIZE);
    assert_memory_equal(got.data, much, SIZE);
    world_turns(&w, 5);
    assert_int_equal(conn_backlog(w.accepted->conn), 0);
    sleeps();
    close(fd);
    buf_free(&got);
    free(much);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(one_that_goes_on_sending),
        T(one_that_ends),
        T(one_that_resets),
        T(one_that_ended_and_does_not_read),
        T(one_that_does_not_read_and_resets),
        T(one_that_reads_at_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
