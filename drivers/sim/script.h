/* SPDX-License-Identifier: Apache-2.0 */
/* Scripted values: a known function of the time and of the number of reads, and how its value lies in
 * registers. So whoever reads the line can be checked against what was on it. Pure. A new kind of value is a
 * row in script.c. */
#ifndef SLUICE_DRIVERS_SIM_SCRIPT_H
#define SLUICE_DRIVERS_SIM_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"

enum sim_type {
    SIM_INT16,
    SIM_UINT16,
    SIM_INT32,
    SIM_UINT32,
    SIM_INT64,
    SIM_UINT64,
    SIM_FLOAT32,
    SIM_FLOAT64,
};

/* ABCD: the highest byte first. CDAB: the lowest register first. BADC: the bytes of each register swapped.
 * DCBA: both. Longer and shorter values likewise. */
enum sim_order { SIM_ABCD, SIM_CDAB, SIM_BADC, SIM_DCBA };

extern const char *const sim_type_names[];
extern const char *const sim_order_names[];

struct sim_number {
    bool exact; /* then i is the value, which wraps like a counter; otherwise f, which is clipped to the type
                 */
    int64_t i;
    double f;
};

struct sim_script_kind;

struct sim_script {
    const struct sim_script_kind *kind;
    double a, b;        /* constant: a; ramp: from a to b; sine: mean a, amplitude b */
    uint64_t period_ns; /* ramp, sine */
    int64_t start, step;
    bool per_second; /* counter: steps by the second instead of by the read */
};

/* Names of the kinds for a CONF_CHOICE, and each one's rows. */
extern const char *const sim_script_names[];
const struct sim_script_kind *sim_script_kind_of(const char *name);
const struct conf_row *sim_script_rows(const char *kind);
void sim_script_load(struct sim_script *s, const char *kind, const struct conf_node *node);

/* reads: how often the value was read before. */
struct sim_number sim_script_at(const struct sim_script *s, uint64_t now_ns, uint64_t reads);

/* How many registers a value of this type takes. */
size_t sim_type_words(enum sim_type type);

/* Writes sim_type_words() registers. */
void sim_number_encode(struct sim_number n, enum sim_type type, enum sim_order order, uint16_t *words);

/* The value as the type holds it, as text. */
void sim_number_format(struct sim_number n, enum sim_type type, char *out, size_t size);

bool sim_number_bit(struct sim_number n);

#endif
