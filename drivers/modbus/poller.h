/* SPDX-License-Identifier: Apache-2.0 */
/* Polls the devices of a serial Modbus line, on the line's thread: asks the schedule what is next, carries
 * out the exchange on the tty, in a shape that no late reply can have, and hands what it brought to the
 * polls. Poller and configuration belong to the loop's side, which frees them after the thread has ended. */
#ifndef SLUICE_DRIVERS_MODBUS_POLLER_H
#define SLUICE_DRIVERS_MODBUS_POLLER_H

#include "drivers/line.h"
#include "drivers/modbus/polls.h"

struct poller;

/* 0 or -E…. m stays the caller's. */
int poller_new(struct poller **out, const struct modbus_line *m);
void poller_free(struct poller *p);

/* With the poller as argument. */
extern const struct line_ops poller_ops;

#endif
