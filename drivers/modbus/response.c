/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/response.h"

enum {
    USUAL_OVER = 16,
    FADES_OVER = 4096, /* answers: what happens once in a thousand is not forgotten */
};

void response_took(struct response *r, uint32_t begun_us)
{
    if (!r->count)
        r->usual_us = begun_us;
    r->usual_us = (uint32_t)((int64_t)r->usual_us + ((int64_t)begun_us - r->usual_us) / USUAL_OVER);
    r->most_us -= r->most_us / FADES_OVER;
    if (begun_us > r->most_us)
        r->most_us = begun_us;
    r->count += r->count < RESPONSE_KNOWN;
    r->missed = 0;
}

void response_missed(struct response *r)
{
    r->missed++;
}

void response_late(struct response *r, uint32_t took_us)
{
    if (took_us > r->most_us)
        r->most_us = took_us;
}

uint32_t response_limit(const struct response *r, uint32_t slack_us, uint32_t limit_us)
{
    uint64_t learnt_us = 2ull * r->most_us + slack_us;

    return r->count < RESPONSE_KNOWN || r->missed || learnt_us > limit_us ? limit_us : (uint32_t)learnt_us;
}
