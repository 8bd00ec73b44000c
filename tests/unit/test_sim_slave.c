/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator's Modbus slave against published frames [Modbus Application Protocol 1.1b3, 6], and its
 * values. */
#include <math.h>

#include "sim_fixture.h"

#include "drivers/sim/chance.h"
#include "drivers/sim/script.h"

static void crc_is_that_of_published_frames(void **state)
{
    static const char *const frames[] = {
        "01030000000ac5cd",           "1103006b00037687",     "110306ae415652434049ad",
        "110500acff004e8b",           "1106000100039a9b",     "110f0013000a02cd01bf0b",
        "11100001000204000a0102c6f0", "110105cd6bb20e1b45e6", "0a8102b053",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
        uint8_t frame[64];
        size_t len = from_hex(frames[i], frame);

        assert_true(sim_rtu_whole((struct bytes){frame, len}));
        frame[len / 2] ^= 0x10;
        assert_false(sim_rtu_whole((struct bytes){frame, len}));
    }
    assert_false(sim_rtu_whole((struct bytes){NULL, 0}));
}

/* As many ranges of one bit as digits, so that a pattern lies in a table that nobody can write. */
static char *bits_text(const char *table, unsigned at, const char *digits)
{
    char *text = mem_format("%s = (", table);

    for (size_t i = 0; digits[i]; i++) {
        char *more = mem_format("%s%s { at = %zu; constant = %c; }", text, i ? "," : "", at + i, digits[i]);
        free(text);
        text = more;
    }
    char *whole = mem_format("%s );", text);
    free(text);
    return whole;
}

static void functions_answer_as_published(void **state)
{
    struct fixture f;
    char *discrete = bits_text("discrete", 196, "0011010111011011101011"); /* AC DB 35 */
    char *station =
        mem_format("{ name = \"s\"; unit = 17; product = \"box\"; vendor = \"V\"; revision = \"2.1\"; %s"
                   "coil = ( { at = 0; count = 200; writable = true; } );"
                   "input = ( { at = 8; constant = 10; } );"
                   "holding = ( { at = 0; count = 200; writable = true; } ); }",
                   discrete);

    (void)state;
    open_line(&f, "", station);
    /* 6.11 Write Multiple Coils, then 6.1 Read Coils: the pattern of both examples. */
    assert_reply(&f, "11 0f 0013 000a 02 cd01", "11 0f 0013 000a");
    assert_reply(&f, "11 0f 0013 0025 05 cd6bb20e1b", "11 0f 0013 0025");
    assert_reply(&f, "11 01 0013 0025", "11 01 05 cd6bb20e1b");
    /* 6.2 Read Discrete Inputs */
    assert_reply(&f, "11 02 00c4 0016", "11 02 03 acdb35");
    /* 6.12 Write Multiple Registers, 6.6 Write Single Register, 6.3 Read Holding Registers */
    assert_reply(&f, "11 10 006b 0003 06 ae41 5652 4340", "11 10 006b 0003");
    assert_reply(&f, "11 03 006b 0003", "11 03 06 ae4156524340");
    assert_reply(&f, "11 06 0001 0003", "11 06 0001 0003");
    assert_reply(&f, "11 03 0001 0001", "11 03 02 0003");
    /* 6.4 Read Input Registers */
    assert_reply(&f, "11 04 0008 0001", "11 04 02 000a");
    /* 6.5 Write Single Coil */
    assert_reply(&f, "11 05 00ac ff00", "11 05 00ac ff00");
    assert_reply(&f, "11 01 00ab 0003", "11 01 01 02");
    assert_reply(&f, "11 05 00ac 0000", "11 05 00ac 0000");
    assert_reply(&f, "11 01 00ab 0003", "11 01 01 00");
    /* 6.16 Mask Write Register: (12 and F2) or (25 and not F2) = 17 */
    assert_reply(&f, "11 06 0004 0012", "11 06 0004 0012");
    assert_reply(&f, "11 16 0004 00f2 0025", "11 16 0004 00f2 0025");
    assert_reply(&f, "11 03 0004 0001", "11 03 02 0017");
    /* 6.17 Read/Write Multiple Registers: the write comes first */
    assert_reply(&f, "11 17 000e 0003 000e 0003 06 00ff 00fe 00fd", "11 17 06 00ff00fe00fd");
    /* 6.13 Report Server ID, 6.21 Read Device Identification */
    assert_reply(&f, "11 11", "11 11 05 11 ff 626f78");
    assert_reply(&f, "11 2b 0e 01 00", "11 2b 0e 01 81 00 00 03 00 01 56 01 03 626f78 02 03 322e31");
    assert_reply(&f, "11 2b 0e 04 01", "11 2b 0e 04 81 00 00 01 01 03 626f78");
    assert_int_equal(counts_of(&f).exceptions, 0);
    sim_close(f.sim);
    free(station);
    free(discrete);
}

