/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/sim/profile_line.h"

/* What a value of a unit usually is. */
static const struct usual {
    const char *unit;
    double low, high;
    bool counts; /* from low, by high a second */
} usuals[] = {
    {"V", 226, 234, false},       {"mV", 0, 5000, false},       {"A", 2, 14, false},
    {"mA", 4, 20, false},         {"W", 400, 3200, false},      {"kW", 0.4, 3.2, false},
    {"V.A", 450, 3300, false},    {"kV.A", 0.45, 3.3, false},   {"var", 50, 600, false},
    {"kvar", 0.05, 0.6, false},   {"Hz", 49.95, 50.05, false},  {"Cel", 18, 24, false},
    {"%", 30, 70, false},         {"1/min", 900, 1500, false},  {"deg", 0, 30, false},
    {"kW.h", 12345, 0.01, true},  {"W.h", 12345000, 10, true},  {"kvar.h", 1234, 0.01, true},
    {"var.h", 1234000, 10, true}, {"kV.A.h", 2345, 0.01, true}, {"V.A.h", 2345000, 10, true},
    {"h", 1000, 0, true},
};

static const struct usual *usual_of(const struct conf_node *point)
{
    const char *unit = conf_string(point, "unit");

    for (size_t i = 0; unit && i < ARRAY_SIZE(usuals); i++)
        if (!strcmp(usuals[i].unit, unit))
            return &usuals[i];
    return NULL;
}

static double raw_of(const struct conf_node *point, double value)
{
    return (value - conf_float(point, "offset")) / conf_float(point, "scale");
}

static bool is_float(const struct conf_node *point)
{
    const char *type = conf_string(point, "type");

    return type && !strncmp(type, "float", 5);
}

/* Neighbours differ, so that nobody takes one for the other unseen. A counter steps by whole numbers, as the
 * registers hold them. */
static struct sim_wave counter(const struct conf_node *point, double from, double per_second, size_t index)
{
    double step = per_second / conf_float(point, "scale");

    return (struct sim_wave){SIM_WAVE_COUNTER, floor(raw_of(point, from)) + 111 * (double)index,
                             step > 1 ? floor(step) : 1, 0};
}

static struct sim_wave between(const struct conf_node *point, double low, double high, size_t index)
{
    double most = high - (high - low) * 0.05 * (double)(index % 8);
    struct sim_wave w = {SIM_WAVE_SINE, raw_of(point, low), raw_of(point, most),
                         40000.0 + 7000.0 * (double)(index % 9)};

    if (!is_float(point) && fabs(w.high - w.low) < 1)
        w = (struct sim_wave){SIM_WAVE_CONSTANT, round(w.low), 0, 0};
    return w;
}

static struct sim_wave constant(const struct conf_node *point, double value)
{
    double raw = raw_of(point, value);

    return (struct sim_wave){SIM_WAVE_CONSTANT, is_float(point) ? raw : round(raw), 0, 0};
}

/* What can be written stays as it is until somebody does. */
static struct sim_wave writable(const struct conf_node *point)
{
    const struct conf_node *write = conf_get(point, "write");
    double low = conf_float(write, "min"), high = conf_float(write, "max");

    return constant(point, !isnan(low) && !isnan(high) ? (low + high) / 2
                           : !isnan(low)               ? low
                           : !isnan(high)              ? high
                                                       : 0);
}

static struct sim_wave hinted(const struct conf_node *point, const struct conf_node *sim, size_t index)
{
    const struct conf_node *wave = conf_get(sim, "wave");
    double low = conf_float(sim, "min"), high = conf_float(sim, "max");
    struct sim_wave w;

    low = isnan(low) ? 0 : low;
    high = isnan(high) ? low + 100 * fabs(conf_float(point, "scale")) : high;
    if (wave && !strcmp(wave->s, "constant"))
        return constant(point, low);
    if (wave && !strcmp(wave->s, "counter"))
        return counter(point, low, (high - low) / 3600, index);
    w = between(point, low, high, index);
    if (wave && !strcmp(wave->s, "ramp") && w.kind == SIM_WAVE_SINE)
        w.kind = SIM_WAVE_RAMP;
    if (conf_get(sim, "period")->given)
        w.period_ms = (double)conf_int(sim, "period");
    return w;
}

struct sim_wave sim_profile_wave(const struct conf_node *point, size_t index)
{
    const struct conf_node *sim = conf_get(point, "sim"), *write = conf_get(point, "write");
    const struct usual *u = usual_of(point);

    if (sim && sim->given)
        return hinted(point, sim, index);
    if (write && write->given)
        return writable(point);
    if (conf_count(point, "names"))
        return (struct sim_wave){SIM_WAVE_CONSTANT, strtod(conf_at(point, "names", 0)->s, NULL), 0, 0};
    if (u && u->counts)
        return counter(point, u->low, u->high, index);
    if (u)
        return between(point, u->low, u->high, index);
    return between(point, 0, 100 * fabs(conf_float(point, "scale")), index);
}
