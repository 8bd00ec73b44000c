/* SPDX-License-Identifier: Apache-2.0 */
/* Modbus TCP on the loop: one connection, the units behind it, as many requests in flight as allowed. An
 * answer is known by its transaction number, so a late one is never taken for another's and no connection is
 * given up for it. What is polled and what becomes of it is decided by polls.h, as on a serial line. Loop
 * thread only. */
#ifndef SLUICE_DRIVERS_MODBUS_TCP_H
#define SLUICE_DRIVERS_MODBUS_TCP_H

#include <stdbool.h>
#include <uv.h>

#include "base/list.h"
#include "base/mailbox.h"
#include "drivers/modbus/device.h"

struct net;
struct tap;
struct tcp_client;

/* m, net, mail and tap stay the caller's and live longer. Starts to connect. 0 or -E…. */
int tcp_client_new(struct tcp_client **out, const struct modbus_line *m, struct net *net, uv_loop_t *loop,
                   struct mailbox *mail, struct tap *tap);
/* Ends the connection; its own memory goes when libuv has let go of its handles. */
void tcp_client_free(struct tcp_client *t);

/* A struct modbus_order, which is carried out next. -EAGAIN: too many wait. */
int tcp_client_order(struct tcp_client *t, struct list *order);

#endif
