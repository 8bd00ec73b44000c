/* SPDX-License-Identifier: Apache-2.0 */
/* What a Modbus line's configuration says, made ready: devices, groups, points, and the requests that read
 * them. Made on the loop's thread from a checked configuration, then immutable but for `hurry`; the line's
 * thread reads it. */
#ifndef SLUICE_DRIVERS_MODBUS_DEVICE_H
#define SLUICE_DRIVERS_MODBUS_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "drivers/driver.h"
#include "drivers/modbus/plan.h"
#include "drivers/modbus/point.h"
#include "drivers/port.h"
#include "drivers/publish.h"
#include "drivers/schedule.h"

struct modbus_plan {
    struct plan_block *blocks;
    size_t block_count;
    uint16_t *block_of; /* by point: index into blocks */
};

struct modbus_group {
    char *name;
    uint64_t period_us, alarm_period_us; /* alarm: while a point is in alarm */
    unsigned stale_after;                /* polls in a row without an answer */
    struct publish_group publish;
    struct modbus_point *points;
    size_t point_count;
    size_t text_room;  /* for the texts of all points */
    atomic_bool hurry; /* a point is in alarm; the loop says so to the line's thread */
};

struct modbus_device {
    char *name, *profile; /* profile: NAME@VERSION; NULL: none */
    uint8_t unit;
    unsigned base;             /* of addresses as people write them */
    unsigned order;            /* index into value_orders: where nobody says another */
    uint32_t response_us;      /* how long it may take to begin its answer */
    bool learn_response;       /* nobody has said so: wait less where it always answers sooner */
    struct plan_limits limits; /* its cuts: what was learnt before, set before the line starts; owned */
    struct modbus_group *groups;
    size_t group_count;
};

struct modbus_line {
    char *name, *port;  /* port: with the file of a simulated line made absolute */
    bool simulated;     /* no device answers: nothing that is read is good */
    unsigned in_flight; /* most requests that wait for their answers: 1 on a serial line */
    uint32_t baud;
    const struct serial_format *format;
    struct rs485_settings rs485;
    struct plan_cost cost;
    uint32_t response_us; /* of units that are no device */
    uint32_t holdoff_us;
    uint32_t slack_us; /* of learnt response times */
    struct schedule_limits limits;
    struct modbus_device *devices;
    size_t device_count;
};

/* From a configuration without mistakes: a serial line, or a connection. */
struct modbus_line *modbus_line_new(const struct driver_conf *line);
struct modbus_line *modbus_line_new_tcp(const struct driver_conf *line);
void modbus_line_free(struct modbus_line *m);

/* What the device can be asked; its forbidden ranges are one allocation of the caller's. */
struct plan_limits modbus_limits_of(const struct conf_node *device);

/* The requests that read a group, within the device's limits. */
void modbus_plan_make(struct modbus_plan *out, const struct plan_cost *cost, const struct plan_limits *limits,
                      const struct modbus_group *g);
void modbus_plan_free(struct modbus_plan *plan);

/* True when no point of the group lies on both sides of the address. */
bool modbus_group_may_cut(const struct modbus_group *g, enum modbus_table table, unsigned address);

/* Tells the points and limits of two configurations of a device apart. */
uint64_t modbus_device_shape(const struct modbus_device *d);

/* What the line will be busy with. */
void modbus_predict(const struct modbus_line *m, struct driver_load *out);

#endif
