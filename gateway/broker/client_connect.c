/* SPDX-License-Identifier: Apache-2.0 */
/* CONNECT, the session that it finds or makes, and how the client leaves it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/users.h"
#include "broker/alias.h"
#include "broker/client_private.h"

enum { SMALLEST_CONNACK = 5, CLOCK_EVERY_S = 60 };

static struct broker *broker_of(const struct client *c)
{
    return c->port->broker;
}

void client_turn_away(struct client *c, uint8_t reason, const char *why)
{
    struct mqtt_packet p = {.type = MQTT_CONNACK};

    p.connack.reason = reason;
    mqtt_set_text(&p.connack.props, MQTT_REASON_STRING, bytes_of(why));
    client_port_refer(c->port, reason, &p.connack.props);
    broker_stats(broker_of(c))->refused_connects++;
    client_send_free(c, &p);
    conn_close(&c->conn);
}

void client_refuse_connect(struct client *c, uint8_t reason, const char *why)
{
    client_note(c, "CONNECT refused: %s", why);
    client_turn_away(c, reason, why);
}

/* How large a packet it takes is not known. */
void client_on_bad_connect(struct client *c, uint8_t reason)
{
    c->version = MQTT_5;
    c->most_packet = SMALLEST_CONNACK;
    client_refuse_connect(c, reason, "it cannot be read");
}

uint8_t client_judge_connect(const struct client *c, const struct mqtt_connect *p, const char **why)
{
    if (p->version != c->version) {
        *why = "unknown protocol version"; /* [MQTT-3.1.2-2] */
        return MQTT_BAD_VERSION;
    }
    uint8_t turned_away = client_port_refusal(c, why);
    if (turned_away)
        return turned_away;
    if (p->client_id.len && memchr(p->client_id.data, '\1', p->client_id.len)) {
        *why = "control character in the client identifier";
        return MQTT_BAD_CLIENT_ID;
    }
    if (!p->client_id.len && p->version < MQTT_5 && (!p->clean || p->version == MQTT_3_1)) {
        *why = "empty client identifier for a session that is to last"; /* [MQTT-3.1.3-8] */
        return MQTT_BAD_CLIENT_ID;
    }
    return terms_connect(&broker_limits(broker_of(c))->terms, p, why);
}

static struct message *will_of(const struct client *c, const struct mqtt_connect *p)
{
    const struct mqtt_will *w = &p->will;
    struct buf scratch = {0};

    if (!p->has_will)
        return NULL;
    struct message m = {.topic = w->topic,
                        .payload = w->payload,
                        .born_us = (int64_t)clock_boot_us(),
                        .boot = broker_boot(broker_of(c)),
                        .qos = w->qos,
                        .retain = w->retain};
    if (p->version == MQTT_5) {
        m.props = client_forwarded(&w->props, &scratch);
        m.expires = mqtt_has(&w->props, MQTT_MESSAGE_EXPIRY);
        m.expiry_s = mqtt_number(&w->props, MQTT_MESSAGE_EXPIRY, 0);
    }
    struct message *will = message_keep(&m);
    message_done(&m);
    buf_free(&scratch);
    return will;
}

static uint32_t expiry_of(const struct client *c, const struct mqtt_connect *p)
{
    uint32_t most = broker_limits(broker_of(c))->session_expiry_max_s;
    uint32_t wish = p->clean ? 0 : UINT32_MAX;

    if (p->version == MQTT_5)
        wish = mqtt_number(&p->props, MQTT_SESSION_EXPIRY, 0);
    return wish < most ? wish : most;
}

/* Finds or makes the session. 0 or -E…; *present: it was there and is resumed. */
static int find_session(struct client *c, const struct mqtt_connect *p, struct bytes id, uint32_t expiry_s,
                        bool *present)
{
    struct session *s = session_find(broker_of(c), id);

    if (s && s->ops) {
        broker_stats(broker_of(c))->taken_over++;
        s->ops->on_displaced(s);
        s = session_find(broker_of(c), id); /* it may have ended with its connection */
    }
    if (s && (p->clean || (expiry_s && !s->no))) {
        session_fire_will(s);
        session_end(s);
        s = NULL;
    }
    *present = s != NULL;
    int err = s ? 0 : session_new(&s, broker_of(c), id, expiry_s != 0);
    if (err)
        return err;
    c->session = s;
    store_ticket saved = session_saved(s), gone = *present ? 0 : session_gone(broker_of(c), id);
    c->connack = saved > gone ? saved : gone;
    return 0;
}

