/* SPDX-License-Identifier: Apache-2.0 */
/* What of a group's readings is published, and when: always or on change, with deadbands, heartbeat and a
 * least interval; alarms as events of their own. A driver brings every reading, this decides. One publisher a
 * group. Loop thread only. */
#ifndef SLUICE_DRIVERS_PUBLISH_H
#define SLUICE_DRIVERS_PUBLISH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/reading.h"

struct field;
struct field_series;

enum publish_mode { PUBLISH_ALWAYS, PUBLISH_CHANGE };
enum publish_payload { PAYLOAD_GROUP, PAYLOAD_POINT, PAYLOAD_PLAIN };
extern const char *const publish_mode_names[], *const publish_payload_names[]; /* end with NULL */

struct publish_group {
    enum publish_mode mode;
    enum publish_payload payload;
    uint64_t heartbeat_us, interval_us; /* 0: none */
    uint64_t lasts_us;                  /* so long a reading stands without another; 0: nobody knows */
    uint8_t qos;
    bool retain;
};

enum alarm_level { ALARM_LOW_LOW, ALARM_LOW, ALARM_HIGH, ALARM_HIGH_HIGH, ALARM_COUNT };

/* Limits that are not set are NaN. */
struct alarm_spec {
    bool on;
    double limit[ALARM_COUNT], hysteresis;
    uint64_t delay_us;
};

struct publish_point {
    double deadband, deadband_percent; /* 0: any change counts */
    const char *unit;                  /* NULL: none */
    struct alarm_spec alarm;
};

/* Of one level of one point. */
struct alarm_state {
    bool active;
    uint64_t since_us; /* CLOCK_BOOTTIME: the value is beyond since then; 0: it is not */
};

/* Pure: takes a good value; true when the level has just gone on or off. */
bool alarm_step(const struct alarm_spec *s, struct alarm_state *state, enum alarm_level level, double value,
                uint64_t now_us);

/* What was last published of a point. */
struct publish_last {
    bool ever;
    struct reading_point point; /* its text is this one's own */
    uint64_t at_us;
};

/* Pure: true when the point is to be published. */
bool publish_due(const struct publish_group *g, const struct publish_point *spec,
                 const struct publish_last *last, const struct reading_point *point, uint64_t now_us);

struct publisher;

/* device, group and the specs live as long as the publisher. points[i] belongs to point i of each reading. */
struct publisher *publisher_new(struct field *f, const char *device, const char *group,
                                const struct publish_group *spec, const struct publish_point *const *points,
                                size_t count);
void publisher_free(struct publisher *p);

/* points: of one poll, in one allocation with the texts of their values; taken over (free). Publishes what is
 * due. */
void publisher_take(struct publisher *p, struct reading_point *points, uint64_t taken_us);

struct field_series *publisher_series(const struct publisher *p);

/* True while a point is in alarm. */
bool publisher_alarmed(const struct publisher *p);

#endif
