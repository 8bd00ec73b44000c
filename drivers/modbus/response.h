/* SPDX-License-Identifier: Apache-2.0 */
/* How long a unit takes to begin its answer, learnt from the answers: its usual time, for planning requests,
 * and the time after which it will not answer any more. Pure. */
#ifndef SLUICE_DRIVERS_MODBUS_RESPONSE_H
#define SLUICE_DRIVERS_MODBUS_RESPONSE_H

#include <stdint.h>

struct response {
    uint32_t usual_us; /* a mean over the last answers */
    uint32_t most_us;  /* the longest of late, which fades slowly */
    uint32_t count;    /* answers, up to RESPONSE_KNOWN */
    unsigned missed;   /* requests without an answer since the last one */
};

enum { RESPONSE_KNOWN = 32 };

void response_took(struct response *r, uint32_t begun_us);
void response_missed(struct response *r);
/* An answer that came after all, when nobody waited for it. */
void response_late(struct response *r, uint32_t took_us);

/* How long to wait, at most limit_us: that after a miss, and before enough is known. slack_us: what may come
 * on top of all that has been seen. */
uint32_t response_limit(const struct response *r, uint32_t slack_us, uint32_t limit_us);

#endif
