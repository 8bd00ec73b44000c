/* SPDX-License-Identifier: Apache-2.0 */
#include "base/conf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf_edit.h"
#include "base/conf_private.h"
#include "base/mem.h"

const char *conf_file_name(struct conf *c, const char *name)
{
    for (size_t i = 0; i < c->file_count; i++)
        if (!strcmp(c->files[i], name))
            return c->files[i];
    c->files = mem_resize(c->files, (c->file_count + 1) * sizeof(*c->files));
    return c->files[c->file_count++] = mem_strdup(name);
}

static size_t file_index(const struct conf *c, const char *file)
{
    size_t i = 0;

    while (i < c->file_count && c->files[i] != file)
        i++;
    return i;
}

static void add_report(struct conf *c, bool is_error, const char *file, int line, char *text)
{
    c->reports = mem_resize(c->reports, (c->report_count + 1) * sizeof(*c->reports));
    c->reports[c->report_count++] = (struct conf_report){file, file_index(c, file), line, is_error, text};
    c->error_count += is_error;
}

void conf_mistake(struct conf *c, const char *file, int line, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add_report(c, true, file, line, mem_vformat(fmt, args));
    va_end(args);
}

static char *via_text(char *text, const char *via)
{
    char *all = via ? mem_format("%s (%s)", text, via) : text;

    if (via)
        free(text);
    return all;
}

static void add_report_at(struct conf *c, bool is_error, const struct conf_node *at, char *text)
{
    add_report(c, is_error, at ? at->file : c->files[0], at ? at->line : 0,
               via_text(text, at ? at->via : NULL));
}

void conf_adopt_reports(struct conf *c, const struct conf *from, const char *via)
{
    for (size_t i = 0; i < from->report_count; i++) {
        const struct conf_report *r = &from->reports[i];
        add_report(c, r->is_error, conf_file_name(c, r->file), r->line, via_text(mem_strdup(r->text), via));
    }
}

void conf_error(struct conf *c, const struct conf_node *at, const char *fmt, ...)
{
    va_list args;

    if (at && at->blank)
        return;
    va_start(args, fmt);
    add_report_at(c, true, at, mem_vformat(fmt, args));
    va_end(args);
}

void conf_warn(struct conf *c, const struct conf_node *at, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add_report_at(c, false, at, mem_vformat(fmt, args));
    va_end(args);
}

static bool has_row(const struct conf_row *rows, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(rows[i].name, name))
            return true;
    return false;
}

/* All tables as one; a name that two services claim is a mistake of the program. */
static struct conf_row *join_tables(const struct conf_row *const *tables, size_t count)
{
    struct conf_row *all = NULL;
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        for (const struct conf_row *r = tables[i]; r && r->name; r++) {
            if (has_row(all, n, r->name)) {
                fprintf(stderr, "two tables have the row %s\n", r->name);
                abort();
            }
            all = mem_resize(all, (n + 1) * sizeof(*all));
            all[n++] = *r;
        }
    }
    all = mem_resize(all, (n + 1) * sizeof(*all));
    all[n] = (struct conf_row){0};
    return all;
}

static struct conf *begin(const char *path, const struct conf_row *const *tables, size_t count,
                          const struct conf_absent *absent)
{
    struct conf *c = mem_alloc(sizeof(*c));

    c->rows = join_tables(tables, count);
    c->root_row = (struct conf_row){.name = "", .type = CONF_GROUP, .rows = c->rows};
    c->absent = absent;
    c->root = conf_node_new(NULL, &c->root_row, "");
    c->root->file = conf_file_name(c, path);
    return c;
}

static struct conf *load(const char *path, char *const *parts, const struct conf_row *const *tables,
                         size_t count, const struct conf_absent *absent)
{
    struct conf *c = begin(path, tables, count, absent);

    conf_read_file(c, path);
    for (char *const *p = parts; *p; p++)
        conf_read_file(c, *p);
    conf_expand(c);
    conf_finish(c);
    return c;
}

struct conf *conf_load(const char *path, const struct conf_row *const *tables, size_t count,
                       const struct conf_absent *absent)
{
    char *folder = conf_folder(path);
    char *parts = mem_format("%s/conf.d", folder);
    char **list = conf_list(parts);
    struct conf *c = load(path, list, tables, count, absent);

    conf_list_free(list);
    free(parts);
    free(folder);
    return c;
}

struct conf *conf_load_alone(const char *path, const struct conf_row *const *tables, size_t count,
                             const struct conf_absent *absent)
{
    return load(path, (char *const[]){NULL}, tables, count, absent);
}

struct conf *conf_load_text(const char *name, const char *text, const struct conf_row *const *tables,
                            size_t count)
{
    struct conf *c = begin(name, tables, count, NULL);

    conf_read_text(c, name, text, strlen(text));
    conf_expand(c);
    conf_finish(c);
    return c;
}

void conf_free(struct conf *c)
{
    if (!c)
        return;
    conf_node_free(c->root);
    for (size_t i = 0; i < c->file_count; i++)
        free(c->files[i]);
    for (size_t i = 0; i < c->report_count; i++)
        free(c->reports[i].text);
    for (size_t i = 0; i < c->kept_count; i++)
        free(c->kept[i]);
    free(c->kept);
    free(c->files);
    free(c->reports);
    free(c->rows);
    free(c);
}

const struct conf_node *conf_root(const struct conf *c)
{
    return c->root;
}

bool conf_broken(const struct conf *c)
{
    return c->broken;
}

size_t conf_errors(const struct conf *c)
{
    return c->error_count;
}

static int compare(const void *pa, const void *pb)
{
    const struct conf_report *a = *(const struct conf_report *const *)pa;
    const struct conf_report *b = *(const struct conf_report *const *)pb;

    if (a->is_error != b->is_error)
        return b->is_error - a->is_error;
    if (a->file_index != b->file_index)
        return a->file_index < b->file_index ? -1 : 1;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return a < b ? -1 : 1;
}

static void show(const struct conf_report *r, void (*emit)(void *arg, bool is_error, const char *text),
                 void *arg)
{
    const char *label = r->is_error ? "" : "warning: ";
    char *text = r->line ? mem_format("%s:%d: %s%s", r->file, r->line, label, r->text)
                         : mem_format("%s: %s%s", r->file, label, r->text);

    emit(arg, r->is_error, text);
    free(text);
}

void conf_each_report(const struct conf *c, void (*emit)(void *arg, bool is_error, const char *text),
                      void *arg)
{
    const struct conf_report **order = mem_alloc(c->report_count * sizeof(struct conf_report *));

    for (size_t i = 0; i < c->report_count; i++)
        order[i] = &c->reports[i];
    qsort(order, c->report_count, sizeof(struct conf_report *), compare);
    for (size_t i = 0; i < c->report_count; i++)
        show(order[i], emit, arg);
    free(order);
}

static void print_line(void *arg, bool is_error, const char *text)
{
    (void)is_error;
    fprintf(arg, "%s\n", text);
}

void conf_report(const struct conf *c, FILE *out)
{
    conf_each_report(c, print_line, out);
}
