/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>

#include "base/clock.h"
#include "bridge/uplink_private.h"

static const char *const state_names[] = {
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

    cJSON_AddStringToObject(o, "url", u->settings->urls[u->url].text);
    cJSON_AddStringToObject(o, "state", state_names[u->state]);
    if (clock_is_set()) {
        clock_format(u->since_wall, since);
        cJSON_AddStringToObject(o, "since", since);
    }
    add(o, "since_s", (clock_boot_us() - u->since) / 1000000);
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

static void add_backlog(const struct uplink *u, cJSON *o)
{
    static const char *const policies[] = {"drop-oldest", "drop-newest", "refuse"};
    const struct session *s = u->session;

    add(o, "backlog", session_backlog(s));
    add(o, "backlog_bytes", s->bytes);
    add(o, "backlog_max_bytes", s->limits.bytes);
    add(o, "oldest_s", session_oldest_s(s));
    add(o, "in_flight", s->in_flight);
    cJSON_AddStringToObject(o, "when_full", policies[s->limits.full]);
}

/* What was dropped, and by which rule. */
static void add_drops(const struct uplink *u, cJSON *o)
{
    const struct queue_counts *q = &u->session->counts;
    cJSON *d = cJSON_AddObjectToObject(o, "dropped");

    add(d, "oldest", q->dropped_oldest);
    add(d, "newest", q->dropped_newest);
    add(d, "refused", q->refused);
    add(d, "expired", q->expired);
    add(d, "qos0", q->dropped_qos0);
    add(d, "too_large", q->too_large + u->counts.too_large);
    add(d, "loop", u->counts.loop);
    add(d, "no_rule", u->counts.no_rule);
    add(d, "no_topic", u->counts.no_topic);
    add(d, "rejected", u->counts.rejected);
    add(d, "in_no_rule", u->counts.in_no_rule);
    add(d, "in_no_topic", u->counts.in_no_topic);
    add(d, "in_too_large", u->counts.in_too_large);
    add(d, "in_refused", u->counts.in_refused);
}

void uplink_status(const struct uplink *u, cJSON *into)
{
    cJSON_AddStringToObject(into, "name", u->settings->name);
    add_connection(u, into);
    add_backlog(u, into);
    add(into, "sent", u->counts.sent);
    add(into, "acked", u->session->delivered - u->counts.skipped);
    add(into, "received", u->counts.received);
    add(into, "unknown_acks", u->counts.unknown_acks);
    add_drops(u, into);
}
