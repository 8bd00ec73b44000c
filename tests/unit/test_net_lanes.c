/* SPDX-License-Identifier: Apache-2.0 */
/* The two lanes: what is held leaves in order and never before its ticket is done, what is free overtakes it,
 * and no packet is torn. Examples, then a random run against a model, then random orders of all events. */
#include "net_world.h"

#include <stdio.h>
#include <stdlib.h>
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

static uint32_t seed;

static uint32_t chance(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)seed * below >> 32);
}

static void held_waits_for_its_ticket(void **state)
{
    struct end *near, *far;

    (void)state;
    end_pair(&w, &near, &far);
    w.committed = 4;
    world_turns(&w, 1);
    end_hold(near, 5, "five ");
    end_hold(near, 6, "six ");
    assert_true(conn_holds(near->conn));
    assert_int_equal(conn_backlog(near->conn), 9);
    world_turns(&w, 20);
    assert_true(end_got(far, ""));
    w.committed = 5; /* nothing else touches the connection */
    PUMP_UNTIL(&w, far->got.len >= 5);
    world_turns(&w, 20);
    assert_true(end_got(far, "five "));
    assert_true(conn_holds(near->conn));
    w.committed = 6;
    PUMP_UNTIL(&w, end_got(far, "five six "));
    assert_false(conn_holds(near->conn));
    assert_null(near->conn->lanes);
}

static void held_leaves_in_the_turn_of_its_ticket(void **state)
{
    struct end *near, *far;

    (void)state;
    end_pair(&w, &near, &far);
    end_hold(near, 3, "a");
    w.committed = 3;
    world_turns(&w, 1);
    assert_int_equal(conn_backlog(near->conn), 0);
    end_hold(near, 2, "b"); /* done long ago */
    end_hold(near, 0, "c"); /* only in order */
    assert_false(conn_holds(near->conn));
    PUMP_UNTIL(&w, end_got(far, "abc"));
}

static void free_overtakes_held(void **state)
{
    struct end *near, *far;

    (void)state;
    end_pair(&w, &near, &far);
    end_hold(near, 1, "held ");
    end_say(near, "free ");
    end_hold(near, 0, "after held ");
    PUMP_UNTIL(&w, end_got(far, "free "));
    end_say(near, "free again ");
    w.committed = 1;
    PUMP_UNTIL(&w, far->got.len == 32);
    assert_true(end_got(far, "free free again held after held ") ||
                end_got(far, "free held after held free again "));
}

/* A lower ticket behind a higher one waits for the higher: order is kept. */
static void order_is_kept_when_tickets_fall(void **state)
{
    struct end *near, *far;

    (void)state;
    end_pair(&w, &near, &far);
    end_hold(near, 9, "nine ");
    end_hold(near, 3, "three ");
    end_hold(near, 10, "ten ");
    w.committed = 5;
    world_turns(&w, 20);
    assert_true(end_got(far, ""));
    w.committed = 9;
    PUMP_UNTIL(&w, end_got(far, "nine three "));
    w.committed = 10;
    PUMP_UNTIL(&w, end_got(far, "nine three ten "));
}

static unsigned large; /* payloads that have not been dropped */

static void drop_large(void *owner)
{
    large--;
    free(owner);
}

/* Appends a part that is referenced. */
static void append_large(struct conn *c, struct buf *lane, uint8_t fill, size_t len)
{
    uint8_t *body = memset(mem_alloc(len), fill, len);

    large++;
    conn_append_large(c, lane, (struct bytes){body, len}, body, drop_large);
}

