/* SPDX-License-Identifier: Apache-2.0 */
#include "bridge/backoff.h"

static uint32_t between(uint64_t low, uint64_t high, uint32_t random)
{
    return (uint32_t)(low + ((high - low + 1) * random >> 32));
}

uint32_t backoff_next(struct backoff *b, uint32_t random)
{
    uint64_t last = b->last_ms < b->min_ms ? b->min_ms : b->last_ms;
    uint64_t high = last * 3 > b->max_ms ? b->max_ms : last * 3;

    b->last_ms = between(b->min_ms, high < b->min_ms ? b->min_ms : high, random);
    return b->last_ms;
}

uint32_t backoff_slow(struct backoff *b, uint32_t random)
{
    b->last_ms = between(b->max_ms / 2, b->max_ms, random);
    if (b->last_ms < b->min_ms)
        b->last_ms = b->min_ms;
    return b->last_ms;
}

void backoff_reset(struct backoff *b)
{
    b->last_ms = 0;
}
