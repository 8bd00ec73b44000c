/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "broker/auth_private.h"

enum { KEY_LEN = 8, MINUTE_MS = 60000 };

struct auth_place {
    struct map_node by_key;
    struct list age; /* in the list of those that nobody is in */
    struct list waiting, turn;
    struct auth_places *all;
    uint32_t inside, waiting_count;
    bool limited;
    uint64_t failures_ms; /* failures still held against it, each MINUTE_MS / per_minute long */
    uint64_t seen_ms;
    uint8_t key[KEY_LEN];
};

struct auth_places {
    uv_loop_t *loop;
    struct map places;
    struct list idle;  /* the one that was left longest ago first */
    struct list turns; /* those with somebody who waits, the next one first */
    size_t most;
    uint32_t per_minute;
};

struct auth_places *auth_places_new(uv_loop_t *loop, size_t most)
{
    struct auth_places *p = mem_alloc(sizeof(*p));

    p->loop = loop;
    p->most = most;
    list_init(&p->idle);
    list_init(&p->turns);
    return p;
}

void auth_places_limit(struct auth_places *p, uint32_t per_minute)
{
    p->per_minute = per_minute;
}

static void forget(struct auth_place *place)
{
    map_remove(&place->all->places, &place->by_key);
    list_remove(&place->age);
    free(place);
}

void auth_places_free(struct auth_places *p)
{
    if (!p)
        return;
    for (struct map_node *n; (n = map_next(&p->places, NULL));)
        forget(container_of(n, struct auth_place, by_key));
    map_free(&p->places);
    free(p);
}

/* An IPv4 address, or the network of an IPv6 address: whoever has one has them all. */
static bool key_of(const char *peer, uint8_t key[KEY_LEN])
{
    const char *colon = strrchr(peer, ':');
    char host[64] = "";
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    memset(key, 0, KEY_LEN);
    if (!colon || (size_t)(colon - peer) >= sizeof(host))
        return false;
    bool brackets = peer[0] == '[' && colon[-1] == ']';
    memcpy(host, peer + brackets, (size_t)(colon - peer) - 2 * brackets);
    if (!strncmp(host, "::ffff:", 7) && strchr(host, '.'))
        memmove(host, host + 7, strlen(host + 7) + 1);
    if (!uv_ip4_addr(host, 0, &v4))
        memcpy(key + 4, &v4.sin_addr, 4);
    else if (!uv_ip6_addr(host, 0, &v6))
        memcpy(key, &v6.sin6_addr, KEY_LEN);
    else
        return false;
    return true;
}

static bool key_equal(const struct map_node *n, const void *key)
{
    return !memcmp(container_of(n, const struct auth_place, by_key)->key, key, KEY_LEN);
}

struct auth_place *auth_place_enter(struct auth_places *p, const char *peer)
{
    uint8_t key[KEY_LEN];
    bool limited = key_of(peer, key);
    uint64_t hash = map_hash(key, KEY_LEN);
    struct map_node *n = map_find(&p->places, hash, key_equal, key);
    struct auth_place *place = n ? container_of(n, struct auth_place, by_key) : NULL;
    if (!place) {
        if (p->places.count >= p->most && !list_empty(&p->idle))
            forget(list_entry(p->idle.next, struct auth_place, age));
        place = mem_alloc(sizeof(*place));
        place->all = p;
        memcpy(place->key, key, KEY_LEN);
        place->limited = limited;
        list_init(&place->age);
        list_init(&place->waiting);
        list_init(&place->turn);
        map_insert(&p->places, &place->by_key, hash);
    }
    list_remove(&place->age);
    place->inside++;
    return place;
}

static void pass_time(struct auth_place *place)
{
    uint64_t now = uv_now(place->all->loop), passed = now - place->seen_ms;

    place->failures_ms -= passed < place->failures_ms ? passed : place->failures_ms;
    place->seen_ms = now;
}

void auth_place_leave(struct auth_place *place)
{
    if (--place->inside)
        return;
    pass_time(place);
    if (place->failures_ms)
        list_add_tail(&place->all->idle, &place->age);
    else
        forget(place);
}

bool auth_place_may_try(struct auth_place *place)
{
    if (!place->limited || !place->all->per_minute)
        return true;
    pass_time(place);
    return place->failures_ms + MINUTE_MS / place->all->per_minute <= MINUTE_MS;
}

void auth_place_failed(struct auth_place *place)
{
    if (!place->limited || !place->all->per_minute)
        return;
    pass_time(place);
    place->failures_ms += MINUTE_MS / place->all->per_minute;
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
