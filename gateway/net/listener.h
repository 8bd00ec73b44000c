/* SPDX-License-Identifier: Apache-2.0 */
/* A socket that listens: binds, accepts, hands over. What is done with a connection is the taker's. Loop
 * thread. */
#ifndef SLUICE_NET_LISTENER_H
#define SLUICE_NET_LISTENER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct accepted; /* net/conn.h */
struct listener;

/* Somebody has connected: call conn_accept(…, a, …) once. */
typedef void listener_taker(void *arg, const struct accepted *a);

/* bind: "127.0.0.1:1883", "[::1]:1883", "*:8883", "unix:/run/sluice/mqtt.sock" (made with mode 0660; a stale
 * one is replaced, one in use is -EADDRINUSE). 0 or -E… (logged with the address). */
int listener_open(struct listener **out, uv_loop_t *loop, const char *bind, listener_taker *taker, void *arg);
/* Whether bind could be listened on now: 0 or -E…; of Unix sockets only their names are judged. */
int listener_probe(const char *bind);
/* Frees itself when its handle has closed. NULL is fine. */
void listener_close(struct listener *l);

/* Parses bind without opening: 0 or -EINVAL. loopback: only this box can reach it. */
int listener_parse(const char *bind, bool *loopback);
/* The port that is in fact bound (for a bind to port 0); 0 for Unix sockets. */
uint16_t listener_port(const struct listener *l);

#endif
