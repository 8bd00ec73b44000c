/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/alias.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

enum { LONGEST = 1024 /* topics that are remembered; longer ones are rare and would cost memory */ };

struct known {
    struct map_node by_topic;
    uint16_t alias, len;
    char topic[];
};

struct aliases {
    struct bytes in[ALIASES_IN + 1];
    struct map out;
    uint16_t out_count;
};

static struct aliases *made(struct aliases **a)
{
    if (!*a)
        *a = mem_alloc(sizeof(**a));
    return *a;
}

void aliases_free(struct aliases *a)
{
    if (!a)
        return;
    for (size_t i = 0; i <= ALIASES_IN; i++)
        free((void *)(uintptr_t)a->in[i].data);
    for (struct map_node *n = map_next(&a->out, NULL), *next; n; n = next) {
        next = map_next(&a->out, n);
        free(container_of(n, struct known, by_topic));
    }
    map_free(&a->out);
    free(a);
}

bool alias_in(struct aliases **a, uint32_t alias, struct bytes *topic)
{
    if (!alias || alias > ALIASES_IN)
        return false;
    struct bytes *place = &made(a)->in[alias];
    if (!topic->len) {
        *topic = *place;
        return place->len != 0;
    }
    free((void *)(uintptr_t)place->data);
    place->data = memcpy(mem_alloc(topic->len), topic->data, topic->len);
    place->len = topic->len;
    return true;
}

static bool topic_equal(const struct map_node *n, const void *key)
{
    const struct known *k = container_of(n, const struct known, by_topic);

    return bytes_equal((struct bytes){(const uint8_t *)k->topic, k->len}, *(const struct bytes *)key);
}

uint16_t alias_out(struct aliases **a, uint16_t most, struct bytes topic, bool define, bool *known)
{
    *known = false;
    if (!most || topic.len > LONGEST || (!*a && !define))
        return 0;
    struct aliases *all = made(a);
    uint64_t hash = map_hash(topic.data, topic.len);
    struct map_node *n = map_find(&all->out, hash, topic_equal, &topic);
    if (n) {
        *known = true;
        return container_of(n, struct known, by_topic)->alias;
    }
    if (!define || all->out_count >= (most < ALIASES_OUT ? most : ALIASES_OUT))
        return 0;
    struct known *k = mem_alloc(sizeof(*k) + topic.len);
    k->alias = ++all->out_count;
    k->len = (uint16_t)topic.len;
    memcpy(k->topic, topic.data, topic.len);
    map_insert(&all->out, &k->by_topic, hash);
    return k->alias;
}
