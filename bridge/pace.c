/* SPDX-License-Identifier: Apache-2.0 */
#include "bridge/pace.h"

static const uint64_t token = 1000000;

void pace_start(struct pace *p, uint32_t rate, uint64_t now_us, uint64_t tail)
{
    *p = (struct pace){.rate = rate, .last_us = now_us, .drain_millionths = token, .tail = tail};
}

bool pace_ready(struct pace *p, uint64_t now_us, uint64_t tail)
{
    if (!p->rate)
        return true;
    uint64_t elapsed = now_us - p->last_us < token ? now_us - p->last_us : token;

    p->drain_millionths += elapsed * p->rate;
    if (p->drain_millionths > p->rate * token)
        p->drain_millionths = p->rate * token;
    p->last_us = now_us;
    p->live += tail - p->tail;
    p->tail = tail;
    return p->live || p->drain_millionths >= token;
}

void pace_take(struct pace *p)
{
    if (!p->rate)
        return;
    if (p->drain_millionths >= token)
        p->drain_millionths -= token;
    else if (p->live)
        p->live--;
}

uint32_t pace_wait_ms(const struct pace *p)
{
    uint64_t missing = token - p->drain_millionths; /* pace_ready said no: less than one token is there */
    uint64_t us = (missing + p->rate - 1) / p->rate;

    return (uint32_t)(us / 1000 + 1);
}
