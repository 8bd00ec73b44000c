/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/tools.h"

#include "service.h"

static const struct request requests[] = {
    {"read", modbus_tool_read}, {"write", modbus_tool_write}, {"scan", modbus_tool_scan}, {0}};

const struct service service_modbus_tools = {.name = "modbus-tools", .requests = requests};
