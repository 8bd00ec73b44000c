/* SPDX-License-Identifier: Apache-2.0 */
/* Polls the devices of a serial Modbus line, on the line's thread: asks the schedule what is next, carries
 * out the exchange on the tty, in a shape that no late reply can have, and hands what it brought to the
 * polls. Poller and configuration belong to the loop's side, which frees them after the thread has ended. */
#ifndef SLUICE_DRIVERS_MODBUS_POLLER_H
#define SLUICE_DRIVERS_MODBUS_POLLER_H

#include "drivers/line.h"
#include "drivers/modbus/polls.h"

struct poller;

/* 0 or -E…. m and tap (NULL: nobody can watch) stay the caller's. */
int poller_new(struct poller **out, const struct modbus_line *m, struct tap *tap);
void poller_free(struct poller *p);

/* With the poller as argument. */
extern const struct line_ops poller_ops;

/* What carries bytes and tells the time: the tty of a line, or a test's wire and clock. 0 or -E…: the line is
 * lost, or is to end. */
struct poller_io {
    uint64_t (*now)(void *arg);
    /* Runs the exchange that has begun to its end. yields: 1 when orders came before anything was sent, and
     * nothing was. */
    int (*run)(void *arg, struct exchange *x, bool yields);
    /* Listens until until_us, or until there are orders. */
    int (*listen)(void *arg, struct exchange *x, uint64_t until_us);
    void (*take_orders)(void *arg, struct list *out);
    /* Who has the line for a while, and another speed for him: 0 or -E…. NULL: nobody ever. */
    struct line_visit (*visited)(void *arg);
    int (*set)(void *arg, struct line_visit v);
};

/* The line can be used. mail: to the loop's side. */
void poller_open(struct poller *p, const struct poller_io *io, void *io_arg, struct mailbox *mail);
/* The next thing: an order, a poll's request, a probe, or a wait. */
int poller_step(struct poller *p);

#endif
