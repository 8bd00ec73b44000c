/* SPDX-License-Identifier: Apache-2.0 */
/* A pty that behaves like a serial port: a port that its master closed is no longer exclusive, and what
 * arrived while nobody had it open is lost. A pty alone forgets neither. The simulator therefore keeps the
 * slave end open, too, and watches who else opens and closes it. Termios are the kernel's own structure,
 * which alone tells any baud rate as a number and excludes the C library's: hence a file of its own. One
 * thread. */
#ifndef SLUICE_DRIVERS_SIM_PTY_H
#define SLUICE_DRIVERS_SIM_PTY_H

#include <stddef.h>

struct sim_pty {
    int fd;    /* the simulator's end, not blocking */
    int watch; /* readable: somebody opened or closed the other end; call sim_pty_watched() */
    int slave;
    char path[64];
};

/* Opens one, raw, at baud. 0 or -E…. */
int sim_pty_open(struct sim_pty *p, unsigned baud);
void sim_pty_watched(struct sim_pty *p);

/* The speed to which the other end was set; 0 when it cannot be told. */
unsigned sim_pty_baud(const struct sim_pty *p);

/* Also of one that was never opened, with all descriptors -1. */
void sim_pty_close(struct sim_pty *p);

#endif
