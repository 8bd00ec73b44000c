/* SPDX-License-Identifier: Apache-2.0 */
/* Readings: the record on disk and the payloads made from it. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/reading.h"

static const struct reading_point points[] = {
    {.name = "flow_temp", .value = {.kind = VALUE_DECIMAL, .decimals = 1, .i = 215}},
    {.name = "burner_on", .value = {.kind = VALUE_BOOL, .b = true}},
    {.name = "power", .value = {.kind = VALUE_UINT, .u = 7}, .quality = QUALITY_TIMEOUT},
    {.name = "mode", .quality = QUALITY_EXCEPTION, .detail = 2},
    {.name = "total", .value = {.kind = VALUE_UINT, .u = UINT64_MAX}, .lag_ms = 999},
    {.name = "state", .value = {.kind = VALUE_TEXT, .text = "a\"\x01\xff", .len = 4}},
    {.name = "depth", .value = {.kind = VALUE_FLOAT, .d = (double)21.5f}, .lag_ms = 1250},
};

static const struct reading sample = {.device = "boiler",
                                      .group = "fast",
                                      .boot = 2,
                                      .count = 407,
                                      .taken_us = 5000123,
                                      .points = points,
                                      .point_count = sizeof points / sizeof points[0]};

/* 2026-11-22T08:12:00.123Z less the 5.000123 s since the boot. */
#define OFFSET (1795335120123000 - 5000123)

typedef void make_json(struct buf *out, struct bytes record, bool known, int64_t offset);

static const char *json(make_json *make, const struct reading *r, bool known, int64_t offset)
{
    static char text[2000];
    struct buf record = {0}, out = {0};

    reading_encode(&record, r);
    make(&out, (struct bytes){record.data, record.len}, known, offset);
    snprintf(text, sizeof text, "%.*s", (int)out.len, (const char *)out.data);
    buf_free(&record);
    buf_free(&out);
    return text;
}

static void a_group_is_one_object(void **state)
{
    (void)state;
    assert_string_equal(
        json(reading_json, &sample, true, OFFSET),
        "{\"t\":\"2026-11-22T08:12:00.123Z\",\"n\":8589934999,\"v\":{\"flow_temp\":21.5,"
        "\"burner_on\":true,\"total\":18446744073709551615,\"state\":\"a\\\"\\u0001\xef\xbf\xbd\","
        "\"depth\":21.5},"
        "\"q\":{\"power\":\"timeout\",\"mode\":\"exception 2\"},\"dt\":{\"depth\":1.250}}");
}

static void what_is_all_good_has_no_q(void **state)
{
    struct reading r = sample;

    (void)state;
    r.point_count = 2;
    assert_string_equal(json(reading_json, &r, true, OFFSET),
                        "{\"t\":\"2026-11-22T08:12:00.123Z\",\"n\":8589934999,\"v\":{\"flow_temp\":21.5,"
                        "\"burner_on\":true}}");
    r.points = &points[2];
    r.point_count = 1;
    assert_string_equal(
        json(reading_json, &r, true, OFFSET),
        "{\"t\":\"2026-11-22T08:12:00.123Z\",\"n\":8589934999,\"v\":{},\"q\":{\"power\":\"timeout\"}}");
}

static void a_simulated_value_says_so_wherever_it_can(void **state)
{
    const struct reading_point both[] = {
        {.name = "a", .value = {.kind = VALUE_UINT, .u = 7}, .quality = QUALITY_SIMULATED, .unit = "kW"},
        {.name = "b", .value = {.kind = VALUE_UINT, .u = 8}, .quality = QUALITY_TIMEOUT}};
    struct reading r = sample;

    (void)state;
    r.points = both;
    r.point_count = 2;
    assert_string_equal(json(reading_json, &r, true, OFFSET),
                        "{\"t\":\"2026-11-22T08:12:00.123Z\",\"n\":8589934999,\"v\":{\"a\":7},"
                        "\"q\":{\"a\":\"simulated\",\"b\":\"timeout\"}}");
    assert_string_equal(
        json(reading_json_point, &r, true, OFFSET),
        "{\"t\":\"2026-11-22T08:12:00.123Z\",\"n\":8589934999,\"v\":7,\"q\":\"simulated\",\"u\":\"kW\"}");
    assert_string_equal(json(reading_plain_point, &r, true, OFFSET), "");
}

static void an_unset_clock_is_told(void **state)
{
    struct reading r = sample;

    (void)state;
    r.point_count = 1;
    assert_string_equal(
        json(reading_json, &r, false, 0),
        "{\"t\":\"1970-01-01T00:00:05.000Z\",\"n\":8589934999,\"clk\":\"unset\",\"v\":{\"flow_temp\":21.5}}");
}

static void a_point_is_one_value_with_its_own_time(void **state)
{
    struct reading r = sample;

    (void)state;
    r.point_count = 1;
    assert_string_equal(json(reading_json_point, &r, true, OFFSET),
                        "{\"t\":\"2026-11-22T08:12:00.123Z\",\"n\":8589934999,\"v\":21.5}");
    r.points = &points[3];
    assert_string_equal(json(reading_json_point, &r, true, OFFSET),
                        "{\"t\":\"2026-11-22T08:12:00.123Z\",\"n\":8589934999,\"q\":\"exception 2\"}");
    r.points = &points[6];
    assert_string_equal(json(reading_json_point, &r, true, OFFSET),
                        "{\"t\":\"2026-11-22T08:12:01.373Z\",\"n\":8589934999,\"v\":21.5}");
}

