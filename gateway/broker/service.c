/* SPDX-License-Identifier: Apache-2.0 */
/* The broker as a service: its rows, the store under it, its listeners. */
#include "service.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "broker/broker.h"
#include "broker/notes.h"
#include "broker/ports.h"
#include "broker/starts.h"
#include "net/conn.h"

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

enum { CLOSE_MS = 1000, LINGER_MS = 300, CLOCK_EVERY_MS = 60000, FAIL_TICK_MS = 1000 };

static const struct conf_row store_rows[] = {
    {"linger", CONF_DURATION, .def = "0ms", .max = 60000,
     .help =
         "how long a commit may wait for company while an acknowledgement waits; longer spares the flash"},
    {"linger_idle", CONF_DURATION, .def = "200ms", .max = 60000, .help = "the same while only readings wait"},
    {"batch_max", CONF_SIZE, .def = "4M", .min = 64 * 1024, .max = 1 << 30,
     .help = "bytes that wait for one commit before publishers are slowed down"},
    {"ballast", CONF_SIZE, .def = "1M", .max = 1 << 30, .help = "room kept to delete on a full disk"},
    {"fail_after", CONF_DURATION, .def = "10s", .min = 1000, .max = 3600000,
     .help = "how long commits may fail before clients that wait for one are disconnected"},
    {0},
};
static const struct conf_row limit_rows[] = {
    {"packet", CONF_SIZE, .def = TEXT(LIMIT_PACKET), .min = 1024, .max = 268435460,
     .help = "largest MQTT packet taken"},
    {"inflight", CONF_INT, .def = "100", .min = 1, .max = 65535,
     .help = "messages sent to one client and not yet acknowledged"},
    {"receive", CONF_INT, .def = "1000", .min = 1, .max = 65535,
     .help = "messages taken from one MQTT 5 client and not yet acknowledged"},
    {"keepalive", CONF_DURATION, .def = "0s", .max = 65535000,
     .help = "longest keepalive of an MQTT 5 client; 0s: any"},
    {"clients", CONF_INT, .def = TEXT(LIMIT_CLIENTS), .min = 1, .max = LIMIT_CLIENTS,
     .help = "connections at a time"},
    {"sessions", CONF_INT, .def = "20000", .min = 1, .max = 1 << 22, .help = "sessions, connected or not"},
    {"subscriptions", CONF_INT, .def = "1000000", .min = 1, .max = 100000000,
     .help = "subscriptions of all sessions"},
    {"retained", CONF_INT, .def = "100000", .min = 0, .max = 10000000,
     .help = "topics with a retained message"},
    {"reader_backlog", CONF_SIZE, .def = "1M", .min = 4096, .max = 1 << 30,
     .help = "bytes that may wait in memory for one slow client"},
    {"connect_timeout", CONF_DURATION, .def = "10s", .min = 1000, .max = 600000,
     .help = "from connecting to the MQTT CONNECT"},
    {"session_expiry", CONF_DURATION, .def = "30d", .min = 1000, .max = 315360000000.0,
     .help = "longest life of a session without its client"},
    {"queue_messages", CONF_INT, .def = "100000", .min = 0, .max = 1099511627775.0,
     .help = "messages queued for one session; 0: no limit"},
    {"queue", CONF_SIZE, .def = DEFAULT_QUEUE_SIZE, .min = 0, .max = 1099511627776.0,
     .help = "bytes queued for one session; 0: no limit"},
    {"queue_full", CONF_CHOICE, .def = "drop-oldest",
     .choices = (const char *const[]){"drop-oldest", "drop-newest", "refuse", NULL},
     .help = "what gives way when a queue is full"},
    {0},
};
static const struct conf_row rows[] = {
    {"state_dir", CONF_PATH, .def = DEFAULT_STATE_DIR, .help = "where the database lives"},
    {"store", CONF_GROUP, .def = "", .rows = store_rows, .help = "how readings and messages go to disk"},
    {"mqtt", CONF_GROUP, .def = "", .rows = terms_rows, .help = "what of MQTT clients are offered"},
    {"limits", CONF_GROUP, .def = "", .rows = limit_rows, .help = "what bounds memory and disk"},
    {"listeners", CONF_LIST, .rows = port_rows, .help = "where local MQTT clients connect"},
    {0},
};

static struct {
    struct gateway *gw;
    struct starts *starts;
    uv_timer_t clock_timer, fail_timer;
    uint32_t fail_after_ms;
    uint64_t closing_us;
    bool store_done;
} self;

/* ---- store ---- */

static void on_commit(void *arg, store_ticket done)
{
    (void)arg;
    (void)done;
    if (!self.gw->broker)
        return;
    broker_on_commit(self.gw->broker);
    if (self.starts && self.gw->boot)
        starts_note_clock(self.starts);
}

