/* SPDX-License-Identifier: Apache-2.0 */
/* Registers to values: every type in every order, against bytes that were worked out from the order's name
 * alone. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/modbus/value.h"

static char texts[256];

static const struct value_type *type_named(const char *name)
{
    for (size_t i = 0; value_type_names[i]; i++)
        if (!strcmp(value_type_names[i], name))
            return &value_types[i];
    fail_msg("no type %s", name);
    return NULL;
}

static const struct value_order *order_named(const char *name)
{
    for (size_t i = 0; value_order_names[i]; i++)
        if (!strcmp(value_order_names[i], name))
            return &value_orders[i];
    fail_msg("no order %s", name);
    return NULL;
}

static struct value read_as(const char *type, const char *order, const uint8_t *bytes)
{
    struct value_spec s = {
        .type = type_named(type), .order = order_named(order), .scale = value_scale_of(1, 0)};
    struct value v;

    assert_true(value_read(&s, bytes, texts, &v));
    return v;
}

static char *text_of(const struct value *v)
{
    static char text[64];
    struct buf out = {0};

    value_print(&out, v);
    snprintf(text, sizeof text, "%.*s", (int)out.len, (const char *)out.data);
    buf_free(&out);
    return text;
}

/* What a device of this order puts on the wire for a big-endian value: reversed words, reversed bytes of each
 * word. */
static void to_wire(const char *order, const uint8_t *big, size_t count, uint8_t *wire)
{
    bool words = !strcmp(order, "CDAB") || !strcmp(order, "DCBA");
    bool bytes = !strcmp(order, "BADC") || !strcmp(order, "DCBA");

    for (size_t i = 0; i < count; i += 2) {
        size_t from = words ? count - 2 - i : i;
        wire[i] = big[from + bytes];
        wire[i + 1] = big[from + !bytes];
    }
}

static const struct {
    const char *type;
    size_t count;
    uint8_t big[8];
    const char *text;
} samples[] = {
    {"int16", 2, {0xff, 0x38}, "-200"},
    {"uint16", 2, {0xff, 0x38}, "65336"},
    {"int32", 4, {0xff, 0xff, 0xfe, 0x0c}, "-500"},
    {"int32", 4, {0x80, 0, 0, 0}, "-2147483648"},
    {"uint32", 4, {0xde, 0xad, 0xbe, 0xef}, "3735928559"},
    {"int48", 6, {0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}, "-2"},
    {"int48", 6, {0x80, 0, 0, 0, 0, 1}, "-140737488355327"},
    {"uint48", 6, {1, 2, 3, 4, 5, 6}, "1108152157446"},
    {"int64", 8, {0x80, 0, 0, 0, 0, 0, 0, 1}, "-9223372036854775807"},
    {"uint64", 8, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}, "18446744073709551614"},
    {"uint64", 8, {1, 2, 3, 4, 5, 6, 7, 8}, "72623859790382856"},
    {"float16", 2, {0x4d, 0x60}, "21.5"},
    {"float16", 2, {0xc0, 0x00}, "-2"},
    {"float16", 2, {0x00, 0x01}, "5.9604645e-08"},
    {"float16", 2, {0x7b, 0xff}, "65504"},
    {"bcd16", 2, {0x12, 0x34}, "1234"},
    {"bcd32", 4, {0x98, 0x76, 0x54, 0x32}, "98765432"},
    {"epoch32", 4, {0x5f, 0xf3, 0x2b, 0x05}, "\"2021-01-04T14:49:41Z\""},
    {"float32", 4, {0x41, 0xac, 0, 0}, "21.5"},
    {"float32", 4, {0x3d, 0xcc, 0xcc, 0xcd}, "0.1"},
    {"float32", 4, {0xc2, 0xf6, 0xe9, 0x79}, "-123.456"},
    {"float64", 8, {0x40, 0x09, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18}, "3.141592653589793"},
    {"float64", 8, {0xc0, 0x5e, 0xdd, 0x2f, 0x1a, 0x9f, 0xbe, 0x77}, "-123.456"},
};

