/* SPDX-License-Identifier: Apache-2.0 */
/* Carries an exchange over a tty. libmodbus sits on one end of a socketpair: the request that it frames comes
 * out of the other, and the reply goes back to it only when the exchange has judged it; what it then says
 * must agree. The tty is read and written here alone. One struct a line, on the line's thread. */
#ifndef SLUICE_DRIVERS_MODBUS_RTU_H
#define SLUICE_DRIVERS_MODBUS_RTU_H

#include <stddef.h>
#include <stdint.h>

#include "drivers/modbus/exchange.h"
#include "drivers/port.h"

struct rtu;

/* 0 or -E… (-EMFILE: no descriptor below the 1024 that libmodbus can watch). */
int rtu_new(struct rtu **out);
void rtu_free(struct rtu *r);

/* The frame of a request: unit, function and what follows it. Its length, or -E…. */
int rtu_frame(struct rtu *r, uint8_t unit, const uint8_t *pdu, size_t len, uint8_t frame[RTU_FRAME_MAX]);

/* Passes an accepted reply through libmodbus. 0, or -EBADMSG when it does not take it. */
int rtu_confirm(struct rtu *r, const uint8_t *reply, size_t len);

/* Runs the exchange that has begun to its end. 0; 1 when order_fd (-1: none) became readable before anything
 * was sent, and nothing will be; -ECANCELED when stop_fd did; another -E… when the tty is lost. */
int rtu_run(struct exchange *x, struct port *port, int stop_fd, int order_fd);

/* Listens until until_us or until order_fd is readable, so that what comes unasked is counted and does not
 * wait for the next exchange. */
int rtu_listen(struct exchange *x, struct port *port, int stop_fd, int order_fd, uint64_t until_us);

#endif
