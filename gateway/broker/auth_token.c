/* SPDX-License-Identifier: Apache-2.0 */
/* A token (jwt.h) in the place of a password: whoever signed it says who the client is, for how long, and
 * perhaps what it may do. A key is for one algorithm, whatever the token says of itself. Signatures are
 * checked on the pool; one that was right a short time ago is remembered. */
#include "broker/auth_token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/users.h"
#include "broker/auth_private.h"
#include "broker/jwt.h"
#include "codec/mqtt.h"

enum { FINGERPRINT_LEN = 2 * CRYPTO_SHA256_LEN + 8, FILTERS_MOST = 64 };

struct token_key {
    struct bytes key;
    char *kid; /* NULL: any */
    enum signature_kind kind;
    char fingerprint[FINGERPRINT_LEN]; /* what stands for it as a secret */
};

struct tokens {
    struct token_key *keys;
    size_t key_count;
    char **audience;                                                      /* ends with NULL */
    char *issuer, *user, *client, *publish, *subscribe, *instead_of_user; /* claims' names and the like */
    int64_t leeway_s;
};

/* While its signature is checked. */
struct exchange {
    struct jwt jwt;
    uint8_t *token;
    size_t len;
    const struct token_key *tried[TOKEN_KEYS_MOST];
    size_t tried_count;
    const struct token_key *found;
};

/* ---- what the configuration says ---- */

static char *copy_of(const struct conf_node *node, const char *key)
{
    const char *text = conf_string(node, key);

    return text ? mem_strdup(text) : NULL;
}

static void add_key(struct tokens *t, const struct conf_node *node)
{
    struct token_key *k = &t->keys[t->key_count];
    uint8_t hash[CRYPTO_SHA256_LEN];
    struct buf text = {0};
    const char *why;

    k->kind = (enum signature_kind)conf_int(node, "alg");
    if (token_key_read(node, &text, &why)) /* it was right when it was checked */
        return;
    k->key = (struct bytes){text.data, text.len};
    k->kid = copy_of(node, "kid");
    crypto_digest(CRYPTO_SHA256, text.data, text.len, hash);
    char *at = k->fingerprint + sprintf(k->fingerprint, "%s:", signature_names[k->kind]);
    for (size_t i = 0; i < sizeof(hash); i++)
        at += sprintf(at, "%02x", hash[i]);
    t->key_count++;
}

static void *load(const struct auth_backend *b, const struct realm *realm, const struct conf_node *root)
{
    const struct conf_node *node = conf_get(root, "tokens");
    struct tokens *t;

    (void)b, (void)realm;
    if (!node)
        return NULL;
    t = mem_alloc(sizeof(*t));
    t->keys = mem_alloc(conf_count(node, "keys") * sizeof(*t->keys));
    for (size_t i = 0; i < conf_count(node, "keys"); i++)
        add_key(t, conf_at(node, "keys", i));
    t->audience = mem_alloc((conf_count(node, "audience") + 1) * sizeof(*t->audience));
    for (size_t i = 0; i < conf_count(node, "audience"); i++)
        t->audience[i] = mem_strdup(conf_at(node, "audience", i)->s);
    t->issuer = copy_of(node, "issuer");
    t->user = copy_of(node, "user_claim");
    t->client = copy_of(node, "client_claim");
    t->publish = copy_of(node, "publish_claim");
    t->subscribe = copy_of(node, "subscribe_claim");
    t->instead_of_user = copy_of(node, "user_name");
    t->leeway_s = conf_int(node, "leeway") / 1000;
    return t;
}

static void unload(void *own)
{
    struct tokens *t = own;

    for (size_t i = 0; i < t->key_count; i++) {
        explicit_bzero((void *)(uintptr_t)t->keys[i].key.data, t->keys[i].key.len);
        free((void *)(uintptr_t)t->keys[i].key.data);
        free(t->keys[i].kid);
    }
    for (char **a = t->audience; *a; a++)
        free(*a);
    free(t->keys);
    free(t->audience);
    free(t->issuer);
    free(t->user);
    free(t->client);
    free(t->publish);
    free(t->subscribe);
    free(t->instead_of_user);
    free(t);
}

