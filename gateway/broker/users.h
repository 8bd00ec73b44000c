/* SPDX-License-Identifier: Apache-2.0 */
/* The users in force, by name: what the configuration and the users file say, parsed. Never changed once
 * made; a reload makes new ones. Loop thread only. */
#ifndef SLUICE_BROKER_USERS_H
#define SLUICE_BROKER_USERS_H

#include "base/conf.h"
#include "base/map.h"
#include "base/password.h"

struct user {
    struct map_node by_name;
    char *name;
    char *secret; /* text of the password's entry; NULL: none */
    struct password_entry password;
    struct scram_verifier scram[2];
    size_t scram_count;
    const char **roles; /* ends with NULL */
};

struct users;

/* Those of count files (roots of checked configurations). */
struct users *users_new(const struct conf_node *const *roots, size_t count);
void users_free(struct users *u);
const struct user *users_find(const struct users *u, struct bytes name);
/* Does secret, the text of an entry or a verifier, still stand for this user? */
bool user_has_secret(const struct user *u, const char *secret);
/* The verifier of that mechanism; NULL when it has none. */
const struct scram_verifier *user_scram(const struct user *u, enum crypto_hash hash);
/* The first user by name who has one; NULL when nobody has. */
const struct user *users_with_scram(const struct users *u, enum crypto_hash hash);
/* A user with a password, always the same one for a name: so that a name that nobody has is checked as long
 * as one that somebody has. NULL when nobody has a password. */
const struct user *users_stand_in(const struct users *u, struct bytes name);

/* Mistakes in the `users` of a file. */
void users_check(struct conf *c);
/* A user who stands in both files is a mistake in the first. */
void users_check_apart(struct conf *c, const struct conf_node *other);

#endif
