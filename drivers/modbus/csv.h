/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of a text with separators, as spreadsheets write it: commas, semicolons or tabs, fields in quotes,
 * line ends of any kind, a mark of UTF-8 in front. Reads foreign bytes; never past their end. Pure; the
 * caller owns text and reader. */
#ifndef SLUICE_DRIVERS_MODBUS_CSV_H
#define SLUICE_DRIVERS_MODBUS_CSV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum { CSV_FIELDS_MAX = 64, CSV_FIELD_ROOM = 512 };

struct csv {
    struct cursor rest;
    char separator;
    int next_line; /* where the next row begins, from 1 */
    /* The row at hand. */
    int line;
    const char *wrong; /* why it cannot be used; NULL: it can */
    size_t count;
    char field[CSV_FIELDS_MAX][CSV_FIELD_ROOM]; /* without quotes and blanks around them */
};

/* Appends text to out, as UTF-8: what is none is taken for Windows-1252, which spreadsheets write in Europe.
 */
void csv_to_utf8(struct bytes text, struct buf *out);

/* text stays the caller's. */
void csv_open(struct csv *c, struct bytes text, char separator);

/* The next row that is not empty; false behind the last. */
bool csv_next(struct csv *c);

#endif
