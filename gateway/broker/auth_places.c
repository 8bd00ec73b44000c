/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "broker/auth_private.h"
#include "broker/places.h"

enum { MINUTE_MS = 60000 };

struct auth_place {
    struct place place; /* its failures */
    struct auth_places *all;
    struct list waiting, turn;
    uint32_t waiting_count;
};

struct auth_places {
    struct places *places;
    struct list turns; /* those with somebody who waits, the next one first */
};

struct auth_places *auth_places_new(uv_loop_t *loop, size_t most)
{
    struct auth_places *p = mem_alloc(sizeof(*p));

    p->places = places_new(loop, most, MINUTE_MS, sizeof(struct auth_place));
    list_init(&p->turns);
    return p;
}

void auth_places_limit(struct auth_places *p, uint32_t per_minute)
{
    places_limit(p->places, per_minute);
}

void auth_places_free(struct auth_places *p)
{
    if (!p)
        return;
    places_free(p->places);
    free(p);
}

struct auth_place *auth_place_enter(struct auth_places *p, const char *peer)
{
    struct auth_place *place = container_of(place_enter(p->places, peer), struct auth_place, place);

    if (!place->all) {
        place->all = p;
        list_init(&place->waiting);
        list_init(&place->turn);
    }
    return place;
}

void auth_place_leave(struct auth_place *place)
{
    place_leave(&place->place);
}

bool auth_place_may_try(struct auth_place *place)
{
    return place_may(&place->place);
}

void auth_place_failed(struct auth_place *place)
{
    place_spend(&place->place);
}

uint32_t auth_place_waiting(const struct auth_place *place)
{
    return place->waiting_count;
}

/* ---- turns ---- */

void auth_place_queue(struct auth_place *place, struct list *entry)
{
    list_add_tail(&place->waiting, entry);
    place->waiting_count++;
    if (list_empty(&place->turn))
        list_add_tail(&place->all->turns, &place->turn);
}

void auth_place_unqueue(struct auth_place *place, struct list *entry)
{
    list_remove(entry);
    place->waiting_count--;
    if (list_empty(&place->waiting))
        list_remove(&place->turn);
}

struct list *auth_places_next(struct auth_places *p)
{
    if (list_empty(&p->turns))
        return NULL;
    struct auth_place *place = list_entry(list_pop(&p->turns), struct auth_place, turn);
    struct list *entry = list_pop(&place->waiting);
    place->waiting_count--;
    if (!list_empty(&place->waiting))
        list_add_tail(&p->turns, &place->turn);
    return entry;
}
