/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/point.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/modbus/order.h"

static const struct {
    const char *name;
    enum modbus_table table;
    char digit; /* first of the numbers that count from 1: 40101 */
} tables[] = {{"coil", TABLE_COIL, '0'},
              {"discrete", TABLE_DISCRETE, '1'},
              {"input", TABLE_INPUT, '3'},
              {"holding", TABLE_HOLDING, '4'}};

const char *modbus_table_name(enum modbus_table t)
{
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        if (tables[i].table == t)
            return tables[i].name;
    return "";
}

/* ---- addresses ---- */

static size_t digits_of(const char *text)
{
    return strspn(text, "0123456789");
}

/* A number of at most five digits. */
static const char *read_number(const char *text, unsigned *out)
{
    size_t len = digits_of(text);

    if (!len || len > 5)
        return NULL;
    *out = (unsigned)strtoul(text, NULL, 10);
    return text + len;
}

/* "40101": the digit names the table, and what follows counts from 1. */
static const char *read_numbered(const char *text, enum modbus_table *table, unsigned *number)
{
    size_t len = digits_of(text);

    if (len != 5 && len != 6)
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        if (text[0] == tables[i].digit) {
            *table = tables[i].table;
            return read_number(text + 1, number);
        }
    return NULL;
}

static const char *read_named(const char *text, enum modbus_table *table, unsigned *number)
{
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        size_t len = strlen(tables[i].name);
        if (strncmp(text, tables[i].name, len) || text[len] != ':')
            continue;
        *table = tables[i].table;
        return read_number(text + len + 1, number);
    }
    return NULL;
}

/* "holding:100" or, with base 1, "40101"; what follows it, or NULL. *address: on the wire. */
static const char *read_place(const char *text, unsigned base, enum modbus_table *table, uint16_t *address)
{
    unsigned number = 0;
    const char *rest =
        base == 1 && digits_of(text) ? read_numbered(text, table, &number) : read_named(text, table, &number);

    if (!rest || number < base || number - base > 65535)
        return NULL;
    *address = (uint16_t)(number - base);
    return rest;
}

/* *bit: -1 when there is none. */
static bool read_at(const char *at, unsigned base, struct modbus_point *p, int *bit)
{
    const char *rest = read_place(at, base, &p->table, &p->address);
    unsigned b;

    *bit = -1;
    if (!rest || !*rest)
        return rest;
    if (*rest != '.' || !(rest = read_number(rest + 1, &b)) || *rest || b > 15)
        return false;
    *bit = (int)b;
    return true;
}

bool modbus_range_read(const char *text, unsigned base, struct plan_range *out)
{
    unsigned last;
    enum modbus_table table;

    *out = (struct plan_range){0};
    const char *rest = read_place(text, base, &out->table, &out->first);
    out->last = out->first;
    if (!rest || !*rest)
        return rest;
    if (*rest++ != '-')
        return false;
    if (digits_of(text))
        rest = read_numbered(rest, &table, &last);
    else
        rest = read_number(rest, &last);
    if (!rest || *rest || last < base || last - base > 65535 || last - base < out->first)
        return false;
    out->last = (uint16_t)(last - base);
    return !digits_of(text) || table == out->table;
}

static void explain_at(const char *at, unsigned base, char *error, size_t size)
{
    if (base == 0 && digits_of(at) >= 5)
        snprintf(error, size,
                 "at = \"%s\" counts from 1: give the device base = 1, or write it as it goes over the wire, "
                 "as in \"holding:100\" for 40101",
                 at);
    else
        snprintf(
            error, size,
            "at = \"%s\" is no address; write coil:N, discrete:N, input:N or holding:N with N from %u to "
            "%u, and input:N.B or holding:N.B for bit B (0 to 15) of a register",
            at, base, 65535 + base);
}

bool modbus_at_read(const char *at, unsigned base, enum modbus_table *table, uint16_t *address, int *bit,
                    char *error, size_t size)
{
    struct modbus_point p = {0};

    if (!read_at(at, base, &p, bit)) {
        explain_at(at, base, error, size);
        return false;
    }
    *table = p.table;
    *address = p.address;
    if (*bit < 0 || !table_is_bits(*table))
        return true;
    snprintf(error, size, "a coil or discrete input has no bits; leave the part behind the point away");
    return false;
}

/* ---- type ---- */

