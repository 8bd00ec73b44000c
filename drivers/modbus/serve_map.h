/* SPDX-License-Identifier: Apache-2.0 */
/* Points of this box as registers and coils of a unit that we play ourselves, for masters that read them from
 * us. What is not good now is no value: the read is refused with exception 11, or holds the fill value where
 * the unit has one. A request that cuts a value in two is refused, so that nobody puts halves of two readings
 * together. Loop thread. */
#ifndef SLUICE_DRIVERS_MODBUS_SERVE_MAP_H
#define SLUICE_DRIVERS_MODBUS_SERVE_MAP_H

#include "base/conf.h"
#include "drivers/modbus/point.h"

struct watched;

/* A place in the unit: the value of a point, or the number of its quality. */
struct serve_point {
    struct modbus_point at; /* table, address, count and spec alone */
    char *device, *point;
    struct watched *watch;
    bool writable, quality;
};

struct serve_map {
    struct serve_point *points; /* by table and address */
    size_t count;
    bool has_fill;
    uint16_t fill;
};

enum {
    MODBUS_ILLEGAL_FUNCTION = 1,
    MODBUS_ILLEGAL_ADDRESS = 2,
    MODBUS_ILLEGAL_VALUE = 3,
    MODBUS_BUSY = 6,
    MODBUS_PATH_UNAVAILABLE = 10,
    MODBUS_NO_ANSWER = 11,
};

extern const struct conf_row serve_unit_rows[];

/* unit: a checked element of `units`; root: of the whole configuration. */
struct serve_map *serve_map_new(const struct conf_node *unit, const struct conf_node *root);
void serve_map_free(struct serve_map *m);

/* The data of a read's answer, table_bytes() of it. 0, or the exception. */
uint8_t serve_map_read(const struct serve_map *m, enum modbus_table table, unsigned first, unsigned count,
                       uint64_t now_us, uint8_t *data);

/* The writable point that begins there; NULL: none does. */
const struct serve_point *serve_map_writable(const struct serve_map *m, enum modbus_table table,
                                             unsigned address);

/* The mistakes of a unit that rows cannot see. */
void serve_map_check(struct conf *c, const struct conf_node *unit);

#endif
