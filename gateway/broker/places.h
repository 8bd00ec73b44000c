/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses that have done something lately, each with how often, for limits by address. A bounded number is
 * remembered beyond those that somebody is in; the one that was left longest ago is forgotten first. Whoever
 * keeps more of an address embeds struct place at the beginning of an object of its own. Loop thread only. */
#ifndef SLUICE_BROKER_PLACES_H
#define SLUICE_BROKER_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/list.h"
#include "base/map.h"

enum { PLACE_KEY_LEN = 8 };

/* All private. */
struct place {
    struct map_node by_key;
    struct list age; /* in the list of those that nobody is in */
    struct places *all;
    uint64_t spent_us; /* of the window: each time costs its part of it, and time pays that back */
    uint64_t seen_ms;
    uint32_t inside;
    bool limited;
    uint8_t key[PLACE_KEY_LEN];
};

/* most: addresses; size: of the object that begins with struct place. */
struct places *places_new(uv_loop_t *loop, size_t most, uint32_t window_ms, size_t size);
void places_free(struct places *p); /* NULL is fine */
/* So many times in a window; 0: no limit. */
void places_limit(struct places *p, uint32_t limit);

/* peer: "192.0.2.7:51234"; all of an IPv6 network of 64 bits are one. What has no address, this box's own
 * sockets, is one place without a limit. Held until place_leave; zeroes behind struct place when it is new.
 */
struct place *place_enter(struct places *p, const char *peer);
void place_leave(struct place *place);
/* Once more is within the limit; it was done once more. */
bool place_may(struct place *place);
void place_spend(struct place *place);

#endif
