/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DECIMALS_MAX = 12 };

bool value_is_bit(const struct value_type *t)
{
    return t->form == FORM_BIT;
}

const char *value_order_for(const struct value_order *o, size_t bytes)
{
    return bytes == 2 ? o->of2 : bytes == 4 ? o->of4 : bytes == 6 ? o->of6 : bytes == 8 ? o->of8 : NULL;
}

/* Characters that one register holds. */
static unsigned per_register(enum value_layout layout)
{
    return layout == LAYOUT_HL || layout == LAYOUT_LH ? 2 : 1;
}

size_t value_bytes(const struct value_spec *s)
{
    unsigned each = per_register(s->layout);

    if (s->type->form == FORM_TEXT)
        return 2 * ((s->length + each - 1) / each);
    return s->type->form == FORM_BIT ? 2 : s->type->bytes;
}

size_t value_text_room(const struct value_spec *s)
{
    if (s->type->form == FORM_TEXT)
        return s->length;
    return s->type->form == FORM_TIME || s->type->form == FORM_EPOCH ? VALUE_TIME_ROOM : 0;
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
    double d = value_number(v) * s->scale + s->offset;
    bool single = v->kind == VALUE_FLOAT && isfinite((float)d);
    *v = single ? (struct value){.kind = VALUE_FLOAT, .d = (double)(float)d}
                : (struct value){.kind = VALUE_DOUBLE, .d = d};
}

static void apply_clamp(const struct value_spec *s, struct value *v)
{
    double d = value_number(v), limit = d < s->least ? s->least : d > s->most ? s->most : d;

    if (limit != d)
        *v = (struct value){.kind = v->kind == VALUE_FLOAT ? VALUE_FLOAT : VALUE_DOUBLE, .d = limit};
}

static const struct value_name *name_of(const struct value_spec *s, int64_t number)
{
    for (size_t i = 0; i < s->name_count; i++)
        if (s->names[i].number == number)
            return &s->names[i];
    return NULL;
}

/* A number that has no name stays a number. */
static void apply_names(const struct value_spec *s, struct value *v)
{
    bool whole = v->kind == VALUE_INT || v->kind == VALUE_BOOL || (v->kind == VALUE_UINT && v->i >= 0);
    const struct value_name *n = whole ? name_of(s, v->kind == VALUE_BOOL ? v->b : v->i) : NULL;

    if (n)
        *v = (struct value){.kind = VALUE_TEXT, .len = (uint8_t)strlen(n->name), .text = n->name};
}

bool value_read_bit(const struct value_spec *s, bool on, struct value *out)
{
    *out = (struct value){.kind = VALUE_BOOL, .b = on};
    apply_names(s, out);
    return true;
}

/* Where character index lies in the registers. */
static size_t place_of(enum value_layout layout, size_t index)
{
    static const uint8_t first[] = {[LAYOUT_HL] = 0, [LAYOUT_LH] = 1, [LAYOUT_H] = 0, [LAYOUT_L] = 1};

    return layout == LAYOUT_HL ? index : layout == LAYOUT_LH ? index ^ 1 : 2 * index + first[layout];
}

/* Ends at a zero; blanks at the end only fill up. */
static bool read_text(const struct value_spec *s, const uint8_t *data, char *text, struct value *out)
{
    uint8_t len = 0;

    while (len < s->length && (text[len] = (char)data[place_of(s->layout, len)]))
        len++;
    while (len && text[len - 1] == ' ')
        len--;
    *out = (struct value){.kind = VALUE_TEXT, .len = len, .text = text};
    return true;
}

/* From the wire's order to that of significance. */
static void sort_in(const struct value_spec *s, const uint8_t *data, uint8_t *bytes, size_t count)
{
    const char *order = value_order_for(s->order, s->type->form == FORM_TIME ? 2 : count);

    for (size_t i = 0; i < count; i++)
        bytes[s->type->form == FORM_TIME ? i / 2 * 2 + (size_t)(order[i % 2] - 'A')
                                         : (size_t)(order[i] - 'A')] = data[i];
}

static bool says_nothing(const struct value_spec *s, const uint8_t *bytes, size_t count)
{
    uint64_t u = 0;

    for (size_t i = 0; i < count; i++)
        u = u << 8 | bytes[i];
    for (size_t i = 0; i < s->no_value_count; i++)
        if (s->no_value[i] == u)
            return true;
    return false;
}

