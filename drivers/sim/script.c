/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/script.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const sim_type_names[] = {"int16",  "uint16",  "int32",   "uint32", "int64",
                                      "uint64", "float32", "float64", NULL};
const char *const sim_order_names[] = {"ABCD", "CDAB", "BADC", "DCBA", NULL};

struct sim_script_kind {
    const char *name;
    const struct conf_row *rows;
    void (*load)(struct sim_script *s, const struct conf_node *node);
    struct sim_number (*at)(const struct sim_script *s, uint64_t now_ns, uint64_t reads);
};

static const struct conf_row constant_rows[] = {
    {.name = "constant", .type = CONF_FLOAT, .def = "0", .help = "The value"},
    {0},
};

static void constant_load(struct sim_script *s, const struct conf_node *node)
{
    s->a = conf_float(node, "constant");
}

static struct sim_number constant_at(const struct sim_script *s, uint64_t now_ns, uint64_t reads)
{
    (void)now_ns, (void)reads;
    return (struct sim_number){.f = s->a};
}

static const struct conf_row ramp_rows[] = {
    {.name = "from", .type = CONF_FLOAT, .def = "0", .help = "Value at the start of each period"},
    {.name = "to",
     .type = CONF_FLOAT,
     .flags = CONF_REQUIRED,
     .help = "Value that the end of a period nears"},
    {.name = "period",
     .type = CONF_DURATION,
     .def = "60s",
     .min = 1,
     .max = 1e12,
     .help = "Time from one start to the next"},
    {0},
};

static void ramp_load(struct sim_script *s, const struct conf_node *node)
{
    s->a = conf_float(node, "from");
    s->b = conf_float(node, "to");
    s->period_ns = (uint64_t)conf_int(node, "period") * 1000000;
}

static double phase(const struct sim_script *s, uint64_t now_ns)
{
    return (double)(now_ns % s->period_ns) / (double)s->period_ns;
}

static struct sim_number ramp_at(const struct sim_script *s, uint64_t now_ns, uint64_t reads)
{
    (void)reads;
    return (struct sim_number){.f = s->a + (s->b - s->a) * phase(s, now_ns)};
}

static const struct conf_row sine_rows[] = {
    {.name = "mean", .type = CONF_FLOAT, .def = "0", .help = "Middle of the wave"},
    {.name = "amplitude", .type = CONF_FLOAT, .def = "1", .help = "Height of the wave above its middle"},
    {.name = "period",
     .type = CONF_DURATION,
     .def = "60s",
     .min = 1,
     .max = 1e12,
     .help = "Length of the wave"},
    {0},
};

static void sine_load(struct sim_script *s, const struct conf_node *node)
{
    s->a = conf_float(node, "mean");
    s->b = conf_float(node, "amplitude");
    s->period_ns = (uint64_t)conf_int(node, "period") * 1000000;
}

static struct sim_number sine_at(const struct sim_script *s, uint64_t now_ns, uint64_t reads)
{
    (void)reads;
    return (struct sim_number){.f = s->a + s->b * sin(2 * M_PI * phase(s, now_ns))};
}

static const char *const per_names[] = {"read", "second", NULL};

static const struct conf_row counter_rows[] = {
    {.name = "start", .type = CONF_INT, .def = "0", .help = "Value before the first step"},
    {.name = "step", .type = CONF_INT, .def = "1", .help = "What is added at each step"},
    {.name = "per", .type = CONF_CHOICE, .def = "read", .choices = per_names, .help = "What makes it step"},
    {0},
};

static void counter_load(struct sim_script *s, const struct conf_node *node)
{
    s->start = conf_int(node, "start");
    s->step = conf_int(node, "step");
    s->per_second = conf_int(node, "per") == 1;
}

static struct sim_number counter_at(const struct sim_script *s, uint64_t now_ns, uint64_t reads)
{
    uint64_t steps = s->per_second ? now_ns / 1000000000 : reads;

    return (struct sim_number){.exact = true, .i = (int64_t)((uint64_t)s->start + steps * (uint64_t)s->step)};
}