static void every_type_in_every_order(void **state)
{
    static const char *const orders[] = {"ABCD", "CDAB", "BADC", "DCBA"};
    uint8_t wire[8];

    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++)
        for (size_t k = 0; k < 4; k++) {
            to_wire(orders[k], samples[i].big, samples[i].count, wire);
            struct value v = read_as(samples[i].type, orders[k], wire);
            assert_string_equal(text_of(&v), samples[i].text);
        }
}

static void eight_byte_orders_by_their_names(void **state)
{
    /* 'A' is 1, … 'H' is 8: the wire holds the name, and the value is always 0x0102030405060708. */
    (void)state;
    for (size_t i = 0; value_order_names[i]; i++) {
        uint8_t wire[8];
        if (strlen(value_order_names[i]) != 8)
            continue;
        for (size_t k = 0; k < 8; k++)
            wire[k] = (uint8_t)(value_order_names[i][k] - 'A' + 1);
        assert_true(read_as("uint64", value_order_names[i], wire).u == 0x0102030405060708);
        assert_null(value_order_for(&value_orders[i], 4));
        assert_null(value_order_for(&value_orders[i], 2));
    }
}

static void bits_of_a_register(void **state)
{
    const uint8_t word[2] = {0x80, 0x08};

    (void)state;
    for (unsigned bit = 0; bit < 16; bit++) {
        struct value v;
        struct value_spec s = {.type = type_named("bit"), .order = order_named("ABCD"), .bit = (uint8_t)bit};
        assert_true(value_read(&s, word, texts, &v));
        assert_int_equal(v.kind, VALUE_BOOL);
        assert_int_equal(v.b, bit == 15 || bit == 3);
        s.order = order_named("BADC");
        assert_true(value_read(&s, word, texts, &v));
        assert_int_equal(v.b, bit == 7 || bit == 11);
    }
}

static const char *scaled(const char *type, double scale, double offset, const uint8_t *bytes)
{
    struct value_spec s = {
        .type = type_named(type), .order = order_named("ABCD"), .scale = value_scale_of(scale, offset)};
    struct value v;

    assert_true(value_read(&s, bytes, texts, &v));
    return text_of(&v);
}

static void scaled_integers_are_exact(void **state)
{
    (void)state;
    assert_string_equal(scaled("int16", 0.1, 0, (const uint8_t[]){0, 215}), "21.5");
    assert_string_equal(scaled("int16", 0.1, 0, (const uint8_t[]){0, 210}), "21.0");
    assert_string_equal(scaled("int16", 0.1, 0, (const uint8_t[]){0xff, 0xfd}), "-0.3");
    assert_string_equal(scaled("uint16", 0.1, -40, (const uint8_t[]){0, 3}), "-39.7");
    assert_string_equal(scaled("int16", 0.001, 0.5, (const uint8_t[]){0, 1}), "0.501");
    assert_string_equal(scaled("int16", 10, 0, (const uint8_t[]){0, 7}), "70");
    assert_string_equal(scaled("int16", -2.5, 0, (const uint8_t[]){0, 3}), "-7.5");
    assert_string_equal(scaled("uint32", 0.01, 0, (const uint8_t[]){0xff, 0xff, 0xff, 0xff}), "42949672.95");
    /* 3 × 0.1 is 0.30000000000000004 in floating point. */
    assert_string_equal(scaled("int16", 0.1, 0, (const uint8_t[]){0, 3}), "0.3");
    /* Beyond 64 bits it becomes a floating point number, not a wrong one. */
    assert_string_equal(scaled("uint64", 0.5, 0, (const uint8_t[]){0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}),
                        "9.223372034707292e+18");
    assert_string_equal(scaled("uint64", 1000, 0, (const uint8_t[]){0xff, 0, 0, 0, 0, 0, 0, 0}),
                        "1.8374686479671624e+22");
}

