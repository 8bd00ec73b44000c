/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define COLUMNS_MAX 16

struct cell {
    enum paint paint;
    char *text;
};

struct table {
    const char *const *titles;
    size_t columns, cells;
    struct cell *cell;
};

struct table *table_new(const char *const *titles)
{
    struct table *t = mem_alloc(sizeof(*t));

    t->titles = titles;
    while (titles[t->columns])
        t->columns++;
    if (t->columns > COLUMNS_MAX)
        abort();
    return t;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->cells; i++)
        free(t->cell[i].text);
    free(t->cell);
    free(t);
}

/* C0, DEL, and C1 in UTF-8 (c2 80..9f) could steer a terminal. */
static char *clean(const char *text)
{
    char *out = mem_strdup(text);

    for (unsigned char *p = (unsigned char *)out; *p; p++) {
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
        else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
            p[0] = p[1] = '?';
    }
    return out;
}

void table_cell(struct table *t, enum paint paint, const char *text)
{
    if ((t->cells & (t->cells - 1)) == 0)
        t->cell = mem_resize(t->cell, (t->cells ? t->cells * 2 : 1) * sizeof(*t->cell));
    t->cell[t->cells++] = (struct cell){paint, clean(text)};
}

size_t table_rows(const struct table *t)
{
    return t->cells / t->columns;
}

static size_t width_of(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static bool at_right(const struct table *t, size_t column)
{
    return t->titles[column][0] == '>';
}

static const char *title(const struct table *t, size_t column)
{
    return t->titles[column] + at_right(t, column);
}

/* 0 for a column that nothing fills. */
static size_t column_width(const struct table *t, size_t column)
{
    size_t most = 0;

    for (size_t i = column; i < t->cells; i += t->columns) {
        size_t w = width_of(t->cell[i].text);
        most = w > most ? w : most;
    }
    size_t head = width_of(title(t, column));
    return most && head > most ? head : most;
}

static void paint_clean(FILE *out, bool colours, enum paint paint, const char *text)
{
    static const char *const codes[] = {
        [PAINT_NONE] = "",          [PAINT_GOOD] = "\033[32m", [PAINT_WARN] = "\033[33m",
        [PAINT_BAD] = "\033[1;31m", [PAINT_TITLE] = "\033[1m", [PAINT_FAINT] = "\033[2m",
    };

    if (colours && paint != PAINT_NONE)
        fprintf(out, "%s%s\033[0m", codes[paint], text);
    else
        fputs(text, out);
}

void paint_text(FILE *out, bool colours, enum paint paint, const char *text)
{
    char *t = clean(text);

    paint_clean(out, colours, paint, t);
    free(t);
}

struct line {
    FILE *out;
    bool colours;
    int pending; /* blanks that are printed only when something follows */
};

static void put(struct line *l, enum paint paint, const char *text, size_t width, bool right)
{
    int room = (int)(width - width_of(text));

    if (*text) {
        fprintf(l->out, "%*s", l->pending + (right ? room : 0), "");
        paint_clean(l->out, l->colours, paint, text);
        l->pending = right ? 2 : room + 2;
    } else {
        l->pending += (int)width + 2;
    }
}

static bool untitled(const struct table *t)
{
    for (size_t c = 0; c < t->columns; c++)
        if (*t->titles[c])
            return false;
    return true;
}

void table_print(const struct table *t, FILE *out, bool colours)
{
    size_t widths[COLUMNS_MAX], rows = table_rows(t);

    for (size_t c = 0; c < t->columns; c++)
        widths[c] = column_width(t, c);
    for (size_t r = untitled(t); r <= rows; r++) { /* row 0: the titles */
        struct line l = {out, colours, 2};
        for (size_t c = 0; c < t->columns; c++) {
            const struct cell *cell = r ? &t->cell[(r - 1) * t->columns + c] : NULL;
            if (widths[c])
                put(&l, cell ? cell->paint : PAINT_FAINT, cell ? cell->text : title(t, c), widths[c],
                    at_right(t, c));
        }
        fputc('\n', out);
    }
}