static void large_parts_are_in_order(void **state)
{
    static char expected[300000 + 16];
    struct end *near, *far;

    (void)state;
    end_pair(&w, &near, &far);
    struct buf *lane = conn_held_lane(near->conn, 5);
    buf_append(lane, "one ", 4);
    append_large(near->conn, lane, 'x', 300000);
    end_hold(near, 5, "two ");
    end_hold(near, 6, "three ");
    end_say(near, "free ");
    assert_int_equal(conn_backlog(near->conn), 300019);
    PUMP_UNTIL(&w, end_got(far, "free "));
    far->got.len = 0;
    w.committed = 6;
    PUMP_UNTIL(&w, far->got.len == 300014);
    memcpy(expected, "one ", 4);
    memset(expected + 4, 'x', 300000);
    memcpy(expected + 300004, "two three ", 11);
    assert_true(end_got(far, expected));
    assert_int_equal(large, 0);
    assert_int_equal(conn_backlog(near->conn), 0);
    assert_null(near->conn->lanes);
}

/* --- the model: what the reader sees is judged packet by packet --- */

struct model {
    struct end *from;
    uint32_t sent[2], seen[2]; /* packets by lane; 1: held */
    uint64_t *tickets;         /* that held packet n depends on, or an earlier one in the lane */
    struct buf got;
    size_t at;
};

static void model_send(struct model *m, bool held, uint64_t ticket, uint32_t len)
{
    struct buf *b = held ? conn_held_lane(m->from->conn, ticket) : conn_free_lane(m->from->conn);
    uint32_t n = m->sent[held]++;

    if (held) {
        m->tickets = mem_resize(m->tickets, m->sent[1] * sizeof(*m->tickets));
        m->tickets[n] = n && m->tickets[n - 1] > ticket ? m->tickets[n - 1] : ticket;
    }
    buf_u8(b, held);
    buf_u32(b, n);
    buf_u32(b, len);
    if (len > 1000 && chance(2))
        append_large(m->from->conn, b, (uint8_t)(n * 31 + held), len);
    else
        memset(buf_extend(b, len), (uint8_t)(n * 31 + held), len);
}

static void model_judge(struct model *m)
{
    for (;;) {
        struct cursor c = cursor_of(m->got.data + m->at, m->got.len - m->at);
        uint8_t held = cursor_u8(&c);
        uint32_t n = cursor_u32(&c), len = cursor_u32(&c);
        struct bytes body = cursor_bytes(&c, c.failed ? 0 : len);
        if (c.failed)
            break;
        assert_true(held <= 1);
        assert_int_equal(n, m->seen[held]++);
        if (held)
            assert_true(m->tickets[n] <= w.committed);
        for (size_t i = 0; i < body.len; i++)
            assert_int_equal(body.data[i], (uint8_t)(n * 31 + held));
        m->at += 9 + len;
    }
    assert_true(m->seen[0] <= m->sent[0] && m->seen[1] <= m->sent[1]);
    buf_consume(&m->got, m->at);
    m->at = 0;
}

static bool model_all_seen(const struct model *m)
{
    return m->seen[0] == m->sent[0] && m->seen[1] == m->sent[1];
}

static bool model_read(struct model *m, int fd)
{
    bool more = raw_read(fd, &m->got);

    model_judge(m);
    return more;
}

/* At the end everything that was free, and nothing that is not done, has arrived. */
static void random_lanes(uint32_t with)
{
    struct model m = {0};
    uint64_t open = 1;

    seed = with;
    int fd = raw_connect(w.listener ? listener_port(w.listener) : world_listen(&w), chance(2) ? 2000 : 0);
    unsigned before = w.accepts;
    PUMP_UNTIL(&w, w.accepts > before && w.accepted->open);
    m.from = w.accepted;
    for (int step = 0; step < 1500; step++) {
        uint32_t len = chance(with % 2 ? 8 : 2) ? chance(60) : chance(200000);
        switch (chance(8)) {
        case 0:
        case 1:
            model_send(&m, false, 0, len);
            break;
        case 2:
        case 3:
        case 4:
            model_send(&m, true, chance(4) ? open : chance((uint32_t)open + 1), len);
            break;
        case 5:
            open++;
            w.committed += chance((uint32_t)(open - w.committed) + 1);
            break;
        case 6:
            world_turns(&w, (int)chance(3));
            break;
        default:
            if (with % 3 && chance(3)) /* else the socket fills up, and packets leave in parts */
                assert_true(model_read(&m, fd));
        }
    }
    PUMP_UNTIL(&w, model_read(&m, fd) && m.seen[0] == m.sent[0]);
    w.committed = open;
    PUMP_UNTIL(&w, model_read(&m, fd) && model_all_seen(&m));
    assert_int_equal(m.got.len, 0);
    assert_int_equal(conn_backlog(m.from->conn), 0);
    close(fd);
    PUMP_UNTIL(&w, m.from->conn == NULL);
    assert_int_equal(large, 0);
    buf_free(&m.got);
    free(m.tickets);
    w.committed = 0;
}

