/* SPDX-License-Identifier: Apache-2.0 */
/* From registers to values and back: types, byte and word orders, scale, offset, clamp, names of numbers. A
 * type or an order is a row of a table. Pure; any thread. */
#ifndef SLUICE_DRIVERS_MODBUS_VALUE_H
#define SLUICE_DRIVERS_MODBUS_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/reading.h"

struct value_spec;

enum value_form {
    FORM_BIT,
    FORM_NUMBER, /* whole */
    FORM_FLOAT,
    FORM_EPOCH, /* a number of seconds, read as a date */
    FORM_TEXT,  /* as long as the point says */
    FORM_TIME,  /* words or bytes of a date, in the wire's own order */
};

struct value_type {
    const char *name;
    uint8_t bytes; /* on the wire; 0: a single bit, or a text */
    enum value_form form;
    /* From bytes that stand in the order of significance, the most significant first. False: they hold no
     * such value. text: room for VALUE_TIME_ROOM bytes. */
    bool (*read)(const uint8_t *bytes, size_t count, char *text, struct value *out);
    /* Numbers alone; whole: i is the number, else d. -ERANGE when it does not fit. NULL: cannot be written.
     */
    int (*write)(bool whole, __int128 i, double d, uint8_t *bytes, size_t count);
};

enum { VALUE_TIME_ROOM = 32, VALUE_BYTES_MAX = 250 };

extern const struct value_type value_types[];
extern const char *const value_type_names[]; /* in the same order; ends with NULL */

bool value_is_bit(const struct value_type *t);

/* Orders are named by what comes over the wire: in "CDAB" the third most significant byte comes first. */
struct value_order {
    const char *name;
    const char *of2, *of4, *of6, *of8; /* NULL: not for values of that size */
};

extern const struct value_order value_orders[]; /* the first is Modbus' own */
extern const char *const value_order_names[];   /* in the same order; ends with NULL */

/* The wire's order for a value of that many bytes, or NULL. */
const char *value_order_for(const struct value_order *o, size_t bytes);

/* How the characters of a text lie in registers. */
enum value_layout { LAYOUT_HL, LAYOUT_LH, LAYOUT_H, LAYOUT_L };
extern const char *const value_layout_names[]; /* ends with NULL */

/* raw × scale + offset. Integers stay exact decimals when both are decimals themselves, as 0.1 is. */
struct value_scale {
    bool on, exact;
    double scale, offset;
    int64_t scale_m, offset_m; /* × 10^decimals */
    uint8_t decimals;
};

struct value_scale value_scale_of(double scale, double offset);

/* A number that people call by a name. */
struct value_name {
    int64_t number;
    char *name;
};

struct value_spec {
    const struct value_type *type;
    const struct value_order *order;
    uint8_t bit;    /* of a register, for type bit */
    uint8_t length; /* of a text, in characters */
    enum value_layout layout;
    struct value_scale scale;
    bool clamp;
    double least, most;       /* of clamp, in the value's own unit */
    struct value_name *names; /* owned by whoever owns the spec */
    size_t name_count;
    uint64_t *no_value; /* numbers on the wire that say that there is none; owned likewise */
    size_t no_value_count;
};

/* On the wire: a bit of a register has the 2 of its register. */
size_t value_bytes(const struct value_spec *s);

/* Room that value_read needs for the text of such a value; 0: none. */
size_t value_text_room(const struct value_spec *s);

/* data: the value's bytes as they came, registers with the high byte first. A text of out lies in text, or
 * in the spec's names. False when what they hold is no value of that type (NaN, infinity, no BCD digit), or
 * says that there is none. */
bool value_read(const struct value_spec *s, const uint8_t *data, char *text, struct value *out);

/* A coil or discrete input. */
bool value_read_bit(const struct value_spec *s, bool on, struct value *out);

/* The bytes to write so that a read gives v, or the nearest that the scale allows. Of a bit: data[0] is 0 or
 * 1. -EINVAL: v is of the wrong kind, or a fraction where only whole numbers are; -ERANGE: it does not fit.
 */
int value_write(const struct value_spec *s, const struct value *v, uint8_t *data);

#endif
