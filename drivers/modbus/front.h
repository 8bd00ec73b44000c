/* SPDX-License-Identifier: Apache-2.0 */
/* The loop's side of a Modbus line, whatever carries its requests: publishes what the polls posted and tells
 * people about it. Loop thread. */
#ifndef SLUICE_DRIVERS_MODBUS_FRONT_H
#define SLUICE_DRIVERS_MODBUS_FRONT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/mailbox.h"
#include "drivers/command.h"
#include "drivers/driver.h"
#include "drivers/field.h"
#include "drivers/modbus/polls.h"

struct modbus_front_device {
    enum device_state state;
    uint64_t since_us;
    char reason[160];
    char *profile_before; /* what it was read by before that changed; NULL: nothing */
    uint64_t taken_us;    /* of the newest value; 0: none yet */
    struct modbus_counts counts;
    struct publisher **publishers;      /* by group */
    const struct publish_point **specs; /* of all points of the groups, one after the other */
};

struct modbus_front {
    struct field *field;
    struct modbus_line *m;
    struct modbus_front_device *devices; /* as m->devices */
    struct list orders;                  /* of struct pending: handed to the line */
    struct list raws;                    /* of struct modbus_raw: the same */
    size_t raw_count;
    /* Passes an order (its link) to the line. 0, or -EAGAIN. Set by the owner. */
    int (*order)(void *arg, struct list *order);
    void *order_arg;
    struct modbus_counts counts;
    bool open, known; /* known: it has been said whether the port is open */
    uint64_t since_us;
    char why[160];
    double predicted_load;
    uint64_t cycle_us; /* predicted */
};

/* m becomes the front's. */
void modbus_front_init(struct modbus_front *r, struct field *f, struct modbus_line *m);
void modbus_front_free(struct modbus_front *r);

/* Publishes all that is in the mailbox. */
void modbus_front_take(struct modbus_front *r, struct mailbox *mail);

/* struct driver's command. */
const char *modbus_front_command(struct modbus_front *r, struct command *c, bool only_check);
/* The line is done with an order, which stays the caller's. */
void modbus_front_took(struct modbus_front *r, const struct modbus_order *order);
/* struct driver's raw. */
int modbus_front_raw(struct modbus_front *r, struct modbus_raw *raw);
void modbus_front_took_raw(struct modbus_front *r, const struct modbus_order *order);
/* As modbus_front_end_orders. */
void modbus_front_end_raws(struct modbus_front *r);
/* The line has ended and its mailbox is taken: orders without a result will never have one. */
void modbus_front_end_orders(struct modbus_front *r);

/* Adds the line's object and one for each device; returns the line's. */
struct cJSON *modbus_front_status(struct modbus_front *r, const char *protocol, struct cJSON *lines,
                                  struct cJSON *devices);

#endif
