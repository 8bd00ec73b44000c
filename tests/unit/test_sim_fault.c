/* SPDX-License-Identifier: Apache-2.0 */
/* Faults of the simulated line: each does what it says, when it says, and no more; and a careful master that
 * checks unit, function, length and CRC never takes a wrong value from any of them. */
#include "sim_fixture.h"

static const char request[] = "01 03 0000 0002";
static const char clean[] = "0103040000002a7bec";

/* One slave, which answers with 42, with these faults. */
static void open_faulty(struct fixture *f, const char *faults)
{
    char *station = mem_format("{ name = \"s\"; unit = 1; holding = ("
                               "{ at = 0; type = \"uint32\"; constant = 42; } ); faults = ( %s ); }",
                               faults);

    open_line(f, "", station);
    free(station);
}

static bool is_whole(const struct fixture *f, size_t from, size_t len)
{
    uint8_t bytes[300];

    for (size_t i = 0; i < len; i++)
        bytes[i] = f->reply[from + i].value;
    return sim_rtu_whole((struct bytes){bytes, len});
}

static void assert_clean(struct fixture *f)
{
    exchange(f, request, 1000000);
    assert_string_equal(f->hex, clean);
}

static void no_fault_without_being_asked(void **state)
{
    struct fixture f;

    (void)state;
    open_faulty(&f, "");
    for (int i = 0; i < 100; i++)
        assert_clean(&f);
    assert_int_equal(counts_of(&f).faults, 0);
    sim_close(f.sim);
}

static void silence_lasts_its_window(void **state)
{
    struct fixture f;

    (void)state;
    open_faulty(&f, "{ kind = \"silence\"; from = \"4s\"; until = \"6s\"; every = \"10s\"; }");
    for (unsigned second = 1; second < 40; second++) {
        bool silent = second % 10 == 4 || second % 10 == 5;

        exchange(&f, request, 1000000);
        assert_string_equal(f.hex, silent ? "" : clean);
    }
    assert_int_equal(counts_of(&f).unanswered, 8);
    sim_close(f.sim);
}

static void count_and_skip_bound_a_fault(void **state)
{
    struct fixture f;

    (void)state;
    open_faulty(&f, "{ kind = \"silence\"; skip = 2; count = 3; }");
    for (int i = 0; i < 10; i++) {
        exchange(&f, request, 1000000);
        assert_string_equal(f.hex, i >= 2 && i < 5 ? "" : clean);
    }
    sim_close(f.sim);
}

static void chance_is_kept(void **state)
{
    struct fixture f;

    (void)state;
    open_faulty(&f, "{ kind = \"silence\"; chance = 250000; }");
    for (int i = 0; i < 4000; i++)
        exchange(&f, request, 1000000);
    assert_in_range(counts_of(&f).unanswered, 900, 1100);
    sim_close(f.sim);
}

static void late_reply_meets_the_next_exchange(void **state)
{
    struct fixture f;

    (void)state;
    open_faulty(&f, "{ kind = \"late\"; delay = \"700ms\"; count = 1; }");
    exchange(&f, request, 500000);
    assert_int_equal(f.len, 0);
    exchange(&f, "02 03 0000 0001", 500000);
    assert_string_equal(f.hex, clean);
    assert_in_range(f.reply[0].at_us, 1700000, 1710000);
    assert_clean(&f);
    sim_close(f.sim);
}

static void flips_are_as_many_as_said(void **state)
{
    struct fixture f;

    (void)state;
    open_faulty(&f, "{ kind = \"flip\"; ppm = 1000000; count = 1; }");
    exchange(&f, request, 1000000);
    assert_string_equal(f.hex, "fefcfbffffffd58413");
    assert_clean(&f);
    sim_close(f.sim);

    uint8_t want[9];
    unsigned flipped = 0;
    from_hex(clean, want);
    open_faulty(&f, "{ kind = \"flip\"; ppm = 10000; }");
    for (int i = 0; i < 2000; i++) {
        exchange(&f, request, 1000000);
        assert_int_equal(f.len, 9);
        for (size_t k = 0; k < 9; k++)
            flipped += (unsigned)__builtin_popcount(f.reply[k].value ^ want[k]);
    }
    assert_in_range(flipped, 1300, 1580); /* 1,440 of 144,000 bits */
    sim_close(f.sim);
}

