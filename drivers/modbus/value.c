/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DECIMALS_MAX = 12 };

static uint64_t unsigned_of(const uint8_t *bytes, size_t count)
{
    uint64_t u = 0;

    for (size_t i = 0; i < count; i++)
        u = u << 8 | bytes[i];
    return u;
}

static struct value read_unsigned(const uint8_t *bytes, size_t count)
{
    return (struct value){.kind = VALUE_UINT, .u = unsigned_of(bytes, count)};
}

static struct value read_signed(const uint8_t *bytes, size_t count)
{
    unsigned unused = 64 - 8 * (unsigned)count;
    uint64_t top = unsigned_of(bytes, count) << unused;

    return (struct value){.kind = VALUE_INT, .i = (int64_t)top >> unused};
}

static struct value read_float(const uint8_t *bytes, size_t count)
{
    uint32_t word = (uint32_t)unsigned_of(bytes, count);
    float f;

    memcpy(&f, &word, sizeof f);
    return (struct value){.kind = VALUE_FLOAT, .d = (double)f};
}

static struct value read_double(const uint8_t *bytes, size_t count)
{
    uint64_t word = unsigned_of(bytes, count);
    struct value v = {.kind = VALUE_DOUBLE};

    memcpy(&v.d, &word, sizeof v.d);
    return v;
}

#define ROW(...)        {__VA_ARGS__},
#define NAME(name, ...) name,

#define TYPES(X)                                                                                             \
    X("bool", 0, NULL)                                                                                       \
    X("bit", 0, NULL)                                                                                        \
    X("int16", 2, read_signed)                                                                               \
    X("uint16", 2, read_unsigned)                                                                            \
    X("int32", 4, read_signed)                                                                               \
    X("uint32", 4, read_unsigned)                                                                            \
    X("int64", 8, read_signed)                                                                               \
    X("uint64", 8, read_unsigned)                                                                            \
    X("float32", 4, read_float)                                                                              \
    X("float64", 8, read_double)

const struct value_type value_types[] = {TYPES(ROW)};
const char *const value_type_names[] = {TYPES(NAME) NULL};

#define ORDERS(X)                                                                                            \
    X("ABCD", "AB", "ABCD", "ABCDEFGH")                                                                      \
    X("CDAB", "AB", "CDAB", "GHEFCDAB")                                                                      \
    X("BADC", "BA", "BADC", "BADCFEHG")                                                                      \
    X("DCBA", "BA", "DCBA", "HGFEDCBA")                                                                      \
    X("ABCDEFGH", NULL, NULL, "ABCDEFGH")                                                                    \
    X("GHEFCDAB", NULL, NULL, "GHEFCDAB")                                                                    \
    X("BADCFEHG", NULL, NULL, "BADCFEHG")                                                                    \
    X("HGFEDCBA", NULL, NULL, "HGFEDCBA")                                                                    \
    X("CDABGHEF", NULL, NULL, "CDABGHEF")                                                                    \
    X("EFGHABCD", NULL, NULL, "EFGHABCD")                                                                    \
    X("DCBAHGFE", NULL, NULL, "DCBAHGFE")                                                                    \
    X("FEHGBADC", NULL, NULL, "FEHGBADC")

const struct value_order value_orders[] = {ORDERS(ROW)};
const char *const value_order_names[] = {ORDERS(NAME) NULL};

bool value_is_bit(const struct value_type *t)
{
    return !t->bytes;
}

const char *value_order_for(const struct value_order *o, size_t bytes)
{
    return bytes == 2 ? o->of2 : bytes == 4 ? o->of4 : bytes == 8 ? o->of8 : NULL;
}

static int64_t power10(unsigned n)
{
    int64_t p = 1;

    while (n--)
        p *= 10;
    return p;
}

/* How many decimals write x exactly as people would; -1 when that is too many. */
static int decimals_of(double x)
{
    char text[64];

    if (!(fabs(x) < 1e9))
        return -1;
    for (int d = 0; d <= DECIMALS_MAX; d++) {
        snprintf(text, sizeof text, "%.*f", d, x);
        if (strtod(text, NULL) == x && fabs(x) * pow(10, d) < 1e15)
            return d;
    }
    return -1;
}

struct value_scale value_scale_of(double scale, double offset)
{
    struct value_scale s = {.on = scale != 1.0 || offset != 0.0, .scale = scale, .offset = offset};
    int ds = decimals_of(scale), dof = decimals_of(offset);
    int d = ds > dof ? ds : dof;

    s.exact = ds >= 0 && dof >= 0 && fabs(scale) * pow(10, d) < 1e15 && fabs(offset) * pow(10, d) < 1e15;
    if (s.exact) {
        s.decimals = (uint8_t)d;
        s.scale_m = llround(scale * (double)power10((unsigned)d));
        s.offset_m = llround(offset * (double)power10((unsigned)d));
    }
    return s;
}

static double number_of(const struct value *v)
{
    switch (v->kind) {
    case VALUE_INT:
        return (double)v->i;
    case VALUE_UINT:
        return (double)v->u;
    default:
        return v->d;
    }
}

static void apply_scale(const struct value_scale *s, struct value *v)
{
    bool integer = v->kind == VALUE_INT || v->kind == VALUE_UINT;

    if (integer && s->exact) {
        __int128 raw = v->kind == VALUE_INT ? (__int128)v->i : (__int128)v->u;
        __int128 scaled = raw * s->scale_m + s->offset_m;
        if (scaled >= INT64_MIN && scaled <= INT64_MAX) {
            *v = (struct value){.kind = VALUE_DECIMAL, .decimals = s->decimals, .i = (int64_t)scaled};
            return;
        }
    }
    double d = number_of(v) * s->scale + s->offset;
    bool single = v->kind == VALUE_FLOAT && isfinite((float)d);
    *v = single ? (struct value){.kind = VALUE_FLOAT, .d = (double)(float)d}
                : (struct value){.kind = VALUE_DOUBLE, .d = d};
}

struct value value_of_bit(bool on)
{
    return (struct value){.kind = VALUE_BOOL, .b = on};
}

bool value_read(const struct value_spec *s, const uint8_t *data, struct value *out)
{
    size_t count = value_is_bit(s->type) ? 2 : s->type->bytes;
    const char *order = value_order_for(s->order, count);
    uint8_t bytes[8];

    for (size_t i = 0; i < count; i++)
        bytes[order[i] - 'A'] = data[i];
    if (value_is_bit(s->type)) {
        *out = value_of_bit(unsigned_of(bytes, 2) >> s->bit & 1);
        return true;
    }
    *out = s->type->read(bytes, count);
    if (s->scale.on)
        apply_scale(&s->scale, out);
    return (out->kind != VALUE_FLOAT && out->kind != VALUE_DOUBLE) || isfinite(out->d);
}
