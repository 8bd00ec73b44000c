/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/conf_private.h"
#include "base/mem.h"

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit durations[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                        {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
static const struct unit sizes[] = {{"k", 1 << 10},          {"M", 1 << 20}, {"G", 1 << 30},
                                    {"T", (int64_t)1 << 40}, {"", 1},        {NULL, 0}};

static const char *const type_texts[] = {
    [CONF_BOOL] = "true or false",
    [CONF_INT] = "an integer",
    [CONF_FLOAT] = "a number",
    [CONF_STRING] = "a string",
    [CONF_NAME] = "a name",
    [CONF_DURATION] = "a duration with its unit",
    [CONF_SIZE] = "a size",
    [CONF_CHOICE] = "a string",
    [CONF_PATH] = "a file name",
    [CONF_STRINGS] = "a string or a list of strings",
    [CONF_NUMBERS] = "a group of numbers",
    [CONF_GROUP] = "a group",
    [CONF_LIST] = "a list of groups",
    [CONF_TABLE] = "a group of groups",
};

const char *conf_type_text(enum conf_type type)
{
    return type_texts[type];
}

/* Digits, then one of the units; false when it is anything else or does not fit. */
static bool parse_quantity(const char *text, const struct unit *units, bool any_case, int64_t *out)
{
    char *rest;

    if (!isdigit((unsigned char)text[0]) || strlen(text) > 20)
        return false;
    unsigned long long number = strtoull(text, &rest, 10);
    for (; units->name; units++) {
        if (strcmp(rest, units->name) && !(any_case && !strcasecmp(rest, units->name)))
            continue;
        return number <= INT64_MAX && !__builtin_mul_overflow((int64_t)number, units->factor, out);
    }
    return false;
}

bool conf_name_ok(const char *text)
{
    size_t len = strlen(text);

    if (len < 1 || len > 64)
        return false;
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_.-", *p))
            return false;
    return true;
}

/* The shortest form that gives the value back. */
static char *quantity_text(double value, const struct unit *units)
{
    const struct unit *best = NULL;

    for (; units->name; units++)
        if (fmod(value, (double)units->factor) == 0.0 && (!best || units->factor > best->factor))
            best = units;
    if (!best || value == 0.0)
        return mem_format("%.15g", value);
    return mem_format("%.15g%s", value / (double)best->factor, best->name);
}

static char *limit_text(const struct conf_row *row, double value)
{
    if (row->type == CONF_DURATION && value != 0.0)
        return quantity_text(value, durations);
    if (row->type == CONF_SIZE)
        return quantity_text(value, sizes);
    return mem_format("%.15g%s", value, row->type == CONF_DURATION ? "s" : "");
}

static bool has_range(const struct conf_row *row)
{
    return row->min != 0.0 || row->max != 0.0;
}

char *conf_range_text(const struct conf_row *row)
{
    if (!has_range(row))
        return mem_strdup("");
    char *low = limit_text(row, row->min);
    char *high = limit_text(row, row->max);
    char *text = row->min <= -1e300  ? mem_format("at most %s", high)
                 : row->max >= 1e300 ? mem_format("at least %s", low)
                                     : mem_format("%s to %s", low, high);
    free(low);
    free(high);
    return text;
}

/* NULL when value is within the limits. written: as it stands in the file. */
static char *judge_range(const struct conf_row *row, double value, const char *written)
{
    if (!has_range(row) || (value >= row->min && value <= row->max))
        return NULL;
    char *range = conf_range_text(row);
    char *text = mem_format("`%s` = %s is out of range; %s", row->name, written, range);
    free(range);
    return text;
}

char *conf_set_int(struct conf_node *n, int64_t value)
{
    char *written = mem_format("%lld", (long long)value);
    char *wrong;

    if (n->row->type == CONF_SIZE && value < 0)
        wrong = mem_format("`%s` = %s is no size; write bytes or a string such as \"64k\" or \"2G\"",
                           n->row->name, written);
    else
        wrong = judge_range(n->row, (double)value, written);
    if (!wrong)
        n->i = value;
    if (!wrong && n->row->type == CONF_SIZE)
        conf_set_string(n, written);
    free(written);
    return wrong;
}

char *conf_set_float(struct conf_node *n, double value)
{
    char *written = mem_format("%.15g", value);
    char *wrong = isfinite(value) ? judge_range(n->row, value, written)
                                  : mem_format("`%s` is beyond what a number can hold", n->row->name);

    if (!wrong)
        n->f = value;
    free(written);
    return wrong;
}

char *conf_choices_text(const char *const *choices)
{
    struct buf b = {0};

    for (size_t i = 0; choices[i]; i++)
        buf_printf(&b, "%s%s", !i ? "" : choices[i + 1] ? ", " : " or ", choices[i]);
    return (char *)b.data;
}

static char *set_choice(struct conf_node *n, const char *text)
{
    const char *const *choices = n->row->choices;
    size_t count = 0;

    for (; choices[count]; count++) {
        if (strcmp(choices[count], text))
            continue;
        n->i = (int64_t)count;
        conf_set_string(n, text);
        return NULL;
    }
    const char *near = conf_nearest(text, choices, count);
    char *all = conf_choices_text(choices);
    char *wrong = near ? mem_format("`%s` = \"%s\" is unknown; did you mean \"%s\"? (%s)", n->row->name, text,
                                    near, all)
                       : mem_format("`%s` = \"%s\" is unknown; choose %s", n->row->name, text, all);
    free(all);
    return wrong;
}

static char *set_quantity(struct conf_node *n, const char *text)
{
    bool is_size = n->row->type == CONF_SIZE;
    int64_t value = 0;

    if (!parse_quantity(text, is_size ? sizes : durations, is_size, &value))
        return is_size
                   ? mem_format("`%s` = \"%s\" is no size; write bytes or a string such as \"64k\" or \"2G\"",
                                n->row->name, text)
                   : mem_format(
                         "`%s` = \"%s\" is no duration; write a whole number and one of ms, s, m, h, d, "
                         "such as \"500ms\" or \"30d\"",
                         n->row->name, text);
    char *written = mem_format("\"%s\"", text);
    char *wrong = judge_range(n->row, (double)value, written);
    free(written);
    if (wrong)
        return wrong;
    n->i = value;
    conf_set_string(n, text);
    return NULL;
}

static char *set_path(struct conf_node *n, const char *text)
{
    if (!text[0])
        return mem_format("`%s` is empty; name a file", n->row->name);
    char *folder = text[0] == '/' ? NULL : conf_folder(n->file);
    char *path = folder ? mem_format("%s/%s", folder, text) : mem_strdup(text);
    conf_set_string(n, path);
    free(path);
    free(folder);
    return NULL;
}

static char *set_string(struct conf_node *n, const char *text)
{
    const struct conf_row *row = n->row;
    double len = (double)strlen(text);

    if (row->type == CONF_NAME && !conf_name_ok(text))
        return mem_format("`%s` = \"%s\" is no name; use 1 to 64 of A-Z a-z 0-9 _ . -", row->name, text);
    if (row->max > 0.0 && (len < row->min || len > row->max))
        return mem_format("`%s` is %.0f bytes long; %.15g to %.15g are allowed", row->name, len, row->min,
                          row->max);
    conf_set_string(n, text);
    return NULL;
}

char *conf_set_text(struct conf_node *n, const char *text)
{
    switch (n->row->type) {
    case CONF_CHOICE:
        return set_choice(n, text);
    case CONF_DURATION:
    case CONF_SIZE:
        return set_quantity(n, text);
    case CONF_PATH:
        return set_path(n, text);
    default:
        return set_string(n, text);
    }
}

static const char *example_value(const struct conf_row *row)
{
    static const char *const examples[] = {
        [CONF_BOOL] = "true",
        [CONF_INT] = "10",
        [CONF_FLOAT] = "0.1",
        [CONF_STRING] = "text",
        [CONF_NAME] = "plant7",
        [CONF_DURATION] = "10s",
        [CONF_SIZE] = "64k",
        [CONF_PATH] = "/path/to/file",
        [CONF_STRINGS] = "text",
        [CONF_NUMBERS] = "{ name = 1; }",
        [CONF_GROUP] = "{ … }",
        [CONF_LIST] = "( { … } )",
        [CONF_TABLE] = "{ name = { … }; }",
        [CONF_CHOICE] = NULL,
    };

    if (row->def && row->def[0] && row->type != CONF_GROUP)
        return row->def;
    return row->type == CONF_CHOICE ? row->choices[0] : examples[row->type];
}

char *conf_example(const struct conf_row *row)
{
    bool bare = row->type == CONF_BOOL || row->type == CONF_INT || row->type == CONF_FLOAT ||
                row->type >= CONF_NUMBERS;
    const char *quote = bare ? "" : "\"";

    if (row->type == CONF_INT && !row->def && has_range(row))
        return mem_format("%s = %.0f", row->name, row->min);
    return mem_format("%s = %s%s%s", row->name, quote, example_value(row), quote);
}

/* Edits between two words, a swap of neighbours being one (optimal string alignment). */
static size_t distance(const char *a, const char *b)
{
    enum { MOST = 64 };
    size_t la = strlen(a), lb = strlen(b);
    size_t d[MOST + 1][MOST + 1];

    if (la > MOST || lb > MOST)
        return MOST;
    for (size_t i = 0; i <= la; i++) {
        for (size_t j = 0; j <= lb; j++) {
            if (!i || !j) {
                d[i][j] = i + j;
                continue;
            }
            size_t best =
                d[i - 1][j - 1] + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
            best = best < d[i - 1][j] + 1 ? best : d[i - 1][j] + 1;
            best = best < d[i][j - 1] + 1 ? best : d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[la][lb];
}

const char *conf_nearest(const char *written, const char *const *names, size_t count)
{
    size_t limit = strlen(written) / 3 + (strlen(written) < 3);
    const char *best = NULL;

    for (size_t i = 0; i < count; i++) {
        size_t edits = distance(written, names[i]);
        if (edits > limit || edits >= strlen(names[i]))
            continue;
        if (edits < limit || !best)
            best = names[i];
        limit = edits;
    }
    return best;
}