static void set_session(struct client *c, const struct mqtt_connect *p, uint32_t expiry_s, bool present)
{
    struct session *s = c->session;
    struct message *will = will_of(c, p);
    uint32_t delay =
        p->has_will && p->version == MQTT_5 ? mqtt_number(&p->will.props, MQTT_WILL_DELAY, 0) : 0;
    bool changed = !present || s->expiry_s != expiry_s || s->noted || s->will || will;

    s->expiry_s = expiry_s;
    s->noted = false;
    session_set_will(s, will, delay);
    if (!changed || !s->no)
        return;
    session_save(s);
    c->connack = session_saved(s);
}

/* What the client asked for, within what we allow; only MQTT 5 can be told of another one. */
static uint16_t keep_alive_of(const struct client *c, const struct mqtt_connect *p)
{
    uint16_t most = broker_limits(broker_of(c))->keep_alive_max;
    bool over = most && (!p->keep_alive || p->keep_alive > most);

    return over && p->version == MQTT_5 ? most : p->keep_alive;
}

/* A topic of the client's own to be answered at (§3.2.2.3.15), when its name makes one. */
static void offer_response(const struct client *c, const struct mqtt_connect *p, struct mqtt_props *props,
                           struct buf *topic)
{
    if (!mqtt_number(&p->props, MQTT_REQUEST_RESPONSE_INFO, 0))
        return;
    buf_append(topic, "response/", 9);
    buf_append(topic, c->session->name, c->session->name_len);
    struct bytes made = {topic->data, topic->len};
    if (mqtt_topic_ok(made))
        mqtt_set_text(props, MQTT_RESPONSE_INFO, made);
}

/* False when the client takes none that large. */
static bool send_connack(struct client *c, const struct mqtt_connect *p, bool present, struct bytes auth_data,
                         uint32_t expiry_s)
{
    const struct broker_limits *limits = broker_limits(broker_of(c));
    struct mqtt_packet answer = {.type = MQTT_CONNACK};
    struct mqtt_props *props = &answer.connack.props;
    struct buf response = {0};

    answer.connack.session_present = present;
    if (c->version == MQTT_5) {
        mqtt_set_number(props, MQTT_MAXIMUM_PACKET_SIZE, client_port_packet(c->port));
        mqtt_set_number(props, MQTT_TOPIC_ALIAS_MAXIMUM, ALIASES_IN);
        mqtt_set_number(props, MQTT_RECEIVE_MAXIMUM, limits->receive);
        terms_tell(&limits->terms, props);
        if (c->keep_alive != p->keep_alive)
            mqtt_set_number(props, MQTT_SERVER_KEEP_ALIVE, c->keep_alive);
        offer_response(c, p, props, &response);
        if (!p->client_id.len)
            mqtt_set_text(props, MQTT_ASSIGNED_CLIENT_ID,
                          (struct bytes){(const uint8_t *)c->session->name, c->session->name_len});
        if (expiry_s != mqtt_number(&p->props, MQTT_SESSION_EXPIRY, 0))
            mqtt_set_number(props, MQTT_SESSION_EXPIRY, expiry_s);
    }
    client_set_auth(c, props, auth_data);
    bool sent = client_send_held(c, &answer, c->connack);
    buf_free(&response);
    return sent;
}

/* What the rules say of the client as a whole: its names, and its will. */
static uint8_t judge_rights(struct client *c, const struct mqtt_connect *p, struct bytes id, const char **why)
{
    uint8_t reason = auth_bind(c->port->auth, &c->who, id, c->port->loopback, why);

    if (!reason && p->has_will && client_topic_reserved(p->will.topic, id)) {
        *why = "its will is for a topic of the box's own";
        reason = MQTT_NOT_AUTHORIZED;
    }
    if (!reason && p->has_will && !client_may_publish(c, p->will.topic, p->will.qos, p->will.retain)) {
        *why = "it may not publish its will";
        reason = MQTT_NOT_AUTHORIZED;
    }
    if (reason)
        auth_counts(c->port->auth)->denied_connect++;
    return reason;
}

