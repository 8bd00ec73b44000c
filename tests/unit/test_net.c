/* SPDX-License-Identifier: Apache-2.0 */
/* Connections over loopback: bytes both ways, back-pressure, and every way to end. */
#include "net_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

static struct world w;

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

static size_t echo(struct end *e, const uint8_t *data, size_t len)
{
    end_send(e, data, len);
    return len;
}

static void echoes_a_megabyte_in_odd_chunks(void **state)
{
    enum { SIZE = 1 << 20 };
    struct end *near, *far;
    uint8_t *sent = mem_alloc(SIZE);
    size_t at = 0;

    (void)state;
    end_pair(&w, &near, &far);
    far->take = echo;
    for (size_t i = 0; i < SIZE; i++)
        sent[i] = (uint8_t)(i * 7 + i / 251);
    for (size_t chunk = 1; at < SIZE; chunk = chunk * 5 % 9973 + 1) {
        size_t len = chunk < SIZE - at ? chunk : SIZE - at;
        end_send(near, sent + at, len);
        at += len;
        if (chunk % 3)
            world_turns(&w, 1);
    }
    PUMP_UNTIL(&w, near->got.len == SIZE);
    assert_memory_equal(near->got.data, sent, SIZE);
    assert_int_equal(conn_backlog(near->conn), 0);
    assert_int_equal(conn_backlog(far->conn), 0);
    free(sent);
}

/* Frames of a 32-bit length and a body; consumes whole frames only. */
static size_t take_frames(struct end *e, const uint8_t *data, size_t len)
{
    size_t used = 0;

    while (len - used >= 4) {
        struct cursor c = cursor_of(data + used, 4);
        size_t size = 4 + cursor_u32(&c);
        if (len - used < size)
            break;
        for (size_t i = 4; i < size; i++)
            assert_int_equal(data[used + i], (uint8_t)(e->n + i));
        used += size;
        e->n++;
    }
    return used;
}

static unsigned taken;

/* The same, and takes the memory of those that are given away. */
static size_t take_memory(struct end *e, const uint8_t *data, size_t len)
{
    size_t size = len < 4 ? 0 : 4 + (size_t)(data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3]);

    if (!size || len < size)
        return 0;
    uint8_t *memory = conn_take_input(e->conn, (struct bytes){data, size});
    assert_true(e->conn->taken == (memory != NULL));
    assert_int_equal(take_frames(e, data, size), size);
    taken += memory != NULL;
    free(memory);
    return memory ? size : size + take_frames(e, data + size, len - size);
}

static void test_frames(size_t (*take)(struct end *e, const uint8_t *data, size_t len))
{
    static const uint32_t sizes[] = {0,      1, 3,       100, 8000,  9000,  70000,
                                     300000, 5, 2000000, 1,   65536, 65532, 65531};
    struct end *near, *far;
    struct buf all = {0};

    end_pair(&w, &near, &far);
    far->take = take;
    for (unsigned i = 0; i < 200; i++) {
        uint32_t size = sizes[i % ARRAY_SIZE(sizes)] % (i < 28 ? 3000000 : 5000);
        buf_u32(&all, size);
        for (size_t k = 4; k < size + 4; k++)
            buf_u8(&all, (uint8_t)(i + k));
    }
    for (size_t at = 0, len; at < all.len; at += len) {
        len = at < 3000 ? 1 : 54321;
        len = len < all.len - at ? len : all.len - at;
        end_send(near, all.data + at, len);
        world_turns(&w, 1);
    }
    PUMP_UNTIL(&w, far->n == 200);
    buf_free(&all);
    /* Nothing stays behind at an idle connection. */
    assert_null(far->conn->in.data);
    assert_null(far->conn->out.data);
    assert_null(near->conn->out.data);
    assert_null(near->conn->lanes);
}

static void keeps_what_is_not_consumed(void **state)
{
    (void)state;
    test_frames(take_frames);
    test_frames(take_memory);
    assert_true(taken >= 3);
}

static size_t take_one_and_pause(struct end *e, const uint8_t *data, size_t len)
{
    (void)len;
    buf_append(&e->got, data, 1);
    conn_pause(e->conn);
    return 1;
}

static void pauses_with_kept_data(void **state)
{
    struct end *near, *far;

    (void)state;
    end_pair(&w, &near, &far);
    far->take = take_one_and_pause;
    end_say(near, "abc");
    PUMP_UNTIL(&w, far->got.len == 1);
    end_say(near, "def");
    world_turns(&w, 20);
    assert_true(end_got(far, "a"));
    conn_resume(far->conn);
    assert_true(end_got(far, "a")); /* never from within the call */
    PUMP_UNTIL(&w, far->got.len == 2);
    for (size_t i = 3; i <= 6; i++) {
        conn_resume(far->conn);
        PUMP_UNTIL(&w, far->got.len == i);
    }
    assert_true(end_got(far, "abcdef"));
}

