/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/watch.h"

#include <stdlib.h>

#include "base/mem.h"

static bool has_key(const struct map_node *node, const void *key)
{
    return !strcmp(container_of(node, const struct watched, node)->key, key);
}

static struct watched *find(const struct watches *all, const char *key, uint64_t *hash)
{
    *hash = map_hash(key, strlen(key));
    struct map_node *n = map_find(&all->map, *hash, has_key, key);
    return n ? container_of(n, struct watched, node) : NULL;
}

struct watched *watch_find(const struct watches *all, const char *device, const char *group,
                           const char *point)
{
    char *key = mem_format("%s/%s/%s", device, group, point);
    uint64_t hash;
    struct watched *w = find(all, key, &hash);

    free(key);
    return w;
}

struct watched *watch_open(struct watches *all, const char *device, const char *group, const char *point)
{
    char *key = mem_format("%s/%s/%s", device, group, point);
    uint64_t hash;
    struct watched *w = find(all, key, &hash);

    if (w) {
        free(key);
    } else {
        w = mem_alloc(sizeof *w);
        w->key = key;
        map_insert(&all->map, &w->node, hash);
        all->round++;
    }
    w->refs++;
    return w;
}

void watch_lose(struct watched *w)
{
    if (w->ever && w->value.kind == VALUE_TEXT)
        free((char *)(uintptr_t)w->value.text);
    w->ever = false;
}

void watch_close(struct watches *all, struct watched *w)
{
    if (--w->refs)
        return;
    watch_lose(w);
    map_remove(&all->map, &w->node);
    all->round++;
    if (!all->map.count)
        map_free(&all->map);
    free(w->key);
    free(w);
}

void watch_take(struct watched *w, const struct reading_point *p, uint64_t taken_us, uint64_t lasts_us)
{
    bool has_value = quality_has_value(p->quality);

    watch_lose(w);
    w->value = has_value ? p->value : (struct value){0};
    if (w->value.kind == VALUE_TEXT)
        w->value.text = mem_strndup(p->value.text ? p->value.text : "", p->value.len);
    w->quality = p->quality;
    w->detail = p->detail;
    w->at_us = taken_us;
    w->until_us = lasts_us ? taken_us + lasts_us : 0;
    w->ever = true;
}

bool watch_value(const struct watched *w, uint64_t now_us, struct value *out)
{
    if (!w->ever || !quality_has_value(w->quality) || (w->until_us && now_us > w->until_us))
        return false;
    *out = w->value;
    return true;
}