void client_admit(struct client *c, const struct mqtt_connect *p, struct bytes auth_data)
{
    struct broker *b = broker_of(c);
    const char *why = NULL;
    char made[32];
    uint8_t random[10];
    struct bytes id = p->client_id;
    bool present = false;

    if (!id.len) {
        crypto_random(random, sizeof(random));
        int len = snprintf(made, sizeof(made), "auto-");
        for (size_t i = 0; i < sizeof(random); i++)
            len += snprintf(made + len, sizeof(made) - (size_t)len, "%02x", random[i]);
        id = bytes_of(made);
    }
    uint8_t reason = judge_rights(c, p, id, &why);
    if (!reason && (reason = client_port_elsewhere(c->port)))
        why = "its listener sends clients to another server";
    if (reason) {
        client_refuse_connect(c, reason, why);
        return;
    }
    uint32_t expiry_s = expiry_of(c, p);
    int err = find_session(c, p, id, expiry_s, &present);
    if (err) {
        client_refuse_connect(c, MQTT_QUOTA_EXCEEDED, "as many sessions as limits.sessions allows");
        return;
    }
    c->state = CLIENT_CONNECTED;
    c->keep_alive = keep_alive_of(c, p);
    set_session(c, p, expiry_s, present);
    if (present)
        client_review(c); /* the rules may have changed while it was away */
    bool told = send_connack(c, p, present, auth_data, expiry_s);
    uint32_t window = broker_limits(b)->inflight;
    uint32_t theirs = p->version == MQTT_5 ? mqtt_number(&p->props, MQTT_RECEIVE_MAXIMUM, 65535) : 65535;
    session_attach(c->session, &client_session_ops, c, (uint16_t)(theirs < window ? theirs : window));
    broker_stats(b)->connects++;
    c->seen_ms = uv_now(broker_loop(b));
    timer_stop(&c->timer);
    client_keep_alive(c);
    if (told)
        return;
    client_note(c, "closed: it takes no packet as large as its CONNACK");
    conn_close(&c->conn);
}

/* Seconds until one and a half times its keepalive have passed without a packet; UINT32_MAX: it has none. */
static uint32_t keep_alive_left(struct client *c)
{
    uint64_t now = uv_now(broker_loop(broker_of(c)));

    if (!c->keep_alive)
        return UINT32_MAX;
    if (c->holds & HOLD_STORE) /* it is we who do not listen */
        c->seen_ms = now;
    uint64_t due = c->seen_ms + c->keep_alive * 1500u;
    return due > now ? (uint32_t)((due - now + 999) / 1000) : 0;
}

/* One and a half times the keepalive without a packet ends the connection ([MQTT-3.1.2-24]). The timer is
 * only moved when it fires: packets cost it nothing. */
void client_keep_alive(struct client *c)
{
    struct broker_stats *stats = broker_stats(broker_of(c));
    char name[160];

    if (c->state == CLIENT_NEW || client_owes_auth(c)) {
        stats->connect_timeouts++;
        c->port->refused[REFUSED_TIME]++;
        client_name(c, name);
        auth_note(c->port->auth, "%s: closed: no CONNECT or no end of its authentication in time", name);
        conn_close(&c->conn);
        return;
    }
    if (c->state == CLIENT_AUTHENTICATING) { /* it is we who have not answered yet */
        timer_start(broker_timers(broker_of(c)), &c->timer, client_port_connect_s(c->port));
        return;
    }
    if (c->state != CLIENT_CONNECTED)
        return;
    uint32_t left = identity_left_s(c->who);
    if (!left) {
        client_refuse(c, MQTT_NOT_AUTHORIZED, "its token has run out");
        return;
    }
    uint32_t next = keep_alive_left(c);
    if (!next) {
        stats->keepalive_timeouts++;
        client_refuse(c, MQTT_KEEPALIVE_TIMEOUT, "silent for one and a half times its keepalive");
        return;
    }
    if (left != UINT32_MAX && left > CLOCK_EVERY_S)
        left = CLOCK_EVERY_S; /* the clock may be set meanwhile */
    next = next < left ? next : left;
    if (next != UINT32_MAX)
        timer_start(broker_timers(broker_of(c)), &c->timer, next);
}

void client_leave(struct client *c, bool will)
{
    struct session *s = c->session;

    c->session = NULL;
    if (!s)
        return;
    session_detach(s);
    if (will) {
        session_will_due(s);
    } else if (s->will) {
        session_set_will(s, NULL, 0);
        session_save(s);
    }
    if (!s->expiry_s) {
        session_fire_will(s);
        session_end(s);
    } else {
        session_expire_later(s);
    }
}
