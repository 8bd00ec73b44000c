/* SPDX-License-Identifier: Apache-2.0 */
/* Columns that line up, for people. Cells are added row by row; table_print() finds the widths, leaves out
 * columns that no row fills, and paints only when colours were asked for. What the cells say may come from
 * afar: control characters do not reach the terminal. */
#ifndef SLUICE_CTL_TABLE_H
#define SLUICE_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum paint { PAINT_NONE, PAINT_GOOD, PAINT_WARN, PAINT_BAD, PAINT_TITLE, PAINT_FAINT };

struct table;

/* Titles end with NULL; a title that begins with '>' stands, like its column, at the
 * right. When all are "" there is no line of titles. */
struct table *table_new(const char *const *titles);
void table_free(struct table *t);

/* The next cell; a full row begins the next. "" leaves it empty. */
void table_cell(struct table *t, enum paint paint, const char *text);
size_t table_rows(const struct table *t);
void table_print(const struct table *t, FILE *out, bool colours);

/* Text in a colour, cleaned. */
void paint_text(FILE *out, bool colours, enum paint paint, const char *text);

#endif
