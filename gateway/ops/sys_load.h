/* SPDX-License-Identifier: Apache-2.0 */
/* Loads as mosquitto and Unix tell them: how much a count grows in a minute, as exponentially damped averages
 * over 1, 5 and 15 minutes. They may be brought up to date at any distance: what came between is taken as
 * having come evenly. Owns nothing. */
#ifndef SLUICE_OPS_SYS_LOAD_H
#define SLUICE_OPS_SYS_LOAD_H

#include <stdint.h>

enum { LOAD_WINDOWS = 3 };
extern const char *const load_tails[LOAD_WINDOWS]; /* of their topics */

struct load {
    uint64_t last;                 /* the count */
    double a_minute[LOAD_WINDOWS]; /* averages */
};

/* seconds: since the last time, more than 0. */
void load_update(struct load *l, uint64_t count, double seconds);

#endif
