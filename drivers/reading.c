/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/reading.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

/* Record: form (1), boot (4), count (4), taken (8), device, group (each 1 + text), points (2), then for each
 * point its name (1 + text), flags (1: kind | QUALITY | LAG | UNIT), and what they announce. */
enum { FORM = 1, KIND_MASK = 0x0f, HAS_QUALITY = 0x10, HAS_LAG = 0x20, HAS_UNIT = 0x40 };

static void put_text(struct buf *out, const char *text)
{
    size_t len = strlen(text);

    buf_u8(out, (uint8_t)len);
    buf_append(out, text, len);
}

static void put_value(struct buf *out, const struct value *v)
{
    uint64_t bits;

    switch (v->kind) {
    case VALUE_NONE:
        break;
    case VALUE_BOOL:
        buf_u8(out, v->b);
        break;
    case VALUE_FLOAT: {
        float f = (float)v->d;
        uint32_t word;
        memcpy(&word, &f, sizeof word);
        buf_u32(out, word);
        break;
    }
    case VALUE_DECIMAL:
        buf_u8(out, v->decimals);
        buf_u64(out, v->u);
        break;
    case VALUE_TEXT:
        buf_u8(out, v->len);
        buf_append(out, v->text, v->len);
        break;
    case VALUE_INT:
    case VALUE_UINT:
    case VALUE_DOUBLE:
        memcpy(&bits, &v->u, sizeof bits);
        buf_u64(out, bits);
        break;
    }
}

static void put_point(struct buf *out, const struct reading_point *p)
{
    bool good = p->quality == QUALITY_GOOD, valued = quality_has_value(p->quality);

    put_text(out, p->name);
    buf_u8(out, (uint8_t)((valued ? (unsigned)p->value.kind : 0) | (good ? 0 : HAS_QUALITY) |
                          (p->lag_ms ? HAS_LAG : 0) | (p->unit ? HAS_UNIT : 0)));
    if (!good) {
        buf_u8(out, (uint8_t)p->quality);
        buf_u8(out, p->detail);
    }
    if (p->lag_ms)
        buf_u32(out, p->lag_ms);
    if (p->unit)
        put_text(out, p->unit);
    if (valued)
        put_value(out, &p->value);
}

void reading_encode(struct buf *out, const struct reading *r)
{
    buf_u8(out, FORM);
    buf_u32(out, r->boot);
    buf_u32(out, r->count);
    buf_u64(out, r->taken_us);
    put_text(out, r->device);
    put_text(out, r->group);
    buf_u16(out, (uint16_t)r->point_count);
    for (size_t i = 0; i < r->point_count; i++)
        put_point(out, &r->points[i]);
}

uint64_t reading_number(const struct reading *r)
{
    return (uint64_t)r->boot << 32 | r->count;
}

/* What a record says, without its points. */
struct head {
    uint64_t n, taken_us;
    uint16_t points;
};

struct point {
    struct bytes name, unit;
    struct value value;
    enum quality quality;
    uint8_t detail;
    uint32_t lag_ms;
};

static struct head take_head(struct cursor *c)
{
    struct head h = {0};

    if (cursor_u8(c) != FORM)
        c->failed = true;
    h.n = cursor_u64(c);
    h.taken_us = cursor_u64(c);
    cursor_bytes(c, cursor_u8(c));
    cursor_bytes(c, cursor_u8(c));
    h.points = cursor_u16(c);
    return h;
}

static struct value take_value(struct cursor *c, unsigned kind)
{
    struct value v = {.kind = kind};

    switch (kind) {
    case VALUE_NONE:
        break;
    case VALUE_BOOL:
        v.b = cursor_u8(c);
        break;
    case VALUE_FLOAT: {
        uint32_t word = cursor_u32(c);
        float f;
        memcpy(&f, &word, sizeof f);
        v.d = (double)f;
        break;
    }
    case VALUE_DECIMAL:
        v.decimals = cursor_u8(c);
        v.u = cursor_u64(c);
        break;
    case VALUE_TEXT:
        v.len = cursor_u8(c);
        v.text = (const char *)cursor_bytes(c, v.len).data;
        break;
    case VALUE_INT:
    case VALUE_UINT:
    case VALUE_DOUBLE:
        v.u = cursor_u64(c);
        break;
    default:
        c->failed = true;
    }
    return v;
}

static struct point take_point(struct cursor *c)
{
    struct point p = {0};