static void a_point_has_a_unit_and_may_be_a_bare_value(void **state)
{
    struct reading_point with_unit = points[0];
    struct reading r = sample;

    (void)state;
    with_unit.unit = "Cel";
    r.points = &with_unit;
    r.point_count = 1;
    assert_string_equal(json(reading_json_point, &r, true, OFFSET),
                        "{\"t\":\"2026-11-22T08:12:00.123Z\",\"n\":8589934999,\"v\":21.5,\"u\":\"Cel\"}");
    assert_string_equal(json(reading_plain_point, &r, true, OFFSET), "21.5");
    r.points = &points[5];
    assert_string_equal(json(reading_plain_point, &r, true, OFFSET), "a\"\x01\xef\xbf\xbd");
    r.points = &points[2];
    assert_string_equal(json(reading_plain_point, &r, true, OFFSET), "");
}

static const char *text_of(struct value v)
{
    static char text[80];
    struct buf out = {0};

    value_print(&out, &v);
    snprintf(text, sizeof text, "%s", (const char *)out.data);
    buf_free(&out);
    return text;
}

static void numbers_are_the_shortest_that_read_back(void **state)
{
    static const float floats[] = {0.1f,        21.5f, 3.4028235e38f, 1.17549435e-38f,
                                   16777216.0f, 1e10f, -0.0f,         998.2f};
    static const double doubles[] = {0.1, 1.0 / 3, DBL_MAX, DBL_MIN, 5e-324, 9007199254740993.0, 1e22};

    (void)state;
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++)
        assert_true(strtof(text_of((struct value){.kind = VALUE_FLOAT, .d = (double)floats[i]}), NULL) ==
                    floats[i]);
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++)
        assert_true(strtod(text_of((struct value){.kind = VALUE_DOUBLE, .d = doubles[i]}), NULL) ==
                    doubles[i]);
    srand(11);
    for (int i = 0; i < 100000; i++) {
        uint32_t word = (uint32_t)rand() << 16 ^ (uint32_t)rand();
        float f;
        memcpy(&f, &word, sizeof f);
        if (isfinite(f))
            assert_true(strtof(text_of((struct value){.kind = VALUE_FLOAT, .d = (double)f}), NULL) == f);
    }
    assert_string_equal(text_of((struct value){.kind = VALUE_FLOAT, .d = (double)21.5f}), "21.5");
    assert_string_equal(text_of((struct value){.kind = VALUE_FLOAT, .d = (double)0.1f}), "0.1");
    assert_string_equal(text_of((struct value){.kind = VALUE_FLOAT, .d = (double)998.2f}), "998.2");
    assert_string_equal(text_of((struct value){.kind = VALUE_DOUBLE, .d = 0.1}), "0.1");
    assert_string_equal(text_of((struct value){.kind = VALUE_INT, .i = INT64_MIN}), "-9223372036854775808");
}

static void decimals_are_exact(void **state)
{
    static const struct {
        int64_t i;
        uint8_t decimals;
        const char *text;
    } rows[] = {{215, 1, "21.5"},
                {-3, 1, "-0.3"},
                {0, 2, "0.00"},
                {5, 3, "0.005"},
                {-12345, 0, "-12345"},
                {210, 1, "21.0"},
                {INT64_MIN, 4, "-922337203685477.5808"}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(
            text_of((struct value){.kind = VALUE_DECIMAL, .decimals = rows[i].decimals, .i = rows[i].i}),
            rows[i].text);
}

/* What was cut or damaged gives an error, never a number that was not there. */
static void damaged_records_are_seen(void **state)
{
    struct buf record = {0}, out = {0};

    (void)state;
    reading_encode(&record, &sample);
    for (size_t len = 0; len < record.len; len++) {
        uint8_t *exact = malloc(len + 1);
        memcpy(exact, record.data, len);
        out.len = 0;
        reading_json(&out, (struct bytes){exact, len}, true, 0);
        buf_u8(&out, 0);
        assert_string_equal((const char *)out.data, "{\"error\":\"damaged record\"}");
        free(exact);
    }
    srand(5);
    for (int i = 0; i < 20000; i++) {
        size_t at = (size_t)rand() % record.len;
        uint8_t was = record.data[at];
        record.data[at] = (uint8_t)rand();
        out.len = 0;
        reading_json(&out, (struct bytes){record.data, record.len}, true, 0);
        reading_json_point(&out, (struct bytes){record.data, record.len}, true, 0);
        record.data[at] = was;
    }
    buf_free(&record);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_is_one_object),
        cmocka_unit_test(what_is_all_good_has_no_q),
        cmocka_unit_test(a_simulated_value_says_so_wherever_it_can),
        cmocka_unit_test(an_unset_clock_is_told),
        cmocka_unit_test(a_point_is_one_value_with_its_own_time),
        cmocka_unit_test(a_point_has_a_unit_and_may_be_a_bare_value),
        cmocka_unit_test(numbers_are_the_shortest_that_read_back),
        cmocka_unit_test(decimals_are_exact),
        cmocka_unit_test(damaged_records_are_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
