/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/users.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/users.h"

struct users {
    struct map by_name;
    const struct user **with_password;
    size_t with_password_count;
};

static bool name_equal(const struct map_node *n, const void *key)
{
    const struct user *u = container_of(n, const struct user, by_name);

    return bytes_equal(bytes_of(u->name), *(const struct bytes *)key);
}

const struct user *users_find(const struct users *u, struct bytes name)
{
    struct map_node *n = map_find(&u->by_name, map_hash(name.data, name.len), name_equal, &name);

    return n ? container_of(n, const struct user, by_name) : NULL;
}

const struct scram_verifier *user_scram(const struct user *u, enum crypto_hash hash)
{
    for (size_t i = 0; i < u->scram_count; i++)
        if (u->scram[i].hash == hash)
            return &u->scram[i];
    return NULL;
}

const struct user *users_with_scram(const struct users *u, enum crypto_hash hash)
{
    const struct user *first = NULL;

    for (struct map_node *n = map_next(&u->by_name, NULL); n; n = map_next(&u->by_name, n)) {
        const struct user *one = container_of(n, struct user, by_name);
        if (user_scram(one, hash) && (!first || strcmp(one->name, first->name) < 0))
            first = one;
    }
    return first;
}

bool user_has_secret(const struct user *u, const char *secret)
{
    bool found = u->secret && !strcmp(u->secret, secret);

    for (size_t i = 0; i < u->scram_count && !found; i++) {
        char *text = scram_text(&u->scram[i]);
        found = !strcmp(text, secret);
        free(text);
    }
    return found;
}

const struct user *users_stand_in(const struct users *u, struct bytes name)
{
    if (!u->with_password_count)
        return NULL;
    return u->with_password[map_hash(name.data, name.len) % u->with_password_count];
}

static const char **roles_of(const struct conf_node *node)
{
    size_t count = conf_count(node, "roles");
    const char **out = mem_alloc((count + 1) * sizeof(*out));

    for (size_t i = 0; i < count; i++)
        out[i] = mem_strdup(conf_at(node, "roles", i)->s);
    return out;
}

static void add(struct users *all, const struct conf_node *node)
{
    struct user *u = mem_alloc(sizeof(*u));
    const char *entry = conf_string(node, "password"), *why;

    u->name = mem_strdup(conf_string(node, "name"));
    u->roles = roles_of(node);
    if (entry && !password_parse(&u->password, entry, &why)) {
        u->secret = mem_strdup(entry);
        all->with_password =
            mem_resize(all->with_password, (all->with_password_count + 1) * sizeof(*all->with_password));
        all->with_password[all->with_password_count++] = u;
    }
    for (size_t i = 0; i < conf_count(node, "scram") && u->scram_count < ARRAY_SIZE(u->scram); i++)
        u->scram_count += !scram_parse(&u->scram[u->scram_count], conf_at(node, "scram", i)->s, &why);
    map_insert(&all->by_name, &u->by_name, map_hash(u->name, strlen(u->name)));
}

struct users *users_new(const struct conf_node *const *roots, size_t count)
{
    struct users *u = mem_alloc(sizeof(*u));

    for (size_t k = 0; k < count; k++)
        for (size_t i = 0; i < conf_count(roots[k], "users"); i++)
            add(u, conf_at(roots[k], "users", i));
    return u;
}

static void user_free(struct user *u)
{
    for (const char **r = u->roles; *r; r++)
        free((void *)(uintptr_t)*r);
    free(u->roles);
    free(u->name);
    free(u->secret);
    free(u);
}

void users_free(struct users *u)
{
    if (!u)
        return;
    for (struct map_node *n = map_next(&u->by_name, NULL), *next; n; n = next) {
        next = map_next(&u->by_name, n);
        user_free(container_of(n, struct user, by_name));
    }
    map_free(&u->by_name);
    free(u->with_password);
    free(u);
}

/* ---- check ---- */

/* mosquitto's own are of 101. */
static void warn_of_count(struct conf *c, const struct conf_node *at, const struct conf_node *user,
                          unsigned count)
{
    conf_warn(c, at,
              "the password of user %s is kept with %u rounds, so whoever gets this file guesses it soon; "
              "sluicectl user makes better entries",
              user->name, count);
}

static void check_scram(struct conf *c, const struct conf_node *node)
{
    bool seen[CRYPTO_SHA512] = {false};
    struct scram_verifier v;
    const char *why;

    for (size_t i = 0; i < conf_count(node, "scram"); i++) {
        const struct conf_node *one = conf_at(node, "scram", i);
        if (scram_parse(&v, one->s, &why)) {
            conf_error(c, one, "the verifier of user %s %s; sluicectl user passwd makes new ones", node->name,
                       why);
            continue;
        }
        if (seen[v.hash])
            conf_error(c, one, "user %s has two verifiers for %s", node->name, scram_name(v.hash));
        else if (v.count < SCRAM_COUNT_LEAST)
            warn_of_count(c, one, node, v.count);
        seen[v.hash] = true;
    }
}

static void check_user(struct conf *c, const struct conf_node *node)
{
    const char *entry = conf_string(node, "password"), *why = user_name_wrong(conf_string(node, "name"));
    struct password_entry parsed;

    if (why)
        conf_error(c, node, "%s", why);
    if (entry && password_parse(&parsed, entry, &why))
        conf_error(c, conf_get(node, "password"),
                   "the password of user %s %s; sluicectl user makes such entries (a password itself never "
                   "stands in "
                   "a file)",
                   node->name, why);
    else if (entry && parsed.count < PASSWORD_COUNT_LEAST)
        warn_of_count(c, conf_get(node, "password"), node, parsed.count);
    check_scram(c, node);
}

static const struct conf_node *find_node(const struct conf_node *root, const char *name, size_t most)
{
    for (size_t i = 0; i < conf_count(root, "users") && i < most; i++)
        if (!strcmp(conf_string(conf_at(root, "users", i), "name"), name))
            return conf_at(root, "users", i);
    return NULL;
}

void users_check(struct conf *c)
{
    const struct conf_node *root = conf_root(c);

    for (size_t i = 0; i < conf_count(root, "users"); i++) {
        const struct conf_node *node = conf_at(root, "users", i);
        const struct conf_node *twin = find_node(root, conf_string(node, "name"), i);
        check_user(c, node);
        if (twin)
            conf_error(c, node, "user %s is there already, in line %d", node->name, twin->line);
    }
}

void users_check_apart(struct conf *c, const struct conf_node *other)
{
    const struct conf_node *root = conf_root(c);

    for (size_t i = 0; i < conf_count(root, "users"); i++) {
        const struct conf_node *node = conf_at(root, "users", i);
        const struct conf_node *twin = find_node(other, conf_string(node, "name"), SIZE_MAX);
        if (twin)
            conf_error(c, node, "user %s stands in %s:%d too; remove one", node->name, twin->file,
                       twin->line);
    }
}
