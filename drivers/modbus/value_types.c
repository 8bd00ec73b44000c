/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of types and orders, and how each type lies in bytes of falling significance. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "drivers/modbus/value.h"

static uint64_t unsigned_of(const uint8_t *bytes, size_t count)
{
    uint64_t u = 0;

    for (size_t i = 0; i < count; i++)
        u = u << 8 | bytes[i];
    return u;
}

static bool read_unsigned(const uint8_t *bytes, size_t count, char *text, struct value *out)
{
    (void)text;
    *out = (struct value){.kind = VALUE_UINT, .u = unsigned_of(bytes, count)};
    return true;
}

static bool read_signed(const uint8_t *bytes, size_t count, char *text, struct value *out)
{
    unsigned unused = 64 - 8 * (unsigned)count;
    uint64_t top = unsigned_of(bytes, count) << unused;

    (void)text;
    *out = (struct value){.kind = VALUE_INT, .i = (int64_t)top >> unused};
    return true;
}

static bool read_bcd(const uint8_t *bytes, size_t count, char *text, struct value *out)
{
    uint64_t u = 0;

    (void)text;
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] >> 4 > 9 || (bytes[i] & 15) > 9)
            return false;
        u = u * 100 + (bytes[i] >> 4) * 10u + (bytes[i] & 15);
    }
    *out = (struct value){.kind = VALUE_UINT, .u = u};
    return true;
}

static bool finite_value(struct value v, struct value *out)
{
    *out = v;
    return isfinite(v.d);
}

/* IEEE 754 binary16: 5 bits of exponent, 10 of fraction; every one of them is a float. */
static bool read_half(const uint8_t *bytes, size_t count, char *text, struct value *out)
{
    unsigned h = (unsigned)unsigned_of(bytes, count), exponent = h >> 10 & 31, fraction = h & 1023;
    double d = exponent ? ldexp(1024 + fraction, (int)exponent - 25) : ldexp(fraction, -24);

    (void)text;
    if (exponent == 31)
        return false;
    *out = (struct value){.kind = VALUE_FLOAT, .d = h & 0x8000 ? -d : d};
    return true;
}

static bool read_float(const uint8_t *bytes, size_t count, char *text, struct value *out)
{
    uint32_t word = (uint32_t)unsigned_of(bytes, count);
    float f;

    (void)text;
    memcpy(&f, &word, sizeof f);
    return finite_value((struct value){.kind = VALUE_FLOAT, .d = (double)f}, out);
}

static bool read_double(const uint8_t *bytes, size_t count, char *text, struct value *out)
{
    uint64_t word = unsigned_of(bytes, count);
    struct value v = {.kind = VALUE_DOUBLE};

    (void)text;
    memcpy(&v.d, &word, sizeof v.d);
    return finite_value(v, out);
}

/* ---- times ---- */

struct date {
    unsigned year, month, day, hour, minute, second, ms;
    bool with_ms, utc;
};

static bool print_date(const struct date *d, char *text, struct value *out)
{
    char all[VALUE_TIME_ROOM * 4], ms[16] = "";

    if (d->year > 9999 || d->month < 1 || d->month > 12 || d->day < 1 || d->day > 31 || d->hour > 23 ||
        d->minute > 59 || d->second > 60 || d->ms > 999)
        return false;
    if (d->with_ms)
        snprintf(ms, sizeof ms, ".%03u", d->ms);
    int len = snprintf(all, sizeof all, "%04u-%02u-%02uT%02u:%02u:%02u%s%s", d->year, d->month, d->day,
                       d->hour, d->minute, d->second, ms, d->utc ? "Z" : "");
    memcpy(text, all, (size_t)len);
    *out = (struct value){.kind = VALUE_TEXT, .len = (uint8_t)len, .text = text};
    return true;
}

static unsigned word_of(const uint8_t *bytes, size_t index)
{
    return (unsigned)unsigned_of(bytes + 2 * index, 2);
}

static unsigned full_year(unsigned year)
{
    return year < 100 ? 2000 + year : year;
}