static void random_lanes_fit_the_model(void **state)
{
    (void)state;
    for (uint32_t with = 1; with <= 12; with++) {
        random_lanes(with);
        world_close(&w);
        world_open(&w);
    }
}

/* --- random orders of events: whatever happens, every connection opens at most once, ends once, is buried
 * once --- */

enum { LIVE = 24 };
static struct end *live[LIVE];

static void act(struct end *e);

static struct end *any(void)
{
    return live[chance(LIVE)];
}

static void maybe_act(struct end *e)
{
    if (!chance(3))
        act(e);
    if (!chance(4))
        act(any());
}

static size_t random_take(struct end *e, const uint8_t *data, size_t len)
{
    (void)data;
    maybe_act(e);
    return chance(3) ? len : chance((uint32_t)len + 1);
}

static void equip(struct end *e)
{
    e->take = random_take;
    e->opened = e->drained = e->ended = maybe_act;
    e->conn->high = chance(2) ? 0 : chance(100000);
    live[chance(LIVE)] = e;
}

static void act(struct end *e)
{
    static const char much[60000];

    if (!e || !e->conn)
        return;
    struct buf *lane;
    switch (chance(13)) {
    case 0:
        conn_close(e->conn);
        break;
    case 1:
        if (!chance(3))
            conn_abort(e->conn);
        break;
    case 2:
        conn_pause(e->conn);
        break;
    case 3:
    case 4:
        conn_resume(e->conn);
        break;
    case 5:
        conn_pause(e->conn);
        conn_resume(e->conn);
        break;
    case 6:
    case 7:
        end_hold(e, w.committed + chance(3), "held");
        break;
    case 8:
        end_send(e, much, chance(sizeof(much)));
        break;
    case 9:
        lane = chance(2) ? conn_free_lane(e->conn) : conn_held_lane(e->conn, w.committed + chance(3));
        buf_u8(lane, 1);
        append_large(e->conn, lane, 1, 1 + chance(1000000));
        break;
    default:
        end_say(e, "some words");
    }
}

static void random_orders_of_events(void **state)
{
    (void)state;
    for (uint32_t with = 1; with <= 6; with++) {
        seed = with * 7919;
        memset(live, 0, sizeof(live));
        uint16_t port = world_listen(&w);
        w.on_accept = equip;
        for (int step = 0; step < 4000; step++) {
            uint32_t what = chance(10);
            if (what == 0 && net_count(w.net) < LIVE * 2)
                equip(end_connect(&w, chance(8) ? "127.0.0.1" : "localhost", chance(10) ? port : 1));
            else if (what < 5)
                act(any());
            else if (what == 5)
                w.committed++;
            else
                world_turns(&w, 1);
        }
        world_close(&w);
        assert_int_equal(large, 0);
        world_open(&w);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(held_waits_for_its_ticket), T(held_leaves_in_the_turn_of_its_ticket),
        T(free_overtakes_held),       T(order_is_kept_when_tickets_fall),
        T(large_parts_are_in_order),  T(random_lanes_fit_the_model),
        T(random_orders_of_events),
    };
    return cmocka_run_group_tests_name("net lanes", tests, NULL, NULL);
}
