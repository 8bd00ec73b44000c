/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/conf_private.h"
#include "base/mem.h"

/* "10", "drop-oldest", "required" or nothing. */
static const char *default_text(const struct conf_row *row)
{
    if (row->flags & CONF_REQUIRED)
        return "required";
    return row->def && row->type < CONF_GROUP ? row->def : "";
}

static char *value_text(const struct conf_row *row)
{
    if (row->type == CONF_CHOICE)
        return conf_choices_text(row->choices);
    char *range = row->type == CONF_STRINGS ? mem_strdup("") : conf_range_text(row);
    const char *bytes = row->type == CONF_STRING && range[0] ? " bytes" : "";
    char *text = mem_format("%s%s%s%s", conf_type_text(row->type), range[0] ? ", " : "", range, bytes);
    free(range);
    return text;
}

static const char head[] = "| key | value | default | what for |\n|---|---|---|---|\n";

static void print_lines(const struct conf_row *rows, FILE *out)
{
    for (const struct conf_row *r = rows; r && r->name; r++) {
        char *value = value_text(r);
        fprintf(out, "| `%s` | %s | %s | %s |\n", r->name, value, default_text(r), r->help ? r->help : "");
        free(value);
    }
}

static void print_rows(const struct conf_row *rows, FILE *out)
{
    fputs(head, out);
    print_lines(rows, out);
    fputs("\n", out);
}

static void print_inner(const struct conf_row *rows, const char *path, FILE *out);

/* The rows that each kind of a group adds. */
static void print_kinds(const struct conf_row *row, const char *path, FILE *out)
{
    const struct conf_row *key = row->rows;

    while (key && key->name && strcmp(key->name, row->kind_key) != 0)
        key++;
    for (size_t i = 0; key && key->choices && key->choices[i]; i++) {
        const struct conf_row *more = row->kind_rows(key->choices[i]);
        if (!more || !more->name)
            continue;
        fprintf(out, "### %s with %s = \"%s\"\n\n", path, row->kind_key, key->choices[i]);
        print_rows(more, out);
        print_inner(more, path, out);
    }
}

static void print_inner(const struct conf_row *rows, const char *path, FILE *out)
{
    for (const struct conf_row *r = rows; r && r->name; r++) {
        if (r->type < CONF_GROUP)
            continue;
        const char *name = r->type == CONF_TABLE ? ".NAME" : "";
        char *below = mem_format("%s%s%s%s", path, path[0] ? "." : "", r->name, name);
        fprintf(out, "## %s\n\n%s%s", below, r->help ? r->help : "", r->help ? ".\n\n" : "");
        print_rows(r->rows, out);
        if (r->kind_rows)
            print_kinds(r, below, out);
        print_inner(r->rows, below, out);
        free(below);
    }
}

void conf_manual(const struct conf_row *const *tables, size_t count, FILE *out)
{
    fputs(head, out);
    for (size_t i = 0; i < count; i++)
        print_lines(tables[i], out);
    fputs("\n", out);
    for (size_t i = 0; i < count; i++)
        print_inner(tables[i], "", out);
}
