/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that others make: what they are, that a line carries them out between its polls and says the truth
 * about them, and that they take half of its time at most. The line is the simulator's, on a virtual clock.
 * Section numbers are those of the Modbus Application Protocol 1.1b3. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drivers/lines.h"
#include "drivers/modbus/raw.h"
#include "tests/unit/field_world.h"

#define S 1000000ull

/* ---- what a request is ---- */

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t len = 0;

    for (unsigned byte; sscanf(hex + 2 * len, "%2x", &byte) == 1; len++)
        out[len] = (uint8_t)byte;
    return len;
}

static int shape(const char *hex, struct raw_shape *out)
{
    uint8_t pdu[300];
    size_t len = from_hex(hex, pdu);

    return raw_shape((struct bytes){pdu, len}, out);
}

/* 6.1 to 6.17: lengths and counts. */
static void a_request_is_as_its_function_must_be(void **state)
{
    static const char *const wrong[] = {
        "",
        "00",
        "83",
        "8300000001",
        "03",
        "0300000000",
        "030000007e",
        "0300000001ff",
        "03ffff0002",
        "0100000000",
        "01000007d1",
        "0500000000ff",
        "060000",
        "0f0000000900",
        "0f000000090f",
        "1000000001",
        "10000000010100",
        "1600000000",
        "170000000100000001",
        "1800",
    };
    struct raw_shape s;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(shape(wrong[i], &s), -EINVAL);
    assert_int_equal(raw_shape((struct bytes){(const uint8_t[254]){70}, 254}, &s), -EINVAL);
}

static void a_request_says_what_it_touches(void **state)
{
    static const struct {
        const char *hex;
        size_t reply_len;
        unsigned count;
        struct raw_range first, second;
    } good[] = {
        {"0100030013", 8, 1, {TABLE_COIL, 3, 19, false}, {0}},
        {"0200030010", 7, 1, {TABLE_DISCRETE, 3, 16, false}, {0}},
        {"03006b007d", 255, 1, {TABLE_HOLDING, 107, 125, false}, {0}},
        {"04ffff0001", 7, 1, {TABLE_INPUT, 65535, 1, false}, {0}},
        {"0500acff00", 8, 1, {TABLE_COIL, 172, 1, true}, {0}},
        {"0600010003", 8, 1, {TABLE_HOLDING, 1, 1, true}, {0}},
        {"0f0013000a02cd01", 8, 1, {TABLE_COIL, 19, 10, true}, {0}},
        {"100001000204000a0102", 8, 1, {TABLE_HOLDING, 1, 2, true}, {0}},
        {"16000400f20025", 10, 1, {TABLE_HOLDING, 4, 1, true}, {0}},
        {"1700030006000e00020400ff00ff", 17, 2, {TABLE_HOLDING, 3, 6, false}, {TABLE_HOLDING, 14, 2, true}},
        {"1804de", 0, 1, {TABLE_HOLDING, 0x4de, 1, false}, {0}},
        {"07", 0, 0, {0}, {0}},
        {"11", 0, 0, {0}, {0}},
        {"2b0e0100", 0, 0, {0}, {0}},
        {"46123456", 0, 0, {0}, {0}},
    };
    struct raw_shape s;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_int_equal(shape(good[i].hex, &s), 0);
        assert_int_equal(s.range_count, good[i].count);
        assert_memory_equal(&s.ranges[0], &good[i].first, sizeof s.ranges[0]);
        assert_memory_equal(&s.ranges[1], &good[i].second, sizeof s.ranges[1]);
        if (s.reply_len != good[i].reply_len)
            fail_msg("%s: %zu", good[i].hex, s.reply_len);
    }
}

static void a_line_that_is_not_there_takes_none(void **state)
{
    struct modbus_raw raw = {.unit = 1};

    (void)state;
    assert_int_equal(lines_raw("nowhere", &raw), -ENOENT);
}

/* ---- on a line ---- */

#define SIM_LINE "baud = 19200; format = \"8E1\"; strict = true; "
#define UNIT_1                                                                                               \
    "{ name = \"u\"; unit = 1; turnaround_us = 3000; vendor = \"Acme\"; product = \"M1\"; "                  \
    "revision = \"2.0\"; coil = ( { at = 0; count = 16; value = \"counter\"; step = 0; start = 1; } ); "     \
    "holding = ( { at = 0; count = 50; constant = 100; spread = 1; }, { at = 100; count = 4; writable = "    \
    "true; } ); "
#define LINE                                                                                                 \
    "baud = 19200; format = \"8E1\"; timing = { response = \"100ms\"; holdoff = \"30ms\"; }; dead = { "      \
    "after = 50; };"