/* The type that is written, or the only one that the address allows. */
static const struct value_type *type_of(const struct conf_node *point, const struct modbus_point *p, int bit)
{
    const struct conf_node *type = conf_get(point, "type");

    if (type)
        return &value_types[type->i];
    for (size_t i = 0; value_type_names[i]; i++)
        if ((table_is_bits(p->table) && !strcmp(value_type_names[i], "bool")) ||
            (bit >= 0 && !strcmp(value_type_names[i], "bit")))
            return &value_types[i];
    return NULL;
}

static const char *type_mistake(const struct value_type *t, const struct modbus_point *p, int bit)
{
    bool one_bit = t && value_is_bit(t);

    if (!t)
        return "`type` is missing; say what the registers hold, as in \"int16\"";
    if (table_is_bits(p->table))
        return bit >= 0   ? "a coil or discrete input has no bits; leave the part behind the point away"
               : !one_bit ? "a coil or discrete input is a bool"
                          : NULL;
    if (one_bit && bit < 0)
        return "a register has 16 bits; say which one, as in \"input:7.3\"";
    if (!one_bit && bit >= 0)
        return "a single bit of a register has the type bit";
    return NULL;
}

static bool is_number(const struct modbus_point *p)
{
    return p->spec.type->form == FORM_NUMBER || p->spec.type->form == FORM_FLOAT;
}

static bool read_order(const struct conf_node *line, const struct conf_node *device,
                       const struct conf_node *point, struct modbus_point *p, char *error, size_t size)
{
    const struct conf_node *own = conf_get(point, "order"), *all = conf_get(device, "order");
    size_t bytes = p->spec.type->form == FORM_TIME ? 2 : value_bytes(&p->spec);

    p->spec.order = &value_orders[own ? own->i : all ? all->i : conf_int(line, "order")];
    if (p->spec.type->form == FORM_TEXT || value_order_for(p->spec.order, bytes))
        return true;
    snprintf(error, size,
             "order %s is for values of 8 bytes, and %s has %zu; use one of ABCD, CDAB, BADC, DCBA",
             p->spec.order->name, p->spec.type->name, bytes);
    return false;
}

/* Where the point must be of a form for a row to make sense. */
static bool only_for(const struct conf_node *point, const char *row, bool fits, const char *what, char *error,
                     size_t size)
{
    const struct conf_node *n = conf_get(point, row);

    if (n && n->given && !fits)
        snprintf(error, size, "`%s` is for %s", row, what);
    return !n || !n->given || fits;
}

static bool read_text_rows(const struct conf_node *point, struct modbus_point *p, char *error, size_t size)
{
    bool text = p->spec.type->form == FORM_TEXT;

    if (!only_for(point, "length", text, "the type string", error, size) ||
        !only_for(point, "layout", text, "the type string", error, size))
        return false;
    p->spec.length = text && conf_get(point, "length") ? (uint8_t)conf_int(point, "length") : 0;
    p->spec.layout = (enum value_layout)conf_int(point, "layout");
    if (text && !p->spec.length)
        snprintf(error, size, "a string needs `length`, its characters, as in length = 16");
    return !text || p->spec.length;
}

/* ---- what becomes of a number ---- */

static bool read_scale(const struct conf_node *point, struct modbus_point *p, char *error, size_t size)
{
    double scale = conf_float(point, "scale");

    p->spec.scale = value_scale_of(scale, conf_float(point, "offset"));
    if (p->spec.scale.on && !is_number(p)) {
        snprintf(error, size, "a %s has no scale or offset", p->spec.type->name);
        return false;
    }
    if (scale == 0.0)
        snprintf(error, size, "scale 0 would make every value the same; 1 leaves it as it is");
    return scale != 0.0;
}

static bool read_clamp(const struct conf_node *point, struct modbus_point *p, char *error, size_t size)
{
    const struct conf_node *clamp = conf_get(point, "clamp");

    if (!only_for(point, "clamp", is_number(p), "numbers", error, size))
        return false;
    if (!clamp || !clamp->given)
        return true;
    double least = conf_float(clamp, "min"), most = conf_float(clamp, "max");
    p->spec.clamp = true;
    p->spec.least = isnan(least) ? -INFINITY : least;
    p->spec.most = isnan(most) ? INFINITY : most;
    if (p->spec.least > p->spec.most)
        snprintf(error, size, "clamp: min %g is above max %g", least, most);
    return p->spec.least <= p->spec.most;
}

