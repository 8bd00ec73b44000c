/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf_private.h"
#include "base/mem.h"

/* merged: the group may be spread over several files. quiet: what is missing has been reported as a whole. */
static void finish_group(struct conf *c, struct conf_node *group, bool merged, bool quiet);

static void set_default(struct conf_node *n)
{
    const struct conf_row *row = n->row;
    char *wrong = NULL;
    char *rest = "";

    if (row->type == CONF_BOOL)
        n->b = !strcmp(row->def, "true");
    else if (row->type == CONF_INT)
        wrong = conf_set_int(n, strtoll(row->def, &rest, 10));
    else if (row->type == CONF_FLOAT)
        wrong = conf_set_float(n, strtod(row->def, &rest));
    else if (row->type == CONF_STRINGS)
        wrong = conf_set_text(conf_node_new(n, row, ""), row->def);
    else if (row->type < CONF_GROUP)
        wrong = conf_set_text(n, row->def);
    if (wrong || *rest) {
        fprintf(stderr, "the default of %s is wrong: %s\n", row->name, wrong ? wrong : row->def);
        abort();
    }
}

static void report_missing(struct conf *c, const struct conf_node *group, const struct conf_row *row)
{
    char *example = conf_example(row);
    const char *in = group->row->name;

    conf_error(c, group, "`%s` is missing%s%s%s; add %s%s%s%s", row->name, in[0] ? " in `" : "", in,
               in[0] ? "`" : "", example, row->help ? " (" : "", row->help ? row->help : "",
               row->help ? ")" : "");
    free(example);
}

/* Services look for further mistakes in a tree that has some, and must find what is required. */
static void fill_blank(struct conf_node *n)
{
    if (n->row->def && !n->kid_count)
        set_default(n);
    else if (n->row->type < CONF_STRINGS && !n->s)
        conf_set_string(n, n->row->type == CONF_CHOICE ? n->row->choices[0] : "");
}

static void finish_value(struct conf *c, struct conf_node *n, bool merged, bool quiet)
{
    if (n->row->type == CONF_GROUP) {
        finish_group(c, n, merged, quiet);
        return;
    }
    if (n->row->type != CONF_LIST && n->row->type != CONF_TABLE)
        return;
    for (size_t i = 0; i < n->kid_count; i++)
        finish_group(c, n->kids[i], merged && n->row->type == CONF_TABLE, quiet);
}

/* The member of a row: as given, its default, or a blank in place of what is missing or wrong; NULL when it
 * is absent. */
static struct conf_node *finish_row(struct conf *c, struct conf_node *group, const struct conf_row *row,
                                    bool merged, bool quiet)
{
    struct conf_node *n = conf_find(group, row->name);
    bool wrong = n && !n->given;
    bool missing = !n && row->flags & CONF_REQUIRED && !row->def;

    if (!n && !row->def && !missing)
        return NULL;
    if (missing && !quiet && !(merged && c->broken))
        report_missing(c, group, row);
    if (!n)
        n = conf_node_new(group, row, row->name);
    n->blank = missing || wrong;
    if (!n->given)
        fill_blank(n);
    finish_value(c, n, merged, quiet || missing || wrong);
    return n;
}

/* Members end up in the order of the rows, whatever the file's. */
static void put_at(struct conf_node *group, struct conf_node *n, size_t place)
{
    size_t i = place;

    while (group->kids[i] != n)
        i++;
    group->kids[i] = group->kids[place];
    group->kids[place] = n;
}

static size_t finish_rows(struct conf *c, struct conf_node *group, const struct conf_row *rows, size_t place,
                          bool merged, bool quiet)
{
    for (const struct conf_row *r = rows; r && r->name; r++) {
        struct conf_node *n = finish_row(c, group, r, merged, quiet);
        if (n)
            put_at(group, n, place++);
    }
    return place;
}

static void finish_group(struct conf *c, struct conf_node *group, bool merged, bool quiet)
{
    size_t place = finish_rows(c, group, group->row->rows, 0, merged, quiet);

    finish_rows(c, group, conf_kind_rows(group), place, merged, quiet);
}

void conf_finish(struct conf *c)
{
    finish_group(c, c->root, true, false);
}
