/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of conf share: conf.c (loading and reports), conf_file.c (files and libconfig's traps),
 * conf_check.c (settings against rows), conf_edit.c (what is put into it), conf_tree.c (the finished tree),
 * conf_value.c (texts and their values), conf_manual.c. Nobody else includes it. */
#ifndef SLUICE_BASE_CONF_PRIVATE_H
#define SLUICE_BASE_CONF_PRIVATE_H

#include "base/conf.h"

struct conf_report {
    const char *file;
    size_t file_index;
    int line; /* 0: the file as a whole */
    bool is_error;
    char *text;
};

struct conf {
    struct conf_row root_row;
    struct conf_row *rows; /* of all tables */
    struct conf_node *root;
    const struct conf_absent *absent;
    char **kept; /* texts that nodes point to */
    size_t kept_count;
    char **files; /* in the order in which they were met; nodes and reports point here */
    size_t file_count;
    struct conf_report *reports;
    size_t report_count, error_count;
    bool broken; /* a file could not be parsed: what seems to be missing may stand there */
};

/* The one copy of a file's name. */
const char *conf_file_name(struct conf *c, const char *name);
void conf_mistake(struct conf *c, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* conf_file.c: reads one file, and what it includes, into the tree. */
void conf_read_file(struct conf *c, const char *path);
/* The same of a text that stands behind its len bytes with a zero; path: what it is called, and whose folder
 * counts. */
void conf_read_text(struct conf *c, const char *path, const char *text, size_t len);
/* The file that libconfig calls name while main_file is read. */
const char *conf_source(struct conf *c, const char *main_file, const char *name);
/* The files *.conf of a folder in the order of their names; ends with NULL. Release with conf_list_free(). */
char **conf_list(const char *folder);
void conf_list_free(char **list);
/* The part before the last slash, "." when there is none. */
char *conf_folder(const char *path);

/* conf_check.c: setting is a config_setting_t of libconfig. */
void conf_take_root(struct conf *c, const void *setting, const char *file);

/* conf_edit.c: what elements ask for beyond what the files say, once all files are read. */
void conf_expand(struct conf *c);

/* conf_finish.c: defaults and what is missing, once all files are read. */
void conf_finish(struct conf *c);

/* conf_tree.c */
struct conf_node *conf_node_new(struct conf_node *parent, const struct conf_row *row, const char *name);
void conf_node_free(struct conf_node *n);
struct conf_node *conf_find(const struct conf_node *group, const char *name);
/* The row of a group's member, of its kind's rows too; NULL when there is none. */
const struct conf_row *conf_row_of(const struct conf_node *group, const char *name);
/* The rows that the value of the group's kind_key adds, NULL when it adds none. */
const struct conf_row *conf_kind_rows(const struct conf_node *group);
void conf_set_string(struct conf_node *n, const char *text);

/* conf_value.c. NULL when text is a value of row's type and range and n has it; else what is wrong and would
 * be right, to be freed. */
char *conf_set_text(struct conf_node *n, const char *text);
char *conf_set_int(struct conf_node *n, int64_t value);
char *conf_set_float(struct conf_node *n, double value);
bool conf_name_ok(const char *text);
/* "a duration": what a type is called. */
const char *conf_type_text(enum conf_type type);
/* How one would write the row in a file: key = value. To be freed. */
char *conf_example(const struct conf_row *row);
/* "300 to 921600", "at least 1": the limits as one writes them, "" when there are none. To be freed. */
char *conf_range_text(const struct conf_row *row);
/* "drop-oldest, drop-newest or refuse". To be freed. */
char *conf_choices_text(const char *const *choices);

#endif
