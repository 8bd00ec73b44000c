/* SPDX-License-Identifier: Apache-2.0 */
/* The newest value of points that somebody looks at without waiting for readings (a Modbus server). A watch
 * is for a name, device/group/point: lines and devices may come and go. Each reading is seen, also those that
 * are not published. Loop thread only. */
#ifndef SLUICE_DRIVERS_WATCH_H
#define SLUICE_DRIVERS_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/map.h"
#include "drivers/reading.h"

struct watched {
    struct map_node node;
    char *key; /* "device/group/point" */
    unsigned refs;
    bool ever;          /* the rest is set */
    struct value value; /* its text is the watch's own */
    enum quality quality;
    uint8_t detail;    /* of the quality */
    uint64_t at_us;    /* CLOCK_BOOTTIME: of the reading */
    uint64_t until_us; /* by then another reading should have come; 0: nobody knows */
};

struct watches {
    struct map map;
    unsigned round; /* counts changes, for those who keep pointers into it */
};

struct watched *watch_open(struct watches *all, const char *device, const char *group, const char *point);
void watch_close(struct watches *all, struct watched *w);

/* NULL: nobody looks at that point. */
struct watched *watch_find(const struct watches *all, const char *device, const char *group,
                           const char *point);

/* A reading has come; it lasts for lasts_us (0: nobody knows). */
void watch_take(struct watched *w, const struct reading_point *p, uint64_t taken_us, uint64_t lasts_us);
/* Nobody reads the point any more. */
void watch_lose(struct watched *w);

/* The value that stands now; false when there is none, or it is old or not good. */
bool watch_value(const struct watched *w, uint64_t now_us, struct value *out);

#endif
