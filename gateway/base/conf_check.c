/* SPDX-License-Identifier: Apache-2.0 */
#include <libconfig.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/conf_private.h"
#include "base/mem.h"

/* One file being taken into the tree. */
struct taker {
    struct conf *c;
    const char *file;
};

static void take_value(struct taker *t, struct conf_node *n, const config_setting_t *s);

static void place(struct taker *t, struct conf_node *n, const config_setting_t *s)
{
    n->file = conf_source(t->c, t->file, config_setting_source_file(s));
    n->line = (int)config_setting_source_line(s);
    n->via = NULL;
    n->given = true;
}

static void mistake(struct taker *t, const config_setting_t *s, char *text)
{
    const char *file = conf_source(t->c, t->file, config_setting_source_file(s));

    conf_mistake(t->c, file, (int)config_setting_source_line(s), "%s", text);
    free(text);
}

/* The symbol that would build what key, or key = value, asks for; NULL when this build has it. */
static const char *absent_symbol(const struct conf *c, const char *key, const char *value)
{
    size_t len = strlen(key);

    for (const struct conf_absent *a = c->absent; a && a->what; a++) {
        if (strncmp(a->what, key, len) != 0)
            continue;
        if (value ? a->what[len] == '=' && !strcmp(a->what + len + 1, value) : !a->what[len])
            return a->symbol;
    }
    return NULL;
}

static char *absent_text(const char *key, const char *value, const char *symbol)
{
    const char *rest = "which this build lacks: enable it with make menuconfig";

    return value ? mem_format("`%s` = \"%s\" needs %s, %s", key, value, symbol, rest)
                 : mem_format("`%s` needs %s, %s", key, symbol, rest);
}

/* "as a list" for people. */
static const char *found_text(const config_setting_t *s)
{
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return "an integer";
    case CONFIG_TYPE_FLOAT:
        return "a number with a point";
    case CONFIG_TYPE_STRING:
        return "a string";
    case CONFIG_TYPE_BOOL:
        return "true or false";
    case CONFIG_TYPE_ARRAY:
        return "an array";
    case CONFIG_TYPE_LIST:
        return "a list";
    default:
        return "a group";
    }
}

static char *wrong_type(const struct conf_row *row, const config_setting_t *s)
{
    char *example = conf_example(row);
    char *text = mem_format("`%s` is %s; %s is expected, such as %s", row->name, found_text(s),
                            conf_type_text(row->type), example);

    free(example);
    return text;
}

static bool is_integer(const config_setting_t *s)
{
    return config_setting_type(s) == CONFIG_TYPE_INT || config_setting_type(s) == CONFIG_TYPE_INT64;
}

static bool is_string(const config_setting_t *s)
{
    return config_setting_type(s) == CONFIG_TYPE_STRING;
}

static char *take_number(struct conf_node *n, const config_setting_t *s)
{
    enum conf_type type = n->row->type;

    if (is_integer(s) && type == CONF_FLOAT)
        return conf_set_float(n, (double)config_setting_get_int64(s));
    if (is_integer(s))
        return conf_set_int(n, config_setting_get_int64(s));
    if (config_setting_type(s) == CONFIG_TYPE_FLOAT && type == CONF_FLOAT)
        return conf_set_float(n, config_setting_get_float(s));
    return wrong_type(n->row, s);
}

static char *take_text(struct taker *t, struct conf_node *n, const config_setting_t *s)
{
    if (!is_string(s))
        return wrong_type(n->row, s);
    const char *text = config_setting_get_string(s);
    const char *symbol = absent_symbol(t->c, n->row->name, text);
    if (symbol)
        return absent_text(n->row->name, text, symbol);
    char *wrong = conf_set_text(n, text);
    if (wrong && n->row->flags & CONF_SECRET) {
        free(wrong);
        return mem_format("`%s` has the wrong form; %s is expected", n->row->name,
                          conf_type_text(n->row->type));
    }
    return wrong;
}

