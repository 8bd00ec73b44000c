/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration rows of Modbus lines and devices, and the mistakes that rows cannot see. Loop thread. */
#ifndef SLUICE_DRIVERS_MODBUS_CONFIG_H
#define SLUICE_DRIVERS_MODBUS_CONFIG_H

#include "drivers/driver.h"

extern const struct conf_row modbus_rtu_line_rows[], modbus_tcp_line_rows[], modbus_device_rows[];
extern const struct conf_row modbus_profile_rows[]; /* of a profile's file */

/* struct driver's check. */
void modbus_check_rtu(struct conf *c, const struct driver_conf *line);
void modbus_check_tcp(struct conf *c, const struct driver_conf *line);

/* "tcp:HOST:PORT", "tcp:HOST" or "tcp:[ADDRESS]:PORT"; host: room for 256 bytes. False when it is none. */
bool modbus_tcp_place(const char *port, char *host, uint16_t *number);

/* struct driver's explain. */
void modbus_explain(const struct driver_conf *line, FILE *out);

#endif
