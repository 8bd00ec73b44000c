/* SPDX-License-Identifier: Apache-2.0 */
/* From registers to values: types, byte and word orders, scale and offset. A type or an order is a row of a
 * table. Pure; any thread. */
#ifndef SLUICE_DRIVERS_MODBUS_VALUE_H
#define SLUICE_DRIVERS_MODBUS_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/reading.h"

struct value_type {
    const char *name;
    uint8_t bytes; /* on the wire; 0: a single bit */
    /* From bytes that stand in the order of significance, the most significant first. */
    struct value (*read)(const uint8_t *bytes, size_t count);
};

extern const struct value_type value_types[];
extern const char *const value_type_names[]; /* in the same order; ends with NULL */

bool value_is_bit(const struct value_type *t);

/* Orders are named by what comes over the wire: in "CDAB" the third most significant byte comes first. */
struct value_order {
    const char *name;
    const char *of2, *of4, *of8; /* NULL: not for values of that size */
};

extern const struct value_order value_orders[]; /* the first is Modbus' own */
extern const char *const value_order_names[];   /* in the same order; ends with NULL */

/* The wire's order for a value of that many bytes, or NULL. */
const char *value_order_for(const struct value_order *o, size_t bytes);

/* raw × scale + offset. Integers stay exact decimals when both are decimals themselves, as 0.1 is. */
struct value_scale {
    bool on, exact;
    double scale, offset;
    int64_t scale_m, offset_m; /* × 10^decimals */
    uint8_t decimals;
};

struct value_scale value_scale_of(double scale, double offset);

struct value_spec {
    const struct value_type *type;
    const struct value_order *order;
    uint8_t bit; /* of a register, for type bit */
    struct value_scale scale;
};

/* data: the value's bytes as they came, registers with the high byte first. False when what they hold is no
 * number (NaN, infinity). */
bool value_read(const struct value_spec *s, const uint8_t *data, struct value *out);

/* A coil or discrete input. */
struct value value_of_bit(bool on);

#endif
