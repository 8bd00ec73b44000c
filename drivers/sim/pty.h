/* SPDX-License-Identifier: Apache-2.0 */
/* A pty whose master end the simulator holds. Its termios come from the kernel's own structure, which alone
 * tells any baud rate as a number; it excludes the C library's, hence a file of its own. */
#ifndef SLUICE_DRIVERS_SIM_PTY_H
#define SLUICE_DRIVERS_SIM_PTY_H

#include <stddef.h>

/* Opens one, raw and not blocking, at baud; path: of its slave end. The descriptor, or -E…. */
int sim_pty_open(char *path, size_t size, unsigned baud);

/* The speed to which the other end was set; 0 when it cannot be told. */
unsigned sim_pty_baud(int fd);

#endif