static void flipped_requests_are_not_understood(void **state)
{
    struct fixture f;

    (void)state;
    open_line(&f, "faults = ( { kind = \"flip\"; ppm = 1000000; on = \"request\"; count = 1; } );",
              "{ name = \"s\"; unit = 1; holding = ( { at = 0; } ); }");
    exchange(&f, "01 03 0000 0001", 1000000);
    assert_int_equal(f.len, 0);
    assert_int_equal(counts_of(&f).broken, 1);
    exchange(&f, "01 03 0000 0001", 1000000);
    assert_string_equal(f.hex, "0103020000b844");
    sim_close(f.sim);
}

/* The kinds that change the bytes: length and whether the CRC holds tell which one it was. */
static void damage_is_of_its_kind(void **state)
{
    static const struct {
        const char *fault;
        size_t least, most;
        bool whole;
    } table[] = {
        {"kind = \"drop\"", 8, 8, false},     {"kind = \"double\"", 10, 10, false},
        {"kind = \"truncate\"", 1, 8, false}, {"kind = \"crc\"", 9, 9, false},
        {"kind = \"unit\"", 9, 9, true},      {"kind = \"function\"", 9, 9, true},
        {"kind = \"count\"", 7, 11, true},    {"kind = \"exception\"; code = 6", 5, 5, true},
        {"kind = \"echo\"", 8, 8, true},      {"kind = \"glitch\"", 10, 10, false},
        {"kind = \"glue\"", 18, 18, false},   {"kind = \"foreign\"", 18, 18, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct fixture f;
        char *fault = mem_format("{ %s; count = 20; }", table[i].fault);

        open_faulty(&f, fault);
        for (int k = 0; k < 20; k++) {
            exchange(&f, request, 1000000);
            assert_in_range(f.len, table[i].least, table[i].most);
            assert_int_equal(is_whole(&f, 0, f.len), table[i].whole);
            assert_string_not_equal(f.hex, clean);
        }
        assert_int_equal(counts_of(&f).faults, 20);
        assert_int_equal(counts_of(&f).undetectable, 0);
        assert_clean(&f);
        sim_close(f.sim);
        free(fault);
    }
}

static void exception_has_its_code(void **state)
{
    struct fixture f;

    (void)state;
    open_faulty(&f, "{ kind = \"exception\"; code = 6; }");
    assert_reply(&f, request, "01 83 06");
    assert_int_equal(counts_of(&f).exceptions, 1);
    sim_close(f.sim);
}

/* The other unit's frame is whole, and silence stands between it and the reply. */
static void foreign_frame_comes_first(void **state)
{
    struct fixture f;

    (void)state;
    open_faulty(&f, "{ kind = \"foreign\"; }");
    exchange(&f, request, 1000000);
    assert_int_equal(f.len, 18);
    assert_int_not_equal(f.reply[0].value, 1);
    assert_true(is_whole(&f, 0, 9));
    assert_string_equal(f.hex + 18, clean);
    uint64_t gap_ns = (f.reply[9].at_us - f.reply[8].at_us) * 1000;
    assert_in_range(gap_ns, sim_char_ns(f.sim) + sim_silence_ns(f.sim) - 2000,
                    sim_char_ns(f.sim) + sim_silence_ns(f.sim) + 2000);
    sim_close(f.sim);
}

static void glued_frames_have_no_silence(void **state)
{
    struct fixture f;

    (void)state;
    open_faulty(&f, "{ kind = \"glue\"; }");
    exchange(&f, request, 1000000);
    assert_int_equal(f.len, 18);
    assert_memory_equal(f.hex, clean, 18);
    assert_true(is_whole(&f, 9, 9));
    assert_in_range(f.reply[9].at_us - f.reply[8].at_us, sim_char_ns(f.sim) / 1000,
                    sim_char_ns(f.sim) / 1000 + 1);
    sim_close(f.sim);
}

static void pause_is_within_the_reply(void **state)
{
    struct fixture f;

    (void)state;
    open_faulty(&f, "{ kind = \"pause\"; delay = \"30ms\"; }");
    exchange(&f, request, 1000000);
    assert_string_equal(f.hex, clean);
    assert_in_range(f.reply[8].at_us - f.reply[0].at_us, 30000 + 8 * 572, 30000 + 8 * 574);
    sim_close(f.sim);
}

static void one_seed_makes_one_run(void **state)
{
    struct fixture a, b;
    const char faults[] = "{ kind = \"flip\"; ppm = 5000; }, { kind = \"drop\"; chance = 100000; },"
                          "{ kind = \"silence\"; chance = 100000; }";

    (void)state;
    open_faulty(&a, faults);
    open_faulty(&b, faults);
    for (int i = 0; i < 500; i++) {
        exchange(&a, request, 1000000);
        exchange(&b, request, 1000000);
        assert_string_equal(a.hex, b.hex);
    }
    assert_in_range(counts_of(&a).faults, 150, 400);
    sim_close(a.sim);
    sim_close(b.sim);
}

/* Reads two registers as a careful master would: what arrived must be one frame of the right unit, function,
 * length and CRC, and the line quiet afterwards. */
static bool read_carefully(struct fixture *f, uint32_t *value)
{
    exchange(f, request, 1000000);
    if (f->len != 9 || !is_whole(f, 0, 9) || f->reply[0].value != 1 || f->reply[1].value != 3 ||
        f->reply[2].value != 4)
        return false;
    *value = 0;
    for (size_t i = 3; i < 7; i++)
        *value = *value << 8 | f->reply[i].value;
    return true;
}

static void no_fault_makes_a_careful_master_wrong(void **state)
{
    static const char *const kinds[] = {"silence", "late",   "drop",     "double",  "truncate",
                                        "crc",     "unit",   "function", "count",   "exception",
                                        "echo",    "glitch", "glue",     "foreign", "pause"};
    struct fixture f;
    struct buf station = {0};
    unsigned good = 0, wrong = 0;

    (void)state;
    buf_printf(&station, "{ name = \"s\"; unit = 1; turnaround_us = 2000; jitter_us = 3000; holding = ("
                         "{ at = 0; type = \"uint32\"; value = \"counter\"; } ); faults = ("
                         "{ kind = \"flip\"; ppm = 3000; on = \"both\"; }");
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        buf_printf(&station, ", { kind = \"%s\"; chance = 15000; }", kinds[i]);
    buf_printf(&station, "); }");
    open_line(&f, "", (const char *)station.data);
    for (int i = 0; i < 20000; i++) {
        const char *name;
        struct sim_counts counts;
        uint32_t value;

        if (!read_carefully(&f, &value))
            continue;
        sim_station(f.sim, 0, &name, &counts);
        good++;
        wrong += value != counts.requests - 1;
    }
    assert_true(wrong <= counts_of(&f).undetectable);
    assert_in_range(good, 8000, 15000);
    assert_in_range(counts_of(&f).faults, 5000, 20000);
    sim_close(f.sim);
    buf_free(&station);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_fault_without_being_asked),
        cmocka_unit_test(silence_lasts_its_window),
        cmocka_unit_test(count_and_skip_bound_a_fault),
        cmocka_unit_test(chance_is_kept),
        cmocka_unit_test(late_reply_meets_the_next_exchange),
        cmocka_unit_test(flips_are_as_many_as_said),
        cmocka_unit_test(flipped_requests_are_not_understood),
        cmocka_unit_test(damage_is_of_its_kind),
        cmocka_unit_test(exception_has_its_code),
        cmocka_unit_test(foreign_frame_comes_first),
        cmocka_unit_test(glued_frames_have_no_silence),
        cmocka_unit_test(pause_is_within_the_reply),
        cmocka_unit_test(one_seed_makes_one_run),
        cmocka_unit_test(no_fault_makes_a_careful_master_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
