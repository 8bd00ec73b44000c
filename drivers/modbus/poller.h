/* SPDX-License-Identifier: Apache-2.0 */
/* Polls the devices of a Modbus line, on the line's thread: asks the schedule what is next, carries out the
 * exchange, makes values, and posts readings, presence and counters to the loop. Poller and configuration
 * belong to the loop's side, which frees them after the thread has ended. */
#ifndef SLUICE_DRIVERS_MODBUS_POLLER_H
#define SLUICE_DRIVERS_MODBUS_POLLER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "drivers/field.h"
#include "drivers/line.h"
#include "drivers/modbus/device.h"

/* Of one unit; the line's are their sum and what no unit can be blamed for. */
struct modbus_counts {
    uint64_t polls;    /* of groups, ended */
    uint64_t skipped;  /* polls not begun: the mailbox to the loop was full */
    uint64_t overruns; /* polls not begun: the line had no time */
    uint64_t requests, ok, timeouts, crc, exceptions, busy, late;
    uint64_t foreign, stray, echoes; /* of the line: frames, bytes, frames */
    uint64_t late_us_most;           /* of the line */
    uint32_t response_us;            /* of the last answer: from our last bit to its last */
    double load;                     /* of the line, of late */
};

enum modbus_post_kind { POST_READING, POST_STATE, POST_LINE };

struct modbus_post {
    struct list link;
    enum modbus_post_kind kind;
    unsigned device, group;       /* READING: both; STATE: device */
    struct reading_point *points; /* READING: of the whole group */
    uint64_t at_us;               /* CLOCK_BOOTTIME: READING: taken; STATE, LINE: since */
    enum device_state state;
    bool open;
    char reason[160];
    struct modbus_counts unit, line; /* at that time; unit: of READING and STATE */
};

struct poller;

/* 0 or -E…. m stays the caller's. */
int poller_new(struct poller **out, const struct modbus_line *m);
void poller_free(struct poller *p);

/* With the poller as argument. */
extern const struct line_ops poller_ops;

void modbus_post_free(struct modbus_post *p);

#endif
