/* SPDX-License-Identifier: Apache-2.0 */
/* How long to wait before the next try: decorrelated jitter. Each wait is a random time between the minimum
 * and three times the last wait, so that a thousand boxes that lost the same upstream do not come back
 * together. Pure: the randomness is the caller's. */
#ifndef SLUICE_BRIDGE_BACKOFF_H
#define SLUICE_BRIDGE_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint32_t min_ms, max_ms;
    uint32_t last_ms; /* 0: nothing has failed since the last reset */
};

/* The next wait in milliseconds, min_ms to max_ms. random: any 32 random bits. */
uint32_t backoff_next(struct backoff *b, uint32_t random);
/* The wait after a refusal that people have to mend: max_ms/2 to max_ms at once. */
uint32_t backoff_slow(struct backoff *b, uint32_t random);
/* The connection was stable. */
void backoff_reset(struct backoff *b);

#endif
