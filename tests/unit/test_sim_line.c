/* SPDX-License-Identifier: Apache-2.0 */
/* The model of the line: its pace, its silences, and its judgement of the master [Modbus over serial
 * line 1.02, 2.5]. */
#include "sim_fixture.h"

#include "drivers/sim/line_model.h"

static const char slave[] = "{ name = \"s\"; unit = 1; holding = ( { at = 0; count = 125; spread = 1; } ); }";

/* What a cycle of one read takes: both frames and both silences. The table gives milliseconds with one
 * decimal. */
static void pace_is_the_table_of_the_wire(void **state)
{
    static const unsigned registers[] = {1, 10, 60, 125};
    static const struct {
        const char *line;
        double ms[4];
    } table[] = {
        {"baud = 9600; format = \"8N1\";", {22.9, 41.7, 145.8, 281.3}},
        {"baud = 9600; format = \"8E1\";", {25.2, 45.8, 160.4, 309.4}},
        {"baud = 19200; format = \"8N1\";", {11.5, 20.8, 72.9, 140.6}},
        {"baud = 19200; format = \"8E1\";", {12.6, 22.9, 80.2, 154.7}},
        {"baud = 115200; format = \"8N1\";", {4.8, 6.4, 15.1, 26.3}},
        {"baud = 115200; format = \"8E1\";", {4.9, 6.7, 16.2, 28.6}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(registers); k++) {
            struct fixture f;
            char request[32];

            open_line(&f, table[i].line, slave);
            uint64_t start = f.now_us;
            snprintf(request, sizeof(request), "01 03 0000 %04x", registers[k]);
            exchange(&f, request, 1000000);
            assert_int_equal(f.len, 5 + 2 * registers[k]);
            double ms =
                (double)(f.reply[f.len - 1].at_us - start) / 1e3 + (double)sim_silence_ns(f.sim) / 1e6;
            assert_float_equal(ms, table[i].ms[k], 0.06);
            sim_close(f.sim);
        }
    }
}

static void silence_is_fixed_above_19200(void **state)
{
    struct sim_timing t;

    (void)state;
    sim_timing_set(&t, 19200, 11);
    assert_int_equal(t.silence_ns, 2005208);
    sim_timing_set(&t, 38400, 11);
    assert_int_equal(t.silence_ns, 1750000);
    assert_int_equal(t.gap_ns, 750000);
}

static void bytes_come_one_character_apart(void **state)
{
    struct fixture f;

    (void)state;
    open_line(&f, "baud = 9600; format = \"8N1\";", slave);
    uint64_t start = f.now_us * 1000;
    exchange(&f, "01 03 0000 0002", 1000000);
    for (size_t i = 0; i < f.len; i++) {
        /* request, silence, then the reply */
        uint64_t due = start + 8 * sim_char_ns(f.sim) + sim_silence_ns(f.sim) + (i + 1) * sim_char_ns(f.sim);
        assert_int_equal(f.reply[i].at_us, (due + 999) / 1000);
    }
    sim_close(f.sim);
}

static void turnaround_delays_the_reply(void **state)
{
    struct fixture f, g;

    (void)state;
    open_line(&f, "", "{ name = \"s\"; unit = 1; holding = ( { at = 0; } ); }");
    open_line(&g, "", "{ name = \"s\"; unit = 1; turnaround_us = 7000; holding = ( { at = 0; } ); }");
    exchange(&f, "01 03 0000 0001", 100000);
    exchange(&g, "01 03 0000 0001", 100000);
    assert_int_equal(g.reply[0].at_us - f.reply[0].at_us, 7000);
    sim_close(f.sim);
    sim_close(g.sim);
}

/* From a request for one register to the last byte of its reply, without turnaround. */
static uint64_t one_register_us(struct fixture *f)
{
    return (15 * sim_char_ns(f->sim) + sim_silence_ns(f->sim) + 999) / 1000;
}

/* Two requests, the second one less_us before 3.5 characters after the reply have gone by. */
static void ask_twice(struct fixture *f, const char *line, uint64_t less_us)
{
    open_line(f, line, slave);
    exchange(f, "01 03 0000 0001", one_register_us(f) + (sim_silence_ns(f->sim) + 999) / 1000 - less_us);
    assert_int_equal(f->len, 7);
    exchange(f, "01 03 0000 0001", 100000);
}

static void silence_after_a_reply_is_judged(void **state)
{
    static const char *const lines[] = {"baud = 9600;", "baud = 19200;", "baud = 115200;"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct fixture f;

        ask_twice(&f, lines[i], 0);
        assert_int_equal(counts_of(&f).short_silences, 0);
        assert_int_equal(f.len, 7);
        sim_close(f.sim);
        ask_twice(&f, lines[i], 20);
        assert_int_equal(counts_of(&f).short_silences, 1);
        assert_int_equal(f.len, 7);
        sim_close(f.sim);
    }
}

