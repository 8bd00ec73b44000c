/* SPDX-License-Identifier: Apache-2.0 */
/* SUBSCRIBE and UNSUBSCRIBE (§6.9). */
#include "broker/session_ids.h"
#include "broker/share.h"
#include "codec/mqtt.h"
#include "drivers/mqttsn/gateway.h"

/* What is meant, without the prefix; two: room for a short name. Empty: there is no such id. */
static struct bytes meant(const struct mote *m, const struct mqttsn_packet *p, uint8_t two[2])
{
    const struct sn_predefined *known;

    switch (p->topic) {
    case MQTTSN_NORMAL:
        return p->text;
    case MQTTSN_PREDEFINED:
        known = sn_predefined_id(m->line->settings, p->topic_id);
        return known ? bytes_of(known->topic) : (struct bytes){0};
    default:
        two[0] = (uint8_t)(p->topic_id >> 8);
        two[1] = (uint8_t)p->topic_id;
        return (struct bytes){two, 2};
    }
}

/* The broker's filter: the prefix stands behind the name of a share. */
static bool filter_of(const struct mote *m, struct bytes name, struct buf *out)
{
    struct bytes share, inner = name;
    const char *prefix = m->line->settings->prefix;

    if (!mqtt_filter_ok(name))
        return false;
    share_split(name, &share, &inner);
    buf_append(out, name.data, name.len - inner.len);
    buf_append(out, prefix, strlen(prefix));
    buf_append(out, inner.data, inner.len);
    return mqtt_filter_ok((struct bytes){out->data, out->len});
}

static bool has_wildcard(struct bytes name)
{
    return !mqtt_topic_ok(name);
}

/* The topic id of SUBACK: none for what stands for several topics, or is short (§5.4.16). */
static uint16_t id_for(struct mote *m, const struct mqttsn_packet *p, struct bytes name, bool *full)
{
    const struct sn_settings *s = m->line->settings;
    uint16_t id = 0;

    *full = false;
    if (p->topic == MQTTSN_PREDEFINED)
        return p->topic_id;
    if (p->topic == MQTTSN_SHORT || has_wildcard(name))
        return 0;
    id = session_topic_id(m->session, name);
    if (id)
        session_know_topic(m->session, id, true);
    else
        id = session_add_topic(m->session, name, topic_first_id(s), s->most_topics, true);
    *full = !id;
    return id;
}

/* What of MQTT the operator does not offer (terms.h). */
static bool is_offered(const struct terms *t, struct bytes name)
{
    struct bytes share, inner = name;
    bool shared = share_split(name, &share, &inner);

    return (t->shared || !shared) && (t->wildcards || !has_wildcard(inner));
}

static uint8_t subscribe(struct mote *m, const struct mqttsn_packet *p, uint8_t *qos, uint16_t *id)
{
    const struct broker_limits *limits = broker_limits(m->line->b);
    struct actor a = mote_actor(m);
    struct subscription_options o = {.qos = p->qos};
    struct buf filter = {0};
    uint8_t two[2], code = MQTTSN_ACCEPTED;
    struct bytes name = meant(m, p, two);
    bool full;

    if (o.qos > limits->terms.max_qos)
        o.qos = limits->terms.max_qos;
    if (!name.len) {
        code = MQTTSN_BAD_TOPIC_ID;
        m->line->counts.bad_ids++;
    } else if (p->qos == MQTTSN_MINUS_ONE || !filter_of(m, name, &filter) ||
               !is_offered(&limits->terms, name)) {
        code = MQTTSN_NOT_SUPPORTED;
    } else {
        struct bytes whole = {filter.data, filter.len};
        bool room = broker_counts(m->line->b).subscriptions < limits->subscriptions ||
                    session_subscribes(m->session, whole);
        if (!actor_may_subscribe(&a, whole, &o.qos))
            code = MQTTSN_NOT_SUPPORTED;
        else if (broker_congested(m->line->b) || !room)
            code = MQTTSN_CONGESTION;
    }
    if (!code) {
        *id = id_for(m, p, name, &full);
        code = full ? MQTTSN_CONGESTION : MQTTSN_ACCEPTED;
    }
    if (!code)
        session_subscribe(m->session, (struct bytes){filter.data, filter.len}, &o);
    *qos = code ? 0 : o.qos;
    buf_free(&filter);
    return code;
}

void on_subscribe(struct mote *m, const struct mqttsn_packet *p)
{
    struct mqttsn_packet answer = {.type = MQTTSN_SUBACK, .id = p->id};

    answer.code = subscribe(m, p, &answer.qos, &answer.topic_id);
    m->fence = session_written(m->session);
    mote_send(m, &answer, m->fence);
}

void on_unsubscribe(struct mote *m, const struct mqttsn_packet *p)
{
    struct buf filter = {0};
    uint8_t two[2];
    struct bytes name = meant(m, p, two);

    if (name.len && filter_of(m, name, &filter))
        session_unsubscribe(m->session, (struct bytes){filter.data, filter.len});
    mote_answer(m, MQTTSN_UNSUBACK, 0, p->id, 0, session_written(m->session));
    buf_free(&filter);
}
