/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/late.h"

#include <string.h>

static void forget(struct late *l, unsigned count)
{
    memmove(l->open, l->open + count, (l->count - count) * sizeof l->open[0]);
    l->count = (uint8_t)(l->count - count);
}

void late_add(struct late *l, uint8_t function, size_t reply_len, uint64_t sent_us)
{
    if (l->count == LATE_MAX)
        forget(l, 1);
    l->open[l->count].function = function;
    l->open[l->count].reply_len = (uint16_t)reply_len;
    l->open[l->count].sent_us = sent_us;
    l->count++;
}

bool late_safe(const struct late *l, uint8_t function, size_t reply_len)
{
    for (unsigned i = 0; i < l->count; i++)
        if (l->open[i].function == function && l->open[i].reply_len == reply_len)
            return false;
    return true;
}

bool late_match(struct late *l, uint8_t function, size_t len, uint64_t *sent_us)
{
    for (unsigned i = 0; i < l->count; i++) {
        bool exception = function == (l->open[i].function | 0x80);
        if (!exception && (l->open[i].function != function || l->open[i].reply_len != len))
            continue;
        *sent_us = l->open[i].sent_us;
        forget(l, i + 1);
        return true;
    }
    return false;
}

void late_clear(struct late *l)
{
    l->count = 0;
}
