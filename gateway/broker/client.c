/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/alias.h"
#include "broker/client_private.h"
#include "broker/share.h"

enum {
    FIRST_PACKET_MOST = 80 * 1024, /* what somebody who has not said CONNECT may make us keep */
    ANSWERS_MOST = 64 * 1024       /* unread, above limits.reader_backlog */
};

static struct broker *broker_of(const struct client *c)
{
    return c->port->broker;
}

void client_name(const struct client *c, char out[160])
{
    char peer[64];

    conn_peer(&c->conn, peer);
    if (c->session)
        snprintf(out, 160, "client %.64s (%s)", c->session->name, peer);
    else
        snprintf(out, 160, "client at %s", peer);
}

/* ---- packets ---- */

static void on_calm(struct broker_waiter *w)
{
    client_unhold(container_of(w, struct durable_publisher, waiter)->client, HOLD_STORE);
}

static struct durable_publisher *durable_of(struct client *c)
{
    if (!c->durable) {
        c->durable = mem_alloc(sizeof(*c->durable));
        c->durable->client = c;
        c->durable->waiter.calm = on_calm;
        list_init(&c->durable->waiter.link);
    }
    return c->durable;
}

/* Acknowledgements of QoS 1 that have not left count against what we allow the client ([MQTT-3.3.4-7]); those
 * of at most two batches wait, the one that is being committed and the one that fills. */
static void count_unacked(struct client *c, store_ticket ticket)
{
    struct durable_publisher *p = durable_of(c);
    unsigned at = p->unacked_at[0] == ticket ? 0 : 1;

    if (p->unacked_at[at] != ticket) {
        at = p->unacked_at[0] < p->unacked_at[1] ? 0 : 1;
        p->unacked_at[at] = ticket;
        p->unacked[at] = 0;
    }
    p->unacked[at]++;
}

static bool over_receive_maximum(const struct client *c)
{
    store_ticket done = store_done_ticket(broker_store(broker_of(c)));
    uint32_t waiting = c->receiving;

    for (unsigned i = 0; c->durable && i < 2; i++)
        if (c->durable->unacked_at[i] > done)
            waiting += c->durable->unacked[i];
    return waiting >= broker_limits(broker_of(c))->receive;
}

static uint8_t ack_type(const struct mqtt_publish *p)
{
    return p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC;
}

static void answer_publish(struct client *c, const struct mqtt_publish *p, store_ticket ticket,
                           uint32_t receivers)
{
    uint8_t reason = receivers ? MQTT_OK : MQTT_NO_SUBSCRIBERS;

    if (ticket == SESSION_REFUSED) {
        if (c->version != MQTT_5) {
            client_refuse(c, MQTT_QUOTA_EXCEEDED, "a queue that takes this message is full and refuses more");
            return;
        }
        if (p->qos)
            client_send_nack(c, ack_type(p), p->id, MQTT_QUOTA_EXCEEDED,
                             "a queue that takes this message is full and refuses more", 0);
        return;
    }
    if (!p->qos)
        return;
    if (p->qos == 1 && ticket)
        count_unacked(c, ticket);
    client_send_ack(c, ack_type(p), p->id, reason, ticket);
}

/* More than this client may have unacknowledged waits until the store keeps up. */
static void slow_down(struct client *c)
{
    if (!broker_congested(broker_of(c)) || c->state != CLIENT_CONNECTED)
        return;
    client_hold(c, HOLD_STORE);
    broker_when_calm(broker_of(c), &durable_of(c)->waiter);
}

/* What of a PUBLISH only MQTT 5 has. False: it was refused. */
static bool judge_publish_5(struct client *c, const struct mqtt_publish *p, struct bytes *topic)
{
    if (mqtt_has(&p->props, MQTT_TOPIC_ALIAS) &&
        !alias_in(&c->aliases, mqtt_number(&p->props, MQTT_TOPIC_ALIAS, 0), topic)) {
        bool over = mqtt_number(&p->props, MQTT_TOPIC_ALIAS, 0) > ALIASES_IN;
        client_refuse(c, over ? MQTT_BAD_ALIAS : MQTT_PROTOCOL_ERROR,
                      over ? "topic alias over the maximum" : "topic alias that is not known");
        return false;
    }
    if (mqtt_has(&p->props, MQTT_SUBSCRIPTION_ID)) { /* [MQTT-3.3.4-6] */
        client_refuse(c, MQTT_PROTOCOL_ERROR, "subscription identifier in a client's PUBLISH");
        return false;
    }
    return true;
}

