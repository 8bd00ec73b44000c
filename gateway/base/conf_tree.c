/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf_private.h"
#include "base/mem.h"

struct conf_node *conf_node_new(struct conf_node *parent, const struct conf_row *row, const char *name)
{
    struct conf_node *n = mem_alloc(sizeof(*n));

    n->row = row;
    n->name = mem_strdup(name);
    if (!parent)
        return n;
    n->file = parent->file;
    n->line = parent->line;
    n->via = parent->via;
    if ((parent->kid_count & (parent->kid_count - 1)) == 0) {
        size_t room = parent->kid_count ? parent->kid_count * 2 : 1;
        parent->kids = mem_resize(parent->kids, room * sizeof(struct conf_node *));
    }
    parent->kids[parent->kid_count++] = n;
    return n;
}

void conf_node_free(struct conf_node *n)
{
    for (size_t i = 0; i < n->kid_count; i++)
        conf_node_free(n->kids[i]);
    free(n->kids);
    free((char *)n->name);
    free((char *)n->s);
    free(n);
}

void conf_set_string(struct conf_node *n, const char *text)
{
    char *copy = mem_strdup(text);

    free((char *)n->s);
    n->s = copy;
}

struct conf_node *conf_find(const struct conf_node *group, const char *name)
{
    for (size_t i = 0; i < group->kid_count; i++)
        if (!strcmp(group->kids[i]->name, name))
            return group->kids[i];
    return NULL;
}

static const struct conf_row *row_in(const struct conf_row *rows, const char *name)
{
    for (const struct conf_row *r = rows; r && r->name; r++)
        if (!strcmp(r->name, name))
            return r;
    return NULL;
}

const struct conf_row *conf_kind_rows(const struct conf_node *group)
{
    const struct conf_row *row = group->row;

    if (!row->kind_rows)
        return NULL;
    const struct conf_node *key = conf_find(group, row->kind_key);
    const char *kind = key ? key->s : row_in(row->rows, row->kind_key)->def;
    return kind ? row->kind_rows(kind) : NULL;
}

const struct conf_row *conf_row_of(const struct conf_node *group, const char *name)
{
    const struct conf_row *r = row_in(group->row->rows, name);

    return r ? r : row_in(conf_kind_rows(group), name);
}

const struct conf_node *conf_get(const struct conf_node *group, const char *name)
{
    const struct conf_node *n = group ? conf_find(group, name) : NULL;

    /* A group of an unknown kind has no rows to look in; it has been reported. */
    if (!group || n || conf_row_of(group, name) || (group->row->kind_rows && !conf_kind_rows(group)))
        return n;
    fprintf(stderr, "the configuration has no row %s in %s\n", name, group->row->name);
    abort();
}

bool conf_bool(const struct conf_node *group, const char *name)
{
    const struct conf_node *n = conf_get(group, name);

    return n && n->b;
}

int64_t conf_int(const struct conf_node *group, const char *name)
{
    const struct conf_node *n = conf_get(group, name);

    return n ? n->i : 0;
}

double conf_float(const struct conf_node *group, const char *name)
{
    const struct conf_node *n = conf_get(group, name);

    return n ? n->f : NAN;
}

const char *conf_string(const struct conf_node *group, const char *name)
{
    const struct conf_node *n = conf_get(group, name);

    return n ? n->s : NULL;
}

size_t conf_count(const struct conf_node *group, const char *name)
{
    const struct conf_node *n = conf_get(group, name);

    return n ? n->kid_count : 0;
}

const struct conf_node *conf_at(const struct conf_node *group, const char *name, size_t index)
{
    const struct conf_node *n = conf_get(group, name);

    return n && index < n->kid_count ? n->kids[index] : NULL;
}

static bool same_value(const struct conf_node *a, const struct conf_node *b)
{
    if (a->b != b->b || a->i != b->i || memcmp(&a->f, &b->f, sizeof(a->f)) || !a->s != !b->s)
        return false;
    return !a->s || !strcmp(a->s, b->s);
}

bool conf_same(const struct conf_node *a, const struct conf_node *b)
{
    if (!a || !b)
        return a == b;
    if (a->row->type != b->row->type || a->kid_count != b->kid_count)
        return false;
    /* "60s" and "1m" are the same. */
    if (a->row->type == CONF_DURATION || a->row->type == CONF_SIZE)
        return a->i == b->i;
    if (!same_value(a, b))
        return false;
    for (size_t i = 0; i < a->kid_count; i++) {
        const struct conf_node *kid = a->kids[i];
        const struct conf_node *other = a->row->type == CONF_TABLE ? conf_find(b, kid->name) : b->kids[i];
        if (!other || strcmp(kid->name, other->name) != 0 || !conf_same(kid, other))
            return false;
    }
    return true;
}
