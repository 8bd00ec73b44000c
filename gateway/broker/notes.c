/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/notes.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

#define PREFIX "note/"

struct note {
    struct map_node node;
    char *name;
    struct buf value;
};

struct notes {
    struct store *store;
    struct map all;
};

struct notes *notes_new(struct store *store)
{
    struct notes *n = mem_alloc(sizeof *n);

    n->store = store;
    return n;
}

static void drop(struct note *one)
{
    buf_free(&one->value);
    free(one->name);
    free(one);
}

void notes_free(struct notes *n)
{
    if (!n)
        return;
    for (struct map_node *it = map_next(&n->all, NULL), *next; it; it = next) {
        next = map_next(&n->all, it);
        drop(container_of(it, struct note, node));
    }
    map_free(&n->all);
    free(n);
}

static bool name_is(const struct map_node *node, const void *key)
{
    return !strcmp(container_of(node, const struct note, node)->name, key);
}

static struct note *find(const struct notes *n, const char *name)
{
    struct map_node *node = map_find(&n->all, map_hash(name, strlen(name)), name_is, name);

    return node ? container_of(node, struct note, node) : NULL;
}

static void set(struct notes *n, const char *name, struct bytes value)
{
    struct note *one = find(n, name);

    if (!one) {
        one = mem_alloc(sizeof *one);
        one->name = mem_strdup(name);
        map_insert(&n->all, &one->node, map_hash(name, strlen(name)));
    }
    one->value.len = 0;
    buf_append(&one->value, value.data, value.len);
}

void notes_value(struct notes *n, const char *name, struct bytes value)
{
    if (!strncmp(name, PREFIX, strlen(PREFIX)))
        set(n, name + strlen(PREFIX), value);
}

struct bytes notes_get(const struct notes *n, const char *name)
{
    const struct note *one = find(n, name);

    return one ? (struct bytes){one->value.data, one->value.len} : (struct bytes){0};
}

store_ticket notes_put(struct notes *n, const char *name, struct bytes value)
{
    struct note *one = find(n, name);

    if (!one && !value.len)
        return 0;
    char *on_disk = mem_format(PREFIX "%s", name);
    store_value_put(n->store, on_disk, value);
    free(on_disk);
    if (value.len) {
        set(n, name, value);
    } else {
        map_remove(&n->all, &one->node);
        drop(one);
    }
    return store_open_ticket(n->store);
}
