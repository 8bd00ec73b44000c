/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/mem.h"

static uint64_t secret[2];

__attribute__((constructor)) static void choose_secret(void)
{
    if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
        abort();
    secret[0] |= 1;
    secret[1] |= 1;
}

/* The two halves of the 128-bit product, folded: every bit of both factors reaches every bit of the result.
 */
static uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load(const uint8_t *p, size_t len)
{
    uint64_t v = 0;

    if (len) /* p may be NULL then */
        memcpy(&v, p, len);
    return v;
}

uint64_t map_hash_u64(uint64_t value)
{
    return fold(value ^ secret[0], secret[1] ^ 0x9e3779b97f4a7c15u);
}

uint64_t map_hash(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t h = secret[0] ^ len;

    while (len > 16) {
        h = fold(load(p, 8) ^ secret[1], load(p + 8, 8) ^ h);
        p += 16;
        len -= 16;
    }
    uint64_t low = load(p, len < 8 ? len : 8);
    uint64_t high = len > 8 ? load(p + 8, len - 8) : 0;
    h = fold(low ^ secret[1], high ^ h);
    return fold(h ^ secret[0], secret[1]);
}

struct map_node *map_find(const struct map *m, uint64_t hash, map_equal *equal, const void *key)
{
    if (!m->size)
        return NULL;
    struct map_node *n = m->slots[hash & (m->size - 1)];
    while (n && (n->hash != hash || !equal(n, key)))
        n = n->next;
    return n;
}

static void resize(struct map *m, size_t size)
{
    struct map_node **slots = mem_alloc(size * sizeof(*slots));

    for (size_t i = 0; i < m->size; i++) {
        for (struct map_node *n = m->slots[i], *next; n; n = next) {
            next = n->next;
            n->next = slots[n->hash & (size - 1)];
            slots[n->hash & (size - 1)] = n;
        }
    }
    free(m->slots);
    m->slots = slots;
    m->size = size;
}

void map_insert(struct map *m, struct map_node *node, uint64_t hash)
{
    if (m->count >= m->size)
        resize(m, m->size ? m->size * 2 : 8);
    struct map_node **slot = &m->slots[hash & (m->size - 1)];
    node->hash = hash;
    node->next = *slot;
    *slot = node;
    m->count++;
}

void map_remove(struct map *m, struct map_node *node)
{
    struct map_node **at = &m->slots[node->hash & (m->size - 1)];

    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    m->count--;
}

void map_free(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}

static uint64_t reversed(uint64_t v)
{
    v = (v >> 1 & 0x5555555555555555u) | (v & 0x5555555555555555u) << 1;
    v = (v >> 2 & 0x3333333333333333u) | (v & 0x3333333333333333u) << 2;
    v = (v >> 4 & 0x0f0f0f0f0f0f0f0fu) | (v & 0x0f0f0f0f0f0f0f0fu) << 4;
    return __builtin_bswap64(v);
}

/* In the order of the hashes read backwards: a slot's nodes stay together whatever the size. One bit is given
 * up so that there is a place behind the last. */
struct map_node *map_walk(const struct map *m, uint64_t *place)
{
    if (!m->size)
        return NULL;
    int unused = 64 - __builtin_ctzll(m->size);
    for (uint64_t i = *place >> (unused - 1); i < m->size; i++) {
        struct map_node *first = NULL;
        uint64_t first_at = 0;
        for (struct map_node *n = m->slots[reversed(i) >> unused]; n; n = n->next) {
            uint64_t at = reversed(n->hash) >> 1;
            if (at >= *place && (!first || at < first_at)) {
                first = n;
                first_at = at;
            }
        }
        if (first) {
            *place = first_at + 1;
            return first;
        }
    }
    return NULL;
}

struct map_node *map_next(const struct map *m, const struct map_node *prev)
{
    if (prev && prev->next)
        return prev->next;
    size_t i = prev ? (prev->hash & (m->size - 1)) + 1 : 0;
    for (; i < m->size; i++)
        if (m->slots[i])
            return m->slots[i];
    return NULL;
}
