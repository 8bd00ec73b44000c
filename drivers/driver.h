/* SPDX-License-Identifier: Apache-2.0 */
/* A driver is what stands behind a line's `protocol`: its configuration rows and what plays it. The service
 * `lines` knows only the table drivers[], which the Makefile generates. All calls on the loop's thread; a
 * driver with threads of its own wakes the loop by field_wake() and is then asked to take what they brought.
 */
#ifndef SLUICE_DRIVERS_DRIVER_H
#define SLUICE_DRIVERS_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/conf.h"

struct cJSON;
struct command;
struct field;
struct modbus_front;
struct modbus_raw;
struct line_visit;
struct tap;
struct tap_frame;

/* A line of the configuration and the devices that name it. */
struct driver_conf {
    const struct conf_node *line;
    const struct conf_node **devices;
    size_t device_count;
};

struct driver_load {
    size_t points, requests; /* requests: to read everything once */
    uint64_t cycle_us;       /* reading everything once, one request after the other */
    double load;             /* of the line's time; 1 is all of it */
};

struct driver {
    const char *name;   /* protocol */
    const char *device; /* kind of the devices on such a line: their `protocol`; "": there are none */
    const struct conf_row *line_rows, *device_rows;
    /* Adds to a device what it only refers to, before anything is checked. NULL: there is no such thing. */
    void (*expand)(struct conf *c, struct conf_node *device);
    void (*check)(struct conf *c, const struct driver_conf *line);
    /* Prints where what is configured differs from what goes over the wire. NULL: nowhere. */
    void (*explain)(const struct driver_conf *line, FILE *out);
    void (*predict)(const struct driver_conf *line, struct driver_load *out);
    /* Starts to play the line; 0 or -E… (logged). The configuration may go when it returns. */
    int (*start)(void **out, struct field *f, const struct driver_conf *line);
    /* Writes a point of one of its devices (command.h): NULL, and command_done follows; or why it does not.
     * command_not_mine: the device is another's. only_check: has no effects. May be NULL. */
    const char *(*command)(void *line, struct command *c, bool only_check);
    /* Sends a request that others have made (modbus/raw.h), which tells what it returns. NULL: this is no
     * Modbus. */
    int (*raw)(void *line, struct modbus_raw *raw);
    /* Publishes what threads brought. NULL: there are none. */
    void (*take)(void *line);
    /* The rules of who may do what have changed. NULL: it asks none. */
    void (*review)(void *line);
    void (*stop)(void *line);    /* begins to end */
    bool (*stopped)(void *line); /* true when free() will not wait */
    void (*free)(void *line);    /* after stop(); waits, publishes what was still to be */
    /* Adds the line's own object and one for each device. */
    void (*status)(void *line, struct cJSON *lines, struct cJSON *devices);
    /* For field tools; all NULL where there are none. What is seen on its wire; what a reader of that needs
     * to know; a frame in words. */
    struct tap *(*tap)(void *line);
    void (*view_head)(void *line, struct cJSON *into);
    void (*view)(void *line, const struct tap_frame *f, struct cJSON *into);
    /* For tools that speak Modbus; NULL: the line does not. */
    struct modbus_front *(*modbus)(void *line);
    /* Somebody has the wire for a while (line.h). NULL: nobody can. */
    void (*visit)(void *line, struct line_visit v);
    /* Adds an object for each peer that has made itself known (motes). NULL: there are none such. */
    void (*peers)(void *line, struct cJSON *into);
};

extern const char command_not_mine[];

extern const struct driver *const drivers[]; /* ends with NULL */
/* All that there are, built or not; end with NULL. */
extern const char *const driver_names[], *const driver_device_names[];

#endif
