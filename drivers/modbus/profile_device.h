/* SPDX-License-Identifier: Apache-2.0 */
/* What a device gets from its profile. Loop thread. */
#ifndef SLUICE_DRIVERS_MODBUS_PROFILE_DEVICE_H
#define SLUICE_DRIVERS_MODBUS_PROFILE_DEVICE_H

#include <stdio.h>

#include "base/conf.h"

/* struct driver's expand: the profile's groups, points and limits become the device's, where it says nothing
 * else; its `profile` becomes "NAME@VERSION" and its `with` complete. */
void modbus_profile_expand(struct conf *c, struct conf_node *device);

/* Tells what a device got. Nothing of one without a profile. */
void modbus_profile_explain(const struct conf_node *line, const struct conf_node *device, FILE *out);

#endif
