/* SPDX-License-Identifier: Apache-2.0 */
/* A hash map whose nodes are embedded in what it maps. The hash is keyed with a secret of this process, so
 * that a peer cannot choose names that collide. The owner keeps the keys and says what equal means. Not
 * locked. */
#ifndef SLUICE_BASE_MAP_H
#define SLUICE_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct map_node {
    struct map_node *next;
    uint64_t hash;
};

/* All zeroes is an empty map. */
struct map {
    struct map_node **slots;
    size_t size, count; /* size: a power of two, or 0 */
};

/* True when node has this key. */
typedef bool map_equal(const struct map_node *node, const void *key);

uint64_t map_hash(const void *data, size_t len);
uint64_t map_hash_u64(uint64_t value);

struct map_node *map_find(const struct map *m, uint64_t hash, map_equal *equal, const void *key);

/* The caller has made sure that the key is not there yet. */
void map_insert(struct map *m, struct map_node *node, uint64_t hash);
void map_remove(struct map *m, struct map_node *node);

/* Releases the table, not the nodes. */
void map_free(struct map *m);

/* The first node (prev NULL) or the one after prev; NULL at the end. To remove while walking, ask for the
 * next one first. */
struct map_node *map_next(const struct map *m, const struct map_node *prev);

/* A walk that may pause while nodes come and go: each node that is there all the time comes once. *place: 0
 * at first; NULL at the end. (Of nodes with one and the same hash only one comes.) */
struct map_node *map_walk(const struct map *m, uint64_t *place);

#endif
