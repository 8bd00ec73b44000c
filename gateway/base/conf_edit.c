/* SPDX-License-Identifier: Apache-2.0 */
#include "base/conf_edit.h"

#include <stdlib.h>
#include <string.h>

#include "base/conf_private.h"
#include "base/mem.h"

struct conf_node *conf_edit(const struct conf_node *n)
{
    return (struct conf_node *)(uintptr_t)n;
}

struct conf_node *conf_given(const struct conf_node *group, const char *name)
{
    struct conf_node *n = conf_find(group, name);

    return n && n->given ? n : NULL;
}

static const char *keep(struct conf *c, const char *text)
{
    for (size_t i = 0; i < c->kept_count; i++)
        if (!strcmp(c->kept[i], text))
            return c->kept[i];
    c->kept = mem_resize(c->kept, (c->kept_count + 1) * sizeof(*c->kept));
    return c->kept[c->kept_count++] = mem_strdup(text);
}

/* ---- merging ---- */

/* Where what is merged comes from. */
struct merge {
    struct conf *c;
    const char *via;
};

static void merge_members(const struct merge *m, struct conf_node *to, const struct conf_node *from);

static void take_place(const struct merge *m, struct conf_node *n, const struct conf_node *from)
{
    n->file = conf_file_name(m->c, from->file);
    n->line = from->line;
    n->via = m->via;
    n->given = true;
}

static void copy_value(struct conf_node *n, const struct conf_node *from)
{
    n->b = from->b;
    n->i = from->i;
    n->f = from->f;
    if (from->s)
        conf_set_string(n, from->s);
}

static void copy_kids(const struct merge *m, struct conf_node *to, const struct conf_node *from)
{
    for (size_t i = 0; i < from->kid_count; i++) {
        struct conf_node *kid = conf_node_new(to, to->row, from->kids[i]->name);
        take_place(m, kid, from->kids[i]);
        copy_value(kid, from->kids[i]);
    }
}

/* The element with that name, moved in front of those that were there before; a new one when there is none.
 */
static struct conf_node *element_at(struct conf_node *list, const char *name, size_t place, bool *is_new)
{
    struct conf_node *n = name[0] ? conf_find(list, name) : NULL;
    size_t i = 0;

    *is_new = !n;
    if (!n)
        n = conf_node_new(list, list->row, name);
    while (list->kids[i] != n)
        i++;
    for (; i > place; i--)
        list->kids[i] = list->kids[i - 1];
    if (i == place)
        list->kids[i] = n;
    return n;
}

static void merge_elements(const struct merge *m, struct conf_node *to, const struct conf_node *from)
{
    for (size_t i = 0; i < from->kid_count; i++) {
        bool is_new;
        struct conf_node *kid = element_at(to, from->kids[i]->name, i, &is_new);
        if (is_new)
            take_place(m, kid, from->kids[i]);
        merge_members(m, kid, from->kids[i]);
    }
}

static void merge_value(const struct merge *m, struct conf_node *to, const struct conf_node *from,
                        bool is_new)
{
    switch (to->row->type) {
    case CONF_GROUP:
        merge_members(m, to, from);
        break;
    case CONF_LIST:
    case CONF_TABLE:
        merge_elements(m, to, from);
        break;
    case CONF_STRINGS:
    case CONF_NUMBERS:
        if (is_new)
            copy_kids(m, to, from);
        break;
    default:
        if (is_new)
            copy_value(to, from);
    }
}

/* What was written and is wrong stays so: it has been told. */
static void merge_members(const struct merge *m, struct conf_node *to, const struct conf_node *from)
{
    for (size_t i = 0; i < from->kid_count; i++) {
        const struct conf_node *kid = from->kids[i];
        const struct conf_row *row = kid->given ? conf_row_of(to, kid->name) : NULL;
        struct conf_node *own = row ? conf_find(to, kid->name) : NULL;
        bool is_new = !own;
        if (!row || row->type != kid->row->type || (own && !own->given))
            continue;
        if (is_new) {
            own = conf_node_new(to, row, kid->name);
            take_place(m, own, kid);
        }
        merge_value(m, own, kid, is_new);
    }
}

void conf_merge(struct conf *c, struct conf_node *to, const struct conf_node *from, const char *via)
{
    const struct merge m = {c, keep(c, via)};

    merge_members(&m, to, from);
}

/* ---- single members ---- */

void conf_remove(struct conf_node *parent, size_t index)
{
    conf_node_free(parent->kids[index]);
    parent->kid_count--;
    memmove(&parent->kids[index], &parent->kids[index + 1],
            (parent->kid_count - index) * sizeof(struct conf_node *));
}

static struct conf_node *member(struct conf_node *group, const char *name)
{
    struct conf_node *n = conf_find(group, name);

    if (!n)
        n = conf_node_new(group, conf_row_of(group, name), name);
    return n;
}

void conf_put_float(struct conf_node *group, const char *name, double value)
{
    struct conf_node *n = member(group, name);

    n->f = value;
    n->given = true;
}

void conf_put_string(struct conf_node *group, const char *name, const char *text)
{
    struct conf_node *n = member(group, name);

    conf_set_string(n, text);
    n->given = true;
}

void conf_put_number(struct conf_node *group, const char *name, const char *number, double value, bool given)
{
    struct conf_node *n = member(group, name), *kid = conf_find(n, number);

    if (!kid)
        kid = conf_node_new(n, n->row, number);
    n->given = true;
    kid->f = value;
    kid->given = given;
}

void conf_put_blank(struct conf_node *group, const char *name)
{
    member(group, name)->given = false;
}

void conf_expand(struct conf *c)
{
    for (size_t i = 0; i < c->root->kid_count; i++) {
        const struct conf_node *list = c->root->kids[i];
        for (size_t k = 0; list->row->expand && k < list->kid_count; k++)
            list->row->expand(c, list->kids[k]);
    }
}