static char *take_bool(struct conf_node *n, const config_setting_t *s)
{
    if (config_setting_type(s) != CONFIG_TYPE_BOOL)
        return wrong_type(n->row, s);
    n->b = config_setting_get_bool(s) != 0;
    return NULL;
}

static void drop_kids(struct conf_node *n)
{
    while (n->kid_count)
        conf_node_free(n->kids[--n->kid_count]);
}

static char *take_strings(struct taker *t, struct conf_node *n, const config_setting_t *s)
{
    bool is_list = config_setting_is_list(s) || config_setting_is_array(s);
    int count = is_list ? config_setting_length(s) : 1;

    drop_kids(n); /* a later file's strings replace, as a scalar does */
    for (int i = 0; i < count; i++) {
        const config_setting_t *item = is_list ? config_setting_get_elem(s, (unsigned)i) : s;
        struct conf_node *kid = conf_node_new(n, n->row, "");
        place(t, kid, item);
        char *wrong =
            is_string(item) ? conf_set_text(kid, config_setting_get_string(item)) : wrong_type(n->row, item);
        if (wrong) {
            drop_kids(n);
            return wrong;
        }
    }
    return NULL;
}

static char *take_numbers(struct taker *t, struct conf_node *n, const config_setting_t *s)
{
    if (!config_setting_is_group(s))
        return wrong_type(n->row, s);
    drop_kids(n);
    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *item = config_setting_get_elem(s, (unsigned)i);
        const char *name = config_setting_name(item);
        if (!config_setting_is_number(item)) {
            mistake(
                t, item,
                mem_format("`%s` in `%s` is %s; a number is expected", name, n->row->name, found_text(item)));
            continue;
        }
        struct conf_node *kid = conf_node_new(n, n->row, name);
        place(t, kid, item);
        kid->f = is_integer(item) ? (double)config_setting_get_int64(item) : config_setting_get_float(item);
    }
    return NULL;
}

static char *unknown_key(const struct conf_node *group, const char *key)
{
    const struct conf_row *parts[] = {group->row->rows, conf_kind_rows(group)};
    const char *names[256];
    size_t count = 0;
    struct buf all = {0};

    for (size_t p = 0; p < ARRAY_SIZE(parts); p++)
        for (const struct conf_row *r = parts[p]; r && r->name && count < ARRAY_SIZE(names); r++)
            names[count++] = r->name;
    const char *near = conf_nearest(key, names, count);
    for (size_t i = 0; i < count; i++)
        buf_printf(&all, "%s%s", i ? ", " : "", names[i]);
    const char *in = group->row->name;
    char *where = in[0] ? mem_format(" in `%s`", in) : mem_strdup("");
    char *text = near ? mem_format("unknown key `%s`%s; did you mean `%s`?", key, where, near)
                      : mem_format("unknown key `%s`%s; known here: %s", key, where, (const char *)all.data);
    free(where);
    buf_free(&all);
    return text;
}

static void take_member(struct taker *t, struct conf_node *group, const config_setting_t *s, bool kind_known)
{
    const char *key = config_setting_name(s);
    const char *symbol = absent_symbol(t->c, key, NULL);
    const struct conf_row *row = conf_row_of(group, key);

    if (symbol) {
        mistake(t, s, absent_text(key, NULL, symbol));
        return;
    }
    if (!row) {
        if (kind_known)
            mistake(t, s, unknown_key(group, key));
        return;
    }
    struct conf_node *n = conf_find(group, key);
    if (!n)
        n = conf_node_new(group, row, key);
    place(t, n, s);
    take_value(t, n, s);
}

/* The member that says which further rows the group has is taken first. False when these rows are not to be
 * had, so that nothing can be said of keys that are in no row. */
