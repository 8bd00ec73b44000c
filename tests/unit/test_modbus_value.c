/* SPDX-License-Identifier: Apache-2.0 */
/* Registers to values: every type in every order, against bytes that were worked out from the order's name
 * alone. */
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

    assert_true(value_read(&s, bytes, &v));
    return v;
}

static char *text_of(const struct value *v)
{
    static char text[64];
    struct buf out = {0};

    value_print(&out, v);
    snprintf(text, sizeof text, "%s", (const char *)out.data);
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
    {"int64", 8, {0x80, 0, 0, 0, 0, 0, 0, 1}, "-9223372036854775807"},
    {"uint64", 8, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}, "18446744073709551614"},
    {"uint64", 8, {1, 2, 3, 4, 5, 6, 7, 8}, "72623859790382856"},
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
        assert_true(value_read(&s, word, &v));
        assert_int_equal(v.kind, VALUE_BOOL);
        assert_int_equal(v.b, bit == 15 || bit == 3);
        s.order = order_named("BADC");
        assert_true(value_read(&s, word, &v));
        assert_int_equal(v.b, bit == 7 || bit == 11);
    }
}

static const char *scaled(const char *type, double scale, double offset, const uint8_t *bytes)
{
    struct value_spec s = {
        .type = type_named(type), .order = order_named("ABCD"), .scale = value_scale_of(scale, offset)};
    struct value v;

    assert_true(value_read(&s, bytes, &v));
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
    assert_false(value_read(&s, nan32, &v));
    assert_false(value_read(&s, inf32, &v));
    s.scale = value_scale_of(2, 0);
    assert_false(value_read(&s, nan32, &v));
    s.type = type_named("float64");
    assert_false(value_read(&s, nan64, &v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_in_every_order),
        cmocka_unit_test(eight_byte_orders_by_their_names),
        cmocka_unit_test(bits_of_a_register),
        cmocka_unit_test(scaled_integers_are_exact),
        cmocka_unit_test(scaled_floats_keep_their_digits),
        cmocka_unit_test(no_number_is_no_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
