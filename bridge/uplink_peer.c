/* SPDX-License-Identifier: Apache-2.0 */
/* What the upstream says: packets in, each to its handler. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "bridge/uplink_private.h"
#include "bridge/wire.h"
#include "service.h"

typedef void hear_fn(struct uplink *u, const struct mqtt_packet *p);

static void ack(struct uplink *u, enum mqtt_type type, uint16_t id, uint8_t reason, store_ticket ticket)
{
    broker_want(u->gw->broker, ticket);
    wire_ack(uplink_held_lane(u, ticket), type, id, reason, u->settings->version);
}

/* ---- CONNACK ---- */

/* What no later try mends by itself. */
static bool needs_people(uint8_t reason)
{
    return reason != MQTT_SERVER_UNAVAILABLE && reason != MQTT_SERVER_BUSY && reason != MQTT_QUOTA_EXCEEDED &&
           reason != MQTT_CONNECTION_RATE && reason != MQTT_UNSPECIFIED;
}

static uint8_t highest_qos(const struct remap *r)
{
    uint8_t qos = 0;

    for (size_t i = 0; i < r->out_count; i++)
        if (r->out[i].qos > qos)
            qos = r->out[i].qos;
    return qos;
}

static void learn(struct uplink *u, const struct mqtt_connack *a)
{
    uint32_t window = mqtt_number(&a->props, MQTT_RECEIVE_MAXIMUM, UINT16_MAX);

    u->peer.packet_max = mqtt_number(&a->props, MQTT_MAXIMUM_PACKET_SIZE, UINT32_MAX);
    u->peer.window = (uint16_t)(window < u->settings->window ? window : u->settings->window);
    u->peer.keepalive_s = mqtt_number(&a->props, MQTT_SERVER_KEEP_ALIVE, u->settings->keepalive_s);
    u->peer.retain = mqtt_number(&a->props, MQTT_RETAIN_AVAILABLE, 1);
    u->peer.session_present = a->session_present;
}

static void on_connack(struct uplink *u, const struct mqtt_packet *p)
{
    const struct mqtt_connack *a = &p->connack;
    struct bytes why = mqtt_text(&a->props, MQTT_REASON_STRING);
    uint32_t qos = mqtt_number(&a->props, MQTT_MAXIMUM_QOS, 2);

    if (a->reason)
        uplink_lost(u, needs_people(a->reason), "the upstream refuses us: %s%s%.*s",
                    mqtt_reason_text(a->reason), why.len ? ": " : "", (int)why.len, (const char *)why.data);
    else if (qos < highest_qos(&u->settings->remap))
        uplink_lost(u, true, "the upstream takes QoS %u at most and an `out` rule has more", qos);
    else {
        learn(u, a);
        uplink_connected(u);
    }
}

/* ---- PUBLISH ---- */

/* What a message keeps of its properties on the way. */
static bool is_forwarded(enum mqtt_prop id)
{
    return id == MQTT_PAYLOAD_FORMAT || id == MQTT_CONTENT_TYPE || id == MQTT_RESPONSE_TOPIC ||
           id == MQTT_CORRELATION_DATA || id == MQTT_USER_PROPERTY;
}

static struct bytes forwarded_props(struct uplink *u, struct bytes raw)
{
    struct cursor at = cursor_of(raw.data, raw.len);
    struct mqtt_property prop;

    u->props.len = 0;
    while (mqtt_props_next(&at, &prop))
        if (is_forwarded(prop.id))
            buf_append(&u->props, prop.whole.data, prop.whole.len);
    return (struct bytes){u->props.data, u->props.len};
}

/* The ticket to hold the acknowledgement at, or SESSION_REFUSED. */
static store_ticket take_message(struct uplink *u, const struct mqtt_publish *in)
{
    enum remap_verdict verdict = remap_in(&u->settings->remap, in->topic, &u->topic);

    if (verdict != REMAP_OK) {
        ++*(verdict == REMAP_NO_RULE ? &u->counts.in_no_rule : &u->counts.in_no_topic);
        return 0;
    }
    struct message m = {
        .topic = {u->topic.data, u->topic.len},
        .props = forwarded_props(u, in->props.raw),
        .payload = in->payload,
        .publisher = u->lanes.normal->key,
        .born_us = (int64_t)clock_boot_us(),
        .expires = mqtt_has(&in->props, MQTT_MESSAGE_EXPIRY),
        .expiry_s = mqtt_number(&in->props, MQTT_MESSAGE_EXPIRY, 0),
        .boot = u->gw->boot,
        .qos = in->qos,
        .retain = in->retain,
    };
    store_ticket ticket = broker_publish(u->gw->broker, &m, NULL);
    message_done(&m);
    return ticket;
}

/* A full queue here refuses it. MQTT 5 has a word for that; before, all one can do is not to acknowledge it:
 * the upstream sends it again on the next connection. */
