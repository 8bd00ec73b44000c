/* SPDX-License-Identifier: Apache-2.0 */
/* $SYS topics with mosquitto's names where they mean the same, so that dashboards made for it work. They are
 * told when somebody subscribes to them and then every sys.every for as long as somebody listens; nobody
 * listening, they cost nothing. They are never on disk. */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "broker/broker.h"
#include "ops/sys_load.h"
#include "service.h"
#include "store/store.h"
#include "version.h"

/* What a topic's number is taken from. */
struct look {
    const struct broker_stats *broker;
    struct broker_counts counts;
    struct store_stats store;
    uint64_t queued, queued_bytes, away; /* of all sessions */
    uint64_t uptime_s;
};

struct topic {
    const char *name;
    uint64_t (*value)(const struct look *l);
};

static uint64_t clients_connected(const struct look *l)
{
    return l->broker->clients;
}

static uint64_t clients_maximum(const struct look *l)
{
    return l->broker->clients_most;
}

static uint64_t clients_away(const struct look *l)
{
    return l->away;
}

static uint64_t clients_total(const struct look *l)
{
    return l->broker->clients + l->away;
}

static uint64_t clients_expired(const struct look *l)
{
    return l->broker->expired;
}

static uint64_t packets_received(const struct look *l)
{
    return l->broker->wire.packets_in;
}

static uint64_t packets_sent(const struct look *l)
{
    return l->broker->wire.packets_out;
}

static uint64_t bytes_received(const struct look *l)
{
    return l->broker->wire.bytes_in;
}

static uint64_t bytes_sent(const struct look *l)
{
    return l->broker->wire.bytes_out;
}

static uint64_t publish_received(const struct look *l)
{
    return l->broker->wire.publishes;
}

static uint64_t publish_sent(const struct look *l)
{
    return l->broker->messages_out;
}

static uint64_t publish_dropped(const struct look *l)
{
    return l->broker->dropped;
}

static uint64_t publish_bytes_received(const struct look *l)
{
    return l->broker->wire.publish_bytes;
}

static uint64_t publish_bytes_sent(const struct look *l)
{
    return l->broker->bytes_out;
}

static uint64_t subscriptions(const struct look *l)
{
    return l->counts.subscriptions - l->counts.shared;
}

static uint64_t shared_subscriptions(const struct look *l)
{
    return l->counts.shared;
}

static uint64_t retained(const struct look *l)
{
    return l->counts.retained;
}

static uint64_t stored_messages(const struct look *l)
{
    return l->queued + l->counts.retained;
}

static uint64_t stored_bytes(const struct look *l)
{
    return l->queued_bytes + l->counts.retained_bytes;
}

static uint64_t written(const struct look *l)
{
    return l->store.bytes_written;
}

static uint64_t accepted(const struct look *l)
{
    return l->broker->accepted;
}

static uint64_t connects(const struct look *l)
{
    return l->broker->connects;
}

static uint64_t heap(const struct look *l)
{
    (void)l;
    return mallinfo2().uordblks;
}

static const struct topic topics[] = {
    {"bytes/received", bytes_received},
    {"bytes/sent", bytes_sent},
    {"clients/active", clients_connected}, /* older names of connected and disconnected */
    {"clients/connected", clients_connected},
    {"clients/disconnected", clients_away},
    {"clients/expired", clients_expired},
    {"clients/inactive", clients_away},
    {"clients/maximum", clients_maximum},
    {"clients/total", clients_total},
    {"heap/current", heap},
    {"messages/received", packets_received},
    {"messages/sent", packets_sent},
    {"messages/stored", stored_messages}, /* older name of store/messages/count */
    {"publish/messages/received", publish_received},
    {"publish/messages/sent", publish_sent},
    {"publish/messages/dropped", publish_dropped},
    {"publish/bytes/received", publish_bytes_received},
    {"publish/bytes/sent", publish_bytes_sent},
    {"retained messages/count", retained},
    {"shared_subscriptions/count", shared_subscriptions},
    {"store/messages/count", stored_messages},
    {"store/messages/bytes", stored_bytes},
    {"store/written", written}, /* of Sluice's own */
    {"subscriptions/count", subscriptions},
};

/* What the averages below load/ are of. */
static const struct topic loads[] = {
    {"bytes/received", bytes_received},
    {"bytes/sent", bytes_sent},
    {"connections", connects},
    {"messages/received", packets_received},
    {"messages/sent", packets_sent},
    {"publish/dropped", publish_dropped},
    {"publish/received", publish_received},
    {"publish/sent", publish_sent},
    {"sockets", accepted},
};

