/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges on a bad line, on a virtual clock: the simulator's slaves put the time of the read (in
 * microseconds) and each register's own address into their registers, so an accepted reply proves when it was
 * made and for which address. What is accepted must have been made in its own exchange. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drivers/modbus/crc.h"
#include "drivers/modbus/exchange.h"
#include "drivers/modbus/value.h"
#include "drivers/sim/sim.h"

/* A register of stamps wraps, so they are doubles: exact to the microsecond for 285 years. Ranges of 20
 * registers at 0, 200 and 400: a stamp, then 16 constants that grow by one with the address. */
#define TABLE(name)                                                                                          \
    name " = ( { name = \"t0\"; at = 0; type = \"float64\"; value = \"ramp\"; to = 1000000000000.0; period " \
         "= "                                                                                                \
         "\"1000000s\"; }, { name = \"a0\"; at = 4; count = 16; constant = 4; spread = 1; },"                \
         "{ name = \"t1\"; at = 200; type = \"float64\"; value = \"ramp\"; to = 1000000000000.0; period = "  \
         "\"1000000s\"; }, { name = \"a1\"; at = 204; count = 16; constant = 204; spread = 1; },"            \
         "{ name = \"t2\"; at = 400; type = \"float64\"; value = \"ramp\"; to = 1000000000000.0; period = "  \
         "\"1000000s\"; }, { name = \"a2\"; at = 404; count = 16; constant = 404; spread = 1; } );"
#define STATION(unit, faults)                                                                                \
    "{ name = \"u" #unit "\"; unit = " #unit "; turnaround_us = 2000; jitter_us = 1500; " TABLE("holding")   \
        TABLE("input") " faults = (" faults "); }"

struct world {
    struct sim *sim;
    struct exchange x;
    uint64_t now_us, lump_us; /* lump: how long an adapter may keep bytes back */
    uint64_t asked_us;        /* of the last request sent */
    unsigned exchanges, ok, timeouts, crc, exceptions, busy, other_shapes, wrong;
};

static void open_world(struct world *w, const char *line, const char *stations, uint64_t lump_us,
                       uint64_t seed)
{
    char path[] = "/tmp/exchange_test_XXXXXX", error[2048] = "";
    struct sim_options options = {.seed = seed};
    char *text = mem_format("%s\nstations = (%s);\n", line, stations);
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    *w = (struct world){.now_us = 1000000, .lump_us = lump_us};
    if (sim_open_virtual(&w->sim, path, &options, error, sizeof error))
        fail_msg("%s", error);
    unlink(path);
    free(text);
    exchange_init(&w->x, rtu_timing(19200, 11));
    exchange_reset(&w->x, w->now_us);
    srand((unsigned)seed);
}

/* What is there by now, or comes in the next while: at most until until_us. */
static void listen(struct world *w, uint64_t until_us)
{
    struct sim_byte bytes[300];
    uint64_t step = 1 + (uint64_t)rand() % w->lump_us;
    uint64_t to = w->now_us + step < until_us ? w->now_us + step : until_us;
    size_t got = sim_exchange(w->sim, w->now_us, NULL, 0, to, bytes, ARRAY_SIZE(bytes));

    w->now_us = to;
    for (size_t i = 0; i < got; i++)
        exchange_bytes(&w->x, &bytes[i].value, 1, w->now_us);
}

static void run(struct world *w)
{
    for (;;) {
        uint64_t until;
        switch (exchange_step(&w->x, w->now_us, &until)) {
        case EXCHANGE_SEND:
            w->asked_us = w->now_us;
            sim_exchange(w->sim, w->now_us, w->x.frame, w->x.frame_len, w->now_us, NULL, 0);
            exchange_sent(&w->x, w->now_us);
            break;
        case EXCHANGE_WAIT:
            listen(w, until > w->now_us ? until : w->now_us + 1);
            break;
        case EXCHANGE_DONE:
            return;
        case EXCHANGE_IDLE:
            fail_msg("idle in an exchange");
        }
    }
}

static void ask(struct world *w, uint8_t unit, const struct plan_block *b)
{
    uint8_t frame[8] = {unit, (uint8_t)b->table, (uint8_t)(b->address >> 8), (uint8_t)b->address,
                        0,    (uint8_t)b->count};

    crc_append(frame, 6);
    struct exchange_request r = {.frame = {frame, 8},
                                 .reply_len = 5 + table_bytes(b->table, b->count),
                                 .response_us = 100000,
                                 .holdoff_us = 30000};
    exchange_begin(&w->x, &r, w->now_us);
    run(w);
    w->exchanges++;
    w->ok += w->x.verdict == EXCHANGE_OK;
    w->timeouts += w->x.verdict == EXCHANGE_TIMEOUT;
    w->crc += w->x.verdict == EXCHANGE_CRC;
    w->exceptions += w->x.verdict == EXCHANGE_EXCEPTION;
    w->busy += w->x.verdict == EXCHANGE_BUSY;
}