static bool take_kind(struct taker *t, struct conf_node *group, const config_setting_t *s)
{
    const struct conf_row *row = group->row;

    if (!row->kind_rows)
        return true;
    size_t before = t->c->error_count;
    const config_setting_t *key = config_setting_get_member(s, row->kind_key);
    if (key)
        take_member(t, group, key, true);
    if (conf_kind_rows(group))
        return true;
    const struct conf_node *n = conf_find(group, row->kind_key);
    if (n && n->s && t->c->error_count == before)
        mistake(t, key ? key : s, mem_format("`%s` = \"%s\" is unknown here", row->kind_key, n->s));
    return !n && !(conf_row_of(group, row->kind_key)->flags & CONF_REQUIRED);
}

static void take_group(struct taker *t, struct conf_node *group, const config_setting_t *s)
{
    bool kind_known = take_kind(t, group, s);

    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *member = config_setting_get_elem(s, (unsigned)i);
        if (!group->row->kind_rows || strcmp(config_setting_name(member), group->row->kind_key) != 0)
            take_member(t, group, member, kind_known);
    }
}

/* What reports and logs call an element. */
static const char *element_name(const config_setting_t *s)
{
    const char *name = "";

    config_setting_lookup_string(s, "name", &name);
    return name;
}

static char *take_list(struct taker *t, struct conf_node *n, const config_setting_t *s)
{
    if (!config_setting_is_list(s))
        return wrong_type(n->row, s);
    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *item = config_setting_get_elem(s, (unsigned)i);
        if (!config_setting_is_group(item)) {
            mistake(t, item,
                    mem_format("an element of `%s` is %s; a group { … } is expected", n->row->name,
                               found_text(item)));
            continue;
        }
        struct conf_node *kid = conf_node_new(n, n->row, element_name(item));
        place(t, kid, item);
        take_group(t, kid, item);
    }
    return NULL;
}

static char *take_table(struct taker *t, struct conf_node *n, const config_setting_t *s)
{
    if (!config_setting_is_group(s))
        return wrong_type(n->row, s);
    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *item = config_setting_get_elem(s, (unsigned)i);
        const char *name = config_setting_name(item);
        if (!conf_name_ok(name)) {
            mistake(t, item, mem_format("`%s` is no name; use 1 to 64 of A-Z a-z 0-9 _ . -", name));
            continue;
        }
        if (!config_setting_is_group(item)) {
            mistake(t, item,
                    mem_format("`%s` in `%s` is %s; a group { … } is expected", name, n->row->name,
                               found_text(item)));
            continue;
        }
        struct conf_node *kid = conf_find(n, name);
        if (!kid)
            kid = conf_node_new(n, n->row, name);
        place(t, kid, item);
        take_group(t, kid, item);
    }
    return NULL;
}

static char *take_inner(struct taker *t, struct conf_node *n, const config_setting_t *s)
{
    if (!config_setting_is_group(s))
        return wrong_type(n->row, s);
    take_group(t, n, s);
    return NULL;
}

static void take_value(struct taker *t, struct conf_node *n, const config_setting_t *s)
{
    char *wrong = NULL;

    switch (n->row->type) {
    case CONF_BOOL:
        wrong = take_bool(n, s);
        break;
    case CONF_INT:
    case CONF_FLOAT:
        wrong = take_number(n, s);
        break;
    case CONF_SIZE:
        wrong = is_integer(s) ? take_number(n, s) : take_text(t, n, s);
        break;
    case CONF_STRING:
    case CONF_NAME:
    case CONF_DURATION:
    case CONF_CHOICE:
    case CONF_PATH:
        wrong = take_text(t, n, s);
        break;
    case CONF_STRINGS:
        wrong = take_strings(t, n, s);
        break;
    case CONF_NUMBERS:
        wrong = take_numbers(t, n, s);
        break;
    case CONF_GROUP:
        wrong = take_inner(t, n, s);
        break;
    case CONF_LIST:
        wrong = take_list(t, n, s);
        break;
    case CONF_TABLE:
        wrong = take_table(t, n, s);
        break;
    }
    if (!wrong)
        return;
    n->given = false;
    mistake(t, s, wrong);
}

void conf_take_root(struct conf *c, const void *setting, const char *file)
{
    struct taker t = {c, file};

    take_group(&t, c->root, setting);
}
