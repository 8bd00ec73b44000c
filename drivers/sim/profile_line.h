/* SPDX-License-Identifier: Apache-2.0 */
/* A line whose stations are played after device profiles: the description that such a line would have as a
 * file. Each point becomes a range of registers with plausible values; what is no point does not exist. It
 * finds profiles by the drivers' code but reads addresses and lays out values by its own, since it judges
 * theirs. */
#ifndef SLUICE_DRIVERS_SIM_PROFILE_LINE_H
#define SLUICE_DRIVERS_SIM_PROFILE_LINE_H

#include "base/buf.h"
#include "base/conf.h"

struct sim_unit {
    const char *profile; /* NAME or NAME@VERSION */
    unsigned unit;
};

struct sim_parameter {
    const char *name;
    double value;
};

struct sim_profiles {
    const char *path; /* folders of profiles */
    const struct sim_unit *units;
    size_t unit_count;
    const struct sim_parameter *with; /* of all units whose profile has it */
    size_t with_count;
};

/* Appends the description. NULL, or what is wrong, to be freed. */
char *sim_profile_line(const struct sim_profiles *p, struct buf *out);

/* How a point's value goes; all numbers as they stand in the registers. */
struct sim_wave {
    enum { SIM_WAVE_CONSTANT, SIM_WAVE_SINE, SIM_WAVE_RAMP, SIM_WAVE_COUNTER } kind;
    double low, high; /* constant: low; counter: from low by high a second */
    double period_ms;
};

/* profile_value.c: by the point's hints or, without, by its unit, names and limits. index makes neighbours
 * differ. */
struct sim_wave sim_profile_wave(const struct conf_node *point, size_t index);

#endif