/* The stamp lies between our sending and the reply's end, and the other registers hold their addresses. */
static void check_values(struct world *w, const struct plan_block *b)
{
    const uint8_t *data = w->x.reply + 3;
    uint64_t bits = 0;
    double stamp;
    bool wrong = false;

    for (unsigned i = 0; i < 8; i++)
        bits = bits << 8 | data[i];
    memcpy(&stamp, &bits, sizeof stamp);
    wrong = stamp < (double)w->asked_us - 2 || stamp > (double)w->x.done_us + 2;
    for (unsigned i = 4; i < b->count; i++)
        wrong = wrong || (data[2 * i] << 8 | data[2 * i + 1]) != b->address + (int)i;
    w->wrong += wrong;
}

static bool cut_behind_the_stamp(void *arg, unsigned address)
{
    (void)arg;
    return address % 200 >= 4;
}

static const struct plan_limits no_limits = {.registers = PLAN_REGISTERS_MAX, .bits = PLAN_BITS_MAX};

/* As the poller asks: in another shape, where an open request has the same. */
static void poll_block(struct world *w, uint8_t unit, const struct plan_block *b)
{
    struct late *l = &w->x.late[unit];
    struct plan_block parts[2];

    late_expire(l, w->now_us);
    unsigned count = late_parts(l, b, &no_limits, cut_behind_the_stamp, NULL, parts);
    w->other_shapes += count != 1 || parts[0].count != b->count;
    assert_int_not_equal(count, 0);
    /* The second part has only registers that show their address. */
    ask(w, unit, &parts[0]);
    if (w->x.verdict == EXCHANGE_OK)
        check_values(w, &parts[0]);
    if (count == 2)
        ask(w, unit, &parts[1]);
}

static void poll_many(struct world *w, unsigned polls, unsigned units)
{
    static const uint16_t starts[] = {0, 200, 400};
    static const uint16_t lengths[] = {4, 5, 12, 20};

    for (unsigned i = 0; i < polls; i++) {
        struct plan_block b = {rand() % 4 ? TABLE_HOLDING : TABLE_INPUT, starts[rand() % 3],
                               lengths[rand() % 4]};
        poll_block(w, (uint8_t)(1 + (unsigned)rand() % units), &b);
    }
}

static void report(const char *name, struct world *w)
{
    struct sim_counts c;

    sim_counts(w->sim, &c);
    printf("%s: %u exchanges, %u ok, %u timeouts, %u crc, %u exceptions, %u in other shapes, %llu late, %llu "
           "foreign, %llu "
           "stray; %llu faults; %u wrong\n",
           name, w->exchanges, w->ok, w->timeouts, w->crc, w->exceptions, w->other_shapes,
           (unsigned long long)w->x.counts.frames_late, (unsigned long long)w->x.counts.frames_foreign,
           (unsigned long long)w->x.counts.bytes_stray, (unsigned long long)c.faults, w->wrong);
    assert_int_equal(w->wrong, 0);
    /* Who speaks unasked may begin while our request is already on its way: only without faults all are kept.
     */
    if (!c.faults)
        assert_int_equal(c.short_silences, 0);
    assert_int_equal(c.undetectable, 0);
    sim_close(w->sim);
}

static void a_good_line_is_good(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, "baud = 19200; format = \"8E1\";", STATION(1, "") ", " STATION(2, ""), 500, 1);
    poll_many(&w, 500, 2);
    assert_int_equal(w.ok, 500);
    assert_int_equal(w.other_shapes, 0);
    report("good", &w);
}

#define FAULT(kind) "{ kind = \"" kind "\"; chance = 40000; },"
#define LATE(delay) "{ kind = \"late\"; chance = 30000; delay = \"" delay "\"; },"

/* 21,000 polls, a third of them hit by one or more of all the faults that there are, with adapters that hand
 * bytes over at once, in lumps of 2 ms and of 16 ms. Unit 1 is late, unit 2 says the wrong thing: both at
 * once (a late reply that also claims another length) is a lie that no master can see. */