    p.name = cursor_bytes(c, cursor_u8(c));
    uint8_t flags = cursor_u8(c);
    if (flags & HAS_QUALITY) {
        p.quality = cursor_u8(c);
        p.detail = cursor_u8(c);
    }
    if (flags & HAS_LAG)
        p.lag_ms = cursor_u32(c);
    if (flags & HAS_UNIT)
        p.unit = cursor_bytes(c, cursor_u8(c));
    p.value = take_value(c, flags & KIND_MASK);
    return p;
}

double value_number(const struct value *v)
{
    switch (v->kind) {
    case VALUE_BOOL:
        return v->b;
    case VALUE_INT:
        return (double)v->i;
    case VALUE_UINT:
        return (double)v->u;
    case VALUE_DECIMAL:
        return (double)v->i / pow(10, v->decimals);
    case VALUE_FLOAT:
    case VALUE_DOUBLE:
        return v->d;
    case VALUE_NONE:
    case VALUE_TEXT:
        break;
    }
    return NAN;
}

bool quality_has_value(enum quality q)
{
    return q == QUALITY_GOOD || q == QUALITY_SIMULATED;
}

void quality_print(struct buf *out, enum quality q, uint8_t detail)
{
    static const char *const names[QUALITY_COUNT] = {"good", "timeout", "crc",   "exception", "out of range",
                                                     "busy", "skipped", "stale", "simulated"};

    buf_printf(out, "%s", q < QUALITY_COUNT ? names[q] : "unknown");
    if (q == QUALITY_EXCEPTION)
        buf_printf(out, " %u", detail);
}

/* The digits that a precision always keeps, then more until the text reads back the same. */
static void print_double(struct buf *out, double d)
{
    char text[40];
    int digits = 15;

    do
        snprintf(text, sizeof text, "%.*g", digits, d);
    while (strtod(text, NULL) != d && ++digits <= 17);
    buf_printf(out, "%s", text);
}

static void print_float(struct buf *out, float f)
{
    char text[40];
    int digits = 6;

    do
        snprintf(text, sizeof text, "%.*g", digits, (double)f);
    while (strtof(text, NULL) != f && ++digits <= 9);
    buf_printf(out, "%s", text);
}

static void print_decimal(struct buf *out, int64_t mantissa, unsigned decimals)
{
    char digits[48];
    uint64_t size = mantissa < 0 ? 0 - (uint64_t)mantissa : (uint64_t)mantissa;
    int width = (int)(decimals > 20 ? 20 : decimals);
    int len = snprintf(digits, sizeof digits, "%0*llu", width + 1, (unsigned long long)size);

    buf_printf(out, "%s%.*s", mantissa < 0 ? "-" : "", len - width, digits);
    if (width)
        buf_printf(out, ".%s", digits + len - width);
}

/* Length of the UTF-8 character at p; 0 when there is none. */
static size_t character(const uint8_t *p, size_t left)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

    if (len > left)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool none = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
    return overlong || none ? 0 : len;
}

/* A device may hold any bytes; what is no character becomes the replacement character. */
static void print_text(struct buf *out, struct bytes text, bool json)
{
    const uint8_t *p = text.data;

    for (size_t i = 0, len; i < text.len; i += len ? len : 1) {
        len = character(p + i, text.len - i);
        if (!len)
            buf_printf(out, "\xef\xbf\xbd");
        else if (json && (p[i] < ' ' || p[i] == 0x7f))
            buf_printf(out, "\\u%04x", p[i]);
        else if (json && (p[i] == '"' || p[i] == '\\'))
            buf_printf(out, "\\%c", p[i]);
        else
            buf_append(out, p + i, len);
    }
}

static void print_quoted(struct buf *out, struct bytes text)
{
    buf_u8(out, '"');
    print_text(out, text, true);
    buf_u8(out, '"');
}

static struct bytes text_of(const struct value *v)
{
    return (struct bytes){(const uint8_t *)v->text, v->len};
}

void value_print(struct buf *out, const struct value *v)
{
    switch (v->kind) {
    case VALUE_NONE:
        buf_printf(out, "null");
        break;
    case VALUE_BOOL:
        buf_printf(out, v->b ? "true" : "false");
        break;
    case VALUE_INT:
        buf_printf(out, "%lld", (long long)v->i);
        break;
    case VALUE_UINT:
        buf_printf(out, "%llu", (unsigned long long)v->u);
        break;
    case VALUE_FLOAT:
        print_float(out, (float)v->d);
        break;
    case VALUE_DOUBLE:
        print_double(out, v->d);
        break;
    case VALUE_DECIMAL:
        print_decimal(out, v->i, v->decimals);
        break;
    case VALUE_TEXT:
        print_quoted(out, text_of(v));
        break;
    }
}

