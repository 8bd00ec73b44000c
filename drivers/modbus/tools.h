/* SPDX-License-Identifier: Apache-2.0 */
/* Field tools that speak Modbus, asked for over the control socket: each is a row of service_modbus_tools.
 * Loop thread. */
#ifndef SLUICE_DRIVERS_MODBUS_TOOLS_H
#define SLUICE_DRIVERS_MODBUS_TOOLS_H

#include "drivers/tools.h"

enum asked modbus_tool_read(struct gateway *gw, struct asker *a, const struct cJSON *asked,
                            struct cJSON *answer);
enum asked modbus_tool_write(struct gateway *gw, struct asker *a, const struct cJSON *asked,
                             struct cJSON *answer);

enum asked modbus_tool_scan(struct gateway *gw, struct asker *a, const struct cJSON *asked,
                            struct cJSON *answer);

#endif
