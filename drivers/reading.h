/* SPDX-License-Identifier: Apache-2.0 */
/* A reading: what one poll of a group brought, with its time and the quality of each value. It travels and is
 * stored as a record (reading_encode); the payload that people see is made from the record at first delivery,
 * when the time of that boot may be better known. Pure; knows no field bus. A record that was stored by an
 * older release stays readable: forms are added, never changed. */
#ifndef SLUICE_DRIVERS_READING_H
#define SLUICE_DRIVERS_READING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Numbers are in records: only add. */
enum value_kind {
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,     /* i */
    VALUE_UINT,    /* u */
    VALUE_FLOAT,   /* d, exact in single precision: printed with the digits of that */
    VALUE_DOUBLE,  /* d */
    VALUE_DECIMAL, /* i × 10^-decimals, exact */
    VALUE_TEXT,    /* len bytes at text, which belong to whoever made the value */
};

struct value {
    enum value_kind kind;
    uint8_t decimals, len;
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double d;
        const char *text;
    };
};

/* Numbers are in records: only add. */
enum quality {
    QUALITY_GOOD,
    QUALITY_TIMEOUT,
    QUALITY_CRC,
    QUALITY_EXCEPTION, /* detail: the Modbus exception code */
    QUALITY_RANGE,     /* not a number that may be published */
    QUALITY_BUSY,      /* the line never fell silent */
    QUALITY_SKIPPED,   /* not asked for, because the device had just fallen silent */
    QUALITY_STALE,     /* no answer for several polls; said once */
    QUALITY_SIMULATED, /* a value, but of a simulated line */
    QUALITY_COUNT,
};

struct reading_point {
    const char *name, *unit; /* unit: NULL for none */
    struct value value;      /* published only when the quality has one */
    enum quality quality;
    uint8_t detail;
    uint32_t lag_ms; /* its exchange ended so long after taken_us */
};

struct reading {
    const char *device, *group;
    uint32_t boot, count; /* of the start; of the group in that start */
    uint64_t taken_us;    /* CLOCK_BOOTTIME at which the first answering exchange ended */
    const struct reading_point *points;
    size_t point_count;
};

/* True when there is a value to publish beside the quality. */
bool quality_has_value(enum quality q);

/* Text of a quality: "timeout", "exception 2". */
void quality_print(struct buf *out, enum quality q, uint8_t detail);

/* As a number; NaN when it is none. */
double value_number(const struct value *v);

/* The shortest text that reads back as the same number; JSON. */
void value_print(struct buf *out, const struct value *v);

void reading_encode(struct buf *out, const struct reading *r);

/* {"t":…,"n":…,"v":{…},"q":{…}} of a record with any number of points. "dt" names the seconds that a value is
 * younger than t, where that is a second or more. A record that is damaged gives {"error":"damaged record"}.
 */
void reading_json(struct buf *out, struct bytes record, bool offset_known, int64_t wall_offset_us);

/* {"t":…,"n":…,"v":21.5,"u":"Cel"} or {"t":…,"n":…,"q":"timeout"} of a record's first point. */
void reading_json_point(struct buf *out, struct bytes record, bool offset_known, int64_t wall_offset_us);

/* The value alone; nothing when it is not good: there is no place to say so. */
void reading_plain_point(struct buf *out, struct bytes record, bool offset_known, int64_t wall_offset_us);

/* n of a record: boot × 2^32 + count. */
uint64_t reading_number(const struct reading *r);

#endif
