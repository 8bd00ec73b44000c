/* SPDX-License-Identifier: Apache-2.0 */
/* What a poller runs on when it is no test: the tty of a line and the clock of the box. On the line's
 * thread. */
#ifndef SLUICE_DRIVERS_MODBUS_POLLER_TTY_H
#define SLUICE_DRIVERS_MODBUS_POLLER_TTY_H

#include "drivers/modbus/poller.h"

struct poller_tty {
    struct line *line;
    struct port *port;
};

extern const struct poller_io poller_tty_io; /* with a struct poller_tty */

#endif
