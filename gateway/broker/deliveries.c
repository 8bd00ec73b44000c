/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/deliveries.h"

#include <stdlib.h>

#include "base/mem.h"

static void grow(struct deliveries *r)
{
    uint32_t size = r->size ? r->size * 2 : 4;
    struct delivery *slots = mem_alloc(size * sizeof(*slots));

    for (uint32_t i = 0; i < r->count; i++)
        slots[i] = *deliveries_at(r, i);
    free(r->slots);
    *r = (struct deliveries){slots, size, 0, r->count};
}

struct delivery *deliveries_push(struct deliveries *r)
{
    if (r->count == r->size)
        grow(r);
    return deliveries_at(r, r->count++);
}

void deliveries_shift(struct deliveries *r)
{
    r->first = (r->first + 1) & (r->size - 1);
    if (!--r->count && r->size > 64) {
        free(r->slots);
        *r = (struct deliveries){0};
    }
}

void deliveries_free(struct deliveries *r)
{
    for (uint32_t i = 0; i < r->count; i++) {
        message_drop(deliveries_at(r, i)->message);
        free(deliveries_at(r, i)->sub_ids);
    }
    free(r->slots);
    *r = (struct deliveries){0};
}