/* What this connection has sent at QoS 2 and not released counts; what earlier ones have sent does not (5.0
 * §4.9). A message over the quota is not ours. */
static bool take_quota(struct client *c, const struct mqtt_publish *p)
{
    store_ticket unused;

    if (c->version == MQTT_5 && p->qos && over_receive_maximum(c)) {
        if (p->qos == 2)
            session_inbound_done(c->session, p->id, &unused);
        client_refuse(c, MQTT_RECEIVE_MAXIMUM_EXCEEDED,
                      "more unacknowledged messages than the receive maximum");
        return false;
    }
    c->receiving += p->qos == 2;
    return true;
}

static bool release_quota(struct client *c, uint16_t id, store_ticket *ticket)
{
    bool known = session_inbound_done(c->session, id, ticket);

    c->receiving -= known && c->receiving;
    return known;
}

/* What the box says of itself is not for clients to say. But mosquitto's bridges tell, by a will too, whether
 * they are connected: below their own name. */
bool client_topic_reserved(struct bytes topic, struct bytes client_id)
{
    static const char head[] = "$SYS/broker/connection/", tail[] = "/state";
    const size_t head_len = sizeof(head) - 1, tail_len = sizeof(tail) - 1;

    if (topic.len <= 5 || memcmp(topic.data, head, 5) != 0)
        return false;
    return topic.len != head_len + client_id.len + tail_len || memcmp(topic.data, head, head_len) != 0 ||
           memcmp(topic.data + head_len, client_id.data, client_id.len) != 0 ||
           memcmp(topic.data + head_len + client_id.len, tail, tail_len) != 0;
}

static struct bytes client_id(const struct client *c)
{
    return (struct bytes){(const uint8_t *)c->session->name, c->session->name_len};
}

/* Acknowledged and dropped; MQTT 5 can say why. */
static void deny_publish(struct client *c, const struct mqtt_publish *p, store_ticket inbound)
{
    if (c->version != MQTT_5) {
        answer_publish(c, p, inbound, 0);
        return;
    }
    if (p->qos == 2)
        release_quota(c, p->id, &inbound);
    if (p->qos)
        client_send_nack(c, ack_type(p), p->id, MQTT_NOT_AUTHORIZED, "it may not publish there", inbound);
}

/* What is not offered closes the connection; a message that is bad in itself is refused alone where that can
 * be said. False: it was refused. */
static bool within_terms(struct client *c, const struct mqtt_publish *p, struct bytes topic)
{
    const struct terms *t = &broker_limits(broker_of(c))->terms;
    const char *why;
    uint8_t reason = terms_message(t, topic, p->qos, p->retain, &why);

    if (!reason && c->version == MQTT_5 && terms_bad_format(t, &p->props, p->payload, &why))
        reason = MQTT_BAD_PAYLOAD_FORMAT;
    if (!reason)
        return true;
    bool alone = reason == MQTT_BAD_PAYLOAD_FORMAT || reason == MQTT_BAD_TOPIC;
    if (alone && p->qos && c->version == MQTT_5)
        client_send_nack(c, ack_type(p), p->id, reason, why, 0);
    else
        client_refuse(c, reason, why);
    return false;
}