static void on_failing(uv_timer_t *t)
{
    (void)t;
    ports_disconnect_held();
}

static void on_state(void *arg, int err, const char *text)
{
    (void)arg;
    if (err) {
        log_error("store: commits fail: %s; what waits for one waits on", text);
        uv_timer_start(&self.fail_timer, on_failing, self.fail_after_ms, FAIL_TICK_MS);
    } else {
        log_warn("store: commits work again");
        uv_timer_stop(&self.fail_timer);
    }
}

static void on_value(void *arg, const char *name, struct bytes value)
{
    (void)arg;
    starts_value(self.starts, name, value);
    notes_value(self.gw->notes, name, value);
}

static void on_clock(uv_timer_t *t)
{
    starts_note_clock(self.starts);
    if (clock_is_set()) /* when it moves later is noted with what is stored then: on_commit */
        uv_timer_stop(t);
}

static struct broker_limits limits_of(const struct conf_node *root)
{
    const struct conf_node *l = conf_get(root, "limits");

    return (struct broker_limits){
        .packet = (uint32_t)conf_int(l, "packet"),
        .inflight = (uint16_t)conf_int(l, "inflight"),
        .receive = (uint16_t)conf_int(l, "receive"),
        .keep_alive_max = (uint16_t)(conf_int(l, "keepalive") / 1000),
        .clients = (uint32_t)conf_int(l, "clients"),
        .sessions = (uint32_t)conf_int(l, "sessions"),
        .subscriptions = (uint32_t)conf_int(l, "subscriptions"),
        .retained = (uint32_t)conf_int(l, "retained"),
        .reader_backlog = (size_t)conf_int(l, "reader_backlog"),
        .connect_ms = (uint32_t)conf_int(l, "connect_timeout"),
        .session_expiry_max_s = (uint32_t)(conf_int(l, "session_expiry") / 1000),
        .queue = {(uint64_t)conf_int(l, "queue_messages"), (uint64_t)conf_int(l, "queue"), 0,
                  (enum queue_full)conf_int(l, "queue_full")},
        .terms = terms_of(conf_get(root, "mqtt")),
    };
}

static int open_store(struct gateway *gw)
{
    const struct conf_node *root = conf_root(gw->conf), *s = conf_get(root, "store");
    const struct store_config config = {
        .dir = conf_string(root, "state_dir"),
        .linger_ms = (uint32_t)conf_int(s, "linger"),
        .linger_idle_ms = (uint32_t)conf_int(s, "linger_idle"),
        .batch_max = (size_t)conf_int(s, "batch_max"),
        .ballast = (uint64_t)conf_int(s, "ballast"),
        .sync = true,
    };
    const struct store_events events = {NULL, on_commit, on_state};

    self.fail_after_ms = (uint32_t)conf_int(s, "fail_after");
    uv_timer_init(gw->loop, &self.clock_timer);
    uv_timer_init(gw->loop, &self.fail_timer);
    return store_open_sqlite(&gw->store, gw->loop, &config, &events);
}

static int start(struct gateway *gw)
{
    const struct conf_node *root = conf_root(gw->conf);
    struct broker_limits limits = limits_of(root);

    self.gw = gw;
    ports_begin(gw);
    int err = open_store(gw);
    if (err)
        return err;
    gw->broker = broker_new(gw->loop, gw->net, gw->store, &limits);
    self.starts = starts_new(gw->store);
    message_offset_source(starts_offset, self.starts);
    gw->notes = notes_new(gw->store);
    err = broker_load(gw->broker, on_value, NULL);
    if (err)
        return err;
    gw->boot = starts_begin(self.starts);
    broker_set_boot(gw->broker, gw->boot);
    uv_timer_start(&self.clock_timer, on_clock, 1000, CLOCK_EVERY_MS);
    return ports_open(root);
}

/* ---- reload ---- */

static int reload(struct gateway *gw, const struct conf *next)
{
    struct broker_limits limits = limits_of(conf_root(next));

    broker_set_limits(gw->broker, &limits);
    return ports_reload(conf_root(next));
}

/* ---- stop ---- */

static void stop(struct gateway *gw)
{
    self.closing_us = clock_boot_us();
    if (gw->broker)
        broker_wake(gw->broker); /* when there has been no turn yet */
    ports_close();
    uv_close((uv_handle_t *)&self.clock_timer, NULL);
    uv_close((uv_handle_t *)&self.fail_timer, NULL);
}

