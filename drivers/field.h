/* SPDX-License-Identifier: Apache-2.0 */
/* What all drivers publish through: readings with their numbers, alarms, the presence of devices, and the
 * wake-up of the loop by a driver's thread. Owned by the service `lines`. Loop thread, except field_wake. */
#ifndef SLUICE_DRIVERS_FIELD_H
#define SLUICE_DRIVERS_FIELD_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/list.h"
#include "base/map.h"
#include "broker/broker.h"
#include "drivers/publish.h"
#include "drivers/reading.h"
#include "drivers/watch.h"

struct cJSON;
struct gateway;

/* The readings of one group. Lasts from the first start of the group until the process ends, whatever lines
 * do, so that no number is given twice. */
struct field_series {
    struct map_node node;
    char *key; /* "device/group" */
    uint32_t count;
    uint64_t published, committed; /* n of the newest; 0: none yet */
    struct {
        uint64_t n;
        store_ticket ticket;
    } waiting, newest; /* for the disk; n 0: none */
};

enum device_state { DEVICE_UNKNOWN, DEVICE_ONLINE, DEVICE_STALE, DEVICE_DEAD };

struct field {
    struct gateway *gw;
    uv_async_t wake;
    struct broker_waiter calm;     /* while the disk does not keep up */
    void (*take)(struct field *f); /* on the loop, when threads have brought something */
    struct map series;
    struct watches watches;
    bool closed;
};

/* 0 or -E…. */
int field_open(struct field *f, struct gateway *gw, void (*take)(struct field *f));
void field_close(struct field *f); /* f->closed tells when its handle is gone */

/* Any thread; arg is the field. take() follows on the loop. */
void field_wake(void *arg);

/* True when take() may publish. False: it is called again when the disk has caught up. */
bool field_may_publish(struct field *f);

struct field_series *field_series(struct field *f, const char *device, const char *group);

/* Gives the reading its number and publishes it, as one message or one for each point. */
void field_publish(struct field *f, struct field_series *s, struct reading *r,
                   const struct publish_group *how);

/* An alarm that has gone on or off. */
struct field_alarm {
    const char *device, *group, *point, *level, *unit; /* unit: NULL for none */
    bool active;
    double limit;
    const struct value *value;
    enum quality quality;
    uint64_t at_us; /* CLOCK_BOOTTIME */
};
void field_publish_alarm(struct field *f, const struct field_alarm *a);

/* {root}/event/{kind}: something that happened; what is taken over, and gets its time. */
void field_publish_event(struct field *f, const char *kind, struct cJSON *what);

/* Presence, retained. since_us: CLOCK_BOOTTIME. */
void field_publish_state(struct field *f, const char *device, enum device_state state, uint64_t since_us,
                         const char *reason);
/* The device is no longer configured: its presence is taken back. */
void field_forget(struct field *f, const char *device);

/* What a driver remembers of a device across restarts, by a name of its own. recall: empty when there is
 * nothing; valid until it is remembered anew. */
void field_remember(struct field *f, const char *device, const char *what, struct bytes value);
struct bytes field_recall(struct field *f, const char *device, const char *what);

/* n of the newest reading that is on disk where anybody durable wanted it, else of the newest published. */
uint64_t field_committed(struct field *f, struct field_series *s);

const char *device_state_name(enum device_state state);

#endif