/* Six or seven registers: year, month, day, hour, minute, second, and milliseconds. */
static bool read_date_words(const uint8_t *bytes, size_t count, char *text, struct value *out)
{
    struct date d = {full_year(word_of(bytes, 0)),
                     word_of(bytes, 1),
                     word_of(bytes, 2),
                     word_of(bytes, 3),
                     word_of(bytes, 4),
                     word_of(bytes, 5),
                     .with_ms = count > 12};

    if (d.with_ms)
        d.ms = word_of(bytes, 6);
    return print_date(&d, text, out);
}

/* Three registers: year and month, day and hour, minute and second, a byte each. */
static bool read_date_bytes(const uint8_t *bytes, size_t count, char *text, struct value *out)
{
    struct date d = {full_year(bytes[0]), bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], .ms = 0};

    (void)count;
    return print_date(&d, text, out);
}

/* Four registers, as IEC 60870-5-4 has it: year since 2000 (7 bits); month (4 bits) and day (5); hour (5) and
 * minute (6), milliseconds of the minute. Flags in the other bits. */
static bool read_date_iec(const uint8_t *bytes, size_t count, char *text, struct value *out)
{
    unsigned ms = word_of(bytes, 3);
    struct date d = {2000 + (bytes[1] & 127u), bytes[2] & 15,   bytes[3] & 31,  bytes[4] & 31, bytes[5] & 63,
                     .second = ms / 1000,      .ms = ms % 1000, .with_ms = true};

    (void)count;
    return print_date(&d, text, out);
}

static bool read_epoch(const uint8_t *bytes, size_t count, char *text, struct value *out)
{
    time_t t = (time_t)unsigned_of(bytes, count);
    struct tm tm;

    gmtime_r(&t, &tm);
    struct date d = {
        (unsigned)tm.tm_year + 1900, (unsigned)tm.tm_mon + 1, (unsigned)tm.tm_mday, (unsigned)tm.tm_hour,
        (unsigned)tm.tm_min,         (unsigned)tm.tm_sec,     .utc = true};
    return print_date(&d, text, out);
}

/* ---- writing ---- */

static void put_unsigned(uint64_t u, uint8_t *bytes, size_t count)
{
    for (size_t i = count; i--; u >>= 8)
        bytes[i] = (uint8_t)u;
}

/* Of a floating point number the nearest whole one. */
static bool whole_of(bool whole, __int128 i, double d, __int128 *out)
{
    *out = i;
    if (whole)
        return true;
    if (!(fabs(d) < 2e19))
        return false;
    *out = (__int128)nearbyint(d);
    return true;
}

static int write_unsigned(bool whole, __int128 i, double d, uint8_t *bytes, size_t count)
{
    if (!whole_of(whole, i, d, &i) || i < 0 || i >> (8 * count))
        return -ERANGE;
    put_unsigned((uint64_t)i, bytes, count);
    return 0;
}

static int write_signed(bool whole, __int128 i, double d, uint8_t *bytes, size_t count)
{
    __int128 half = (__int128)1 << (8 * count - 1);

    if (!whole_of(whole, i, d, &i) || i < -half || i >= half)
        return -ERANGE;
    put_unsigned((uint64_t)i, bytes, count);
    return 0;
}

static int write_bcd(bool whole, __int128 i, double d, uint8_t *bytes, size_t count)
{
    if (!whole_of(whole, i, d, &i) || i < 0)
        return -ERANGE;
    for (size_t k = count; k--; i /= 100)
        bytes[k] = (uint8_t)(i / 10 % 10 << 4 | i % 10);
    return i ? -ERANGE : 0;
}

static int write_half(bool whole, __int128 i, double d, uint8_t *bytes, size_t count)
{
    double x = whole ? (double)i : d, size = fabs(x);
    int exponent;
    unsigned h = 0;

    frexp(size, &exponent);
    if (exponent < -13)
        exponent = -13;                                                     /* subnormal */
    double fraction = size > 0 ? nearbyint(ldexp(size, 11 - exponent)) : 0; /* 1024 to 2048 when normal */
    h = (unsigned)fraction;
    if (h >= 1024)
        h += ((unsigned)exponent + 13) << 10;
    if (!(size < 65520))
        return -ERANGE;
    put_unsigned(h | (signbit(x) ? 0x8000u : 0), bytes, count);
    return 0;
}