static void on_publish(struct client *c, const struct mqtt_packet *packet, struct bytes whole)
{
    const struct mqtt_publish *p = &packet->publish;
    struct buf scratch = {0};
    struct bytes topic = p->topic;
    store_ticket inbound = 0;
    uint32_t receivers = 0;
    struct wire_counts *wire = &broker_stats(broker_of(c))->wire;

    wire->publishes++;
    wire->publish_bytes += p->payload.len;
    if ((c->version == MQTT_5 && !judge_publish_5(c, p, &topic)) || !within_terms(c, p, topic))
        return;
    /* [MQTT-4.3.3-10], 3.1.1 [MQTT-4.3.3-2]: a repeat before PUBREL is acknowledged again and not passed on.
     */
    if (p->qos == 2 && !session_inbound(c->session, p->id, &inbound)) {
        client_send_ack(c, MQTT_PUBREC, p->id, MQTT_OK, inbound);
        return;
    }
    if (!take_quota(c, p))
        return;
    if (client_topic_reserved(topic, client_id(c)) || !client_may_publish(c, topic, p->qos, p->retain)) {
        deny_publish(c, p, inbound);
        return;
    }
    struct message m = {.topic = topic,
                        .payload = p->payload,
                        .publisher = c->session->key,
                        .born_us = (int64_t)clock_boot_us(),
                        .boot = broker_boot(broker_of(c)),
                        .qos = p->qos,
                        .retain = p->retain};
    if (c->version == MQTT_5) {
        m.props = client_forwarded(&p->props, &scratch);
        m.expires = mqtt_has(&p->props, MQTT_MESSAGE_EXPIRY);
        m.expiry_s = mqtt_number(&p->props, MQTT_MESSAGE_EXPIRY, 0);
    }
    if (p->payload.len > MESSAGE_LARGE) {
        uint8_t *memory = conn_take_input(&c->conn, whole);
        if (memory)
            message_adopt(&m, memory);
    } else if (!p->qos && !p->retain && m.props.len == p->props.raw.len * (c->version == MQTT_5)) {
        m.wire = whole;
        m.wire_version = c->version == MQTT_3_1 ? MQTT_3_1_1 : c->version;
    }
    store_ticket ticket = broker_publish(broker_of(c), &m, &receivers);
    message_done(&m);
    buf_free(&scratch);
    if (p->qos == 2 && ticket == SESSION_REFUSED)
        release_quota(c, p->id, &inbound);
    answer_publish(c, p, ticket > inbound ? ticket : inbound, receivers);
    slow_down(c);
}

/* An acknowledgement of what was not sent is harmless. */
static void count_unknown(struct client *c, int err)
{
    broker_stats(broker_of(c))->unknown_acks += err != 0;
}

static void on_puback(struct client *c, const struct mqtt_packet *packet, struct bytes whole)
{
    (void)whole;
    count_unknown(c, session_on_puback(c->session, packet->ack.id));
}

static const char unknown_id[] = "no message under this identifier waits for it";

static void on_pubrec(struct client *c, const struct mqtt_packet *packet, struct bytes whole)
{
    bool release;
    store_ticket ticket;

    (void)whole;
    int err = session_on_pubrec(c->session, packet->ack.id, packet->ack.reason >= 0x80, &release, &ticket);
    count_unknown(c, err);
    if (err)
        client_send_nack(c, MQTT_PUBREL, packet->ack.id, MQTT_ID_NOT_FOUND, unknown_id, ticket);
    else if (release)
        client_send_ack(c, MQTT_PUBREL, packet->ack.id, MQTT_OK, ticket);
}

static void on_pubrel(struct client *c, const struct mqtt_packet *packet, struct bytes whole)
{
    store_ticket ticket;

    (void)whole;
    if (release_quota(c, packet->ack.id, &ticket))
        client_send_ack(c, MQTT_PUBCOMP, packet->ack.id, MQTT_OK, ticket);
    else
        client_send_nack(c, MQTT_PUBCOMP, packet->ack.id, MQTT_ID_NOT_FOUND, unknown_id, ticket);
}

static void on_pubcomp(struct client *c, const struct mqtt_packet *packet, struct bytes whole)
{
    (void)whole;
    count_unknown(c, session_on_pubcomp(c->session, packet->ack.id));
}

static uint8_t subscribe_one(struct client *c, const struct mqtt_filter *f, uint32_t id)
{
    struct broker *b = broker_of(c);
    struct bytes name, inner;
    bool shared = share_split(f->filter, &name, &inner);
    struct subscription_options o = {.qos = f->qos,
                                     .no_local = f->no_local || (c->bridge && !shared),
                                     .retain_as_published = f->retain_as_published || c->bridge,
                                     .retain_handling = f->retain_handling,
                                     .id = id};

    if (o.qos > broker_limits(b)->terms.max_qos)
        o.qos = broker_limits(b)->terms.max_qos;
    uint8_t refusal = client_may_subscribe(c, f->filter, &o.qos);
    if (refusal)
        return refusal;
    bool full = broker_counts(b).subscriptions >= broker_limits(b)->subscriptions;
    if (full && !session_subscribes(c->session, f->filter))
        return c->version == MQTT_5 ? MQTT_QUOTA_EXCEEDED : MQTT_UNSPECIFIED;
    session_subscribe(c->session, f->filter, &o);
    return o.qos;
}