static size_t pause_and_resume(struct end *e, const uint8_t *data, size_t len)
{
    (void)len;
    conn_pause(e->conn);
    conn_resume(e->conn);
    buf_append(&e->got, data, 1);
    return 1;
}

static void resumes_within_on_data(void **state)
{
    struct end *near, *far;

    (void)state;
    end_pair(&w, &near, &far);
    far->take = pause_and_resume;
    end_say(near, "all of it at once");
    PUMP_UNTIL(&w, far->got.len == 17);
    assert_true(end_got(far, "all of it at once"));
}

static size_t pause_other(struct end *e, const uint8_t *data, size_t len)
{
    struct end *other = e->arg;

    if (data[0] == 'p')
        conn_pause(other->conn);
    else
        conn_resume(other->conn);
    return len;
}

static void another_pauses_and_resumes(void **state)
{
    struct end *near, *far, *near2, *far2;

    (void)state;
    end_pair(&w, &near, &far);
    end_pair(&w, &near2, &far2);
    far2->take = pause_other;
    far2->arg = far;
    end_say(near2, "p");
    world_turns(&w, 20);
    end_say(near, "hello");
    world_turns(&w, 20);
    assert_int_equal(far->got.len, 0);
    end_say(near2, "r");
    PUMP_UNTIL(&w, far->got.len == 5);
}

static void tells_when_drained(void **state)
{
    enum { CHUNK = 100000, CHUNKS = 100 };
    struct end *near, *far;
    uint8_t *chunk = mem_alloc(CHUNK);

    (void)state;
    end_pair(&w, &near, &far);
    near->conn->high = 1000000;
    conn_pause(far->conn);
    for (int i = 0; i < CHUNKS; i++) {
        memset(chunk, i, CHUNK);
        end_send(near, chunk, CHUNK);
        world_turns(&w, 1);
    }
    assert_true(conn_backlog(near->conn) > 1000000);
    assert_int_equal(near->drains, 0);
    conn_resume(far->conn);
    PUMP_UNTIL(&w, far->got.len == (size_t)CHUNK * CHUNKS);
    PUMP_UNTIL(&w, near->drains == 1);
    assert_int_equal(conn_backlog(near->conn), 0);
    for (size_t i = 0; i < far->got.len; i++)
        assert_int_equal(far->got.data[i], i / CHUNK);
    free(chunk);
}

/* Too much for the socket buffer, but gone before the turn is over: that is told too. */
static void tells_when_drained_at_once(void **state)
{
    struct end *near, *far;

    (void)state;
    end_pair(&w, &near, &far);
    near->conn->high = 4;
    end_say(near, "1234");
    world_turns(&w, 5);
    assert_int_equal(near->drains, 0);
    end_say(near, "12345");
    PUMP_UNTIL(&w, near->drains == 1);
    PUMP_UNTIL(&w, far->got.len == 9);
}

/* --- ends --- */

static void close_it(struct end *e)
{
    conn_close(e->conn);
}

static void abort_it(struct end *e)
{
    conn_abort(e->conn);
}

static void close_other(struct end *e)
{
    struct end *other = e->arg;

    conn_close(other->conn);
}

static void abort_other(struct end *e)
{
    struct end *other = e->arg;

    conn_abort(other->conn);
}

static void (*const enders[])(struct end *) = {close_it, abort_it, close_other, abort_other};
static void (*end_in_data)(struct end *);

static size_t take_and_end(struct end *e, const uint8_t *data, size_t len)
{
    (void)data;
    end_in_data(e);
    return e->n ? len : 0;
}

static void ends_in_on_data(void **state)
{
    struct end *near, *far, *near2, *far2;

    (void)state;
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(enders); i++) {
        end_in_data = enders[i / 2];
        end_pair(&w, &near, &far);
        end_pair(&w, &near2, &far2);
        far->take = take_and_end;
        far->n = i % 2;
        far->arg = far2;
        end_say(near, "x");
        struct end *victim = i / 2 < 2 ? far : far2;
        PUMP_UNTIL(&w, victim->conn == NULL);
        assert_false(victim->has_why);
        PUMP_UNTIL(&w, (victim == far ? near : near2)->closed);
    }
}

static void end_in_open_accepted(struct end *e)
{
    e->opened = enders[e->world->accepts % 2];
}