static void exceptions_tell_what_is_wrong(void **state)
{
    struct fixture f;

    (void)state;
    open_line(&f, "",
              "{ name = \"s\"; unit = 10; functions = [ \"1\", \"3\", \"5\", \"6\", \"16\", \"23\" ]; "
              "max_registers = 20;"
              "coil = ( { at = 0; count = 16; } );"
              "holding = ( { at = 0; count = 10; }, { at = 10; count = 10; writable = true; },"
              "            { at = 30; exception = 6; } ); }");
    assert_reply(&f, "0a 01 04a1 0001", "0a 81 02"); /* the published example */
    assert_reply(&f, "0a 04 0000 0001", "0a 84 01"); /* a function that it lacks */
    assert_reply(&f, "0a 63 0000 0001", "0a e3 01"); /* one that nobody has */
    assert_reply(&f, "0a 03 0000 0000", "0a 83 03");
    assert_reply(&f, "0a 03 0000 0015", "0a 83 03"); /* more than max_registers */
    assert_reply(&f, "0a 03 0001 0014", "0a 83 02"); /* runs into the hole */
    assert_reply(&f, "0a 03 ffff 0002", "0a 83 02");
    assert_reply(&f, "0a 03 001e 0001", "0a 83 06");
    assert_reply(&f, "0a 06 0000 0001", "0a 86 02"); /* not writable */
    assert_reply(&f, "0a 05 0000 ff00", "0a 85 02");
    assert_reply(&f, "0a 05 0000 1234", "0a 85 03");
    assert_reply(&f, "0a 10 000a 0002 03 000000", "0a 90 03");   /* byte count and count differ */
    assert_reply(&f, "0a 10 000a 0002 06 00000000", "0a 90 03"); /* byte count and bytes differ */
    assert_reply(&f, "0a 03 00", "0a 83 03");                    /* cut off */
    assert_reply(&f, "0a 17 0000 0001 000a 0001 03 0000", "0a 97 03");
    assert_reply(&f, "0a 03 0000 0001", "0a 03 02 0000");
    assert_int_equal(counts_of(&f).exceptions, 15);
    assert_int_equal(counts_of(&f).replies, 16);
    sim_close(f.sim);
}

static void broadcast_is_obeyed_and_not_answered(void **state)
{
    struct fixture f;

    (void)state;
    open_line(&f, "",
              "{ name = \"a\"; unit = 1; holding = ( { at = 0; writable = true; } ); },"
              "{ name = \"b\"; unit = 2; holding = ( { at = 0; writable = true; } ); }");
    assert_reply(&f, "00 06 0000 1234", "");
    assert_reply(&f, "01 03 0000 0001", "01 03 02 1234");
    assert_reply(&f, "02 03 0000 0001", "02 03 02 1234");
    assert_reply(&f, "00 03 0000 0001", "");
    assert_int_equal(counts_of(&f).unknown, 1);
    sim_close(f.sim);
}

