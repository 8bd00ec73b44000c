/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "broker/auth_private.h"

struct entry {
    struct map_node by_key;
    struct list age;
    uint8_t key[CRYPTO_SHA256_LEN];
};

struct auth_cache {
    struct map entries;
    struct list by_age; /* the one that was used longest ago first */
    size_t most;
    uint8_t secret[CRYPTO_SHA256_LEN];
};

struct auth_cache *auth_cache_new(size_t most)
{
    struct auth_cache *c = mem_alloc(sizeof(*c));

    c->most = most;
    list_init(&c->by_age);
    crypto_random(c->secret, sizeof(c->secret));
    return c;
}

static void give_up(struct auth_cache *c, struct entry *e)
{
    map_remove(&c->entries, &e->by_key);
    list_remove(&e->age);
    free(e);
}

void auth_cache_free(struct auth_cache *c)
{
    if (!c)
        return;
    while (!list_empty(&c->by_age))
        give_up(c, list_entry(c->by_age.next, struct entry, age));
    map_free(&c->entries);
    explicit_bzero(c->secret, sizeof(c->secret));
    free(c);
}

void auth_cache_key(const struct auth_cache *c, const char *user, const char *secret, struct bytes password,
                    uint8_t key[CRYPTO_SHA256_LEN])
{
    struct buf text = {0};

    buf_append(&text, user, strlen(user) + 1);
    buf_append(&text, secret, strlen(secret) + 1);
    buf_append(&text, password.data, password.len);
    crypto_hmac(CRYPTO_SHA256, c->secret, sizeof(c->secret), text.data, text.len, key);
    explicit_bzero(text.data, text.len);
    buf_free(&text);
}

static bool key_equal(const struct map_node *n, const void *key)
{
    return crypto_equal(container_of(n, const struct entry, by_key)->key, key, CRYPTO_SHA256_LEN);
}

static struct entry *find(const struct auth_cache *c, const uint8_t *key)
{
    struct map_node *n = map_find(&c->entries, map_hash(key, CRYPTO_SHA256_LEN), key_equal, key);

    return n ? container_of(n, struct entry, by_key) : NULL;
}

bool auth_cache_has(struct auth_cache *c, const uint8_t key[CRYPTO_SHA256_LEN])
{
    struct entry *e = find(c, key);

    if (!e)
        return false;
    list_remove(&e->age);
    list_add_tail(&c->by_age, &e->age);
    return true;
}

void auth_cache_put(struct auth_cache *c, const uint8_t key[CRYPTO_SHA256_LEN])
{
    if (auth_cache_has(c, key))
        return;
    if (c->entries.count >= c->most)
        give_up(c, list_entry(c->by_age.next, struct entry, age));
    struct entry *e = mem_alloc(sizeof(*e));
    memcpy(e->key, key, CRYPTO_SHA256_LEN);
    list_init(&e->age);
    list_add_tail(&c->by_age, &e->age);
    map_insert(&c->entries, &e->by_key, map_hash(key, CRYPTO_SHA256_LEN));
}