static const char *date(const char *type, const char *order, const uint8_t *bytes)
{
    struct value v = read_as(type, order, bytes);

    return text_of(&v);
}

static void dates_are_read_from_words_and_bytes(void **state)
{
    struct value_spec s = {
        .type = type_named("date6"), .order = order_named("ABCD"), .scale = value_scale_of(1, 0)};
    struct value v;

    (void)state;
    assert_string_equal(
        date("date6", "ABCD", (const uint8_t[]){0x07, 0xea, 0, 11, 0, 24, 0, 20, 0, 5, 0, 59}),
        "\"2026-11-24T20:05:59\"");
    assert_string_equal(date("date6", "DCBA", (const uint8_t[]){26, 0, 11, 0, 24, 0, 20, 0, 5, 0, 59, 0}),
                        "\"2026-11-24T20:05:59\"");
    assert_string_equal(
        date("date7", "ABCD", (const uint8_t[]){0x07, 0xea, 0, 11, 0, 24, 0, 20, 0, 5, 0, 59, 0x03, 0xe7}),
        "\"2026-11-24T20:05:59.999\"");
    assert_string_equal(date("date3", "ABCD", (const uint8_t[]){26, 11, 24, 20, 5, 59}),
                        "\"2026-11-24T20:05:59\"");
    assert_string_equal(date("date4", "ABCD", (const uint8_t[]){0, 26, 11, 24, 20, 5, 0xe6, 0x78}),
                        "\"2026-11-24T20:05:59.000\"");
    assert_false(value_read(&s, (const uint8_t[]){0x07, 0xea, 0, 13, 0, 24, 0, 20, 0, 5, 0, 59}, texts, &v));
    assert_false(value_read(&s, (const uint8_t[]){0x07, 0xea, 0, 0, 0, 24, 0, 20, 0, 5, 0, 59}, texts, &v));
}

static void strings_lie_in_four_layouts(void **state)
{
    static const struct {
        enum value_layout layout;
        size_t count;
        uint8_t bytes[8];
    } rows[] = {
        {LAYOUT_HL, 4, "abc"},
        {LAYOUT_LH, 4, "ba\0c"},
        {LAYOUT_H, 8, "a.b.c.\0"},
        {LAYOUT_L, 8, ".a.b.c.\0"},
    };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct value_spec s = {.type = type_named("string"), .layout = rows[i].layout, .length = 4};
        uint8_t back[8];
        struct value v;
        assert_int_equal(value_bytes(&s), rows[i].count);
        assert_int_equal(value_text_room(&s), 4);
        assert_true(value_read(&s, rows[i].bytes, texts, &v));
        assert_string_equal(text_of(&v), "\"abc\"");
        assert_int_equal(value_write(&s, &v, back), 0);
        assert_true(value_read(&s, back, texts, &v));
        assert_string_equal(text_of(&v), "\"abc\"");
    }
    struct value_spec s = {.type = type_named("string"), .layout = LAYOUT_HL, .length = 3};
    struct value v;
    assert_int_equal(value_bytes(&s), 4);
    assert_true(
        value_read(&s, (const uint8_t *)"x  !", texts, &v)); /* blanks fill up; the fourth is not its */
    assert_string_equal(text_of(&v), "\"x\"");
    v = (struct value){.kind = VALUE_TEXT, .text = "four", .len = 4};
    assert_int_equal(value_write(&s, &v, (uint8_t[4]){0}), -ERANGE);
}

