/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>

#include "base/clock.h"
#include "bridge/uplink_private.h"

static const char *const phases[] = {
    [UPLINK_WAITING] = "waiting",     [UPLINK_CONNECTING] = "connecting", [UPLINK_GREETING] = "greeting",
    [UPLINK_CONNECTED] = "connected", [UPLINK_STOPPED] = "stopped",
};

static void add(cJSON *o, const char *name, uint64_t number)
{
    cJSON_AddNumberToObject(o, name, (double)number);
}

static void add_connection(const struct uplink *u, cJSON *o)
{
    const char *cipher = u->attempt ? conn_cipher(&u->attempt->conn) : "";
    char since[32];
    bool online = u->state == UPLINK_CONNECTED;

    cJSON_AddStringToObject(o, "url", u->settings->urls[u->url].text);
    /* A try that fails is no change: who watches state and since must not hear of each. */
    cJSON_AddStringToObject(o, "state", online ? "online" : "offline");
    cJSON_AddStringToObject(o, "phase", phases[u->state]);
    if (clock_is_set()) {
        clock_format(u->turned_wall, since);
        cJSON_AddStringToObject(o, "since", since);
    }
    add(o, "since_s", (clock_boot_us() - u->turned) / 1000000);
    if (u->fault && !online)
        cJSON_AddStringToObject(o, "error", u->fault);
    if (u->fault)
        cJSON_AddStringToObject(o, "last_error", u->fault);
    if (*cipher)
        cJSON_AddStringToObject(o, "tls", cipher);
    if (u->subscription_fault)
        cJSON_AddStringToObject(o, "refused_filters", u->subscription_fault);
    if (u->rtt)
        cJSON_AddNumberToObject(o, "ping_ms", (double)u->rtt / 1000);
    add(o, "connects", u->counts.connects);
    add(o, "losses", u->counts.losses);
}

static uint64_t oldest_s(const struct lanes *l)
{
    uint64_t normal = session_oldest_s(l->normal), urgent = l->urgent ? session_oldest_s(l->urgent) : 0;

    return urgent > normal ? urgent : normal;
}

static void add_lane(cJSON *lanes, const char *name, const struct session *s)
{
    cJSON *o = s ? cJSON_AddObjectToObject(lanes, name) : NULL;

    if (!s)
        return;
    const struct queue_counts *c = &s->queue->counts;
    add(o, "backlog", session_backlog(s));
    add(o, "bytes", s->queue->bytes);
    add(o, "bytes_most", s->queue->limits.bytes);
    add(o, "oldest_s", session_oldest_s(s));
    add(o, "in_flight", s->queue->in_flight);
    add(o, "acked", s->queue->delivered);
    add(o, "expired", c->expired);
    add(o, "dropped", c->dropped_oldest + c->dropped_newest + c->refused + c->dropped_qos0 + c->too_large);
}

/* Of both lanes, then of each. */
static void add_backlog(const struct uplink *u, cJSON *o)
{
    static const char *const policies[] = {"drop-oldest", "drop-newest", "refuse"};
    const struct session *s = u->lanes.normal, *urgent = u->lanes.urgent;

    add(o, "backlog", lanes_backlog(&u->lanes));
    add(o, "urgent", urgent ? session_backlog(urgent) : 0);
    add(o, "bytes", s->queue->bytes + (urgent ? urgent->queue->bytes : 0));
    add(o, "bytes_most", s->queue->limits.bytes + (urgent ? urgent->queue->limits.bytes : 0));
    add(o, "oldest_s", oldest_s(&u->lanes));
    add(o, "in_flight", lanes_in_flight(&u->lanes));
    cJSON_AddStringToObject(o, "when_full", policies[s->queue->limits.full]);
    cJSON *lanes = cJSON_AddObjectToObject(o, "lanes");
    add_lane(lanes, "normal", s);
    add_lane(lanes, "urgent", urgent);
}

static struct queue_counts counts_of(const struct lanes *l)
{
    const struct queue_counts *a = &l->normal->queue->counts;
    struct queue_counts none = {0}, *b = l->urgent ? &l->urgent->queue->counts : &none;

    return (struct queue_counts){
        .dropped_oldest = a->dropped_oldest + b->dropped_oldest,
        .dropped_newest = a->dropped_newest + b->dropped_newest,
        .refused = a->refused + b->refused,
        .expired = a->expired + b->expired,
        .dropped_qos0 = a->dropped_qos0 + b->dropped_qos0,
        .too_large = a->too_large + b->too_large,
    };
}

/* What was dropped, why, and what of it is no fault but meant. */
static void add_drops(const struct uplink *u, cJSON *o)
{
    const struct queue_counts q = counts_of(&u->lanes);
    const struct uplink_counts *c = &u->counts;
    const struct {
        const char *name;
        uint64_t count;
        bool meant;
    } drops[] = {
        {"oldest", q.dropped_oldest, false},
        {"newest", q.dropped_newest, false},
        {"refused", q.refused, false},
        {"expired", q.expired, true}, /* has a member of its own */
        {"qos0", q.dropped_qos0, false},
        {"too_large", q.too_large + c->too_large, false},
        {"rejected", c->rejected, false},
        {"no_rule", c->no_rule, false},
        {"no_topic", c->no_topic, false},
        {"loop", c->loop, true},
        {"in_no_rule", c->in_no_rule, false},
        {"in_no_topic", c->in_no_topic, false},
        {"in_too_large", c->in_too_large, false},
        {"in_refused", c->in_refused, true}, /* it comes again */
    };
    cJSON *each = cJSON_CreateObject();
    uint64_t sum = 0;

    for (size_t i = 0; i < ARRAY_SIZE(drops); i++) {
        add(each, drops[i].name, drops[i].count);
        sum += drops[i].meant ? 0 : drops[i].count;
    }
    add(o, "dropped", sum);
    add(o, "expired", q.expired);
    cJSON_AddItemToObject(o, "drops", each);
}

static uint64_t acked(const struct lanes *l)
{
    return l->normal->queue->delivered + (l->urgent ? l->urgent->queue->delivered : 0);
}

void uplink_status(const struct uplink *u, cJSON *into)
{
    cJSON_AddStringToObject(into, "name", u->settings->name);
    add_connection(u, into);
    add_backlog(u, into);
    add(into, "sent", u->counts.sent);
    add(into, "acked", acked(&u->lanes) - u->counts.skipped);
    add(into, "received", u->counts.received);
    add(into, "unknown_acks", u->counts.unknown_acks);
    add_drops(u, into);
}
