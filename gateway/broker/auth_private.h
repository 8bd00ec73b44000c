/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of auth share: the rules in force (a realm), a login under way, and the table's rows. */
#ifndef SLUICE_BROKER_AUTH_PRIVATE_H
#define SLUICE_BROKER_AUTH_PRIVATE_H

#include "base/crypto.h"
#include "base/list.h"
#include "base/log.h"
#include "broker/auth.h"
#include "broker/users.h"

struct auth_cache;
struct auth_places;
struct auth_place;

/* What a configuration says of users and rules. Held by logins under way, so that it stays what it was. */
struct realm {
    uint32_t refs;
    struct users *users;
    struct acl *acl;
    void **own;      /* of each row of auth_backends, what its load has made */
    bool asks;       /* somebody can be asked for a password or a token */
    bool with_users; /* some are configured, if none */
    bool with_acl;
};

/* NULL when the users file is wrong, which has been logged. */
struct realm *realm_new(const struct conf_node *root);
void realm_drop(struct realm *r);

enum auth_step {
    AUTH_ADMIT,
    AUTH_REFUSE,
    AUTH_WORK,    /* on the pool */
    AUTH_CONTINUE /* data goes to the client, and it answers */
};

struct auth_login {
    struct auth *auth;
    struct realm *realm;
    const struct auth_backend *backend;
    void *own;       /* the row's, of the realm */
    auth_done *done; /* NULL: cancelled */
    void *arg;
    struct list queued; /* in its place's turn, or among its leader's followers */
    struct list followers;
    struct map_node by_key; /* of one that leads */
    uv_work_t work;
    struct auth_place *place;
    char peer[64];
    char *user;
    uint8_t *password; /* wiped when it is given up */
    size_t password_len;
    bool is_right, on_pool, follows;
    struct auth_answer answer; /* of AUTH_REFUSE */
    struct password_entry entry;
    char *secret;
    bool has_key;
    uint8_t key[CRYPTO_SHA256_LEN]; /* what it shows, as in the cache; the same for all who show the same */
    struct buf data;                /* for the client */
    char *client;                   /* these three: as in an identity */
    struct acl *rules;
    int64_t until_s;
    void *exchange; /* the row's, until drop */
};

/* A way of proving who one is. What is not there may be NULL. */
struct auth_backend {
    const char *name;
    bool by_method;        /* by AUTH packets, when the client names it as its authentication method */
    enum crypto_hash hash; /* what tells apart rows that have their functions in common */
    /* Does root have what this row asks for (users, keys)? */
    bool (*asks)(const struct conf_node *root);
    /* What it keeps of a checked configuration; NULL when it has nothing to do there. */
    void *(*load)(const struct auth_backend *b, const struct realm *realm, const struct conf_node *root);
    void (*unload)(void *own);
    bool (*takes)(const struct auth_request *r, const struct realm *realm, const void *own);
    enum auth_step (*begin)(struct auth_login *l, const struct auth_request *r);
    enum auth_step (*go_on)(struct auth_login *l, struct bytes data); /* after AUTH_CONTINUE */
    void (*work)(struct auth_login *l);                               /* on the pool, after AUTH_WORK */
    enum auth_step (*finish)(struct auth_login *l);
    /* Does what who was checked against still hold? NULL: always. */
    bool (*still_valid)(const struct identity *who, const struct realm *realm, const void *own);
    void (*drop)(struct auth_login *l);
};
/* The first that takes a request has it. Ends with NULL; generated from objects.mk. */
extern const struct auth_backend *const auth_backends[];

struct auth {
    uv_loop_t *loop;
    struct realm *realm;
    struct auth_cache *cache;
    struct auth_places *places;
    struct map leaders; /* logins that wait or are checked and have a key */
    uint32_t running, most_running, most_waiting;
    bool stopping;
    uint64_t guesses_until_ms; /* a minute after the last ones */
    char guesser[64];
    struct log_quota notes;
    struct auth_counts counts;
};

/* still_valid of who was checked against a user's entry. */
bool realm_has_secret(const struct identity *who, const struct realm *realm, const void *own);

/* auth.c, for the queue: the login is answered and gone, or gone unanswered. */
void auth_conclude(struct auth_login *l);
void auth_login_free(struct auth_login *l);

/* auth_queue.c. Add: false when too many wait. Cancel frees l at once or later. */
bool auth_queue_add(struct auth_login *l);
void auth_queue_cancel(struct auth_login *l);
void auth_queue_stop(struct auth *a);

/* Its address failed too often. */
enum auth_step auth_refuse_guesses(struct auth_login *l);
enum auth_step auth_refuse(struct auth_login *l, uint8_t reason, const char *why);

/* auth_cache.c: passwords that were right a short time ago. A key depends on a secret of this process and on
 * the entry, so a changed password or a user who is gone is not found. */
struct auth_cache *auth_cache_new(size_t most);
void auth_cache_free(struct auth_cache *c);
void auth_cache_key(const struct auth_cache *c, const char *user, const char *secret, struct bytes password,
                    uint8_t key[CRYPTO_SHA256_LEN]);
bool auth_cache_has(struct auth_cache *c, const uint8_t key[CRYPTO_SHA256_LEN]);
void auth_cache_put(struct auth_cache *c, const uint8_t key[CRYPTO_SHA256_LEN]);

/* auth_places.c: how often each address failed lately, and its logins that wait for the pool, which takes one
 * of each address in turn. A bounded number of addresses is remembered. */
struct auth_places *auth_places_new(uv_loop_t *loop, size_t most);
void auth_places_free(struct auth_places *p);
void auth_places_limit(struct auth_places *p, uint32_t per_minute); /* 0: no limit */
/* Held until auth_place_leave. What has no address, this box's own sockets, is one place without a limit. */
struct auth_place *auth_place_enter(struct auth_places *p, const char *peer);
void auth_place_leave(struct auth_place *place);
bool auth_place_may_try(struct auth_place *place);
void auth_place_failed(struct auth_place *place);
uint32_t auth_place_waiting(const struct auth_place *place);
void auth_place_queue(struct auth_place *place, struct list *entry);
void auth_place_unqueue(struct auth_place *place, struct list *entry);
struct list *auth_places_next(struct auth_places *p); /* NULL: nobody waits */

#endif