/* "3 = running" */
static bool read_name(const char *text, struct value_name *out)
{
    char *end;

    out->number = strtoll(text, &end, 0);
    if (end == text)
        return false;
    end += strspn(end, " ");
    if (*end++ != '=')
        return false;
    end += strspn(end, " ");
    out->name = end;
    return *end && strlen(end) <= 64;
}

static bool read_names(const struct conf_node *point, struct modbus_point *p, char *error, size_t size)
{
    size_t count = conf_count(point, "names");
    bool fits = p->spec.type->form == FORM_BIT || p->spec.type->form == FORM_NUMBER;
    struct value_name n;

    if (!only_for(point, "names", fits && !p->spec.scale.on, "whole numbers and bits without scale or offset",
                  error, size))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!read_name(conf_at(point, "names", i)->s, &n)) {
            snprintf(error, size, "names: \"%s\" is no name of a number; write \"3 = running\"",
                     conf_at(point, "names", i)->s);
            return false;
        }
    p->spec.names = mem_alloc((count + 1) * sizeof *p->spec.names);
    for (; p->spec.name_count < count; p->spec.name_count++) {
        read_name(conf_at(point, "names", p->spec.name_count)->s, &n);
        p->spec.names[p->spec.name_count] = (struct value_name){n.number, mem_strdup(n.name)};
    }
    return true;
}

/* As they stand in the registers, whatever the sign. */
static bool read_no_value(const struct conf_node *point, struct modbus_point *p, char *error, size_t size)
{
    size_t count = conf_count(point, "no_value"), bytes = p->spec.type->bytes;
    char *end;

    if (!only_for(point, "no_value", p->spec.type->form == FORM_NUMBER, "whole numbers", error, size))
        return false;
    p->spec.no_value = mem_alloc((count + 1) * sizeof *p->spec.no_value);
    for (; p->spec.no_value_count < count; p->spec.no_value_count++) {
        const char *text = conf_at(point, "no_value", p->spec.no_value_count)->s;
        uint64_t u = text[0] == '-' ? (uint64_t)strtoll(text, &end, 0) : strtoull(text, &end, 0);
        if (end == text || *end) {
            snprintf(error, size, "no_value: \"%s\" is no whole number; write \"0x7FFF\" or \"-32768\"",
                     text);
            return false;
        }
        p->spec.no_value[p->spec.no_value_count] = bytes == 8 ? u : u & ((UINT64_C(1) << 8 * bytes) - 1);
    }
    return true;
}

/* ---- when it is published ---- */

static bool read_deadband(const struct conf_node *point, struct modbus_point *p, char *error, size_t size)
{
    const struct conf_node *absolute = conf_get(point, "deadband"),
                           *percent = conf_get(point, "deadband_pct");

    if (!only_for(point, "deadband", is_number(p), "numbers", error, size) ||
        !only_for(point, "deadband_pct", is_number(p), "numbers", error, size))
        return false;
    p->publish.deadband = absolute ? absolute->f : 0;
    p->publish.deadband_percent = percent ? percent->f : 0;
    if (absolute && percent)
        snprintf(error, size, "`deadband` and `deadband_pct` exclude each other; give one of them");
    return !absolute || !percent;
}

static bool read_alarm(const struct conf_node *point, struct modbus_point *p, char *error, size_t size)
{
    static const char *const rows[ALARM_COUNT] = {"low_low", "low", "high", "high_high"};
    const struct conf_node *alarm = conf_get(point, "alarm");
    struct alarm_spec *a = &p->publish.alarm;
    double before = -INFINITY;

    if (!only_for(point, "alarm", is_number(p), "numbers", error, size))
        return false;
    if (!alarm || !alarm->given)
        return true;
    for (size_t i = 0; i < ALARM_COUNT; i++) {
        a->limit[i] = conf_float(alarm, rows[i]);
        if (isnan(a->limit[i]))
            continue;
        if (a->limit[i] < before || (i == ALARM_HIGH && a->on && a->limit[i] <= before)) {
            snprintf(error, size, "alarm: %s = %g lies on the wrong side of the limit before it", rows[i],
                     a->limit[i]);
            return false;
        }
        before = a->limit[i];
        a->on = true;
    }
    a->hysteresis = conf_float(alarm, "hysteresis");
    a->delay_us = (uint64_t)conf_int(alarm, "for") * 1000;
    if (!a->on)
        snprintf(error, size, "alarm: no limit; give one of low_low, low, high, high_high");
    return a->on;
}

