/* SPDX-License-Identifier: Apache-2.0 */
/* What sluicectl's commands share: options, exit statuses, and what main.c does for all of them. A command
 * gets the words behind its name, which end with NULL. */
#ifndef SLUICE_CTL_COMMAND_H
#define SLUICE_CTL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

struct cJSON;

enum { DONE = 0, REFUSED = 1, WRONG_USE = 2, NO_DAEMON = 3 };

struct options {
    const char *socket, *config;
    bool json;
    const char *roles[33]; /* of `user add`; ends with NULL */
    size_t role_count;
    bool scram_sha_1;
};

int wrong_use(const char *what, const char *which);
/* The daemon's socket, NULL when there is no telling (stderr says why). To be freed. */
char *socket_path(const struct options *o);
/* DONE, or REFUSED with the daemon's reasons on stderr. */
int check_answer(const struct cJSON *answer);
/* The answer as it came; DONE or REFUSED. */
int print_json(const struct cJSON *answer);

/* user.c: add, passwd, remove, list. */
int do_user(const struct options *o, char **words);
/* acl.c: test. */
int do_acl(const struct options *o, char **words);

#endif
