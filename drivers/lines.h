/* SPDX-License-Identifier: Apache-2.0 */
/* What others ask of the lines: the control socket's tools, the Modbus server. Is lines.c; loop thread. */
#ifndef SLUICE_DRIVERS_LINES_H
#define SLUICE_DRIVERS_LINES_H

struct modbus_raw;

/* Gives a request to the line of that name. 0, and raw->done follows (modbus/raw.h); or -ENOENT: no such
 * line, -ENOTSUP: it does not speak Modbus, -ENOTCONN: its port is not there, -EINVAL: the unit or the
 * request is none (raw_shape), -EPERM: it touches what the device's limits.forbidden names, -EAGAIN: too many
 * wait. */
int lines_raw(const char *line, struct modbus_raw *raw);

#endif
