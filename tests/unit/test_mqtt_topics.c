/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8, topic names, topic filters, and what matches what (statements of MQTT 5.0). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/mqtt_support.h"

/* At the end of an allocation, so that a sanitizer sees any step beyond. */
static bool utf8_exact(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);

    assert_non_null(copy);
    memcpy(copy, data, len);
    bool ok = mqtt_utf8_ok((struct bytes){copy, len});
    free(copy);
    return ok;
}

static size_t encode_point(uint8_t *out, uint32_t c)
{
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = len - 1; i > 0; i--, c >>= 6)
        out[i] = (uint8_t)(0x80 | (c & 0x3f));
    out[0] = (uint8_t)(leads[len] | c);
    return len;
}

/* [MQTT-1.5.4-1], [MQTT-1.5.4-2]: every code point, and those beyond the last. */
static void every_code_point(void **state)
{
    uint8_t out[4];

    (void)state;
    for (uint32_t c = 0; c < 0x200000; c++) {
        bool want = c && c < 0x110000 && (c < 0xd800 || c > 0xdfff);
        if (utf8_exact(out, encode_point(out, c)) != want)
            fail_msg("U+%04X", c);
    }
}

/* A lead byte and up to three others say what the tables of RFC 3629 §4 say. */
static bool reference_utf8(const uint8_t *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t c = s[i], least;
        size_t more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        if (c >= 0xf8 || (c >= 0x80 && c < 0xc0) || i + more >= len)
            return false;
        least = more == 0 ? 1 : more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
        c &= more == 0 ? 0x7f : 0x3fu >> more;
        for (size_t k = 1; k <= more; k++) {
            if ((s[i + k] & 0xc0) != 0x80)
                return false;
            c = c << 6 | (s[i + k] & 0x3f);
        }
        if (c < least || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return false;
        i += more + 1;
    }
    return true;
}

static void every_three_bytes(void **state)
{
    (void)state;
    for (uint32_t v = 0; v < 1u << 24; v++) {
        uint8_t s[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
        if (mqtt_utf8_ok((struct bytes){s, 3}) != reference_utf8(s, 3))
            fail_msg("%06x", v);
    }
}

/* Any byte at any place of texts around the eight bytes that are looked at together. */
static void every_byte_everywhere(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 26; len++)
        for (size_t at = 0; at < len; at++)
            for (unsigned byte = 0; byte < 256; byte++) {
                uint8_t s[26];
                memset(s, 'a', sizeof(s));
                s[at] = (uint8_t)byte;
                bool plain = byte && byte < 0x80, wild = byte == '+' || byte == '#';
                assert_int_equal(utf8_exact(s, len), plain);
                assert_int_equal(mqtt_topic_ok((struct bytes){s, len}), plain && !wild);
                assert_int_equal(mqtt_filter_ok((struct bytes){s, len}), plain && (!wild || len == 1));
            }
}

/* [MQTT-4.7.3-1], [MQTT-4.7.3-3] */
static void lengths(void **state)
{
    static uint8_t big[65536];

    (void)state;
    memset(big, 'a', sizeof(big));
    assert_true(mqtt_topic_ok((struct bytes){big, 65535}));
    assert_false(mqtt_topic_ok((struct bytes){big, 65536}));
    assert_true(mqtt_filter_ok((struct bytes){big, 65535}));
    assert_false(mqtt_filter_ok((struct bytes){big, 65536}));
    assert_false(mqtt_topic_ok((struct bytes){NULL, 0}));
    assert_false(mqtt_filter_ok((struct bytes){NULL, 0}));
    assert_true(mqtt_utf8_ok((struct bytes){NULL, 0}));
    assert_true(mqtt_utf8_ok((struct bytes){big, 65536}));
}

/* [MQTT-4.7.1-1], [MQTT-4.7.1-2] and the examples of §4.7.1 */
static void filters_well_formed(void **state)
{
    static const struct {
        const char *filter;
        bool ok;
    } rows[] = {
        {"#", true},
        {"+", true},
        {"/", true},
        {"//", true},
        {"/+", true},
        {"+/", true},
        {"+/+", true},
        {"+/#", true},
        {"/#", true},
        {"sport/#", true},
        {"sport/tennis#", false},
        {"sport/tennis/#/ranking", false},
        {"+/tennis/#", true},
        {"sport+", false},
        {"sport/+/player1", true},
        {"sport/+player1", false},
        {"##", false},
        {"++", false},
        {"#/", false},
        {"+#", false},
        {"#+", false},
        {"a/+b", false},
        {"a/b+/c", false},
        {"a/#b", false},
        {"\xc3\xa9/+", true},
        {"\xc3/+", false},
        {"+/\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9/#", true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (mqtt_filter_ok(bytes_of(rows[i].filter)) != rows[i].ok)
            fail_msg("%s", rows[i].filter);
    assert_false(mqtt_topic_ok(bytes_of("\xc3\xa9/+")));
    assert_true(mqtt_topic_ok(bytes_of("\xc3\xa9/$")));
}

/* §4.7.1 to §4.7.3 with their examples; [MQTT-4.7.2-1]: wildcards in front do not take topics with $. */
static void filters_match(void **state)
{
    static const struct {
        const char *filter, *topic;
        bool match;
    } rows[] = {
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/tennis/player1/#", "sport/tennis/player10", false},
        {"sport/#", "sport", true},
        {"sport/#", "sport/", true},
        {"sport/#", "sports", false},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"+", "finance", true},
        {"#", "a/b/c", true},
        {"#", "/", true},
        {"#", "$SYS/x", false},
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"$SYS/#", "$SYS/x", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        {"a/#", "a/$b", true},
        {"a/+", "a/$b", true},
        {"/#", "/$b", true},
        {"+/#", "/$b", true},
        {"+/$b", "/$b", true},
        {"ACCOUNTS", "Accounts", false},
        {"/finance", "finance", false},
        {"a//b", "a//b", true},
        {"a/+/b", "a//b", true},
        {"a//b", "a/b", false},
        {"a/", "a", false},
        {"a", "a/", false},
        {"a/", "a/", true},
        {"a/b", "a/bc", false},
        {"a/bc", "a/b", false},
        {"+/b/#", "a/b", true},
        {"+/b/#", "a/b/c/d", true},
        {"+/b/#", "a/c", false},
        {"a/+/#", "a", false},
        {"a/+/#", "a/", true},
        {"+/+/+", "a/b", false},
        {"+/+", "a/b/c", false},
        {"+/", "a/", true},
        {"+/", "a/b", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (mqtt_topic_matches(bytes_of(rows[i].filter), bytes_of(rows[i].topic)) != rows[i].match)
            fail_msg("%s and %s", rows[i].filter, rows[i].topic);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point),      cmocka_unit_test(every_three_bytes),
        cmocka_unit_test(every_byte_everywhere), cmocka_unit_test(lengths),
        cmocka_unit_test(filters_well_formed),   cmocka_unit_test(filters_match),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