static void no_fault_makes_a_wrong_value(void **state)
{
    static const uint64_t lumps[] = {100, 2000, 16000};
    const char *stations = STATION(
        1, FAULT("truncate") FAULT("double") FAULT("drop") FAULT("glue") FAULT("echo") FAULT("glitch")
               FAULT("silence") LATE("90ms") LATE("110ms")
                   LATE("170ms") "{ kind = \"late\"; chance = 30000; delay = \"450ms\"; "
                                 "}") ", " STATION(2, FAULT("truncate") FAULT("double") FAULT("drop")
                                                          FAULT("glue") FAULT("echo") FAULT("unit")
                                                              FAULT("function") FAULT("count") "{ kind = "
                                                                                               "\"foreign\";"
                                                                                               " chance = "
                                                                                               "40000; }");

    const char *more = getenv("POLLS"); /* for a long run */
    unsigned polls = more ? (unsigned)atoi(more) : 7000;

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(lumps); i++) {
        struct world w;
        open_world(
            &w,
            "baud = 19200; format = \"8E1\"; faults = ( { kind = \"flip\"; ppm = 100; on = \"both\"; } );",
            stations, lumps[i], 100 + i);
        poll_many(&w, polls, 2);
        assert_true(w.ok > polls / 2);
        assert_true(w.x.counts.frames_late > 100);
        assert_true(w.crc > 200 && w.timeouts > 200);
        report("faulty", &w);
    }
}

/* One unit, one address, one length; each tenth reply comes after the timeout and most of those after the
 * hold-off. */
static void late_replies_are_never_the_next_answer(void **state)
{
    struct plan_block b = {TABLE_HOLDING, 0, 5};
    struct world w;

    (void)state;
    open_world(&w, "baud = 19200; format = \"8E1\";",
               STATION(1, "{ kind = \"late\"; chance = 100000; delay = \"120ms\"; }, { kind = \"late\"; "
                          "chance = 100000; delay = \"160ms\"; },"
                          "{ kind = \"late\"; chance = 100000; delay = \"700ms\"; }"),
               1000, 3);
    for (int i = 0; i < 3000; i++)
        poll_block(&w, 1, &b);
    assert_true(w.x.counts.frames_late > 500);
    assert_true(w.ok > 1500);
    report("late", &w);
}

/* The control: the same line without the care for open requests must give wrong values, or the test above
 * sees nothing. */
static void without_care_late_replies_are_taken(void **state)
{
    struct plan_block b = {TABLE_HOLDING, 0, 5};
    struct world w;

    (void)state;
    open_world(&w, "baud = 19200; format = \"8E1\";",
               STATION(1, "{ kind = \"late\"; chance = 100000; delay = \"140ms\"; }"), 1000, 3);
    for (int i = 0; i < 1000; i++) {
        ask(&w, 1, &b);
        w.x.late[1].count = 0;
        if (w.x.verdict == EXCHANGE_OK)
            check_values(&w, &b);
    }
    assert_true(w.wrong > 0);
    sim_close(w.sim);
}

static void the_late_reply_is_timed(void **state)
{
    struct plan_block b = {TABLE_HOLDING, 0, 5};
    struct world w;

    (void)state;
    open_world(&w, "baud = 19200; format = \"8E1\";",
               STATION(1, "{ kind = \"late\"; chance = 1000000; count = 1; delay = \"110ms\"; }"), 200, 3);
    poll_block(&w, 1, &b);
    assert_int_equal(w.x.verdict, EXCHANGE_TIMEOUT);
    assert_int_equal(w.x.counts.frames_late, 1);
    assert_in_range(w.x.counts.late_us_last, 110000, 130000);
    /* It came within the hold-off: the unit is in step, and no resync is due. */
    poll_block(&w, 1, &b);
    assert_int_equal(w.other_shapes, 0);
    report("timed", &w);
}

static void exceptions_are_no_values_and_no_timeouts(void **state)
{
    struct plan_block b = {TABLE_HOLDING, 1000, 5};
    struct world w;

    (void)state;
    open_world(&w, "baud = 19200; format = \"8E1\";", STATION(1, ""), 500, 5);
    ask(&w, 1, &b);
    assert_int_equal(w.x.verdict, EXCHANGE_EXCEPTION);
    assert_int_equal(w.x.reply[2], 2);
    ask(&w, 9, &b);
    assert_int_equal(w.x.verdict, EXCHANGE_TIMEOUT);
    report("exceptions", &w);
}

/* Somebody who never stops talking: nothing is sent, and that ends too. */
static void a_line_that_is_never_quiet_is_given_up(void **state)
{
    struct exchange x;
    uint64_t until, now = 1000000;
    uint8_t frame[8] = {1, 3, 0, 0, 0, 1};

    (void)state;
    exchange_init(&x, rtu_timing(19200, 11));
    exchange_reset(&x, now);
    crc_append(frame, 6);
    struct exchange_request r = {.frame = {frame, 8}, .reply_len = 7, .response_us = 100000};
    exchange_begin(&x, &r, now);
    while (now < 10000000) {
        const uint8_t byte = 0x55;
        exchange_bytes(&x, &byte, 1, now);
        enum exchange_what what = exchange_step(&x, now, &until);
        assert_int_not_equal(what, EXCHANGE_SEND);
        if (what == EXCHANGE_DONE)
            break;
        now += 573;
    }
    assert_int_equal(x.verdict, EXCHANGE_BUSY);
    assert_true(x.counts.bytes_stray > 1000);
}