static void ends_in_on_open(void **state)
{
    struct end *near[8];

    (void)state;
    uint16_t port = world_listen(&w);
    w.on_accept = end_in_open_accepted;
    for (unsigned i = 0; i < ARRAY_SIZE(near); i++)
        near[i] = end_connect(&w, "127.0.0.1", port);
    for (unsigned i = 0; i < ARRAY_SIZE(near); i++)
        PUMP_UNTIL(&w, near[i]->closed);
    w.on_accept = NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(near); i++) {
        near[i] = end_connect(&w, "127.0.0.1", port);
        near[i]->opened = enders[i % 2];
    }
    for (unsigned i = 0; i < ARRAY_SIZE(near); i++)
        PUMP_UNTIL(&w, near[i]->conn == NULL);
}

static void ends_in_on_drain(void **state)
{
    struct end *near, *far;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        end_pair(&w, &near, &far);
        near->conn->high = 1;
        near->drained = enders[i];
        end_say(near, "xyz");
        PUMP_UNTIL(&w, near->conn == NULL);
        PUMP_UNTIL(&w, far->closed);
    }
}

static void abort_again(struct end *e)
{
    conn_close(e->conn);
    conn_abort(e->conn);
    end_say(e, "into nothing");
    end_hold(e, 99, "into nothing");
}

static void ends_in_on_close(void **state)
{
    struct end *near, *far;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        end_pair(&w, &near, &far);
        near->ended = abort_again;
        far->ended = enders[i % 2];
        if (i < 2)
            conn_close(near->conn);
        else
            conn_abort(near->conn);
        assert_int_equal(near->closes, 1); /* before it returns */
        PUMP_UNTIL(&w, !near->conn && !far->conn);
        assert_true(far->has_why);
    }
}

static void ends_before_it_is_open(void **state)
{
    (void)state;
    uint16_t port = world_listen(&w);
    struct end *a = end_connect(&w, "127.0.0.1", port);
    struct end *b = end_connect(&w, "127.0.0.1", port);
    struct end *c = end_connect(&w, "localhost", port);
    conn_close(a->conn);
    conn_abort(b->conn);
    conn_close(c->conn);
    PUMP_UNTIL(&w, !a->conn && !b->conn && !c->conn);
    assert_false(a->open || b->open || c->open);
}

static void a_closed_one_takes_nothing(void **state)
{
    struct end *near, *far;

    (void)state;
    end_pair(&w, &near, &far);
    end_say(near, "last words");
    end_hold(near, 7, "never committed");
    conn_close(near->conn);
    end_say(near, "too late");
    end_hold(near, 0, "too late");
    PUMP_UNTIL(&w, far->closed);
    assert_true(end_got(far, "last words"));
    assert_string_equal(far->why, "closed by the peer");
}

static void what_is_committed_leaves_before_the_end(void **state)
{
    struct end *near, *far;

    (void)state;
    end_pair(&w, &near, &far);
    end_hold(near, 1, "one ");
    end_hold(near, 2, "two ");
    end_hold(near, 3, "three ");
    end_say(near, "free ");
    conn_close(near->conn);
    w.committed = 2;
    PUMP_UNTIL(&w, far->closed);
    assert_true(end_got(far, "free one two "));
}

/* The peer has sent what we do not read any more: closing at once would reset and destroy our last words. */
static void last_words_survive_unread_input(void **state)
{
    struct buf got = {0};

    (void)state;
    int fd = raw_connect(world_listen(&w), 0);
    PUMP_UNTIL(&w, w.accepted && w.accepted->open);
    struct end *e = w.accepted;
    conn_pause(e->conn);
    uint8_t *much = mem_alloc(100000);
    raw_write(fd, much, 100000);
    end_say(e, "refused because");
    conn_close(e->conn);
    world_turns(&w, 10);
    raw_write(fd, much, 100000);
    world_turns(&w, 10);
    assert_non_null(e->conn);
    PUMP_UNTIL(&w, !raw_read(fd, &got));
    assert_int_equal(got.len, 15);
    close(fd);
    PUMP_UNTIL(&w, e->conn == NULL);
    free(much);
    buf_free(&got);
}

/* It neither reads nor closes. */
static void a_deaf_peer_cannot_hold_us(void **state)
{
    uint8_t *much = mem_alloc(1 << 20);

    (void)state;
    int fd = raw_connect(world_listen(&w), 4096);
    PUMP_UNTIL(&w, w.accepted && w.accepted->open);
    struct end *e = w.accepted;
    for (int i = 0; i < 16; i++) {
        end_send(e, much, 1 << 20);
        world_turns(&w, 1);
    }
    assert_true(conn_backlog(e->conn) > 4 << 20);
    end_say(e, "one more");
    conn_close(e->conn);
    PUMP_UNTIL(&w, e->conn == NULL);
    close(fd);
    free(much);
}

