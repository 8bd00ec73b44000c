/* SPDX-License-Identifier: Apache-2.0 */
/* What motes publish, and REGISTER (§6.5-6.8). */
#include "base/clock.h"
#include "broker/session_ids.h"
#include "codec/mqtt.h"
#include "drivers/mqttsn/gateway.h"

static store_ticket publish(const struct sn_line *l, uint64_t publisher, struct bytes topic,
                            const struct mqttsn_packet *p)
{
    struct message m = {.topic = topic,
                        .payload = p->text,
                        .publisher = publisher,
                        .born_us = (int64_t)clock_boot_us(),
                        .boot = broker_boot(l->b),
                        .qos = p->qos == MQTTSN_MINUS_ONE ? 0 : p->qos,
                        .retain = p->retain};
    store_ticket ticket = broker_publish(l->b, &m, NULL);

    message_done(&m);
    return ticket;
}

static uint8_t judge(const struct mote *m, const struct mqttsn_packet *p, struct buf *topic)
{
    const struct terms *terms = &broker_limits(m->line->b)->terms;
    struct actor a = mote_actor(m);
    const char *why;

    if (p->qos && !p->id)
        return MQTTSN_NOT_SUPPORTED;
    if (p->qos && broker_congested(m->line->b))
        return MQTTSN_CONGESTION;
    if (!topic_of(m->line, m, p, topic)) {
        m->line->counts.bad_ids++;
        return MQTTSN_BAD_TOPIC_ID;
    }
    struct bytes name = {topic->data, topic->len};
    if (terms_message(terms, name, p->qos, p->retain, &why) ||
        !actor_may_publish(&a, name, p->qos, p->retain))
        return MQTTSN_NOT_SUPPORTED;
    return MQTTSN_ACCEPTED;
}

static void acknowledge(struct mote *m, const struct mqttsn_packet *p, uint8_t code, store_ticket ticket)
{
    if (p->qos == 2 && code == MQTTSN_ACCEPTED)
        mote_answer(m, MQTTSN_PUBREC, 0, p->id, code, ticket);
    else if (p->qos || code == MQTTSN_BAD_TOPIC_ID)
        mote_answer(m, MQTTSN_PUBACK, p->topic_id, p->id, code, ticket);
}

void on_publish(struct mote *m, const struct mqttsn_packet *p)
{
    struct buf topic = {0};
    store_ticket inbound = 0, ticket = 0;

    m->line->counts.publishes++;
    uint8_t code = judge(m, p, &topic);
    bool fresh = code || p->qos < 2 || session_inbound(m->session, p->id, &inbound);
    if (!code && fresh)
        ticket = publish(m->line, m->session->key, (struct bytes){topic.data, topic.len}, p);
    if (ticket == SESSION_REFUSED) { /* it may come again with the same identifier */
        if (p->qos == 2)
            session_inbound_done(m->session, p->id, &inbound);
        code = MQTTSN_CONGESTION;
        ticket = 0;
    }
    acknowledge(m, p, code, ticket > inbound ? ticket : inbound);
    buf_free(&topic);
}

/* Of one that is not there as well: its PUBCOMP was lost. */
void on_pubrel(struct mote *m, const struct mqttsn_packet *p)
{
    store_ticket ticket;

    session_inbound_done(m->session, p->id, &ticket);
    mote_answer(m, MQTTSN_PUBCOMP, 0, p->id, 0, ticket);
}

static bool may_minus_one(struct sn_line *l, const struct mote *m, struct bytes topic, bool retain)
{
    if (m && m->session) {
        struct actor a = mote_actor(m);
        return actor_may_publish(&a, topic, 0, retain);
    }
    if (!l->stranger || !l->stranger->view)
        return true;
    struct acl_verdict v = acl_topic(l->stranger->view, ACL_PUBLISH, topic);
    return v.allow && (!retain || v.retain);
}

/* QoS -1: nobody is told (§6.8). */
void on_publish_minus_one(struct sn_line *l, struct mote *m, const struct mqttsn_packet *p)
{
    struct buf topic = {0};
    bool may = l->settings->minus_one && p->topic != MQTTSN_NORMAL && topic_of(l, NULL, p, &topic) &&
               may_minus_one(l, m, (struct bytes){topic.data, topic.len}, p->retain);

    if (may)
        publish(l, m && m->session ? m->session->key : 0, (struct bytes){topic.data, topic.len}, p);
    *(may ? &l->counts.minus_one : &l->counts.minus_one_refused) += 1;
    buf_free(&topic);
}

/* The number that comes with it is not the mote's to choose (§5.4.11). */
void on_register(struct mote *m, const struct mqttsn_packet *p)
{
    const struct sn_settings *s = m->line->settings;
    struct session *session = m->session;
    struct buf topic = {0};
    uint8_t code = MQTTSN_ACCEPTED;
    uint16_t id = 0;

    if (broker_congested(m->line->b)) {
        code = MQTTSN_CONGESTION;
    } else if (!topic_with_prefix(m->line, p->text, &topic)) {
        code = MQTTSN_NOT_SUPPORTED;
    } else {
        id = session_topic_id(session, p->text);
        if (id)
            session_know_topic(session, id, true);
        else
            id = session_add_topic(session, p->text, topic_first_id(s), s->most_topics, true);
        code = id ? MQTTSN_ACCEPTED : MQTTSN_CONGESTION;
    }
    if (id)
        m->fence = session_written(session);
    mote_answer(m, MQTTSN_REGACK, id, p->id, code, m->fence);
    buf_free(&topic);
}
