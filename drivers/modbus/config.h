/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration rows of Modbus lines and devices, and the mistakes that rows cannot see. Loop thread. */
#ifndef SLUICE_DRIVERS_MODBUS_CONFIG_H
#define SLUICE_DRIVERS_MODBUS_CONFIG_H

#include "drivers/driver.h"

extern const struct conf_row modbus_rtu_line_rows[], modbus_device_rows[];

void modbus_check(struct conf *c, const struct driver_conf *line);

/* struct driver's explain. */
void modbus_explain(const struct driver_conf *line, FILE *out);

#endif