static const struct sim_script_kind kinds[] = {
    {"constant", constant_rows, constant_load, constant_at},
    {"ramp", ramp_rows, ramp_load, ramp_at},
    {"sine", sine_rows, sine_load, sine_at},
    {"counter", counter_rows, counter_load, counter_at},
};

const char *const sim_script_names[] = {"constant", "ramp", "sine", "counter", NULL};

const struct sim_script_kind *sim_script_kind_of(const char *name)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (!strcmp(kinds[i].name, name))
            return &kinds[i];
    return NULL;
}

const struct conf_row *sim_script_rows(const char *kind)
{
    const struct sim_script_kind *k = sim_script_kind_of(kind);

    return k ? k->rows : NULL;
}

void sim_script_load(struct sim_script *s, const char *kind, const struct conf_node *node)
{
    s->kind = sim_script_kind_of(kind);
    s->kind->load(s, node);
}

struct sim_number sim_script_at(const struct sim_script *s, uint64_t now_ns, uint64_t reads)
{
    return s->kind->at(s, now_ns, reads);
}

size_t sim_type_words(enum sim_type type)
{
    static const uint8_t words[] = {1, 1, 2, 2, 4, 4, 2, 4};

    return words[type];
}

static bool is_signed(enum sim_type type)
{
    return type == SIM_INT16 || type == SIM_INT32 || type == SIM_INT64;
}

static uint64_t clip_signed(double f, unsigned bits)
{
    double top = ldexp(1, (int)bits - 1), whole = round(f);

    if (isnan(f))
        return 0;
    if (whole >= top)
        return (UINT64_C(1) << (bits - 1)) - 1;
    return (uint64_t)(whole <= -top ? INT64_MIN >> (64 - bits) : (int64_t)whole);
}

static uint64_t clip_unsigned(double f, unsigned bits)
{
    double whole = round(f);

    if (isnan(f) || whole <= 0)
        return 0;
    return whole >= ldexp(1, (int)bits) ? UINT64_MAX : (uint64_t)whole;
}

static uint64_t float_bits(double f, enum sim_type type)
{
    uint64_t wide;
    uint32_t narrow;
    float single = (float)f;

    if (type == SIM_FLOAT64) {
        memcpy(&wide, &f, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, &single, sizeof(narrow));
    return narrow;
}

/* The bits on the wire, in the low end of 64. */
static uint64_t number_bits(struct sim_number n, enum sim_type type)
{
    unsigned bits = (unsigned)sim_type_words(type) * 16;

    if (type >= SIM_FLOAT32)
        return float_bits(n.exact ? (double)n.i : n.f, type);
    if (n.exact)
        return (uint64_t)n.i;
    return is_signed(type) ? clip_signed(n.f, bits) : clip_unsigned(n.f, bits);
}

void sim_number_encode(struct sim_number n, enum sim_type type, enum sim_order order, uint16_t *words)
{
    size_t count = sim_type_words(type);
    uint64_t bits = number_bits(n, type);

    for (size_t i = 0; i < count; i++) {
        bool low_first = order == SIM_CDAB || order == SIM_DCBA;
        uint16_t w = (uint16_t)(bits >> 16 * (low_first ? i : count - 1 - i));

        words[i] = order == SIM_BADC || order == SIM_DCBA ? (uint16_t)(w << 8 | w >> 8) : w;
    }
}

void sim_number_format(struct sim_number n, enum sim_type type, char *out, size_t size)
{
    uint64_t bits = number_bits(n, type);
    unsigned spare = 64 - (unsigned)sim_type_words(type) * 16;

    if (type == SIM_FLOAT64)
        snprintf(out, size, "%.17g", n.exact ? (double)n.i : n.f);
    else if (type == SIM_FLOAT32)
        snprintf(out, size, "%.9g", (double)(float)(n.exact ? (double)n.i : n.f));
    else if (is_signed(type))
        snprintf(out, size, "%" PRId64, (int64_t)(bits << spare) >> spare);
    else
        snprintf(out, size, "%" PRIu64, bits << spare >> spare);
}

bool sim_number_bit(struct sim_number n)
{
    return n.exact ? n.i & 1 : n.f >= 0.5;
}