static void numbers_have_names(void **state)
{
    struct value_name names[] = {{0, "off"}, {3, "running"}};
    struct value_spec s = {.type = type_named("uint16"),
                           .order = order_named("ABCD"),
                           .scale = value_scale_of(1, 0),
                           .names = names,
                           .name_count = 2};
    uint8_t data[2];
    struct value v;

    (void)state;
    assert_true(value_read(&s, (const uint8_t[]){0, 3}, texts, &v));
    assert_string_equal(text_of(&v), "\"running\"");
    assert_int_equal(value_write(&s, &v, data), 0);
    assert_int_equal(data[1], 3);
    assert_true(value_read(&s, (const uint8_t[]){0, 4}, texts, &v));
    assert_string_equal(text_of(&v), "4");
    v = (struct value){.kind = VALUE_TEXT, .text = "runni", .len = 5};
    assert_int_equal(value_write(&s, &v, data), -EINVAL);
    assert_true(value_read_bit(&s, false, &v));
    assert_string_equal(text_of(&v), "\"off\"");
}

static void values_are_kept_within_limits(void **state)
{
    struct value_spec s = {.type = type_named("int16"),
                           .order = order_named("ABCD"),
                           .scale = value_scale_of(0.1, 0),
                           .clamp = true,
                           .least = 0,
                           .most = 100};
    struct value v;

    (void)state;
    assert_true(value_read(&s, (const uint8_t[]){0xff, 0xff}, texts, &v));
    assert_string_equal(text_of(&v), "0");
    assert_true(value_read(&s, (const uint8_t[]){0x7f, 0xff}, texts, &v));
    assert_string_equal(text_of(&v), "100");
    assert_true(value_read(&s, (const uint8_t[]){0, 215}, texts, &v));
    assert_string_equal(text_of(&v), "21.5");
}

/* What is read and written again gives the bytes that were read. */
static void what_is_written_reads_back(void **state)
{
    static const char *const orders[] = {"ABCD", "CDAB", "BADC", "DCBA"};

    (void)state;
    srand(3);
    for (size_t t = 0; value_type_names[t]; t++)
        for (unsigned round = 0; value_types[t].write && round < 2000; round++) {
            struct value_spec s = {.type = &value_types[t],
                                   .order = order_named(orders[round % 4]),
                                   .scale = value_scale_of(round & 4 ? 0.1 : 1, round & 8 ? -40 : 0)};
            bool floats = s.type->form == FORM_FLOAT;
            uint8_t data[8], back[8];
            struct value v, again;
            for (size_t i = 0; i < 8; i++)
                data[i] = (uint8_t)rand();
            if (!value_read(&s, data, texts, &v) || (floats && s.scale.on) || v.kind == VALUE_DOUBLE)
                continue;
            assert_int_equal(value_write(&s, &v, back), 0);
            assert_true(value_read(&s, back, texts, &again));
            assert_true(v.kind == again.kind && v.u == again.u);
        }
}

static int write_as(const char *type, double scale, struct value v)
{
    struct value_spec s = {
        .type = type_named(type), .order = order_named("ABCD"), .scale = value_scale_of(scale, 0)};
    uint8_t data[8];

    return value_write(&s, &v, data);
}

static void what_does_not_fit_is_not_written(void **state)
{
    (void)state;
    assert_int_equal(write_as("int16", 1, (struct value){.kind = VALUE_INT, .i = 32768}), -ERANGE);
    assert_int_equal(write_as("int16", 1, (struct value){.kind = VALUE_INT, .i = -32768}), 0);
    assert_int_equal(write_as("uint16", 1, (struct value){.kind = VALUE_INT, .i = -1}), -ERANGE);
    assert_int_equal(write_as("uint16", 0.1, (struct value){.kind = VALUE_INT, .i = 6554}), -ERANGE);
    assert_int_equal(write_as("uint64", 1, (struct value){.kind = VALUE_UINT, .u = UINT64_MAX}), 0);
    assert_int_equal(write_as("int16", 1, (struct value){.kind = VALUE_DOUBLE, .d = 2.5}), -EINVAL);
    assert_int_equal(write_as("int16", 0.1, (struct value){.kind = VALUE_DOUBLE, .d = 2.5}), 0);
    assert_int_equal(write_as("float32", 1, (struct value){.kind = VALUE_DOUBLE, .d = 1e39}), -ERANGE);
    assert_int_equal(write_as("float16", 1, (struct value){.kind = VALUE_DOUBLE, .d = 65520}), -ERANGE);
    assert_int_equal(write_as("bcd16", 1, (struct value){.kind = VALUE_INT, .i = 10000}), -ERANGE);
    assert_int_equal(write_as("int16", 1, (struct value){.kind = VALUE_TEXT, .text = "1", .len = 1}),
                     -EINVAL);
    assert_int_equal(write_as("bit", 1, (struct value){.kind = VALUE_INT, .i = 2}), -ERANGE);
    assert_int_equal(write_as("bit", 1, (struct value){.kind = VALUE_BOOL, .b = true}), 0);
}