static void strict_line_does_not_understand_haste(void **state)
{
    struct fixture f;

    (void)state;
    ask_twice(&f, "strict = true;", 20);
    assert_int_equal(counts_of(&f).short_silences, 1);
    assert_int_equal(f.len, 0);
    sim_close(f.sim);
    ask_twice(&f, "strict = true;", 0);
    assert_int_equal(f.len, 7);
    sim_close(f.sim);
}

static void requests_without_silence_are_one_broken_frame(void **state)
{
    struct fixture f;
    uint8_t both[16];

    (void)state;
    open_line(&f, "", slave);
    assert_int_equal(from_hex("01 03 0000 0001 840a 01 03 0000 0001 840a", both), 16);
    exchange_bytes(&f, both, 16, 100000);
    assert_int_equal(f.len, 0);
    assert_int_equal(counts_of(&f).broken, 1);
    assert_int_equal(counts_of(&f).short_silences, 1);
    sim_close(f.sim);
}

static void request_is_measured_by_its_function(void **state)
{
    static const char *const requests[] = {"01 01 0000 0001",
                                           "01 02 0000 0001",
                                           "01 03 0000 0001",
                                           "01 04 0000 0001",
                                           "01 05 0000 ff00",
                                           "01 06 0000 0001",
                                           "01 0f 0000 000a 02 ffff",
                                           "01 10 0000 0002 04 0001 0002",
                                           "01 11",
                                           "01 16 0000 ffff 0000",
                                           "01 17 0000 0001 0000 0001 02 0001",
                                           "01 2b 0e 01 00"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        uint8_t bytes[64];
        struct buf stream = {0};

        buf_append(&stream, bytes, from_hex(requests[i], bytes));
        sim_rtu_seal(&stream, 0);
        size_t len = stream.len;
        buf_append(&stream, bytes, 1);
        assert_int_equal(sim_rtu_request((struct bytes){stream.data, stream.len}), len);
        assert_int_equal(sim_rtu_request((struct bytes){stream.data, len - 1}), 0);
        buf_free(&stream);
    }
}

static void pause_inside_a_frame_is_judged(void **state)
{
    struct fixture f;
    uint8_t frame[8];

    (void)state;
    open_line(&f, "baud = 9600; format = \"8N1\";", slave);
    from_hex("01 03 0000 0001 840a", frame);
    exchange_bytes(&f, frame, 4, 4167 + 1000);
    exchange_bytes(&f, frame + 4, 4, 100000);
    assert_int_equal(f.len, 7);
    assert_int_equal(counts_of(&f).long_gaps, 0);
    exchange_bytes(&f, frame, 4, 4167 + 2000);
    exchange_bytes(&f, frame + 4, 4, 100000);
    assert_int_equal(f.len, 7);
    assert_int_equal(counts_of(&f).long_gaps, 1);
    exchange_bytes(&f, frame, 4, 4167 + 4000);
    exchange_bytes(&f, frame + 4, 4, 100000);
    assert_int_equal(f.len, 0);
    assert_int_equal(counts_of(&f).broken, 2);
    sim_close(f.sim);
}

/* What the master writes at once is still sent at the line's pace. */
static void written_ahead_is_paced(void **state)
{
    struct fixture f, g;
    uint8_t frame[8];

    (void)state;
    from_hex("01 03 0000 0001 840a", frame);
    open_line(&f, "", slave);
    exchange_bytes(&f, frame, 8, 100000);
    open_line(&g, "", slave);
    exchange_bytes(&g, frame, 5, 0);
    exchange_bytes(&g, frame + 5, 3, 100000);
    assert_int_equal(f.len, 7);
    assert_int_equal(g.len, 7);
    assert_int_equal(f.reply[6].at_us, g.reply[6].at_us);
    assert_int_equal(counts_of(&g).long_gaps, 0);
    sim_close(f.sim);
    sim_close(g.sim);
}

static void master_into_a_reply_is_a_collision(void **state)
{
    struct fixture f;
    uint8_t reply[7];

    (void)state;
    open_line(&f, "", slave);
    from_hex("01 03 02 0000 b844", reply);
    exchange(&f, "01 03 0000 0001", one_register_us(&f) - 2000);
    assert_int_equal(f.len, 3);
    exchange(&f, "01 03 0000 0001", 100000);
    assert_int_equal(counts_of(&f).collisions, 1);
    assert_int_equal(counts_of(&f).broken, 1);
    assert_int_equal(counts_of(&f).short_silences, 0);
    assert_int_equal(f.len, 4); /* the rest of the reply, and none to the damaged request */
    for (size_t i = 0; i < 4; i++)
        assert_int_not_equal(f.reply[i].value, reply[3 + i]);
    sim_close(f.sim);
}

