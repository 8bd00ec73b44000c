/* SPDX-License-Identifier: Apache-2.0 */
/* All chance of a simulated line comes from one seed (splitmix64), so that a run can be had again. Not for
 * secrets. */
#ifndef SLUICE_DRIVERS_SIM_CHANCE_H
#define SLUICE_DRIVERS_SIM_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

struct sim_chance {
    uint64_t state;
};

static inline uint64_t sim_chance_u64(struct sim_chance *c)
{
    uint64_t z = c->state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* 0 … limit - 1; 0 when limit is 0. */
static inline uint64_t sim_chance_below(struct sim_chance *c, uint64_t limit)
{
    return limit ? sim_chance_u64(c) % limit : 0;
}

static inline bool sim_chance_ppm(struct sim_chance *c, uint64_t ppm)
{
    return ppm >= 1000000 || (ppm && sim_chance_below(c, 1000000) < ppm);
}

/* Never 0: what it is XORed onto changes. */
static inline uint8_t sim_chance_damage(struct sim_chance *c)
{
    return (uint8_t)(1 + sim_chance_below(c, 255));
}

#endif