static void print_head(struct buf *out, const struct head *h, bool offset_known, int64_t wall_offset_us)
{
    char text[32];

    clock_format((int64_t)h->taken_us + wall_offset_us, text);
    buf_printf(out, "{\"t\":\"%s\",\"n\":%llu", text, (unsigned long long)h->n);
    if (!offset_known)
        buf_printf(out, ",\"clk\":\"unset\"");
}

/* Names match [A-Za-z0-9_.-]{1,64}: nothing in them needs an escape. */
static void print_key(struct buf *out, const struct point *p, bool *first)
{
    buf_printf(out, "%s\"%.*s\":", *first ? "" : ",", (int)p->name.len, (const char *)p->name.data);
    *first = false;
}

static void print_quality(struct buf *out, const struct point *p)
{
    buf_u8(out, '"');
    quality_print(out, p->quality, p->detail);
    buf_u8(out, '"');
}

enum part { PART_VALUES, PART_QUALITIES, PART_LAGS };

static bool in_part(const struct point *p, enum part part)
{
    switch (part) {
    case PART_VALUES:
        return quality_has_value(p->quality);
    case PART_QUALITIES:
        return p->quality != QUALITY_GOOD;
    case PART_LAGS:
        break;
    }
    return p->lag_ms >= 1000;
}

static void print_part(struct buf *out, struct cursor c, unsigned points, enum part part, const char *key)
{
    bool first = true;

    while (points--) {
        struct point p = take_point(&c);
        if (!in_part(&p, part))
            continue;
        if (first)
            buf_printf(out, ",\"%s\":{", key);
        print_key(out, &p, &first);
        if (part == PART_VALUES)
            value_print(out, &p.value);
        else if (part == PART_QUALITIES)
            print_quality(out, &p);
        else
            buf_printf(out, "%u.%03u", p.lag_ms / 1000, p.lag_ms % 1000);
    }
    if (!first)
        buf_u8(out, '}');
    else if (part == PART_VALUES)
        buf_printf(out, ",\"%s\":{}", key);
}

static bool points_are_whole(struct cursor c, unsigned points)
{
    while (points-- && !c.failed)
        take_point(&c);
    return !c.failed;
}

static void print_damaged(struct buf *out)
{
    buf_printf(out, "{\"error\":\"damaged record\"}");
}

void reading_json(struct buf *out, struct bytes record, bool offset_known, int64_t wall_offset_us)
{
    struct cursor c = cursor_of(record.data, record.len);
    struct head h = take_head(&c);

    if (!points_are_whole(c, h.points)) {
        print_damaged(out);
        return;
    }
    print_head(out, &h, offset_known, wall_offset_us);
    print_part(out, c, h.points, PART_VALUES, "v");
    print_part(out, c, h.points, PART_QUALITIES, "q");
    print_part(out, c, h.points, PART_LAGS, "dt");
    buf_u8(out, '}');
}

void reading_json_point(struct buf *out, struct bytes record, bool offset_known, int64_t wall_offset_us)
{
    struct cursor c = cursor_of(record.data, record.len);
    struct head h = take_head(&c);
    struct point p = take_point(&c);

    if (c.failed || !h.points) {
        print_damaged(out);
        return;
    }
    h.taken_us += (uint64_t)p.lag_ms * 1000;
    print_head(out, &h, offset_known, wall_offset_us);
    if (quality_has_value(p.quality)) {
        buf_printf(out, ",\"v\":");
        value_print(out, &p.value);
    }
    if (p.quality != QUALITY_GOOD) {
        buf_printf(out, ",\"q\":");
        print_quality(out, &p);
    }
    if (p.unit.len) {
        buf_printf(out, ",\"u\":");
        print_quoted(out, p.unit);
    }
    buf_u8(out, '}');
}

void reading_plain_point(struct buf *out, struct bytes record, bool offset_known, int64_t wall_offset_us)
{
    struct cursor c = cursor_of(record.data, record.len);

    (void)offset_known, (void)wall_offset_us;
    take_head(&c);
    struct point p = take_point(&c);
    if (c.failed || p.quality != QUALITY_GOOD)
        return;
    if (p.value.kind == VALUE_TEXT)
        print_text(out, text_of(&p.value), false);
    else
        value_print(out, &p.value);
}