static void refuse(struct uplink *u, const struct mqtt_publish *in)
{
    store_ticket ticket = 0;

    u->counts.in_refused++;
    if (in->qos == 2)
        session_inbound_done(u->lanes.normal, in->id, &ticket);
    if (in->qos && u->settings->version == MQTT_5)
        ack(u, in->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, in->id, MQTT_QUOTA_EXCEEDED, ticket);
    else if (in->qos && !u->withheld_at)
        u->withheld_at = clock_boot_us();
}

static void on_publish(struct uplink *u, const struct mqtt_packet *p)
{
    const struct mqtt_publish *in = &p->publish;
    store_ticket known = 0, taken = 0;

    u->counts.received++;
    /* A repeat of QoS 2 is acknowledged again and goes no further ([MQTT-4.3.3-2]). */
    if (in->qos < 2 || session_inbound(u->lanes.normal, in->id, &known))
        taken = take_message(u, in);
    if (taken == SESSION_REFUSED)
        refuse(u, in);
    else if (in->qos)
        ack(u, in->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, in->id, MQTT_OK, taken > known ? taken : known);
}

static void on_pubrel(struct uplink *u, const struct mqtt_packet *p)
{
    store_ticket ticket;
    bool known = session_inbound_done(u->lanes.normal, p->ack.id, &ticket);

    ack(u, MQTT_PUBCOMP, p->ack.id, known ? MQTT_OK : MQTT_ID_NOT_FOUND, ticket);
}

/* ---- acknowledgements of what we sent ---- */

static void on_progress(struct uplink *u, uint8_t reason)
{
    u->progress_at = u->heard_at;
    lanes_acked(&u->lanes);
    u->counts.rejected += reason >= MQTT_UNSPECIFIED;
}

static void on_puback(struct uplink *u, const struct mqtt_packet *p)
{
    if (u->presence_id && p->ack.id == u->presence_id)
        u->presence_id = 0;
    else if (session_on_puback(lanes_owner(&u->lanes, p->ack.id), p->ack.id))
        u->counts.unknown_acks++;
    else
        on_progress(u, p->ack.reason);
}

static void on_pubrec(struct uplink *u, const struct mqtt_packet *p)
{
    bool refused = p->ack.reason >= MQTT_UNSPECIFIED, release = false;
    store_ticket ticket = 0;

    if (!session_on_pubrec(lanes_owner(&u->lanes, p->ack.id), p->ack.id, refused, &release, &ticket)) {
        on_progress(u, p->ack.reason);
        if (release)
            ack(u, MQTT_PUBREL, p->ack.id, MQTT_OK, ticket);
        return;
    }
    u->counts.unknown_acks++;
    if (!refused) /* or the upstream would ask for ever */
        ack(u, MQTT_PUBREL, p->ack.id, MQTT_ID_NOT_FOUND, 0);
}

static void on_pubcomp(struct uplink *u, const struct mqtt_packet *p)
{
    if (session_on_pubcomp(lanes_owner(&u->lanes, p->ack.id), p->ack.id))
        u->counts.unknown_acks++;
    else
        on_progress(u, MQTT_OK); /* 0x92 also ends it */
}

/* ---- SUBACK and the rest ---- */

static void tell_refused_filters(struct uplink *u, struct bytes codes)
{
    struct buf names = {0};

    for (size_t i = 0; i < codes.len; i++)
        if (codes.data[i] >= MQTT_UNSPECIFIED)
            buf_printf(&names, "%s%s", names.len ? ", " : "", u->settings->remap.in[i].match);
    const char *now = names.len ? (const char *)names.data : "";
    const char *before = u->subscription_fault ? u->subscription_fault : "";
    if (*now && strcmp(now, before) != 0)
        log_warn("bridge %s: the upstream refuses to send %s", u->settings->name, now);
    free(u->subscription_fault);
    u->subscription_fault = *now ? mem_strdup(now) : NULL;
    buf_free(&names);
}

static void on_suback(struct uplink *u, const struct mqtt_packet *p)
{
    if (!u->subscribe_id || p->ack.id != u->subscribe_id) {
        u->counts.unknown_acks++;
        return;
    }
    u->subscribe_id = 0;
    if (p->ack.codes.len != u->settings->remap.in_count) {
        uplink_lost(u, false, "SUBACK has %zu codes for %zu filters", p->ack.codes.len,
                    u->settings->remap.in_count);
        return;
    }
    tell_refused_filters(u, p->ack.codes);
    u->subscribed = u->subscription_fault ? 0 : u->url + 1;
}

static void on_unsuback(struct uplink *u, const struct mqtt_packet *p)
{
    if (!u->unsubscribe_id || p->ack.id != u->unsubscribe_id) {
        u->counts.unknown_acks++;
        return;
    }
    u->unsubscribe_id = 0;
    while (u->stale_count)
        free(u->stale[--u->stale_count]);
}

static void on_pingresp(struct uplink *u, const struct mqtt_packet *p)
{
    (void)p;
    if (u->ping_at)
        u->rtt = u->heard_at - u->ping_at;
    u->ping_at = 0;
}

