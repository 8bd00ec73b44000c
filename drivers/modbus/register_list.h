/* SPDX-License-Identifier: Apache-2.0 */
/* A maker's register list, a row for each register, made into points. What the columns are is seen by the
 * usual words of their titles; what a row means is judged strictly: a row that cannot be understood is told
 * and left out, and a list that can be understood in two ways is refused. What comes out passes sluiced
 * --check. Pure. */
#ifndef SLUICE_DRIVERS_MODBUS_REGISTER_LIST_H
#define SLUICE_DRIVERS_MODBUS_REGISTER_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum list_numbers {
    NUMBERS_UNSAID,
    NUMBERS_PLAIN, /* an address is an address, whatever it begins with */
    NUMBERS_40001, /* the first digit names the table, the rest counts from 1 */
};

struct list_settings {
    int base;  /* of the list: 0 as on the wire, 1, or -1: as it seems */
    int table; /* of rows that do not say; index of "coil", "discrete", "input", "holding"; -1: holding */
    enum list_numbers numbers;
    const char *order; /* NULL: Modbus' own */
    const char *every; /* of the group */
    bool with_help;    /* for a profile, whose points may say what the list calls them */
};

struct list_result {
    int base;
    size_t rows, points; /* rows: behind the titles */
    struct buf text;     /* base, order and groups, as of a profile or a device, each line after indent */
    bool refused;        /* the list as a whole, which has been told */
};

/* tell: what is not taken, and why; line 0: of the whole. */
void register_list_read(struct list_result *out, struct bytes csv, const struct list_settings *s,
                        const char *indent, void (*tell)(void *arg, int line, const char *text), void *arg);

/* Index of a table's name, or -1. */
int register_list_table(const char *name);

/* ---- register_columns.c: what titles and cells mean ---- */

enum list_column {
    COLUMN_ADDRESS,
    COLUMN_NAME,
    COLUMN_TYPE,
    COLUMN_SCALE,
    COLUMN_DIVISOR, /* a gain: the value is what was read divided by it */
    COLUMN_OFFSET,
    COLUMN_UNIT,
    COLUMN_ACCESS,
    COLUMN_TABLE,
    COLUMN_COUNT,
    COLUMN_BIT,
    COLUMN_ORDER,
    COLUMN_MIN,
    COLUMN_MAX,
    COLUMN_HELP,
    COLUMNS,
};

/* What a title says, or COLUMNS. *hex: its numbers are hexadecimal. */
enum list_column list_column_of(const char *title, bool *hex);
const char *list_column_name(enum list_column c);

/* "Phase 1 - voltage (V)" becomes phase_1_voltage_v, "Rücklauf" ruecklauf; out has room for most and a zero.
 */
void list_name(char *out, size_t most, const char *text);

/* Each: false when the text is no such thing. */
bool list_number(const char *text, double *out); /* 0.1, 0,1, 1/10, x0.1, 1e-1 */
bool list_table(const char *text, int *out);     /* "holding", "4x", "FC 3", "03/06" */
bool list_access(const char *text, bool *read, bool *write);
const char *list_order(const char *text); /* one of the order's names; NULL */

struct list_type {
    const char *name; /* as in a configuration: "uint16" … */
    unsigned words;   /* 0: a bit */
};
/* words: as the list says, 0 when it does not. A string has as many words as it says. */
bool list_type(const char *text, unsigned words, struct list_type *out);

#endif