static void scaled_floats_keep_their_digits(void **state)
{
    (void)state;
    assert_string_equal(scaled("float32", 10, 0, (const uint8_t[]){0x3d, 0xcc, 0xcc, 0xcd}), "1");
    assert_string_equal(scaled("float32", 1, 273.15, (const uint8_t[]){0x41, 0xac, 0, 0}), "294.65");
    assert_string_equal(scaled("float32", 1e30, 0, (const uint8_t[]){0x7f, 0x00, 0, 0}),
                        "1.7014118346046924e+68");
}

static void no_number_is_no_value(void **state)
{
    static const uint8_t nan32[] = {0x7f, 0xc0, 0, 1}, inf32[] = {0xff, 0x80, 0, 0},
                         nan64[] = {0x7f, 0xf8, 0, 0, 0, 0, 0, 0};
    struct value_spec s = {
        .type = type_named("float32"), .order = order_named("ABCD"), .scale = value_scale_of(1, 0)};
    struct value v;

    (void)state;
    assert_false(value_read(&s, nan32, texts, &v));
    assert_false(value_read(&s, inf32, texts, &v));
    s.scale = value_scale_of(2, 0);
    assert_false(value_read(&s, nan32, texts, &v));
    s.type = type_named("float64");
    assert_false(value_read(&s, nan64, texts, &v));
}

static void a_device_has_numbers_that_mean_nothing(void **state)
{
    static const struct {
        const char *type, *order;
        uint8_t wire[8];
        uint64_t no_value;
    } cases[] = {{"int16", "ABCD", {0x80, 0}, 0x8000},
                 {"uint16", "BADC", {0xfe, 0xff}, 0xfffe},
                 {"int32", "CDAB", {0xff, 0xff, 0x7f, 0xff}, 0x7fffffff},
                 {"uint48", "ABCD", {1, 2, 3, 4, 5, 6}, 0x010203040506},
                 {"int64", "ABCD", {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0x7fffffffffffffff},
                 {"bcd16", "ABCD", {0x99, 0x99}, 0x9999}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t numbers[] = {12345, cases[i].no_value};
        struct value_spec s = {.type = type_named(cases[i].type),
                               .order = order_named(cases[i].order),
                               .scale = value_scale_of(0.1, 0),
                               .no_value = numbers,
                               .no_value_count = 2};
        struct value v;
        assert_false(value_read(&s, cases[i].wire, texts, &v));
        s.no_value_count = 1;
        assert_true(value_read(&s, cases[i].wire, texts, &v));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_in_every_order),
        cmocka_unit_test(eight_byte_orders_by_their_names),
        cmocka_unit_test(bits_of_a_register),
        cmocka_unit_test(scaled_integers_are_exact),
        cmocka_unit_test(dates_are_read_from_words_and_bytes),
        cmocka_unit_test(strings_lie_in_four_layouts),
        cmocka_unit_test(numbers_have_names),
        cmocka_unit_test(values_are_kept_within_limits),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(what_does_not_fit_is_not_written),
        cmocka_unit_test(scaled_floats_keep_their_digits),
        cmocka_unit_test(no_number_is_no_value),
        cmocka_unit_test(a_device_has_numbers_that_mean_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