static bool stopped(struct gateway *gw)
{
    if (net_count(gw->net)) {
        if (clock_boot_us() - self.closing_us > LINGER_MS * 1000)
            net_hurry(gw->net);
        return false;
    }
    if (gw->store && !self.store_done) {
        self.store_done = true;
        if (self.starts && gw->boot)
            starts_note_clock(self.starts);
        int err = store_close(gw->store, CLOSE_MS);
        if (err)
            log_error("store: not everything could be committed: %s", strerror(-err));
    }
    if (gw->store && !store_closed(gw->store))
        return false;
    ports_free();
    broker_free(gw->broker);
    message_offset_source(NULL, NULL);
    starts_free(self.starts);
    notes_free(self.gw->notes);
    store_free(gw->store);
    gw->broker = NULL;
    gw->store = NULL;
    return true;
}

/* ---- status ---- */

static void status_broker(struct gateway *gw, cJSON *into)
{
    const struct broker_stats *s = broker_stats(gw->broker);
    struct broker_counts n = broker_counts(gw->broker);
    cJSON *b = cJSON_AddObjectToObject(into, "broker");

    cJSON_AddNumberToObject(b, "clients", (double)s->clients);
    cJSON_AddNumberToObject(b, "clients_most", (double)s->clients_most);
    cJSON_AddNumberToObject(b, "sessions", (double)n.sessions);
    cJSON_AddNumberToObject(b, "subscriptions", (double)n.subscriptions);
    cJSON_AddNumberToObject(b, "retained", (double)n.retained);
    cJSON_AddNumberToObject(b, "retained_refused", (double)n.retained_refused);
    cJSON_AddNumberToObject(b, "messages_in", (double)s->messages_in);
    cJSON_AddNumberToObject(b, "messages_out", (double)s->messages_out);
    cJSON_AddNumberToObject(b, "bytes_in", (double)s->bytes_in);
    cJSON_AddNumberToObject(b, "bytes_out", (double)s->bytes_out);
    cJSON_AddNumberToObject(b, "dropped", (double)s->dropped);
    cJSON_AddNumberToObject(b, "too_large", (double)s->too_large);
    cJSON_AddNumberToObject(b, "queue_full", (double)s->queue_full);
    cJSON_AddNumberToObject(b, "slow_reader", (double)s->slow_reader);
    cJSON_AddNumberToObject(b, "unknown_acks", (double)s->unknown_acks);
    cJSON_AddNumberToObject(b, "unread_answers", (double)s->unread_answers);
    cJSON_AddNumberToObject(b, "connects", (double)s->connects);
    cJSON_AddNumberToObject(b, "refused", (double)s->refused_connects);
    cJSON_AddNumberToObject(b, "protocol_errors", (double)s->protocol_errors);
    cJSON_AddNumberToObject(b, "keepalive_timeouts", (double)s->keepalive_timeouts);
    cJSON_AddNumberToObject(b, "connect_timeouts", (double)s->connect_timeouts);
    cJSON_AddNumberToObject(b, "taken_over", (double)s->taken_over);
}

static void status_store(struct gateway *gw, cJSON *into)
{
    cJSON *o = cJSON_AddObjectToObject(into, "store");
    struct store_stats s;

    store_get_stats(gw->store, &s);
    cJSON_AddStringToObject(o, "dir", conf_string(conf_root(gw->conf), "state_dir"));
    cJSON_AddNumberToObject(o, "commits", (double)s.commits);
    cJSON_AddNumberToObject(o, "operations", (double)s.operations);
    cJSON_AddNumberToObject(o, "failures", (double)s.failures);
    cJSON_AddNumberToObject(o, "refused", (double)s.refused);
    cJSON_AddNumberToObject(o, "bytes_written", (double)s.bytes_written);
    cJSON_AddNumberToObject(o, "file_bytes", (double)s.file_bytes);
    cJSON_AddNumberToObject(o, "wal_bytes", (double)s.wal_bytes);
    cJSON_AddNumberToObject(o, "free_bytes", (double)s.free_bytes);
    cJSON_AddNumberToObject(o, "open_bytes", (double)s.open_bytes);
    cJSON_AddNumberToObject(o, "rows_visited", (double)s.rows_visited);
    cJSON_AddNumberToObject(o, "damaged", (double)s.damaged);
    cJSON_AddNumberToObject(o, "commit_us_last", (double)s.commit_us_last);
    cJSON_AddNumberToObject(o, "commit_us_most", (double)s.commit_us_most);
    cJSON_AddStringToObject(o, "state", s.last_error ? "failing" : "ok");
    if (s.last_error) {
        cJSON_AddStringToObject(o, "error", strerror(-s.last_error));
        cJSON_AddNumberToObject(o, "failing_s", (double)((clock_boot_us() - s.failing_since_us) / 1000000));
    }
}

static void status(struct gateway *gw, cJSON *into)
{
    if (!gw->broker)
        return;
    status_broker(gw, into);
    status_store(gw, into);
    ports_status(into);
}

const struct service service_broker = {"broker", rows,    ports_check, start, reload,
                                       stop,     stopped, status,      NULL};