#define DEVICE(every)                                                                                        \
    "{ name = \"d\"; line = \"l\"; unit = 1; groups = { g = { every = \"" every                              \
    "\"; points = ( { name = \"a\"; at = \"holding:0\"; type = \"uint16\"; }, { name = \"w\"; at = "         \
    "\"holding:100\"; type = \"uint16\"; } ); }; }; }"

struct seen {
    struct modbus_raw *done;
    unsigned good, bad, ended;
    double written;
};

static void see(struct field_world *w, struct modbus_post *post)
{
    struct seen *s = w->arg;

    if (post->kind == POST_READING) {
        bool good = post->points[0].quality == QUALITY_GOOD;
        s->good += good;
        s->bad += !good;
        if (good) {
            assert_int_equal(post->points[0].value.u, 100);
            s->written = value_number(&post->points[1].value);
        }
    } else if (post->kind == POST_RAW) {
        s->done = post->order->raw;
        s->done->verdict = post->order->verdict;
        s->ended++;
    }
}

static void open_world(struct field_world *w, struct seen *s, const char *sim, const char *device)
{
    *s = (struct seen){0};
    field_world_open(w, sim, LINE, device, 5);
    w->post = see;
    w->arg = s;
    field_world_run(w, w->now_us + S);
}

static void give(struct field_world *w, struct modbus_raw *raw, uint8_t unit, const char *hex)
{
    struct modbus_order *o = mem_alloc(sizeof *o);

    raw->unit = unit;
    raw->len = from_hex(hex, raw->pdu);
    raw->writes = raw->pdu[0] > 4;
    o->raw = raw;
    o->device = unit == 1 && w->m->device_count ? 0 : ORDER_NO_DEVICE;
    o->expires_us = raw->expires_us;
    list_add_tail(&w->orders, &o->link);
}

static struct modbus_raw ask(struct field_world *w, uint8_t unit, const char *hex)
{
    struct seen *s = w->arg;
    struct modbus_raw raw = {0};

    s->done = NULL;
    give(w, &raw, unit, hex);
    while (!s->done)
        field_world_run(w, w->now_us + 1000);
    return raw;
}

static void assert_answer(const struct modbus_raw *raw, const char *hex)
{
    uint8_t want[RAW_PDU_MAX];
    size_t len = from_hex(hex, want);

    assert_int_equal(raw->verdict, ORDER_OK);
    assert_int_equal(raw->answer_len, len);
    assert_memory_equal(raw->answer, want, len);
    assert_true(raw->ended_us && raw->took_us);
}

static void every_function_is_answered_by_the_unit_itself(void **state)
{
    struct field_world w;
    struct seen s;
    struct modbus_raw raw;

    (void)state;
    open_world(&w, &s, SIM_LINE "stations = ( " UNIT_1 " } );", DEVICE("100ms"));
    raw = ask(&w, 1, "0300000003");
    assert_answer(&raw, "0306006400650066");
    raw = ask(&w, 1, "010000000b");
    assert_answer(&raw, "0102ff07");
    raw = ask(&w, 1, "060064002a");
    assert_answer(&raw, "060064002a");
    raw = ask(&w, 1, "10006500020400010002");
    assert_answer(&raw, "1000650002");
    raw = ask(&w, 1, "16006400f20005");
    assert_answer(&raw, "16006400f20005");
    raw = ask(&w, 1, "17006400030067000102abcd");
    assert_answer(&raw, "1706002700010002");
    raw = ask(&w, 1, "2b0e0100");
    assert_int_equal(raw.verdict, ORDER_OK);
    assert_memory_equal(raw.answer, "\x2b\x0e\x01", 3);
    assert_non_null(memmem(raw.answer, raw.answer_len, "Acme", 4));
    raw = ask(&w, 1, "11");
    assert_int_equal(raw.verdict, ORDER_OK);
    assert_int_equal(raw.answer_len, 2u + raw.answer[1]);
    raw = ask(&w, 1, "4601");
    assert_int_equal(raw.verdict, ORDER_EXCEPTION);
    assert_int_equal(raw.exception, 1);
    assert_memory_equal(raw.answer, "\xc6\x01", 2);
    raw = ask(&w, 1, "0303e80001");
    assert_int_equal(raw.exception, 2);
    /* What was written is read at once, though the group is not due for long. */
    field_world_close(&w);
    open_world(&w, &s, SIM_LINE "stations = ( " UNIT_1 " } );", DEVICE("1h"));
    raw = ask(&w, 1, "060064002a");
    field_world_run(&w, w.now_us + S);
    assert_true(s.written == 42);
    field_world_close(&w);
}

