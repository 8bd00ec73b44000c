/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: libconfig files checked against rows. Each service brings rows; parser, checker, error
 * messages and the manual read the same table. What comes out is a tree in which every value has its row's
 * type and range and every absent value its default. All mistakes of all files are collected, each as
 * "file:line: what is wrong; what would be right"; a tree with mistakes is never used. The tree is immutable
 * after conf_load and the services' checks; one thread (any) builds it, all may read. */
#ifndef SLUICE_BASE_CONF_H
#define SLUICE_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum conf_type {
    CONF_BOOL,
    CONF_INT,      /* 64 bits; min..max */
    CONF_FLOAT,    /* also takes integers */
    CONF_STRING,   /* min..max: its length in bytes, when max > 0 */
    CONF_NAME,     /* [A-Za-z0-9_.-]{1,64}: a part of a topic */
    CONF_DURATION, /* "500ms", "60s", "5m", "1h", "30d"; value and min..max in milliseconds */
    CONF_SIZE,     /* "64k", "2G" (powers of 1024), or a plain integer; value and min..max in bytes */
    CONF_CHOICE,   /* one of choices; its index is the value */
    CONF_PATH,     /* a file; a relative one is taken from the folder of the file that names it */
    CONF_STRINGS,  /* one string or a list of strings */
    CONF_NUMBERS,  /* { name = number; … } with names of the user's own */
    CONF_GROUP,    /* { members of rows } */
    CONF_LIST,     /* ( { members of rows }, … ); later files add to it */
    CONF_TABLE,    /* { name = { members of rows }; … } with names of the user's own (CONF_NAME) */
};

enum { CONF_REQUIRED = 1, CONF_SECRET = 2 /* never printed */ };

struct conf;
struct conf_node;

struct conf_row {
    const char *name;
    enum conf_type type;
    unsigned flags;
    const char *def; /* as one would write it in the file, without quotes; NULL: absent unless given. Of a
                      * group: "" when it is there with its members' defaults even if no file has it */
    double min, max; /* both 0: no limits */
    const char *const *choices;  /* CONF_CHOICE: ends with NULL */
    const struct conf_row *rows; /* CONF_GROUP, CONF_LIST, CONF_TABLE: ends with a row without a name */
    const char *help;            /* one line for the manual: what it is for, in the user's words */
    /* CONF_GROUP, CONF_LIST, CONF_TABLE: a group may have more rows, by the value of its member `kind_key`
     * (say protocol = "modbus-rtu"). NULL from the function: such a kind is not built or unknown. */
    const char *kind_key;
    const struct conf_row *(*kind_rows)(const char *kind);
    /* CONF_LIST of the whole: called for each element when all files have been read and nothing is checked
     * for what is missing yet; may add to it (conf_edit.h). */
    void (*expand)(struct conf *c, struct conf_node *element);
};

struct conf_node {
    const struct conf_row *row;
    const char *name; /* of the member; of a list's element: its "name" member's value, or "" */
    const char *file;
    int line;
    const char *via; /* a file that stands in for part of another: for whom, as messages say it; else NULL */
    bool given;      /* false: the default */
    bool blank;      /* stands in for a value that is missing or wrong, which has been told */
    bool b;
    int64_t i; /* INT, DURATION, SIZE, CHOICE */
    double f;
    const char *s;           /* STRING, NAME, CHOICE, PATH, and the text of DURATION and SIZE */
    struct conf_node **kids; /* members, elements, for STRINGS the strings, for NUMBERS the numbers (f) */
    size_t kid_count;
};

/* A feature that this build lacks: a key ("bridges") or a key and value ("protocol=modbus-tcp"), and the
 * symbol that would build it. Ends with a NULL what. */
struct conf_absent {
    const char *what, *symbol;
};

/* Reads path and, when a folder conf.d stands beside it, conf.d's files *.conf in the order of their names.
 * tables: count pointers to row tables, which together are the members of the whole. Never NULL; look at
 * conf_errors(). */
struct conf *conf_load(const char *path, const struct conf_row *const *tables, size_t count,
                       const struct conf_absent *absent);
/* The same of path alone, whatever stands beside it. */
struct conf *conf_load_alone(const char *path, const struct conf_row *const *tables, size_t count,
                             const struct conf_absent *absent);
/* Of a text in place of a file, which is called name. */
struct conf *conf_load_text(const char *name, const char *text, const struct conf_row *const *tables,
                            size_t count);
void conf_free(struct conf *c);

/* The group of the whole configuration. */
const struct conf_node *conf_root(const struct conf *c);

/* A mistake that only a service can see. Where several mistakes share a line, each is its own. at may be
 * NULL. */
void conf_error(struct conf *c, const struct conf_node *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Something legal that is probably not meant. */
void conf_warn(struct conf *c, const struct conf_node *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

size_t conf_errors(const struct conf *c);

/* A file could not be parsed: what seems to be missing may stand there. */
bool conf_broken(const struct conf *c);
/* Prints mistakes, then warnings, in the order of file and line. */
void conf_report(const struct conf *c, FILE *out);
/* The mistakes through emit, one line each, without the line end. */
void conf_each_report(const struct conf *c, void (*emit)(void *arg, bool is_error, const char *text),
                      void *arg);

/* A member of a group, NULL when it is absent and has no default. A name that is in no row aborts. */
const struct conf_node *conf_get(const struct conf_node *group, const char *name);

/* The value of a member; when it is absent: false, 0, NaN, NULL. */
bool conf_bool(const struct conf_node *group, const char *name);
int64_t conf_int(const struct conf_node *group, const char *name); /* INT, DURATION (ms), SIZE, CHOICE */
double conf_float(const struct conf_node *group, const char *name);
const char *conf_string(const struct conf_node *group, const char *name);
/* Elements of a LIST, TABLE, STRINGS, NUMBERS or GROUP member; 0 when absent. */
size_t conf_count(const struct conf_node *group, const char *name);
const struct conf_node *conf_at(const struct conf_node *group, const char *name, size_t index);

/* True when two subtrees have the same values, wherever they stand. Either may be NULL. */
bool conf_same(const struct conf_node *a, const struct conf_node *b);

/* The nearest of count names to what was written, for "did you mean"; NULL when none is near. */
const char *conf_nearest(const char *written, const char *const *names, size_t count);

/* Prints the rows as the manual's text (mdoc-free plain markdown). */
void conf_manual(const struct conf_row *const *tables, size_t count, FILE *out);

#endif