static void two_of_one_unit_collide(void **state)
{
    struct fixture f;

    (void)state;
    open_line(&f, "",
              "{ name = \"a\"; unit = 1; holding = ( { at = 0; } ); },"
              "{ name = \"b\"; unit = 1; turnaround_us = 1000; holding = ( { at = 0; } ); }");
    exchange(&f, "01 03 0000 0001", 100000);
    assert_int_equal(counts_of(&f).collisions, 1);
    assert_int_equal(f.len,
                     8); /* the second begins a character later: they overlap, and so do what is heard */
    sim_close(f.sim);
}

static void unknown_unit_is_silence(void **state)
{
    struct fixture f;

    (void)state;
    open_line(&f, "", slave);
    assert_reply(&f, "02 03 0000 0001", "");
    assert_int_equal(counts_of(&f).unknown, 1);
    assert_int_equal(counts_of(&f).requests, 1);
    sim_close(f.sim);
}

static void wrong_crc_is_silence(void **state)
{
    struct fixture f;
    uint8_t frame[8];

    (void)state;
    open_line(&f, "", slave);
    from_hex("01 03 0000 0001 840b", frame);
    exchange_bytes(&f, frame, 8, 100000);
    assert_int_equal(f.len, 0);
    assert_int_equal(counts_of(&f).broken, 1);
    sim_close(f.sim);
}

static void master_hears_itself(void **state)
{
    struct fixture f;

    (void)state;
    open_line(&f, "echo = true;", slave);
    uint64_t start = f.now_us;
    exchange(&f, "01 03 0000 0001", 100000);
    assert_string_equal(f.hex, "010300000001840a"
                               "0103020000b844");
    assert_int_equal(f.reply[0].at_us, start + (sim_char_ns(f.sim) + 999) / 1000);
    exchange(&f, "01 03 0000 0001", 100000);
    assert_int_equal(f.len, 15);
    assert_int_equal(counts_of(&f).collisions, 0);
    assert_int_equal(counts_of(&f).short_silences, 0);
    sim_close(f.sim);
}

static void babbler_speaks_unasked(void **state)
{
    struct fixture f;

    (void)state;
    open_line(&f, "", "{ name = \"b\"; kind = \"babbler\"; period = \"2s\"; bytes = 4; }");
    exchange_bytes(&f, NULL, 0, 900000);
    assert_int_equal(f.len, 0);
    exchange_bytes(&f, NULL, 0, 10000000);
    assert_in_range(f.len, 5, 20);
    assert_in_range(f.reply[0].at_us, 2000000, 2000600);
    assert_int_equal(counts_of(&f).replies, 5);
    sim_close(f.sim);
}

/* A frame longer than any may be is heard to its end and not understood. */
static void endless_frame_is_broken(void **state)
{
    struct fixture f;
    uint8_t junk[700];

    (void)state;
    memset(junk, 0x55, sizeof(junk));
    open_line(&f, "baud = 115200;", slave);
    exchange_bytes(&f, junk, sizeof(junk), 200000);
    assert_int_equal(f.len, 0);
    assert_int_equal(counts_of(&f).broken, 1);
    assert_int_equal(counts_of(&f).bytes_heard, 700);
    assert_reply(&f, "01 03 0001 0001", "01 03 02 0001");
    sim_close(f.sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pace_is_the_table_of_the_wire),
        cmocka_unit_test(silence_is_fixed_above_19200),
        cmocka_unit_test(bytes_come_one_character_apart),
        cmocka_unit_test(turnaround_delays_the_reply),
        cmocka_unit_test(silence_after_a_reply_is_judged),
        cmocka_unit_test(strict_line_does_not_understand_haste),
        cmocka_unit_test(requests_without_silence_are_one_broken_frame),
        cmocka_unit_test(request_is_measured_by_its_function),
        cmocka_unit_test(pause_inside_a_frame_is_judged),
        cmocka_unit_test(written_ahead_is_paced),
        cmocka_unit_test(master_into_a_reply_is_a_collision),
        cmocka_unit_test(two_of_one_unit_collide),
        cmocka_unit_test(unknown_unit_is_silence),
        cmocka_unit_test(wrong_crc_is_silence),
        cmocka_unit_test(master_hears_itself),
        cmocka_unit_test(babbler_speaks_unasked),
        cmocka_unit_test(endless_frame_is_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
