/* SPDX-License-Identifier: Apache-2.0 */
/* $SYS topics with mosquitto's names where they mean the same, so that dashboards made for it work. They are
 * told when somebody subscribes to them and then every sys.every for as long as somebody listens; nobody
 * listening, they cost nothing. They are never on disk. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "broker/broker.h"
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

static uint64_t publish_received(const struct look *l)
{
    return l->broker->messages_in;
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
    return l->broker->bytes_in;
}

static uint64_t publish_bytes_sent(const struct look *l)
{
    return l->broker->bytes_out;
}

static uint64_t subscriptions(const struct look *l)
{
    return l->counts.subscriptions;
}

static uint64_t retained(const struct look *l)
{
    return l->counts.retained;
}

static uint64_t stored_messages(const struct look *l)
{
    return l->queued;
}

static uint64_t stored_bytes(const struct look *l)
{
    return l->queued_bytes;
}

static uint64_t written(const struct look *l)
{
    return l->store.bytes_written;
}

static const struct topic topics[] = {
    {"clients/connected", clients_connected},
    {"clients/disconnected", clients_away},
    {"clients/maximum", clients_maximum},
    {"clients/total", clients_total},
    {"publish/messages/received", publish_received},
    {"publish/messages/sent", publish_sent},
    {"publish/messages/dropped", publish_dropped},
    {"publish/bytes/received", publish_bytes_received},
    {"publish/bytes/sent", publish_bytes_sent},
    {"retained messages/count", retained},
    {"subscriptions/count", subscriptions},
    {"store/messages/count", stored_messages},
    {"store/messages/bytes", stored_bytes},
    {"store/written", written}, /* of Sluice's own */
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

static void tell_all(bool live)
{
    struct broker *b = self.gw->broker;
    struct look l = {.broker = broker_stats(b),
                     .counts = broker_counts(b),
                     .uptime_s = (clock_boot_us() - self.gw->started_us) / 1000000};
    char text[64];

    broker_each_session(b, add_session, &l);
    store_get_stats(self.gw->store, &l.store);
    tell("version", "sluice version " SLUICE_VERSION, live);
    snprintf(text, sizeof(text), "%llu seconds", (unsigned long long)l.uptime_s);
    tell("uptime", text, live);
    for (size_t i = 0; i < ARRAY_SIZE(topics); i++) {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)topics[i].value(&l));
        tell(topics[i].name, text, live);
    }
}

static bool anybody_listens(void)
{
    char topic[96];

    if (broker_receivers(self.gw->broker, bytes_of("$SYS/broker/uptime")))
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(topics); i++) {
        snprintf(topic, sizeof(topic), "$SYS/broker/%s", topics[i].name);
        if (broker_receivers(self.gw->broker, bytes_of(topic)))
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
