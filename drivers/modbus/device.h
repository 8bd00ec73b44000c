/* SPDX-License-Identifier: Apache-2.0 */
/* What a Modbus line's configuration says, made ready: devices, groups, points, and the requests that read
 * them. Made on the loop's thread from a checked configuration, then immutable; the line's thread reads it.
 */
#ifndef SLUICE_DRIVERS_MODBUS_DEVICE_H
#define SLUICE_DRIVERS_MODBUS_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "drivers/driver.h"
#include "drivers/modbus/plan.h"
#include "drivers/modbus/value.h"
#include "drivers/port.h"
#include "drivers/schedule.h"

struct modbus_point {
    char *name;
    enum modbus_table table;
    uint16_t address, count; /* on the wire; registers or bits */
    uint16_t block;          /* index into the group's blocks */
    struct value_spec spec;
};

struct modbus_group {
    char *name;
    uint64_t period_us;
    uint8_t qos;
    bool per_point;
    struct modbus_point *points;
    struct plan_block *blocks;
    size_t point_count, block_count;
};

struct modbus_device {
    char *name;
    uint8_t unit;
    uint32_t response_us;
    struct modbus_group *groups;
    size_t group_count;
};

struct modbus_line {
    char *name, *port; /* port: with the file of a simulated line made absolute */
    uint32_t baud;
    const struct serial_format *format;
    struct plan_cost cost;
    uint32_t holdoff_us;
    struct schedule_limits limits;
    struct modbus_device *devices;
    size_t device_count;
};

/* From a configuration without mistakes. */
struct modbus_line *modbus_line_new(const struct driver_conf *line);
void modbus_line_free(struct modbus_line *m);

/* What the line will be busy with. */
void modbus_predict(const struct modbus_line *m, struct driver_load *out);

/* A point's rows read, without its name. False when they do not fit together, and why. */
bool modbus_point_read(const struct conf_node *device, const struct conf_node *point,
                       struct modbus_point *out, char *error, size_t size);

#endif