/* ---- claims ---- */

static const char *times_wrong(const struct tokens *t, const struct jwt *jwt, int64_t *until_s)
{
    int64_t now = clock_wall_us() / 1000000, exp, nbf;

    if (!jwt_time(jwt, "exp", &exp))
        return "its token does not say until when it holds (exp)";
    if (now >= exp + t->leeway_s)
        return "its token has run out";
    if (jwt_has(jwt, "nbf") && (!jwt_time(jwt, "nbf", &nbf) || now < nbf - t->leeway_s))
        return "its token does not hold yet (nbf)";
    *until_s = exp + t->leeway_s;
    return NULL;
}

static const char *parties_wrong(const struct tokens *t, const struct jwt *jwt)
{
    bool meant = false;

    for (char **a = t->audience; *a; a++)
        meant |= jwt_names(jwt, "aud", *a);
    if (!meant)
        return "its token is for somebody else (aud)";
    if (t->issuer) {
        const char *by = jwt_text(jwt->claims, "iss");
        if (!by || strcmp(by, t->issuer) != 0)
            return "its token is by somebody else (iss)";
    }
    return NULL;
}

/* The filters of one claim as rules. False: one is no filter, or there are too many. */
static bool add_rules(struct acl *rules, const struct jwt *jwt, const char *claim, uint8_t actions)
{
    const char *filter;
    bool wrong;
    int i = 0;

    for (; (filter = jwt_at(jwt, claim, i, &wrong)) && i < FILTERS_MOST; i++) {
        if (!mqtt_filter_ok(bytes_of(filter)))
            return false;
        acl_allow(rules, actions, filter, "the client's token");
    }
    return !wrong && i < FILTERS_MOST;
}

/* The rules that the token brings; NULL when it says nothing of topics. */
static bool take_rules(const struct tokens *t, const struct jwt *jwt, struct acl **rules)
{
    *rules = NULL;
    if (!jwt_has(jwt, t->publish) && !jwt_has(jwt, t->subscribe))
        return true;
    *rules = acl_new();
    return add_rules(*rules, jwt, t->publish, ACL_PUBLISH) &&
           add_rules(*rules, jwt, t->subscribe, ACL_SUBSCRIBE | ACL_RECEIVE);
}

/* NULL: l has got all that the token says. */
static const char *claims_wrong(struct auth_login *l, const struct tokens *t, const struct jwt *jwt)
{
    const char *wrong = times_wrong(t, jwt, &l->until_s), *name = jwt_text(jwt->claims, t->user);

    if (!wrong)
        wrong = parties_wrong(t, jwt);
    if (wrong)
        return wrong;
    if (!name || user_name_wrong(name))
        return "its token does not say who it is";
    free(l->user);
    l->user = mem_strdup(name);
    if (t->client && jwt_has(jwt, t->client)) {
        const char *client = jwt_text(jwt->claims, t->client);
        l->client = mem_strdup(client ? client : "");
    }
    return take_rules(t, jwt, &l->rules) ? NULL : "its token has topics that are no topic filters";
}

/* ---- the row ---- */

static bool asks(const struct conf_node *root)
{
    return conf_get(root, "tokens") != NULL;
}

static bool takes(const struct auth_request *r, const struct realm *realm, const void *own)
{
    const struct tokens *t = own;

    (void)realm;
    if (!t || !r->has_password)
        return false;
    return !r->has_user || (t->instead_of_user && bytes_equal(bytes_of(t->instead_of_user), r->user));
}

/* The keys that may have signed it. */
static void choose_keys(const struct tokens *t, struct exchange *x)
{
    const char *kid = jwt_text(x->jwt.header, "kid");

    for (size_t i = 0; i < t->key_count; i++) {
        const struct token_key *k = &t->keys[i];
        if (k->kind == x->jwt.kind && (!k->kid || !kid || !strcmp(k->kid, kid)))
            x->tried[x->tried_count++] = k;
    }
}

