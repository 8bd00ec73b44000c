/* SPDX-License-Identifier: Apache-2.0 */
/* What sluicectl's commands share: options, exit statuses, and what main.c does for all of them. A command
 * gets the words behind its name, which end with NULL, and only options that its row allows. */
#ifndef SLUICE_CTL_COMMAND_H
#define SLUICE_CTL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

struct cJSON;
struct talk;

enum { DONE = 0, REFUSED = 1, WRONG_USE = 2, NO_DAEMON = 3 };

enum option_id {
    OPTION_ROLE,
    OPTION_SCRAM_SHA_1,
    OPTION_DEVICE,
    OPTION_COUNT,
    OPTION_PCAP,
    OPTION_HEX,
    OPTION_FOR,
    OPTION_ORDER,
    OPTION_ALL_ORDERS,
    OPTION_EVERY,
    OPTION_VERIFY,
    OPTION_YES,
    OPTION_UNITS,
    OPTION_BAUD,
    OPTION_FORMAT,
    OPTION_TIMEOUT,
    OPTION_TOTAL,
};

struct options {
    const char *socket, *config;
    bool json;
    const char *value[OPTION_TOTAL]; /* NULL: not given; "" for one without a value */
    const char *roles[33];           /* of `user add`; ends with NULL */
    size_t role_count;
};

int wrong_use(const char *what, const char *which);
/* The daemon's socket, NULL when there is no telling (stderr says why). To be freed. */
char *socket_path(const struct options *o);
/* DONE, or REFUSED with the daemon's reasons on stderr. */
int check_answer(const struct cJSON *answer);
/* The answer as it came; DONE or REFUSED. */
int print_json(const struct cJSON *answer);
/* The same on one line, at once. */
void print_json_line(const struct cJSON *answer);
/* Standard output is a terminal, and nobody has said that there shall be none. */
bool want_colours(void);

/* options.c: DONE, or WRONG_USE and stderr says what would be right. */
int number_option(const struct options *o, enum option_id id, long least, long most, long *out);
/* "500ms", "60s", "2m", "1h", in milliseconds. */
int duration_option(const struct options *o, enum option_id id, long least_ms, long most_ms, long *out_ms);
const char *option_name(enum option_id id);

/* options.c: asks the daemon to do what to a line; NULL: it cannot be asked. */
struct talk *open_talk(const struct options *o, struct cJSON *question);
/* The first answer; NULL (stderr says so): there was none. */
struct cJSON *talk_first(struct talk *t);

/* user.c: add, passwd, remove, list. */
int do_user(const struct options *o, char **words);
/* motes.c */
int do_motes(const struct options *o, char **words);
/* acl.c: test. */
int do_acl(const struct options *o, char **words);
/* Field tools. */
int do_trace(const struct options *o, char **words);
int do_sniff(const struct options *o, char **words);
int do_read(const struct options *o, char **words);
int do_write(const struct options *o, char **words);
int do_doctor(const struct options *o, char **words);
int do_scan(const struct options *o, char **words);
int do_top(const struct options *o, char **words);

/* What the field's side brings: looked for behind main.c's own; takes no options but those of all. */
struct ctl_command {
    const char *name;
    int (*run)(const struct options *o, char **words);
    int least, most;  /* arguments */
    const char *help; /* lines for --help */
};
extern const struct ctl_command *const ctl_commands[]; /* generated from command-y; ends with NULL */

extern const char help_text[], help_options[];

#endif