static void an_idle_peer_that_never_closes_is_left(void **state)
{
    (void)state;
    int fd = raw_connect(world_listen(&w), 0);
    PUMP_UNTIL(&w, w.accepted && w.accepted->open);
    conn_close(w.accepted->conn);
    PUMP_UNTIL(&w, w.accepted->conn == NULL);
    close(fd);
}

static void a_reset_is_told(void **state)
{
    (void)state;
    uint16_t port = world_listen(&w);
    for (int i = 0; i < 3; i++) {
        int fd = raw_connect(port, 0);
        unsigned before = w.accepts;
        PUMP_UNTIL(&w, w.accepts > before && w.accepted->open);
        if (i == 2)
            conn_pause(w.accepted->conn); /* then only writing finds out */
        raw_reset(fd);
        if (i) {
            end_say(w.accepted, "anybody there?");
            end_hold(w.accepted, 1000, "?");
        }
        PUMP_UNTIL(&w, w.accepted->conn == NULL);
        assert_true(w.accepted->has_why);
        assert_true(strstr(w.accepted->why, "reset") || strstr(w.accepted->why, "broken pipe"));
    }
}

static void answers_a_peer_that_has_shut_its_side(void **state)
{
    struct buf got = {0};

    (void)state;
    int fd = raw_connect(world_listen(&w), 0);
    w.on_accept = NULL;
    PUMP_UNTIL(&w, w.accepted && w.accepted->open);
    w.accepted->take = echo;
    raw_write(fd, "question", 8);
    shutdown(fd, SHUT_WR);
    PUMP_UNTIL(&w, !raw_read(fd, &got));
    assert_int_equal(got.len, 8);
    PUMP_UNTIL(&w, w.accepted->conn == NULL);
    assert_string_equal(w.accepted->why, "closed by the peer");
    buf_free(&got);
    close(fd);
}

static void a_thousand_connections(void **state)
{
    enum { COUNT = 1000 };
    static struct end *near[COUNT];

    (void)state;
    uint16_t port = world_listen(&w);
    for (int i = 0; i < COUNT; i++)
        near[i] = end_connect(&w, "127.0.0.1", port);
    PUMP_UNTIL(&w, w.accepts == COUNT);
    for (int i = 0; i < COUNT; i++)
        PUMP_UNTIL(&w, near[i]->open);
    assert_int_equal(net_count(w.net), 2 * COUNT);
    list_for(it, &w.ends) list_entry(it, struct end, link)->take =
        list_entry(it, struct end, link)->n ? NULL : echo;
    for (int i = 0; i < COUNT; i++)
        near[i]->take = NULL;
    for (int i = 0; i < COUNT; i++)
        end_send(near[i], &i, sizeof(i));
    for (int i = 0; i < COUNT; i++) {
        PUMP_UNTIL(&w, near[i]->got.len == sizeof(i));
        assert_memory_equal(near[i]->got.data, &i, sizeof(i));
    }
}

static void tells_who_the_peer_is(void **state)
{
    struct end *near, *far;
    char name[64], expected[64];

    (void)state;
    end_pair(&w, &near, &far);
    conn_peer(near->conn, name);
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", listener_port(w.listener));
    assert_string_equal(name, expected);
    conn_peer(far->conn, name);
    assert_memory_equal(name, "127.0.0.1:", 10);
    assert_string_equal(conn_cipher(far->conn), "");
    assert_false(conn_peer_name(far->conn, name, sizeof(name)));
    conn_abort(far->conn);
    conn_peer(far->conn, name); /* still, for the log */
    assert_memory_equal(name, "127.0.0.1:", 10);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(echoes_a_megabyte_in_odd_chunks),
        T(keeps_what_is_not_consumed),
        T(pauses_with_kept_data),
        T(resumes_within_on_data),
        T(another_pauses_and_resumes),
        T(tells_when_drained),
        T(tells_when_drained_at_once),
        T(ends_in_on_data),
        T(ends_in_on_open),
        T(ends_in_on_drain),
        T(ends_in_on_close),
        T(ends_before_it_is_open),
        T(a_closed_one_takes_nothing),
        T(what_is_committed_leaves_before_the_end),
        T(last_words_survive_unread_input),
        T(a_deaf_peer_cannot_hold_us),
        T(an_idle_peer_that_never_closes_is_left),
        T(a_reset_is_told),
        T(answers_a_peer_that_has_shut_its_side),
        T(a_thousand_connections),
        T(tells_who_the_peer_is),
    };
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