/* MQTT 3.1 has no word for a refusal: its clients would take 0x80 for nonsense. */
static uint8_t code_of(const struct client *c, const struct mqtt_filter *f, uint8_t code)
{
    return c->version == MQTT_3_1 && code > MQTT_GRANTED_2 ? f->qos : code;
}

/* SUBACK or UNSUBACK; the reason string tells the first thing that went wrong. Takes codes. */
static void answer_filters(struct client *c, uint8_t type, uint16_t id, struct buf *codes)
{
    struct mqtt_packet answer = {.type = type};

    answer.ack.id = id;
    answer.ack.codes =
        (struct bytes){codes->data, type == MQTT_SUBACK || c->version == MQTT_5 ? codes->len : 0};
    for (size_t i = 0; i < codes->len && !answer.ack.props.present; i++)
        if (codes->data[i] > MQTT_GRANTED_2)
            mqtt_set_text(&answer.ack.props, MQTT_REASON_STRING, bytes_of(mqtt_reason_text(codes->data[i])));
    if (!client_send_held(c, &answer, session_written(c->session)))
        client_refuse(c, MQTT_PACKET_TOO_LARGE, "the answer would be larger than it takes");
    buf_free(codes);
}

static void on_subscribe(struct client *c, const struct mqtt_packet *packet, struct bytes whole)
{
    const struct mqtt_subscribe *p = &packet->subscribe;
    struct cursor at = cursor_of(p->filters.data, p->filters.len);
    struct buf codes = {0};
    struct mqtt_filter f;
    const char *why;

    (void)whole;
    uint8_t refusal = terms_subscribe(&broker_limits(broker_of(c))->terms, p, &why);
    if (refusal) {
        client_refuse(c, refusal, why);
        return;
    }
    uint32_t id = c->version == MQTT_5 ? mqtt_number(&p->props, MQTT_SUBSCRIPTION_ID, 0) : 0;
    while (mqtt_filter_next(&at, MQTT_SUBSCRIBE, &f))
        buf_u8(&codes, code_of(c, &f, subscribe_one(c, &f, id)));
    answer_filters(c, MQTT_SUBACK, p->id, &codes);
}

static void on_unsubscribe(struct client *c, const struct mqtt_packet *packet, struct bytes whole)
{
    const struct mqtt_subscribe *p = &packet->subscribe;
    struct cursor at = cursor_of(p->filters.data, p->filters.len);
    struct buf codes = {0};
    struct mqtt_filter f;

    (void)whole;
    while (mqtt_filter_next(&at, MQTT_UNSUBSCRIBE, &f))
        buf_u8(&codes, session_unsubscribe(c->session, f.filter) ? MQTT_OK : MQTT_NO_SUBSCRIPTION);
    answer_filters(c, MQTT_UNSUBACK, p->id, &codes);
}

static void on_pingreq(struct client *c, const struct mqtt_packet *packet, struct bytes whole)
{
    (void)packet;
    (void)whole;
    struct mqtt_packet answer = {.type = MQTT_PINGRESP};
    client_send_free(c, &answer);
}

static void on_disconnect(struct client *c, const struct mqtt_packet *packet, struct bytes whole)
{
    const struct mqtt_ack *p = &packet->ack;
    struct session *s = c->session;

    (void)whole;
    if (c->version == MQTT_5 && mqtt_has(&p->props, MQTT_SESSION_EXPIRY)) {
        uint32_t expiry = mqtt_number(&p->props, MQTT_SESSION_EXPIRY, 0);
        if (expiry && !s->expiry_s) { /* §3.14.2.2.2: it cannot be given life now */
            client_refuse(c, MQTT_PROTOCOL_ERROR, "session expiry raised from 0 at DISCONNECT");
            return;
        }
        uint32_t most = broker_limits(broker_of(c))->session_expiry_max_s;
        s->expiry_s = expiry < most ? expiry : most;
        session_save(s);
    }
    client_leave(c, p->reason != MQTT_OK); /* [MQTT-3.14.4-3] */
    conn_close(&c->conn);
}