/* The silence before a request is 3.5 characters after the last byte, whoever sent it, and not a microsecond
 * more. */
static void the_silence_is_exact(void **state)
{
    struct rtu_timing t = rtu_timing(19200, 11);
    uint8_t frame[8] = {1, 3, 0, 0, 0, 1}, other[8] = {9, 6, 0, 0, 0, 1};
    struct exchange x;
    uint64_t until;

    (void)state;
    crc_append(frame, 6);
    crc_append(other, 6);
    exchange_init(&x, t);
    exchange_reset(&x, 0);
    exchange_bytes(&x, other, 8, 50000);
    struct exchange_request r = {.frame = {frame, 8}, .reply_len = 7, .response_us = 100000};
    exchange_begin(&x, &r, 50100);
    assert_int_equal(exchange_step(&x, 50100, &until), EXCHANGE_WAIT);
    assert_int_equal(until, 50000 + t.silence_us);
    assert_int_equal(exchange_step(&x, until - 1, &until), EXCHANGE_WAIT);
    assert_int_equal(exchange_step(&x, until, &until), EXCHANGE_SEND);
    assert_int_equal(x.counts.frames_foreign, 1);
}

/* Something more urgent goes first: the silence goes on from the same byte, and what was sent stays sent. */
static void a_request_that_waits_for_silence_can_be_taken_back(void **state)
{
    struct rtu_timing t = rtu_timing(19200, 11);
    uint8_t frame[8] = {1, 3, 0, 0, 0, 1};
    struct exchange x;
    uint64_t until;

    (void)state;
    crc_append(frame, 6);
    exchange_init(&x, t);
    exchange_reset(&x, 50000);
    struct exchange_request r = {.frame = {frame, 8}, .reply_len = 7, .response_us = 100000};
    exchange_begin(&x, &r, 50100);
    assert_int_equal(exchange_step(&x, 50100, &until), EXCHANGE_WAIT);
    assert_true(exchange_withdraw(&x));
    assert_int_equal(exchange_step(&x, 50200, &until), EXCHANGE_IDLE);
    exchange_begin(&x, &r, 50300);
    assert_int_equal(exchange_step(&x, 50300, &until), EXCHANGE_WAIT);
    assert_int_equal(until, 50000 + t.silence_us);
    assert_int_equal(exchange_step(&x, until, &until), EXCHANGE_SEND);
    exchange_sent(&x, 50000 + t.silence_us);
    assert_false(exchange_withdraw(&x));
    assert_int_equal(exchange_step(&x, 60000, &until), EXCHANGE_WAIT);
}

/* Half of a reply that was repeated behind the accepted one, and then the next request of the same shape. */
static void what_came_before_the_request_is_no_answer(void **state)
{
    uint8_t frame[8] = {1, 3, 0, 0, 0, 1}, old[10] = {1, 1, 3, 2, 0, 99};
    struct exchange x;
    uint64_t until, now = 10000;

    (void)state;
    crc_append(frame, 6);
    crc_append(old + 1, 5);
    exchange_init(&x, rtu_timing(19200, 11));
    exchange_reset(&x, 0);
    exchange_bytes(&x, old, 8, now);
    struct exchange_request r = {.frame = {frame, 8}, .reply_len = 7, .response_us = 50000};
    exchange_begin(&x, &r, now);
    for (enum exchange_what what; (what = exchange_step(&x, now, &until)) != EXCHANGE_DONE; now = until)
        if (what == EXCHANGE_SEND) {
            until = now;
            exchange_sent(&x, now);
        }
    assert_int_equal(x.verdict, EXCHANGE_TIMEOUT);
    assert_int_equal(x.counts.bytes_stray, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_line_is_good),
        cmocka_unit_test(no_fault_makes_a_wrong_value),
        cmocka_unit_test(late_replies_are_never_the_next_answer),
        cmocka_unit_test(without_care_late_replies_are_taken),
        cmocka_unit_test(the_late_reply_is_timed),
        cmocka_unit_test(exceptions_are_no_values_and_no_timeouts),
        cmocka_unit_test(a_line_that_is_never_quiet_is_given_up),
        cmocka_unit_test(the_silence_is_exact),
        cmocka_unit_test(a_request_that_waits_for_silence_can_be_taken_back),
        cmocka_unit_test(what_came_before_the_request_is_no_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
