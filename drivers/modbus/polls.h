/* SPDX-License-Identifier: Apache-2.0 */
/* The polls of a Modbus line, whatever carries the requests: which block a poll asks for next, and what
 * becomes of an answer: values with quality and time, the presence of units, counters, the load. All that is
 * posted to the loop's side (front.h) through the mailbox. Does no I/O and knows no frames; times are those
 * of clock_boot_us(), or of a test's own clock. Used by one thread, which is the mailbox's only poster. */
#ifndef SLUICE_DRIVERS_MODBUS_POLLS_H
#define SLUICE_DRIVERS_MODBUS_POLLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/mailbox.h"
#include "drivers/field.h"
#include "drivers/modbus/device.h"
#include "drivers/modbus/order.h"
#include "drivers/modbus/response.h"
#include "drivers/modbus/result.h"

/* Of one unit; the line's are their sum and what no unit can be blamed for. */
struct modbus_counts {
    uint64_t polls;    /* of groups, ended */
    uint64_t skipped;  /* polls not begun, as the mailbox to the loop was full, or given up, as a late answer
                          could  have been taken for theirs */
    uint64_t overruns; /* polls not begun: the line had no time */
    uint64_t requests, ok, timeouts, crc, exceptions, busy, late;
    uint64_t raw; /* of the line: requests that others made (raw.h), which are among the others */
    uint64_t foreign, stray, echoes; /* of the line: frames, bytes, frames */
    uint64_t late_us_most;           /* of the line */
    uint32_t response_us;            /* of the last answer: from our last bit to its last */
    uint32_t turnaround_us;          /* of the unit, usually: from our last bit to its first */
    uint32_t limit_us;               /* so long it may take for that */
    double load;                     /* of the line, of late */
};

enum modbus_post_kind { POST_READING, POST_STATE, POST_LEARNT, POST_ORDER, POST_RAW, POST_LINE };

enum { CUTS_MAX = 64 /* learnt of one device */ };

struct modbus_post {
    struct list link;
    enum modbus_post_kind kind;
    unsigned device, group;       /* READING: both; STATE, LEARNT, ORDER: device; else 0 */
    struct reading_point *points; /* READING: of the whole group, with the texts of values behind them */
    struct plan_cut *cuts;        /* LEARNT: all that the device's requests are cut at */
    size_t cut_count;
    struct modbus_order *order; /* ORDER, RAW: its result */
    uint64_t at_us;             /* CLOCK_BOOTTIME: READING: taken; STATE, LINE: since */
    enum device_state state;
    bool open;
    char reason[160];
    struct modbus_counts unit, line; /* at that time; unit: of all but RAW and LINE */
};

/* By whoever takes it (front.c). */
void modbus_post_free(struct modbus_post *p);

/* A group's poll that is under way: one block after the other, others may come in between. */
struct poll {
    unsigned device, group;
    struct modbus_plan plan;
    bool replan; /* before the next poll: what the device can be asked is known better */
    size_t next_block;
    bool begun, answered;
    unsigned round;         /* counts the polls, for who has several requests in flight */
    unsigned missed;        /* polls in a row without an answer */
    bool stale, owes_stale; /* stale: it has been said; owes: it is to be, and found no room */
    uint64_t taken_us;
    struct reading_point *points;
};

struct poll_unit {
    enum device_state state;
    uint64_t since_us;
    char reason[160];
    bool told, cuts_told; /* the loop knows */
    bool no_mask;         /* it does not know code 22 */
    struct response response;
    uint32_t planned_us;       /* the turnaround that plans are made with */
    struct plan_limits limits; /* with the cuts, which are this one's own */
    struct plan_cut cuts[CUTS_MAX];
    unsigned bad_polls;
    struct modbus_counts counts;
};

struct polls {
    const struct modbus_line *m;
    struct mailbox *mail; /* set before the first use of what posts */
    struct schedule schedule;
    struct schedule_task *tasks; /* list[i] is what tasks[i] does */
    struct schedule_unit *schedule_units;
    struct poll *list;
    struct poll_unit *units; /* as m->devices */
    size_t count;
    size_t under_way; /* polls that have begun: each has a place in the mailbox coming to it */
    struct modbus_counts counts;
    uint64_t window_us, busy_us; /* of the load */
    unsigned windows;
    bool line_told, open;
    uint64_t open_since_us;
    char why[160];
};

/* m stays the caller's. */
void polls_init(struct polls *p, const struct modbus_line *m);
void polls_free(struct polls *p);

/* The line can be used: everything is due again, nothing is dead. */
void polls_open(struct polls *p, uint64_t now_us);
/* It cannot: all units are dead, for that reason. */
void polls_down(struct polls *p, const char *why, uint64_t now_us);
/* Forgets what is under way. */
void polls_drop(struct polls *p);

/* Once a step: the load, and what had found no room in the mailbox. Returns when to come again at the latest.
 */
uint64_t polls_tell(struct polls *p, uint64_t now_us);

/* The block that schedule's choice asks for now, the poll beginning with it if it has not. NULL: the poll is
 * skipped because the mailbox is full. */
const struct plan_block *polls_next(struct polls *p, size_t index, uint64_t now_us);
/* True when no point of the poll's group lies on both sides of the address. */
bool polls_may_cut(const struct polls *p, size_t index, unsigned address);
/* What the exchange for it brought; ends the poll when that was all. A block that the device refuses is cut
 * in two, and the poll begins anew. */
void polls_took(struct polls *p, size_t index, const struct modbus_result *r, uint64_t now_us);
/* The block cannot be asked for now without doubt about the answer: the poll is skipped. */
void polls_put_off(struct polls *p, size_t index, uint64_t now_us);
/* How long the unit may take to begin its answer. */
uint32_t polls_response(const struct polls *p, unsigned device);
/* A probe of a dead unit brought this. */
void polls_probed(struct polls *p, unsigned device, const struct modbus_result *r, uint64_t now_us);

/* True when the result of an order can be posted. */
bool polls_may_order(struct polls *p);
/* Posts the order's result, and makes its group due, so that what was written is read; after a raw write all
 * groups of the device. */
void polls_ordered(struct polls *p, struct modbus_order *order, uint64_t now_us);

/* After every exchange with a unit, whatever for: counters, and whether it is there. busy_us: what the
 * exchange cost of the line's time. */
void polls_exchanged(struct polls *p, unsigned device, const struct modbus_result *r, uint64_t busy_us,
                     uint64_t now_us);
/* After one that another has asked for, with a unit that may be a device of ours: that it does not answer
 * says nothing, as nobody knows what was asked. */
void polls_exchanged_raw(struct polls *p, unsigned device, const struct modbus_result *r, uint64_t busy_us,
                         uint64_t now_us);

#endif
