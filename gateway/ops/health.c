/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/health.h"

#include <cjson/cJSON.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/timer.h"
#include "broker/broker.h"
#include "ops/event.h"
#include "ops/status.h"
#include "service.h"
#include "store/store.h"

#define LOOK_S  10 /* how long a changed state may go unnoticed */
#define SAMPLES 25 /* the hours of a day and now */

/* What the store wrote, hour by hour: the flash's wear is judged by its last day. */
struct sample {
    uint64_t at_us, bytes;
};

struct health {
    struct gateway *gw;
    struct timer timer;
    uint32_t every_s;
    uint64_t due_us; /* of the next publication */
    cJSON *seen;     /* the status answer of the last look */
    struct sample samples[SAMPLES];
    unsigned newest, count;
};

static struct health health;

static struct sample sample_now(void)
{
    struct store_stats stats;

    store_get_stats(health.gw->store, &stats);
    return (struct sample){clock_boot_us(), stats.bytes_written};
}

static void sample_hourly(void)
{
    struct sample now = sample_now();

    if (health.count && now.at_us - health.samples[health.newest].at_us < 3600 * 1000000ull)
        return;
    health.newest = (health.newest + 1) % SAMPLES;
    health.samples[health.newest] = now;
    if (health.count < SAMPLES)
        health.count++;
}

static void add_wear(struct gateway *gw, cJSON *into)
{
    struct sample now = sample_now();
    struct sample first = health.samples[(health.newest + SAMPLES + 1 - health.count) % SAMPLES];
    uint64_t over_s = (now.at_us - first.at_us) / 1000000;

    (void)gw;
    if (!health.count || over_s < 60)
        return; /* a minute's worth is the least that says anything about a day */
    cJSON *wear = cJSON_AddObjectToObject(into, "wear");
    cJSON_AddNumberToObject(wear, "bytes_per_day",
                            (double)(now.bytes - first.bytes) * 86400 / (double)over_s);
    cJSON_AddNumberToObject(wear, "over_s", (double)over_s);
}

static void publish_health(const cJSON *status)
{
    cJSON *what = cJSON_CreateObject();

    event_stamp(what);
    health_shorten(status, what);
    event_publish_json(health.gw, "health", what, 1);
    cJSON_Delete(what);
}

static void on_change(void *arg, const char *kind, cJSON *what)
{
    event_publish(arg, kind, what);
}

static void look_again(void)
{
    uint64_t now_us = clock_boot_us();
    uint64_t left_s = now_us < health.due_us ? (health.due_us - now_us + 999999) / 1000000 : 1;

    timer_start(broker_timers(health.gw->broker), &health.timer, left_s < LOOK_S ? (uint32_t)left_s : LOOK_S);
}

static bool is_due(void)
{
    uint64_t now_us = clock_boot_us(), every_us = (uint64_t)health.every_s * 1000000;

    if (now_us < health.due_us)
        return false;
    /* The rate holds though each look is a little late, unless the box slept. */
    health.due_us = now_us - health.due_us < every_us ? health.due_us + every_us : now_us + every_us;
    return true;
}

static void on_look(struct timer *t)
{
    cJSON *status = cJSON_CreateObject();

    (void)t;
    sample_hourly();
    status_collect(health.gw, status);
    if (health.seen)
        health_compare(health.seen, status, on_change, health.gw);
    if (is_due())
        publish_health(status);
    cJSON_Delete(health.seen);
    health.seen = status;
    /* Devices tell their states themselves; a thousand of them would be megabytes to keep. */
    cJSON_DeleteItemFromObjectCaseSensitive(status, "devices");
    look_again();
}

static uint32_t every_s(const struct conf *conf)
{
    return (uint32_t)(conf_int(conf_get(conf_root(conf), "health"), "every") / 1000);
}

static void publish_every(uint32_t seconds)
{
    health.every_s = seconds;
    health.due_us = clock_boot_us() + (uint64_t)seconds * 1000000;
    timer_stop(&health.timer);
    if (seconds)
        look_again();
}

static int start(struct gateway *gw)
{
    health = (struct health){.gw = gw};
    timer_init(&health.timer, on_look);
    sample_hourly();
    publish_every(every_s(gw->conf));
    return 0;
}

static int reload(struct gateway *gw, const struct conf *next)
{
    (void)gw;
    if (every_s(next) != health.every_s)
        publish_every(every_s(next));
    return 0;
}

static void stop(struct gateway *gw)
{
    (void)gw;
    timer_stop(&health.timer);
    cJSON_Delete(health.seen);
    health.seen = NULL;
}

static const struct conf_row health_members[] = {
    {.name = "every",
     .type = CONF_DURATION,
     .def = "60s",
     .max = 86400e3,
     .help = "how often the box publishes its own numbers to {root}/health; 0s: never, nor does it tell by "
             "events when its state changes"},
    {0},
};

static const struct conf_row rows[] = {
    {.name = "health",
     .type = CONF_GROUP,
     .def = "",
     .rows = health_members,
     .help = "the box's own numbers"},
    {0},
};

const struct service service_health = {
    .name = "health",
    .rows = rows,
    .start = start,
    .reload = reload,
    .stop = stop,
    .status = add_wear,
};
