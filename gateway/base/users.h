/* SPDX-License-Identifier: Apache-2.0 */
/* Who there is, as files tell it: the rows of `users`, and the users file that sluicectl writes and the
 * daemon reads. What a user may do is the broker's. The file is replaced whole or not at all, belongs to whom
 * its folder belongs to, and can be read by nobody else. Any thread. */
#ifndef SLUICE_BASE_USERS_H
#define SLUICE_BASE_USERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/conf.h"

enum { USER_NAME_MOST = 256, USER_ROLE_MOST = 64 };

/* One user's members, and the top-level rows users = ( … ) and users_file = "…", of which the latter needs
 * state_dir in the same tables. */
extern const struct conf_row user_rows[];
#define USERS_ROW                                                                                            \
    {                                                                                                        \
        "users", CONF_LIST,                                                                                  \
            .rows = user_rows,                                                                               \
            .help =                                                                                          \
                "who may log in, beside those of the users file; a user with roles alone is one who comes "  \
                "with a certificate or a token"                                                              \
    }
#define USERS_FILE_ROW                                                                                       \
    {                                                                                                        \
        "users_file", CONF_PATH,                                                                             \
            .help = "the users that `sluicectl user` has made; users.conf in state_dir when it is not given" \
    }

/* users_file, or users.conf in state_dir. To be freed. */
char *users_file_path(const struct conf_node *root);
/* True when it is there, and when it must be: the configuration names it. */
bool users_file_wanted(const struct conf_node *root);

/* Reads the file; mistakes are in the result: one that is empty, cannot be read, or can be read by others too
 * is a mistake. */
struct conf *users_file_load(const char *path);

/* Keeps other writers out until the result is closed; -E… when the folder cannot be written to. */
int users_file_lock(const char *path);

struct users_file_entry {
    const char *name;
    const char *password;                    /* NULL: none */
    const char *const *scram, *const *roles; /* end with NULL; may be NULL */
};
/* Replaces path by a file with these users. 0 or -E…. */
int users_file_write(const char *path, const struct users_file_entry *users, size_t count);

/* NULL, or why a user cannot be called so. */
const char *user_name_wrong(const char *name);

#endif