static void types_lie_in_registers_in_every_order(void **state)
{
    static const struct {
        const char *range, *request, *reply;
    } table[] = {
        {"type = \"int16\"; constant = -2", "01 03 0000 0001", "01 03 02 fffe"},
        {"type = \"uint16\"; constant = 65535", "01 03 0000 0001", "01 03 02 ffff"},
        {"type = \"uint16\"; constant = 258; order = \"BADC\"", "01 03 0000 0001", "01 03 02 0201"},
        {"type = \"int32\"; constant = -2", "01 03 0000 0002", "01 03 04 fffffffe"},
        {"type = \"uint32\"; value = \"counter\"; start = 0x01020304", "01 03 0000 0002",
         "01 03 04 01020304"},
        {"type = \"uint32\"; value = \"counter\"; start = 0x01020304; order = \"CDAB\"", "01 03 0000 0002",
         "01 03 04 03040102"},
        {"type = \"uint32\"; value = \"counter\"; start = 0x01020304; order = \"BADC\"", "01 03 0000 0002",
         "01 03 04 02010403"},
        {"type = \"uint32\"; value = \"counter\"; start = 0x01020304; order = \"DCBA\"", "01 03 0000 0002",
         "01 03 04 04030201"},
        {"type = \"int64\"; value = \"counter\"; start = 0x0102030405060708L", "01 03 0000 0004",
         "01 03 08 0102030405060708"},
        {"type = \"int64\"; value = \"counter\"; start = 0x0102030405060708L; order = \"CDAB\"",
         "01 03 0000 0004", "01 03 08 0708050603040102"},
        {"type = \"uint64\"; value = \"counter\"; start = 0x0102030405060708L; order = \"BADC\"",
         "01 03 0000 0004", "01 03 08 0201040306050807"},
        {"type = \"uint64\"; value = \"counter\"; start = 0x0102030405060708L; order = \"DCBA\"",
         "01 03 0000 0004", "01 03 08 0807060504030201"},
        {"type = \"float32\"; constant = 123.456", "01 03 0000 0002", "01 03 04 42f6e979"},
        {"type = \"float32\"; constant = 123.456; order = \"CDAB\"", "01 03 0000 0002", "01 03 04 e97942f6"},
        {"type = \"float64\"; constant = 123.456", "01 03 0000 0004", "01 03 08 405edd2f1a9fbe77"},
        /* what does not fit is clipped */
        {"type = \"int16\"; constant = 1e9", "01 03 0000 0001", "01 03 02 7fff"},
        {"type = \"int16\"; constant = -32768.4", "01 03 0000 0001", "01 03 02 8000"},
        {"type = \"uint16\"; constant = -5", "01 03 0000 0001", "01 03 02 0000"},
        {"type = \"uint16\"; constant = 65535.7", "01 03 0000 0001", "01 03 02 ffff"},
        {"type = \"int64\"; constant = 1e30", "01 03 0000 0004", "01 03 08 7fffffffffffffff"},
        {"type = \"uint64\"; constant = 1e30", "01 03 0000 0004", "01 03 08 ffffffffffffffff"},
        {"type = \"uint16\"; count = 3; constant = 100; spread = 7", "01 03 0000 0003",
         "01 03 06 0064006b0072"},
        {"type = \"uint32\"; count = 2; value = \"counter\"; start = 1; spread = 1", "01 03 0001 0002",
         "01 03 04 00010000"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct fixture f;
        char *station =
            mem_format("{ name = \"s\"; unit = 1; holding = ( { at = 0; %s; } ); }", table[i].range);

        open_line(&f, "", station);
        assert_reply(&f, table[i].request, table[i].reply);
        sim_close(f.sim);
        free(station);
    }
}

static void counter_steps_by_the_read(void **state)
{
    struct fixture f;

    (void)state;
    open_line(&f, "",
              "{ name = \"s\"; unit = 1; holding = ("
              "{ at = 0; type = \"uint16\"; value = \"counter\"; start = 65534; step = 1; },"
              "{ at = 1; type = \"int16\"; value = \"counter\"; step = -3; } ); }");
    assert_reply(&f, "01 03 0000 0001", "01 03 02 fffe");
    assert_reply(&f, "01 03 0000 0001", "01 03 02 ffff");
    assert_reply(&f, "01 03 0000 0002", "01 03 04 0000 0000"); /* one wraps, the other begins */
    assert_reply(&f, "01 03 0001 0001", "01 03 02 fffd");
    assert_reply(&f, "01 03 0000 0003", "01 83 02"); /* a refused read counts nothing */
    assert_reply(&f, "01 03 0000 0002", "01 03 04 0001 fffa");
    sim_close(f.sim);
}

static double value_at(const struct sim_script *s, double seconds)
{
    struct sim_number n = sim_script_at(s, (uint64_t)llround(seconds * 1e9), 0);

    return n.exact ? (double)n.i : n.f;
}

static void values_are_functions_of_time(void **state)
{
    struct sim_script ramp = {.a = 10, .b = 20, .period_ns = 4000000000};
    struct sim_script sine = {.a = 50, .b = 8, .period_ns = 12000000000};
    struct sim_script counter = {.start = 5, .step = 2, .per_second = true};

    (void)state;
    ramp.kind = sim_script_kind_of("ramp");
    sine.kind = sim_script_kind_of("sine");
    counter.kind = sim_script_kind_of("counter");
    assert_float_equal(value_at(&ramp, 0), 10, 1e-9);
    assert_float_equal(value_at(&ramp, 1), 12.5, 1e-9);
    assert_float_equal(value_at(&ramp, 7), 17.5, 1e-9);
    assert_float_equal(value_at(&sine, 0), 50, 1e-9);
    assert_float_equal(value_at(&sine, 3), 58, 1e-9);
    assert_float_equal(value_at(&sine, 7), 46, 1e-9);
    assert_float_equal(value_at(&counter, 0.999), 5, 1e-9);
    assert_float_equal(value_at(&counter, 10.5), 25, 1e-9);
}

/* The time of a value is the end of the silence after its request. */
static void value_is_that_of_the_request(void **state)
{
    struct fixture f;

    (void)state;
    open_line(&f, "baud = 9600; format = \"8N1\";",
              "{ name = \"s\"; unit = 1; turnaround_us = 400000; holding = ("
              "{ at = 0; type = \"uint32\"; value = \"ramp\"; to = 10000000; period = \"10s\"; } ); }");
    f.now_us = 3000000;
    exchange(&f, "01 03 0000 0002", 1000000);
    uint64_t value = 0;
    for (size_t i = 3; i < 7; i++)
        value = value << 8 | f.reply[i].value;
    uint64_t due = 3000000 + (8 * sim_char_ns(f.sim) + sim_silence_ns(f.sim)) / 1000;
    assert_in_range(value, due - 1, due + 1);
    sim_close(f.sim);
}

static void written_value_stays(void **state)
{
    struct fixture f;

    (void)state;
    open_line(&f, "",
              "{ name = \"s\"; unit = 1; holding = ("
              "{ at = 0; type = \"uint32\"; count = 2; value = \"counter\"; start = 0x10002; writable = "
              "true; } ); }");
    assert_reply(&f, "01 06 0001 0099", "01 06 0001 0099");
    assert_reply(&f, "01 03 0000 0004", "01 03 08 0001009900010002");
    assert_reply(&f, "01 03 0000 0004", "01 03 08 0001009900010002");
    sim_close(f.sim);
}

/* Requests of every function code with data by chance, cut or extended, but with a right CRC: each gets a
 * reply of its own function or an exception. */
static void any_request_is_answered_in_form(void **state)
{
    struct fixture f;
    struct sim_chance chance = {7};

    (void)state;
    open_line(
        &f, "baud = 115200;",
        "{ name = \"s\"; unit = 1; coil = ( { at = 0; count = 3000; writable = true; } );"
        "holding = ( { at = 0; count = 1000; writable = true; } ); input = ( { at = 0; count = 100; } ); }");
    for (int i = 0; i < 100000; i++) {
        struct buf frame = {0};
        size_t len = sim_chance_below(&chance, 20);

        buf_u8(&frame, 1);
        buf_u8(&frame, (uint8_t)sim_chance_below(&chance, 64));
        while (len--)
            buf_u8(&frame, (uint8_t)(sim_chance_below(&chance, 3) ? sim_chance_below(&chance, 4)
                                                                  : sim_chance_u64(&chance)));
        uint8_t code = frame.data[1];
        sim_rtu_seal(&frame, 0);
        exchange_bytes(&f, frame.data, frame.len, 100000);
        assert_in_range(f.len, 4, 256);
        assert_int_equal(f.reply[0].value, 1);
        assert_int_equal(f.reply[1].value & 0x7F, code);
        if (f.reply[1].value & 0x80)
            assert_in_range(f.reply[2].value, 1, 3);
        buf_free(&frame);
    }
    assert_in_range(counts_of(&f).exceptions, 50000, 99000);
    sim_close(f.sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_is_that_of_published_frames),
        cmocka_unit_test(functions_answer_as_published),
        cmocka_unit_test(exceptions_tell_what_is_wrong),
        cmocka_unit_test(broadcast_is_obeyed_and_not_answered),
        cmocka_unit_test(types_lie_in_registers_in_every_order),
        cmocka_unit_test(counter_steps_by_the_read),
        cmocka_unit_test(values_are_functions_of_time),
        cmocka_unit_test(value_is_that_of_the_request),
        cmocka_unit_test(written_value_stays),
        cmocka_unit_test(any_request_is_answered_in_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