/* Also on a line that echoes, before anything has been read there. */
static void a_line_without_devices_answers_too(void **state)
{
    static const char *const echoes[] = {"", "echo = true; "};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(echoes); i++) {
        struct field_world w;
        struct seen s;
        char *sim = mem_format("%s%sstations = ( %s } );", SIM_LINE, echoes[i], UNIT_1);
        open_world(&w, &s, sim, "");
        struct modbus_raw raw = ask(&w, 1, "060064002a");
        assert_answer(&raw, "060064002a");
        raw = ask(&w, 1, "11");
        assert_int_equal(raw.answer_len, 2u + raw.answer[1]);
        raw = ask(&w, 9, "060064002a");
        assert_int_equal(raw.verdict, ORDER_TIMEOUT);
        assert_int_equal(raw.answer_len, 0);
        field_world_close(&w);
        free(sim);
    }
}

static void a_unit_that_is_silent_is_no_answer_and_spoils_nothing(void **state)
{
    struct field_world w;
    struct seen s;
    struct modbus_raw raw = {.expires_us = 1};

    (void)state;
    open_world(&w, &s, SIM_LINE "stations = ( " UNIT_1 " } );", DEVICE("100ms"));
    raw = ask(&w, 9, "11");
    assert_int_equal(raw.verdict, ORDER_TIMEOUT);
    /* A late answer to the first would look like that to the second, which is therefore not sent. */
    raw = ask(&w, 9, "11");
    assert_int_equal(raw.verdict, ORDER_BUSY);
    assert_int_equal(raw.ended_us, 0);
    /* Unless the answer says which request it answers. */
    raw = (struct modbus_raw){.numbered = true};
    s.done = NULL;
    give(&w, &raw, 9, "11");
    while (!s.done)
        field_world_run(&w, w.now_us + 1000);
    assert_int_equal(raw.verdict, ORDER_TIMEOUT);
    assert_true(raw.line_us >= 100000);
    field_world_run(&w, w.now_us + 11 * S);
    raw = ask(&w, 9, "11");
    assert_int_equal(raw.verdict, ORDER_TIMEOUT);
    assert_true(s.good > 50);
    assert_int_equal(s.bad, 0);
    s.done = NULL;
    raw = (struct modbus_raw){.expires_us = 1};
    give(&w, &raw, 1, "0300000001");
    while (!s.done)
        field_world_run(&w, w.now_us + 1000);
    assert_int_equal(raw.verdict, ORDER_EXPIRED);
    field_world_close(&w);
}

/* The unit is late with every tenth answer and garbles some: what is answered is right all the same. */
static void no_answer_is_another_requests(void **state)
{
    struct field_world w;
    struct seen s;
    unsigned verdicts[ORDER_INTERRUPTED + 1] = {0};

    (void)state;
    open_world(
        &w, &s,
        "baud = 19200; format = \"8E1\"; stations = ( " UNIT_1
        " faults = ( { kind = \"late\"; chance = 100000; delay = \"150ms\"; }, { kind = \"flip\"; ppm = "
        "300; }, { kind = \"silence\"; chance = 50000; } ); } );",
        DEVICE("100ms"));
    for (unsigned i = 0; i < 2000; i++) {
        unsigned at = (unsigned)rand() % 40, count = 1 + (unsigned)rand() % 8;
        char hex[16];
        snprintf(hex, sizeof hex, "03%04x%04x", at, count);
        field_world_run(&w, w.now_us + 100000);
        struct modbus_raw raw = ask(&w, 1, hex);
        verdicts[raw.verdict]++;
        for (unsigned k = 0; raw.verdict == ORDER_OK && k < count; k++)
            assert_int_equal(raw.answer[3 + 2 * k], 100 + at + k);
    }
    printf("%u answers right, %u timeouts, %u broken, %u not sent\n", verdicts[ORDER_OK],
           verdicts[ORDER_TIMEOUT], verdicts[ORDER_CRC], verdicts[ORDER_BUSY]);
    assert_true(verdicts[ORDER_OK] > 800 && verdicts[ORDER_TIMEOUT] > 50 && verdicts[ORDER_CRC] > 20);
    field_world_close(&w);
}

/* ---- whose turn ---- */

