/* SPDX-License-Identifier: Apache-2.0 */
/* Wills (§6.3, §6.4): asked for at CONNECT, changed later, and kept for the next connection. */
#include "base/clock.h"
#include "broker/session_ids.h"
#include "codec/mqtt.h"
#include "drivers/mqttsn/gateway.h"

void will_rest(struct session *s)
{
    struct buf note = {0};

    if (!s->no || !s->will)
        return;
    message_write(&note, s->will->message, true);
    session_note(s, "will", (struct bytes){note.data, note.len});
    buf_free(&note);
}

void will_arm(struct session *s)
{
    struct bytes note = session_noted(s, "will");
    struct message *will = note.len ? message_read(note, NULL) : NULL;

    if (will)
        session_set_will(s, will, 0);
    session_note(s, "will", (struct bytes){0});
}

static struct message *make(const struct mote *m, struct bytes topic, struct bytes payload, uint8_t qos,
                            bool retain)
{
    struct message will = {.topic = topic,
                           .payload = payload,
                           .born_us = (int64_t)clock_boot_us(),
                           .boot = broker_boot(m->line->b),
                           .qos = qos,
                           .retain = retain};
    struct message *kept = message_keep(&will);

    message_done(&will);
    return kept;
}

/* ---- at CONNECT ---- */

static void ask(struct mote *m)
{
    const struct mqttsn_packet p = {.type =
                                        m->handshake->asks_message ? MQTTSN_WILLMSGREQ : MQTTSN_WILLTOPICREQ};

    line_send(m->line, &m->peer, &p, 0);
    timer_start(broker_timers(m->line->b), &m->retry, m->line->settings->retry_s);
}

void will_ask(struct mote *m)
{
    ask(m);
}

void will_ask_again(struct mote *m)
{
    if (m->handshake->tries++ < m->line->settings->retries) {
        m->line->counts.retries++;
        ask(m);
        return;
    }
    handshake_free(m->handshake);
    m->handshake = NULL;
    if (m->session)
        deliver_go_on(m);
    else
        mote_free(m);
}

/* The will's topic with its prefix in out; false: it is none that may be had. */
static bool will_topic(const struct mote *m, const struct mqttsn_packet *p, struct buf *out)
{
    return p->qos <= 2 && topic_with_prefix(m->line, p->text, out);
}

void on_will_topic(struct mote *m, const struct mqttsn_packet *p)
{
    struct sn_handshake *h = m->handshake;

    h->topic.len = 0;
    h->tries = 0;
    if (p->bare || !p->text.len) { /* no will after all; an earlier one goes */
        if (m->session)
            session_set_will(m->session, NULL, 0);
        connect_go_on(m);
        return;
    }
    if (!will_topic(m, p, &h->topic)) {
        connect_refuse(m, MQTTSN_NOT_SUPPORTED, "its will has no topic that can be published to");
        return;
    }
    h->will_qos = p->qos;
    h->will_retain = p->retain;
    h->asks_message = true;
    ask(m);
}

void on_will_message(struct mote *m, const struct mqttsn_packet *p)
{
    struct sn_handshake *h = m->handshake;

    if (!h->asks_message) { /* WILLTOPIC was lost */
        ask(m);
        return;
    }
    h->will = make(m, (struct bytes){h->topic.data, h->topic.len}, p->text, h->will_qos, h->will_retain);
    connect_go_on(m);
}

/* ---- later ---- */

static void change(struct mote *m, uint8_t answer, struct message *will)
{
    session_set_will(m->session, will, 0);
    session_save(m->session);
    mote_answer(m, answer, 0, 0, MQTTSN_ACCEPTED, session_written(m->session));
}

void on_will_topic_update(struct mote *m, const struct mqttsn_packet *p)
{
    const struct message *old = m->session->will ? m->session->will->message : NULL;
    struct actor a = mote_actor(m);
    struct buf topic = {0};
    bool may = p->bare || !p->text.len;

    if (may) {
        change(m, MQTTSN_WILLTOPICRESP, NULL);
        return;
    }
    may = will_topic(m, p, &topic) &&
          actor_may_publish(&a, (struct bytes){topic.data, topic.len}, p->qos, p->retain);
    if (may)
        change(m, MQTTSN_WILLTOPICRESP,
               make(m, (struct bytes){topic.data, topic.len}, old ? old->payload : (struct bytes){0}, p->qos,
                    p->retain));
    else
        mote_answer(m, MQTTSN_WILLTOPICRESP, 0, 0, MQTTSN_NOT_SUPPORTED, 0);
    buf_free(&topic);
}

void on_will_message_update(struct mote *m, const struct mqttsn_packet *p)
{
    const struct message *old = m->session->will ? m->session->will->message : NULL;

    if (old)
        change(m, MQTTSN_WILLMSGRESP, make(m, old->topic, p->text, old->qos, old->retain));
    else
        mote_answer(m, MQTTSN_WILLMSGRESP, 0, 0, MQTTSN_NOT_SUPPORTED, 0);
}
