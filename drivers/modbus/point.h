/* SPDX-License-Identifier: Apache-2.0 */
/* A point of a Modbus device: where it lies, what it holds, how it is written, when it is published. Read
 * from the configuration's rows, with all that can be wrong between them. Loop thread; what is made is
 * immutable. */
#ifndef SLUICE_DRIVERS_MODBUS_POINT_H
#define SLUICE_DRIVERS_MODBUS_POINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "drivers/modbus/plan.h"
#include "drivers/modbus/value.h"
#include "drivers/publish.h"

/* How a point is written. */
struct modbus_write {
    bool on;
    uint8_t function;   /* 5, 6, 15, 16, 22 or 23 */
    double least, most; /* NaN: no limit */
    bool readback;
    uint64_t expire_us;
};

struct modbus_point {
    char *name, *unit;
    enum modbus_table table;
    uint16_t address, count; /* on the wire; registers or bits */
    bool echo;               /* the configuration does not say the address as it goes over the wire */
    size_t text_at;          /* place of its text among those of the group */
    struct value_spec spec;
    struct modbus_write write;
    struct publish_point publish;
};

/* A point's rows read. False when they do not fit together, and why; then nothing is to be freed. */
bool modbus_point_read(const struct conf_node *line, const struct conf_node *device,
                       const struct conf_node *point, struct modbus_point *out, char *error, size_t size);
void modbus_point_free(struct modbus_point *p);

/* The same of `at`, `type`, `length`, `layout`, `order`, `scale` and `offset` alone, which any table of
 * places may have; nothing is to be freed. line may be NULL when the device has an order. */
bool modbus_place_read(const struct conf_node *line, const struct conf_node *device,
                       const struct conf_node *point, struct modbus_point *out, char *error, size_t size);
/* "holding:100", "holding:7.3": where that is on the wire; *bit: -1 when none is named. False: it is no
 * address, and why. */
bool modbus_at_read(const char *at, unsigned base, enum modbus_table *table, uint16_t *address, int *bit,
                    char *error, size_t size);

/* "holding:100-119": addresses as the device counts them, from base. False when it is no range. */
bool modbus_range_read(const char *text, unsigned base, struct plan_range *out);

/* "coil", "discrete", "input", "holding" */
const char *modbus_table_name(enum modbus_table t);

#endif