/* Good readings in a minute of a device that alone fills the line, with always eight raw requests waiting. */
static unsigned readings_with(uint8_t unit, unsigned flood, bool spare, unsigned *ended)
{
    struct field_world w;
    struct seen s;
    struct modbus_raw raws[8] = {0};

    open_world(&w, &s, SIM_LINE "stations = ( " UNIT_1 " } );", DEVICE("10ms"));
    s.good = 0;
    uint64_t until = w.now_us + 60 * S;
    for (unsigned given = 0; w.now_us < until;) {
        while (given - s.ended < flood) {
            raws[given % 8].spare = spare;
            give(&w, &raws[given++ % 8], unit, "0300000001");
        }
        field_world_run(&w, w.now_us + 1);
    }
    *ended = s.ended;
    unsigned good = s.good;
    field_world_close(&w);
    return good;
}

static void a_flood_takes_half_of_the_line_at_most(void **state)
{
    unsigned none, live, dead;
    unsigned alone = readings_with(1, 0, false, &none), with_live = readings_with(1, 8, false, &live),
             with_dead = readings_with(9, 8, false, &dead);

    (void)state;
    printf("%u readings alone, %u beside %u requests, %u beside %u to a silent unit\n", alone, with_live,
           live, with_dead, dead);
    assert_true(with_live * 100 >= alone * 48);
    assert_true(with_dead * 100 >= alone * 48);
    assert_true(live * 100 >= alone * 48);
    assert_true(dead > 3);
}

static struct modbus_raw impatient;
static unsigned given;

static void give_at_once(struct field_world *w)
{
    const struct seen *s = w->arg;

    if (s->ended < given)
        return;
    given++;
    impatient = (struct modbus_raw){.spare = true};
    give(w, &impatient, 9, "0300000001");
}

/* New requests come while a poll waits for silence, and are answered at once, as the unit is spared. */
static void polls_go_on_beside_a_master_that_never_pauses(void **state)
{
    struct field_world w;
    struct seen s;

    (void)state;
    given = 0;
    open_world(&w, &s, SIM_LINE "stations = ( " UNIT_1 " } );", DEVICE("10ms"));
    s.good = 0;
    w.tick = give_at_once;
    field_world_run(&w, w.now_us + 60 * S);
    printf("%u readings beside %u requests\n", s.good, s.ended);
    assert_true(s.good > 1000);
    assert_true(s.ended > 1000);
    field_world_close(&w);
}

/* Who asks it all the time is told at once that it does not answer, most of the time. */
static void a_silent_unit_that_is_spared_takes_next_to_nothing(void **state)
{
    unsigned none, dead;
    unsigned alone = readings_with(1, 0, false, &none), with_dead = readings_with(9, 1, true, &dead);

    (void)state;
    printf("%u readings alone, %u beside %u requests to a silent unit that is spared\n", alone, with_dead,
           dead);
    assert_true(with_dead * 100 >= alone * 90);
    assert_true(dead > 1000);
}

static void a_unit_that_answers_again_is_asked_again(void **state)
{
    struct raw_turns t = {0};
    struct modbus_raw raw = {.unit = 7, .pdu = {3}, .spare = true};

    (void)state;
    for (unsigned i = 0; i < 300; i++)
        raw_note(&t, &raw, EXCHANGE_TIMEOUT, S);
    assert_true(raw_is_spared(&t, &raw, 30 * S));
    assert_false(raw_is_spared(&t, &raw, 32 * S));
    raw.spare = false;
    assert_false(raw_is_spared(&t, &raw, 2 * S));
    raw.spare = true;
    raw_note(&t, &raw, EXCHANGE_EXCEPTION, 2 * S);
    assert_false(raw_is_spared(&t, &raw, 2 * S));
    /* What it need not know says nothing. */
    raw.pdu[0] = 17;
    for (unsigned i = 0; i < 10; i++)
        raw_note(&t, &raw, EXCHANGE_TIMEOUT, 3 * S);
    assert_false(raw_is_spared(&t, &raw, 3 * S));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_as_its_function_must_be),
        cmocka_unit_test(a_request_says_what_it_touches),
        cmocka_unit_test(a_line_that_is_not_there_takes_none),
        cmocka_unit_test(every_function_is_answered_by_the_unit_itself),
        cmocka_unit_test(a_line_without_devices_answers_too),
        cmocka_unit_test(a_unit_that_is_silent_is_no_answer_and_spoils_nothing),
        cmocka_unit_test(no_answer_is_another_requests),
        cmocka_unit_test(a_flood_takes_half_of_the_line_at_most),
        cmocka_unit_test(a_silent_unit_that_is_spared_takes_next_to_nothing),
        cmocka_unit_test(a_unit_that_answers_again_is_asked_again),
        cmocka_unit_test(polls_go_on_beside_a_master_that_never_pauses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