static void on_disconnect(struct uplink *u, const struct mqtt_packet *p)
{
    struct bytes why = mqtt_text(&p->ack.props, MQTT_REASON_STRING);

    uplink_lost(u, p->ack.reason == MQTT_TAKEN_OVER, "the upstream disconnects: %s%s%.*s%s",
                mqtt_reason_text(p->ack.reason), why.len ? ": " : "", (int)why.len, (const char *)why.data,
                p->ack.reason == MQTT_TAKEN_OVER ? "; does another client use this client_id?" : "");
}

/* ---- bytes to packets ---- */

static hear_fn *const handlers[16] = {
    [MQTT_PUBLISH] = on_publish,   [MQTT_PUBACK] = on_puback,     [MQTT_PUBREC] = on_pubrec,
    [MQTT_PUBREL] = on_pubrel,     [MQTT_PUBCOMP] = on_pubcomp,   [MQTT_SUBACK] = on_suback,
    [MQTT_UNSUBACK] = on_unsuback, [MQTT_PINGRESP] = on_pingresp, [MQTT_DISCONNECT] = on_disconnect,
};

static hear_fn *handler_of(const struct uplink *u, uint8_t type)
{
    if (u->state == UPLINK_GREETING) /* [MQTT-3.2.0-1] */
        return type == MQTT_CONNACK ? on_connack : NULL;
    if (type == MQTT_DISCONNECT && u->settings->version != MQTT_5)
        return NULL;
    return handlers[type & 15];
}

static void hear_packet(struct uplink *u, const uint8_t *data, size_t len)
{
    struct mqtt_packet p;
    uint8_t why = MQTT_MALFORMED;

    if (mqtt_decode(data, len, u->settings->version, &p, &why)) {
        uplink_lost(u, false, "%s from the upstream: %s", mqtt_type_name(data[0] >> 4),
                    mqtt_reason_text(why));
        return;
    }
    handler_of(u, p.type)(u, &p);
}

static size_t skip_some(struct uplink *u, size_t len)
{
    size_t gone = u->skip < len ? (size_t)u->skip : len;

    u->skip -= gone;
    return gone;
}

/* A PUBLISH too large for us must not come again and again: it is acknowledged unread and counted. Returns
 * how many of its bytes are gone, 0 while too few of them are there. */
static size_t pass_over(struct uplink *u, const uint8_t *data, size_t len, size_t header, size_t total)
{
    struct cursor c = cursor_of(data + header, len - header);
    uint8_t qos = data[0] >> 1 & 3;

    if (data[0] >> 4 != MQTT_PUBLISH || u->state != UPLINK_CONNECTED || qos > 2) {
        uplink_lost(u, false, "%s of %zu bytes from the upstream", mqtt_type_name(data[0] >> 4), total);
        return 0;
    }
    struct bytes topic = cursor_bytes(&c, cursor_u16(&c));
    uint16_t id = qos ? cursor_u16(&c) : 0;
    if (c.failed)
        return 0;
    if (!u->counts.in_too_large++)
        log_warn("bridge %s: %.*s from the upstream has %zu bytes, more than we take; it is dropped",
                 u->settings->name, (int)(topic.len < 200 ? topic.len : 200), (const char *)topic.data,
                 total);
    u->skip = total;
    if (qos)
        ack(u, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, id, MQTT_OK, 0);
    return skip_some(u, len);
}

static void on_calm(struct broker_waiter *w)
{
    struct uplink *u = container_of(w, struct uplink, waiter);

    u->paused = false;
    if (u->attempt)
        conn_resume(&u->attempt->conn);
}

static void wait_for_calm(struct uplink *u)
{
    u->paused = true;
    u->waiter.calm = on_calm;
    broker_when_calm(u->gw->broker, &u->waiter);
    conn_pause(&u->attempt->conn);
}

/* One packet from the front: how many bytes it took, 0 when it is not whole. */
static size_t hear_first(struct uplink *u, const uint8_t *data, size_t len)
{
    size_t header = 0, total = 0;

    if (u->skip)
        return skip_some(u, len);
    if (!handler_of(u, data[0] >> 4)) { /* do not wait for the rest of what may be no MQTT at all */
        uplink_lost(u, false, "%s from the upstream is out of place", mqtt_type_name(data[0] >> 4));
        return 0;
    }
    int found = mqtt_frame(data, len, broker_limits(u->gw->broker)->packet, &header, &total);
    if (found == -EMSGSIZE)
        return pass_over(u, data, len, header, total);
    if (found == -EBADMSG)
        uplink_lost(u, false, "the upstream does not speak MQTT: a packet length is malformed");
    if (found != 1 || total > len)
        return 0;
    hear_packet(u, data, total);
    return total;
}

size_t uplink_hear(struct uplink *u, const uint8_t *data, size_t len)
{
    const struct attempt *attempt = u->attempt;
    size_t at = 0, step;

    u->heard_at = clock_boot_us();
    while (at < len && u->attempt == attempt && !u->paused && (step = hear_first(u, data + at, len - at))) {
        at += step;
        if (u->attempt == attempt && broker_congested(u->gw->broker))
            wait_for_calm(u);
    }
    return u->attempt == attempt ? at : len;
}
