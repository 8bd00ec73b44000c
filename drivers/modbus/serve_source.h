/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a unit that we play, and the points of the configuration that it shows. Loop thread. */
#ifndef SLUICE_DRIVERS_MODBUS_SERVE_SOURCE_H
#define SLUICE_DRIVERS_MODBUS_SERVE_SOURCE_H

#include "base/conf.h"
#include "drivers/modbus/point.h"

struct serve_source {
    const struct conf_node *line, *device, *group, *point;
};

/* The point that an element of `points` names. False: there is none, or several; why in error. */
bool serve_source_find(const struct conf_node *root, const struct conf_node *at, struct serve_source *out,
                       char *error, size_t size);

/* The place that `quality` names; false when it names none. */
bool serve_quality_place(const struct conf_node *unit, const struct conf_node *at, struct modbus_point *out);

#endif