static int write_float(bool whole, __int128 i, double d, uint8_t *bytes, size_t count)
{
    float f = whole ? (float)i : (float)d;
    uint32_t word;

    if (!isfinite(f))
        return -ERANGE;
    memcpy(&word, &f, sizeof word);
    put_unsigned(word, bytes, count);
    return 0;
}

static int write_double(bool whole, __int128 i, double d, uint8_t *bytes, size_t count)
{
    double x = whole ? (double)i : d;
    uint64_t word;

    memcpy(&word, &x, sizeof word);
    put_unsigned(word, bytes, count);
    return isfinite(x) ? 0 : -ERANGE;
}

/* ---- the tables ---- */

#define ROW(...)        {__VA_ARGS__},
#define NAME(name, ...) name,

#define TYPES(X)                                                                                             \
    X("bool", 0, FORM_BIT, NULL, NULL)                                                                       \
    X("bit", 0, FORM_BIT, NULL, NULL)                                                                        \
    X("int16", 2, FORM_NUMBER, read_signed, write_signed)                                                    \
    X("uint16", 2, FORM_NUMBER, read_unsigned, write_unsigned)                                               \
    X("int32", 4, FORM_NUMBER, read_signed, write_signed)                                                    \
    X("uint32", 4, FORM_NUMBER, read_unsigned, write_unsigned)                                               \
    X("int48", 6, FORM_NUMBER, read_signed, write_signed)                                                    \
    X("uint48", 6, FORM_NUMBER, read_unsigned, write_unsigned)                                               \
    X("int64", 8, FORM_NUMBER, read_signed, write_signed)                                                    \
    X("uint64", 8, FORM_NUMBER, read_unsigned, write_unsigned)                                               \
    X("float16", 2, FORM_FLOAT, read_half, write_half)                                                       \
    X("float32", 4, FORM_FLOAT, read_float, write_float)                                                     \
    X("float64", 8, FORM_FLOAT, read_double, write_double)                                                   \
    X("bcd16", 2, FORM_NUMBER, read_bcd, write_bcd)                                                          \
    X("bcd32", 4, FORM_NUMBER, read_bcd, write_bcd)                                                          \
    X("string", 0, FORM_TEXT, NULL, NULL)                                                                    \
    X("epoch32", 4, FORM_EPOCH, read_epoch, NULL)                                                            \
    X("date3", 6, FORM_TIME, read_date_bytes, NULL)                                                          \
    X("date4", 8, FORM_TIME, read_date_iec, NULL)                                                            \
    X("date6", 12, FORM_TIME, read_date_words, NULL)                                                         \
    X("date7", 14, FORM_TIME, read_date_words, NULL)

const struct value_type value_types[] = {TYPES(ROW)};
const char *const value_type_names[] = {TYPES(NAME) NULL};

#define ORDERS(X)                                                                                            \
    X("ABCD", "AB", "ABCD", "ABCDEF", "ABCDEFGH")                                                            \
    X("CDAB", "AB", "CDAB", "EFCDAB", "GHEFCDAB")                                                            \
    X("BADC", "BA", "BADC", "BADCFE", "BADCFEHG")                                                            \
    X("DCBA", "BA", "DCBA", "FEDCBA", "HGFEDCBA")                                                            \
    X("ABCDEFGH", NULL, NULL, NULL, "ABCDEFGH")                                                              \
    X("GHEFCDAB", NULL, NULL, NULL, "GHEFCDAB")                                                              \
    X("BADCFEHG", NULL, NULL, NULL, "BADCFEHG")                                                              \
    X("HGFEDCBA", NULL, NULL, NULL, "HGFEDCBA")                                                              \
    X("CDABGHEF", NULL, NULL, NULL, "CDABGHEF")                                                              \
    X("EFGHABCD", NULL, NULL, NULL, "EFGHABCD")                                                              \
    X("DCBAHGFE", NULL, NULL, NULL, "DCBAHGFE")                                                              \
    X("FEHGBADC", NULL, NULL, NULL, "FEHGBADC")

const struct value_order value_orders[] = {ORDERS(ROW)};
const char *const value_order_names[] = {ORDERS(NAME) NULL};

const char *const value_layout_names[] = {"HL", "LH", "H", "L", NULL};