bool value_read(const struct value_spec *s, const uint8_t *data, char *text, struct value *out)
{
    size_t count = value_bytes(s);
    uint8_t bytes[16];

    if (s->type->form == FORM_TEXT)
        return read_text(s, data, text, out);
    sort_in(s, data, bytes, count);
    if (s->type->form == FORM_BIT)
        return value_read_bit(s, (bytes[0] << 8 | bytes[1]) >> s->bit & 1, out);
    if (says_nothing(s, bytes, count) || !s->type->read(bytes, count, text, out))
        return false;
    if (s->scale.on)
        apply_scale(&s->scale, out);
    if (s->clamp)
        apply_clamp(s, out);
    apply_names(s, out);
    return (out->kind != VALUE_FLOAT && out->kind != VALUE_DOUBLE) || isfinite(out->d);
}

/* ---- writing ---- */

static int write_text(const struct value_spec *s, const struct value *v, uint8_t *data)
{
    if (v->kind != VALUE_TEXT)
        return -EINVAL;
    if (v->len > s->length)
        return -ERANGE;
    memset(data, 0, value_bytes(s));
    for (size_t i = 0; i < v->len; i++)
        data[place_of(s->layout, i)] = (uint8_t)v->text[i];
    return 0;
}

/* A name becomes its number. */
static bool named(const struct value_spec *s, const struct value *v, struct value *out)
{
    *out = *v;
    if (v->kind != VALUE_TEXT)
        return true;
    for (size_t i = 0; i < s->name_count; i++)
        if (strlen(s->names[i].name) == v->len && !memcmp(s->names[i].name, v->text, v->len)) {
            *out = (struct value){.kind = VALUE_INT, .i = s->names[i].number};
            return true;
        }
    return false;
}

static int write_bit(const struct value *v, uint8_t *data)
{
    double d = value_number(v);

    if (d != 0 && d != 1)
        return isnan(d) ? -EINVAL : -ERANGE;
    data[0] = d == 1;
    return 0;
}

static __int128 shifted(__int128 mantissa, unsigned decimals)
{
    return mantissa * power10(decimals);
}

/* (v − offset) ÷ scale: a whole number exactly where it is one, else d. */
static int unscale(const struct value_scale *s, const struct value *v, bool *whole, __int128 *i, double *d)
{
    bool decimal = v->kind == VALUE_INT || v->kind == VALUE_UINT || v->kind == VALUE_DECIMAL;
    unsigned own = v->kind == VALUE_DECIMAL ? v->decimals : 0, all = own > s->decimals ? own : s->decimals;

    *whole = false;
    *d = (value_number(v) - s->offset) / s->scale;
    if (!decimal || !s->exact || all > DECIMALS_MAX)
        return isfinite(*d) ? 0 : -ERANGE;
    __int128 m = v->kind == VALUE_UINT ? (__int128)v->u : (__int128)v->i;
    m = shifted(m, all - own) - shifted(s->offset_m, all - s->decimals);
    __int128 step = shifted(s->scale_m, all - s->decimals);
    *whole = m % step == 0;
    *i = m / step;
    return 0;
}

int value_write(const struct value_spec *s, const struct value *v, uint8_t *data)
{
    struct value number;
    uint8_t bytes[8] = {0};
    bool whole;
    __int128 i = 0;
    double d;

    if (s->type->form == FORM_TEXT)
        return write_text(s, v, data);
    if (!named(s, v, &number))
        return -EINVAL;
    if (s->type->form == FORM_BIT)
        return write_bit(&number, data);
    if (!s->type->write || number.kind == VALUE_BOOL || number.kind == VALUE_NONE)
        return -EINVAL;
    int err = unscale(&s->scale, &number, &whole, &i, &d);
    if (!err && !whole && !s->scale.on && s->type->form == FORM_NUMBER && d != nearbyint(d))
        return -EINVAL;
    if (!err)
        err = s->type->write(whole, i, d, bytes, s->type->bytes);
    if (err)
        return err;
    const char *order = value_order_for(s->order, s->type->bytes);
    for (size_t k = 0; k < s->type->bytes; k++)
        data[k] = bytes[order[k] - 'A'];
    return 0;
}