/* ---- how it is written ---- */

static bool read_write(const struct conf_node *point, struct modbus_point *p, char *error, size_t size)
{
    const struct conf_node *w = conf_get(point, "write"), *own;
    bool text = p->spec.type->form == FORM_TEXT, bit = p->spec.type->form == FORM_BIT;

    if (!w || !w->given)
        return true;
    own = conf_get(w, "function");
    p->write = (struct modbus_write){.on = true,
                                     .function = own ? (uint8_t)own->i : order_function(p),
                                     .least = conf_float(w, "min"),
                                     .most = conf_float(w, "max"),
                                     .readback = conf_int(w, "verify"),
                                     .expire_us = (uint64_t)conf_int(w, "expire") * 1000};
    if (!text && !bit && !p->spec.type->write)
        snprintf(error, size, "write: a %s cannot be written", p->spec.type->name);
    else if (!p->write.function)
        snprintf(error, size, "write: %s can only be read; coils and holding registers can be written",
                 p->table == TABLE_INPUT ? "an input register" : "a discrete input");
    else if (!order_fits(p, p->write.function))
        snprintf(error, size, "write: code %d does not write a %s of %s:%u; the code %d does",
                 p->write.function, p->spec.type->name, modbus_table_name(p->table), p->address,
                 order_function(p));
    else if ((!isnan(p->write.least) || !isnan(p->write.most)) && !is_number(p))
        snprintf(error, size, "write: `min` and `max` are for numbers");
    else if (p->write.least > p->write.most)
        snprintf(error, size, "write: min %g is above max %g", p->write.least, p->write.most);
    else
        return true;
    return false;
}

/* ---- all of it ---- */

static bool read_registers(const char *at, struct modbus_point *p, char *error, size_t size)
{
    size_t bytes = value_bytes(&p->spec);

    p->count = (uint16_t)(table_is_bits(p->table) ? 1 : bytes / 2);
    if (p->count > PLAN_REGISTERS_MAX) {
        snprintf(error, size, "%s: a %s of that length needs %u registers and a request has %d", at,
                 p->spec.type->name, p->count, PLAN_REGISTERS_MAX);
        return false;
    }
    if (p->address + p->count > 65536)
        snprintf(error, size, "%s: a %s needs %u registers and the last one is 65535", at, p->spec.type->name,
                 p->count);
    return p->address + p->count <= 65536;
}

bool modbus_place_read(const struct conf_node *line, const struct conf_node *device,
                       const struct conf_node *point, struct modbus_point *out, char *error, size_t size)
{
    const char *at = conf_string(point, "at");
    unsigned base = (unsigned)conf_int(device, "base");
    int bit;

    *out = (struct modbus_point){.echo = base != 0};
    if (!read_at(at, base, out, &bit)) {
        explain_at(at, base, error, size);
        return false;
    }
    out->spec.type = type_of(point, out, bit);
    const char *wrong = type_mistake(out->spec.type, out, bit);
    if (wrong) {
        snprintf(error, size, "%s: %s", at, wrong);
        return false;
    }
    out->spec.bit = (uint8_t)(bit < 0 ? 0 : bit);
    return read_text_rows(point, out, error, size) && read_registers(at, out, error, size) &&
           read_order(line, device, point, out, error, size) && read_scale(point, out, error, size);
}

bool modbus_point_read(const struct conf_node *line, const struct conf_node *device,
                       const struct conf_node *point, struct modbus_point *out, char *error, size_t size)
{
    const char *unit = conf_string(point, "unit");

    if (!modbus_place_read(line, device, point, out, error, size) || !read_clamp(point, out, error, size) ||
        !read_deadband(point, out, error, size) || !read_alarm(point, out, error, size) ||
        !read_write(point, out, error, size) || !read_names(point, out, error, size) ||
        !read_no_value(point, out, error, size)) {
        modbus_point_free(out);
        return false;
    }
    out->name = mem_strdup(conf_string(point, "name"));
    out->unit = unit ? mem_strdup(unit) : NULL;
    out->publish.unit = out->unit;
    return true;
}

void modbus_point_free(struct modbus_point *p)
{
    for (size_t i = 0; i < p->spec.name_count; i++)
        free(p->spec.names[i].name);
    free(p->spec.names);
    free(p->spec.no_value);
    free(p->name);
    free(p->unit);
}
