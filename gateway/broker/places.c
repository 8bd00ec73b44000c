/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/places.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct places {
    uv_loop_t *loop;
    struct map places;
    struct list idle; /* the one that was left longest ago first */
    size_t most, size;
    uint64_t window_us;
    uint32_t limit;
};

struct places *places_new(uv_loop_t *loop, size_t most, uint32_t window_ms, size_t size)
{
    struct places *p = mem_alloc(sizeof(*p));

    p->loop = loop;
    p->most = most;
    p->size = size;
    p->window_us = (uint64_t)window_ms * 1000;
    list_init(&p->idle);
    return p;
}

void places_limit(struct places *p, uint32_t limit)
{
    p->limit = limit;
}

static void forget(struct place *place)
{
    map_remove(&place->all->places, &place->by_key);
    list_remove(&place->age);
    free(place);
}

void places_free(struct places *p)
{
    if (!p)
        return;
    for (struct map_node *n; (n = map_next(&p->places, NULL));)
        forget(container_of(n, struct place, by_key));
    map_free(&p->places);
    free(p);
}

/* An IPv4 address, or the network of an IPv6 address: whoever has one has them all. */
static bool key_of(const char *peer, uint8_t key[PLACE_KEY_LEN])
{
    const char *colon = strrchr(peer, ':');
    char host[64] = "";
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    memset(key, 0, PLACE_KEY_LEN);
    if (!colon || (size_t)(colon - peer) >= sizeof(host))
        return false;
    bool brackets = peer[0] == '[' && colon[-1] == ']';
    memcpy(host, peer + brackets, (size_t)(colon - peer) - 2 * brackets);
    if (!strncmp(host, "::ffff:", 7) && strchr(host, '.'))
        memmove(host, host + 7, strlen(host + 7) + 1);
    if (!uv_ip4_addr(host, 0, &v4))
        memcpy(key + 4, &v4.sin_addr, 4);
    else if (!uv_ip6_addr(host, 0, &v6))
        memcpy(key, &v6.sin6_addr, PLACE_KEY_LEN);
    else
        return false;
    return true;
}

static bool key_equal(const struct map_node *n, const void *key)
{
    return !memcmp(container_of(n, const struct place, by_key)->key, key, PLACE_KEY_LEN);
}

struct place *place_enter(struct places *p, const char *peer)
{
    uint8_t key[PLACE_KEY_LEN];
    bool limited = key_of(peer, key);
    uint64_t hash = map_hash(key, PLACE_KEY_LEN);
    struct map_node *n = map_find(&p->places, hash, key_equal, key);
    struct place *place = n ? container_of(n, struct place, by_key) : NULL;
    if (!place) {
        if (p->places.count >= p->most && !list_empty(&p->idle))
            forget(list_entry(p->idle.next, struct place, age));
        place = mem_alloc(p->size);
        place->all = p;
        memcpy(place->key, key, PLACE_KEY_LEN);
        place->limited = limited;
        list_init(&place->age);
        map_insert(&p->places, &place->by_key, hash);
    }
    list_remove(&place->age);
    place->inside++;
    return place;
}

static void pass_time(struct place *place)
{
    uint64_t now = uv_now(place->all->loop), passed_us = (now - place->seen_ms) * 1000;

    place->spent_us -= passed_us < place->spent_us ? passed_us : place->spent_us;
    place->seen_ms = now;
}

void place_leave(struct place *place)
{
    if (--place->inside)
        return;
    pass_time(place);
    if (place->spent_us)
        list_add_tail(&place->all->idle, &place->age);
    else
        forget(place);
}

bool place_may(struct place *place)
{
    const struct places *all = place->all;

    if (!place->limited || !all->limit)
        return true;
    pass_time(place);
    return place->spent_us + all->window_us / all->limit <= all->window_us;
}

void place_spend(struct place *place)
{
    const struct places *all = place->all;

    if (!place->limited || !all->limit)
        return;
    pass_time(place);
    place->spent_us += all->window_us / all->limit;
}