static bool is_known(const struct auth_login *l, struct exchange *x, struct bytes token)
{
    uint8_t key[CRYPTO_SHA256_LEN];

    for (size_t i = 0; i < x->tried_count && !x->found; i++) {
        auth_cache_key(l->auth->cache, "", x->tried[i]->fingerprint, token, key);
        if (auth_cache_has(l->auth->cache, key))
            x->found = x->tried[i];
    }
    return x->found;
}

static enum auth_step refuse_bad(struct auth_login *l, const char *why)
{
    auth_place_failed(l->place);
    return auth_refuse(l, MQTT_BAD_CREDENTIALS, why);
}

static enum auth_step finish(struct auth_login *l)
{
    struct exchange *x = l->exchange;
    struct bytes token = {x->token, x->len};

    if (l->is_right && !x->found)
        x->found = x->tried[0]; /* another one has just shown the same */
    if (!x->found)
        return refuse_bad(l, "no key of ours has signed its token");
    auth_cache_key(l->auth->cache, "", x->found->fingerprint, token, l->key);
    auth_cache_put(l->auth->cache, l->key);
    l->secret = mem_strdup(x->found->fingerprint);
    return AUTH_ADMIT;
}

static enum auth_step begin(struct auth_login *l, const struct auth_request *r)
{
    const struct tokens *t = l->own;
    struct exchange *x;
    const char *why;

    free(l->user);
    l->user = NULL;
    if (!clock_is_set())
        return auth_refuse(l, MQTT_SERVER_UNAVAILABLE, "the clock is not set, so no token can be judged");
    if (r->password.len > JWT_MOST)
        return refuse_bad(l, "a token of that size");
    x = l->exchange = mem_alloc(sizeof(*x));
    x->token = mem_alloc(r->password.len + 1);
    x->len = r->password.len;
    memcpy(x->token, r->password.data, x->len);
    struct bytes token = {x->token, x->len}; /* its signature is part of what is remembered */
    if (jwt_parse(&x->jwt, token, &why))
        return refuse_bad(l, why);
    why = claims_wrong(l, t, &x->jwt);
    if (why)
        return auth_refuse(l, MQTT_NOT_AUTHORIZED, why);
    choose_keys(t, x);
    if (x->tried_count == 1) {
        l->has_key = true;
        auth_cache_key(l->auth->cache, "", x->tried[0]->fingerprint, token, l->key);
    }
    if (is_known(l, x, token)) {
        l->auth->counts.cached++;
        return finish(l);
    }
    if (!auth_place_may_try(l->place))
        return auth_refuse_guesses(l);
    return AUTH_WORK;
}

static void work(struct auth_login *l)
{
    struct exchange *x = l->exchange;
    struct bytes signature = {x->jwt.signature, x->jwt.signature_len};

    for (size_t i = 0; i < x->tried_count && !x->found; i++)
        if (signature_ok(x->tried[i]->kind, x->tried[i]->key, x->jwt.data, signature))
            x->found = x->tried[i];
    l->is_right = x->found != NULL;
}

static bool still_valid(const struct identity *who, const struct realm *realm, const void *own)
{
    const struct tokens *t = own;

    (void)realm;
    for (size_t i = 0; t && i < t->key_count; i++)
        if (!strcmp(t->keys[i].fingerprint, who->secret))
            return true;
    return false;
}

static void drop(struct auth_login *l)
{
    struct exchange *x = l->exchange;

    jwt_free(&x->jwt);
    free(x->token);
    free(x);
}

const struct auth_backend auth_token = {.name = "token",
                                        .asks = asks,
                                        .load = load,
                                        .unload = unload,
                                        .takes = takes,
                                        .begin = begin,
                                        .work = work,
                                        .finish = finish,
                                        .still_valid = still_valid,
                                        .drop = drop};