typedef void packet_handler(struct client *c, const struct mqtt_packet *p, struct bytes whole);
static packet_handler *const handlers[16] = {
    [MQTT_PUBLISH] = on_publish,         [MQTT_PUBACK] = on_puback,   [MQTT_PUBREC] = on_pubrec,
    [MQTT_PUBREL] = on_pubrel,           [MQTT_PUBCOMP] = on_pubcomp, [MQTT_SUBSCRIBE] = on_subscribe,
    [MQTT_UNSUBSCRIBE] = on_unsubscribe, [MQTT_PINGREQ] = on_pingreq, [MQTT_DISCONNECT] = on_disconnect,
    [MQTT_AUTH] = client_on_auth,
};

/* ---- reading ---- */

void client_hold(struct client *c, enum client_hold why)
{
    c->holds = (uint8_t)(c->holds | why);
    conn_pause(&c->conn);
}

void client_unhold(struct client *c, enum client_hold why)
{
    c->holds = (uint8_t)(c->holds & ~why);
    if (!c->holds)
        conn_resume(&c->conn);
}

/* Messages stop at the reader's backlog; answers alone can fill memory only while we go on asking for more.
 */
static void judge_reader(struct client *c)
{
    if (c->state != CLIENT_CONNECTED || c->holds & HOLD_UNREAD ||
        conn_backlog(&c->conn) <= c->conn.high + ANSWERS_MOST)
        return;
    broker_stats(broker_of(c))->unread_answers++;
    client_hold(c, HOLD_UNREAD);
}

static void on_packet(struct client *c, struct bytes whole)
{
    struct mqtt_packet p;
    uint8_t why = MQTT_MALFORMED;

    p.type = 0;
    p.connect.version = 0;
    if (mqtt_decode(whole.data, whole.len, c->version, &p, &why) != 0) {
        if (c->state == CLIENT_NEW && p.connect.version == MQTT_5)
            client_on_bad_connect(c, why);
        else
            client_refuse_unreadable(c, whole, why);
        return;
    }
    if (c->state == CLIENT_NEW) {
        client_on_connect(c, &p.connect, whole);
        return;
    }
    if (c->state == CLIENT_AUTHENTICATING)
        client_on_early(c, &p);
    else if (!handlers[p.type])
        client_refuse_misplaced(c, &p);
    else
        handlers[p.type](c, &p, whole);
}

static size_t on_data(struct conn *conn, const uint8_t *data, size_t len)
{
    struct client *c = container_of(conn, struct client, conn);
    struct wire_counts *wire = &broker_stats(broker_of(c))->wire;
    size_t done = 0, header, total;

    while (done < len && c->state != CLIENT_CLOSED && !conn->paused && !conn->taken) {
        size_t most = client_port_packet(c->port);
        if (c->state < CLIENT_CONNECTED && most > FIRST_PACKET_MOST)
            most = FIRST_PACKET_MOST;
        if (c->state == CLIENT_NEW && !client_begins_well(c, (struct bytes){data, len}))
            break;
        int found = mqtt_frame(data + done, len - done, most, &header, &total);
        if (found < 0) {
            client_refuse_length(c, found, total, most, (struct bytes){data + done, len - done});
            break;
        }
        if (!found || total > len - done)
            break;
        c->seen_ms = uv_now(broker_loop(broker_of(c)));
        wire->packets_in++;
        wire->bytes_in += total;
        on_packet(c, (struct bytes){data + done, total});
        done += total;
    }
    judge_reader(c);
    return done;
}

/* ---- life ---- */

/* CONNECT is the client's first word. */
static void on_open(struct conn *conn)
{
    client_port_opened(container_of(conn, struct client, conn));
}

static void on_drain(struct conn *conn)
{
    struct client *c = container_of(conn, struct client, conn);

    client_unhold(c, HOLD_UNREAD);
    if (c->session)
        session_wake(c->session);
}

static void on_close(struct conn *conn, const char *why)
{
    struct client *c = container_of(conn, struct client, conn);
    char name[160];

    c->state = CLIENT_CLOSED;
    timer_stop(&c->timer);
    client_cancel_login(c);
    if (c->durable)
        list_remove(&c->durable->waiter.link);
    client_port_left(c, why);
    if (why) {
        client_name(c, name);
        log_debug("%s: %s", name, why);
    }
    client_leave(c, true);
}

static void on_gone(struct conn *conn)
{
    struct client *c = container_of(conn, struct client, conn);

    client_port_drop(c->port);
    aliases_free(c->aliases);
    identity_free(c->who);
    free(c->durable);
    free(c);
}

const struct conn_events client_events = {on_open, on_data, on_drain, on_close, on_gone};
