/* SPDX-License-Identifier: Apache-2.0 */
/* What people watch of a line of motes. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "broker/session_ids.h"
#include "drivers/mqttsn/gateway.h"

void peer_text(const struct sn_line *l, const struct sn_peer *p, char out[160])
{
    char at[64];
    size_t len;

    address_text(&p->place.at, at);
    len = (size_t)snprintf(out, 160, "%s", p->place.at.family == AF_UNSPEC ? l->settings->port : at);
    if (!p->wrapped || len > 80)
        return;
    len += (size_t)snprintf(out + len, 160 - len, " node ");
    for (size_t i = 0; i < p->node_len && len < 157; i++)
        len += (size_t)snprintf(out + len, 160 - len, "%02x", p->node[i]);
}

static char *percent(struct bytes id)
{
    char *out = mem_alloc(3 * id.len + 1), *at = out;

    for (size_t i = 0; i < id.len; i++) {
        uint8_t c = id.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                     c == '.' || c == '-';
        at += plain ? sprintf(at, "%c", c) : sprintf(at, "%%%02X", c);
    }
    return out;
}

static void add_time(cJSON *to, const char *name, uint64_t boot_us)
{
    char text[32];

    clock_format((int64_t)boot_us + clock_offset_us(), text);
    cJSON_AddStringToObject(to, name, text);
}

/* Presence, retained. */
void mote_publish_state(const struct mote *m, const char *state, const char *reason)
{
    if (!m->line->settings->presence)
        return;
    char *id = percent(mote_id(m));
    char *topic = mem_format("%s/mote/%s/state", m->line->root, id);
    cJSON *what = cJSON_CreateObject();

    cJSON_AddStringToObject(what, "state", state);
    add_time(what, "since", clock_boot_us());
    if (!clock_is_set())
        cJSON_AddStringToObject(what, "clk", "unset");
    cJSON_AddStringToObject(what, "reason", reason);
    cJSON_AddStringToObject(what, "line", m->line->settings->name);
    char *text = cJSON_PrintUnformatted(what);
    broker_publish_bytes(m->line->b, topic, bytes_of(text), 1, true);
    free(text);
    cJSON_Delete(what);
    free(topic);
    free(id);
}

static const char *state_of(const struct mote *m)
{
    if (m->state == MOTE_ASLEEP)
        return list_empty(&m->awake) ? "asleep" : "awake";
    return m->state == MOTE_ACTIVE ? m->deaf ? "silent" : "online" : "connecting";
}

void line_motes(const struct sn_line *l, cJSON *into)
{
    char peer[160];

    list_for(it, &l->motes)
    {
        const struct mote *m = list_entry(it, struct mote, in_line);
        cJSON *o = cJSON_CreateObject();
        char *id = percent(mote_id(m));
        cJSON_AddStringToObject(o, "id", id);
        free(id);
        peer_text(l, &m->peer, peer);
        cJSON_AddStringToObject(o, "line", l->settings->name);
        cJSON_AddStringToObject(o, "address", m->placed ? peer : "");
        cJSON_AddStringToObject(o, "state", state_of(m));
        add_time(o, "since", m->since_us);
        add_time(o, "seen", m->seen_us);
        cJSON_AddNumberToObject(o, "seen_s", (double)((clock_boot_us() - m->seen_us) / 1000000));
        cJSON_AddNumberToObject(o, "keepalive", m->state == MOTE_ASLEEP ? m->sleep_s : m->keep_alive);
        cJSON_AddNumberToObject(o, "retries", m->retries);
        cJSON_AddNumberToObject(o, "waiting", m->waiting_count);
        if (m->session) {
            cJSON_AddBoolToObject(o, "durable", m->session->no != 0);
            cJSON_AddNumberToObject(o, "queue", (double)session_backlog(m->session));
            cJSON_AddNumberToObject(o, "dropped",
                                    (double)(m->session->queue->counts.dropped_oldest +
                                             m->session->queue->counts.dropped_newest));
            cJSON_AddNumberToObject(o, "topics", session_topics(m->session));
        }
        cJSON_AddItemToArray(into, o);
    }
}

void line_status(const struct sn_line *l, cJSON *into)
{
    const struct sn_counts *c = &l->counts;
    const struct {
        const char *name;
        uint64_t count;
    } counts[] = {
        {"motes", l->mote_count},
        {"packets_in", c->packets_in},
        {"packets_out", c->packets_out},
        {"bytes_in", c->bytes_in},
        {"bytes_out", c->bytes_out},
        {"malformed", c->malformed},
        {"unknown_types", c->unknown_types},
        {"misplaced", c->misplaced},
        {"limited", c->limited},
        {"strangers", c->strangers},
        {"connects", c->connects},
        {"refused", c->refused},
        {"lost", c->lost},
        {"moved", c->moved},
        {"wakes", c->wakes},
        {"publishes", c->publishes},
        {"minus_one", c->minus_one},
        {"minus_one_refused", c->minus_one_refused},
        {"bad_ids", c->bad_ids},
        {"deliveries", c->deliveries},
        {"retries", c->retries},
        {"given_up", c->given_up},
        {"topic_refused", c->topic_refused},
        {"too_large", c->too_large},
        {"dropped_qos0", c->dropped_qos0},
    };
    uint64_t passed_us = clock_boot_us() - l->since_us;

    cJSON_AddStringToObject(into, "name", l->settings->name);
    cJSON_AddStringToObject(into, "protocol", "mqtt-sn");
    cJSON_AddStringToObject(into, "port", l->settings->port);
    cJSON_AddStringToObject(into, "state", l->link ? "open" : "down");
    cJSON_AddNumberToObject(into, "retry", l->settings->retry_s);
    add_time(into, "since", l->since_us);
    cJSON_AddNumberToObject(into, "load", passed_us ? (double)c->airtime_us / (double)passed_us : 0);
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        cJSON_AddNumberToObject(into, counts[i].name, (double)counts[i].count);
    if (l->link)
        l->link->kind->status(l->link, into);
}
