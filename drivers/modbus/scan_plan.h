/* SPDX-License-Identifier: Apache-2.0 */
/* What a scan of a line goes through, read from texts of people: "1-10,20" and "9600,19200" and "8N1,8E1".
 * Pure. */
#ifndef SLUICE_DRIVERS_MODBUS_SCAN_PLAN_H
#define SLUICE_DRIVERS_MODBUS_SCAN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCAN_SPEEDS_MAX = 64 };

struct scan_speed {
    uint32_t baud; /* 0: the line's own */
    unsigned format;
};

struct scan_plan {
    bool units[256];
    unsigned unit_count;
    struct scan_speed speeds[SCAN_SPEEDS_MAX];
    unsigned speed_count;
};

/* False, and why: it is no list of units from least to most. */
bool scan_read_units(const char *text, unsigned least, unsigned most, struct scan_plan *out, char *why,
                     size_t size);
/* Each speed with each format; NULL texts: own_baud, own_format. */
bool scan_read_speeds(const char *bauds, const char *formats, uint32_t own_baud, unsigned own_format,
                      struct scan_plan *out, char *why, size_t size);

#endif