static const struct conf_row sys_members[] = {
    {"every", CONF_DURATION, .def = "10s", .min = 1000, .max = 86400000,
     .help = "how often $SYS topics are told anew while somebody listens"},
    {0},
};
static const struct conf_row rows[] = {
    {"sys", CONF_GROUP, .def = "", .rows = sys_members, .help = "the $SYS topics"},
    {0},
};

static struct {
    struct gateway *gw;
    struct timer timer;
    uint32_t every_s;
    struct load loads[ARRAY_SIZE(loads)];
    uint64_t loads_us; /* when they were brought up to date */
} self;

static void add_session(void *arg, struct session *s)
{
    struct look *l = arg;

    l->queued += session_backlog(s);
    l->queued_bytes += s->queue->bytes;
    l->away += !s->ops;
}

/* live: also to those who have subscribed; a new subscriber gets the value as a retained message. */
static void tell(const char *name, const char *value, bool live)
{
    char topic[96];

    snprintf(topic, sizeof(topic), "$SYS/broker/%s", name);
    broker_set_volatile(self.gw->broker, topic, bytes_of(value));
    if (live)
        broker_publish_bytes(self.gw->broker, topic, bytes_of(value), 0, false);
}

static void tell_number(const char *name, uint64_t value, bool live)
{
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    tell(name, text, live);
}

/* Nobody listening, they are not touched: what came meanwhile is taken as having come evenly. */
static void update_loads(const struct look *l)
{
    uint64_t now = clock_boot_us();

    if (now - self.loads_us < 1000000)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(loads); i++)
        load_update(&self.loads[i], loads[i].value(l), (double)(now - self.loads_us) / 1000000);
    self.loads_us = now;
}

static void tell_loads(bool live)
{
    char name[64], text[32];

    for (size_t i = 0; i < ARRAY_SIZE(loads) * LOAD_WINDOWS; i++) {
        snprintf(name, sizeof(name), "load/%s%s", loads[i / LOAD_WINDOWS].name, load_tails[i % LOAD_WINDOWS]);
        snprintf(text, sizeof(text), "%.2f", self.loads[i / LOAD_WINDOWS].a_minute[i % LOAD_WINDOWS]);
        tell(name, text, live);
    }
}

static void tell_all(bool live)
{
    struct broker *b = self.gw->broker;
    struct look l = {.broker = broker_stats(b),
                     .counts = broker_counts(b),
                     .uptime_s = (clock_boot_us() - self.gw->started_us) / 1000000};
    char text[32];

    broker_each_session(b, add_session, &l);
    store_get_stats(self.gw->store, &l.store);
    tell("version", "sluice version " SLUICE_VERSION, live);
    snprintf(text, sizeof(text), "%llu seconds", (unsigned long long)l.uptime_s);
    tell("uptime", text, live);
    for (size_t i = 0; i < ARRAY_SIZE(topics); i++)
        tell_number(topics[i].name, topics[i].value(&l), live);
    update_loads(&l);
    tell_loads(live);
}

static bool is_heard(const char *head, const char *name, const char *tail)
{
    char topic[96];

    snprintf(topic, sizeof(topic), "$SYS/broker/%s%s%s", head, name, tail);
    return broker_receivers(self.gw->broker, bytes_of(topic)) > 0;
}

static bool anybody_listens(void)
{
    if (is_heard("", "uptime", "") || is_heard("", "version", ""))
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(topics); i++)
        if (is_heard("", topics[i].name, ""))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(loads); i++)
        for (int w = 0; w < LOAD_WINDOWS; w++) {
            if (is_heard("load/", loads[i].name, load_tails[w]))
                return true;
        }
    return false;
}

static void on_timer(struct timer *t)
{
    if (!anybody_listens())
        return;
    tell_all(true);
    timer_start(broker_timers(self.gw->broker), t, self.every_s);
}

static void on_wanted(void *arg)
{
    (void)arg;
    tell_all(false);
    if (!timer_waits(&self.timer))
        timer_start(broker_timers(self.gw->broker), &self.timer, self.every_s);
}

static void configure(const struct conf *c)
{
    self.every_s = (uint32_t)(conf_int(conf_get(conf_root(c), "sys"), "every") / 1000);
}

static int start(struct gateway *gw)
{
    self.gw = gw;
    self.loads_us = gw->started_us;
    timer_init(&self.timer, on_timer);
    configure(gw->conf);
    broker_on_sys_wanted(gw->broker, on_wanted, NULL);
    return 0;
}

static int reload(struct gateway *gw, const struct conf *next)
{
    (void)gw;
    configure(next);
    return 0;
}

static void stop(struct gateway *gw)
{
    broker_on_sys_wanted(gw->broker, NULL, NULL);
    timer_stop(&self.timer);
}

const struct service service_sys = {
    .name = "sys", .rows = rows, .start = start, .reload = reload, .stop = stop};
