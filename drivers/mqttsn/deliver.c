/* SPDX-License-Identifier: Apache-2.0 */
/* What a mote's session sends it. One message of QoS 1 or 2 is under way at a time, or the REGISTER of a
 * topic (§6.5, §6.13); what is not answered is sent again, the same bytes but for DUP. Messages of QoS 0 wait
 * only for a mote that sleeps or does not know their topic yet. */
#include <stdlib.h>

#include "base/clock.h"
#include "broker/session_ids.h"
#include "drivers/mqttsn/gateway.h"

enum { UNKNOWN_MOST = 3 /* times that a mote may say of one message that it does not know the topic */ };

static bool listens(const struct mote *m)
{
    return m->session && m->placed && !m->handshake && !m->deaf &&
           (m->state == MOTE_ACTIVE || !list_empty(&m->awake));
}

static bool may_have_more(const struct mote *m)
{
    return m->state == MOTE_ACTIVE || !m->line->settings->wake_messages || m->wake_left;
}

static bool link_has_room(const struct sn_line *l)
{
    return !l->no_room && l->ready_bytes < broker_limits(l->b)->reader_backlog;
}

static void count_dropped(struct mote *m, uint64_t *reason)
{
    ++*reason;
    broker_stats(m->line->b)->dropped++;
}

/* ---- under way ---- */

static void end_flight(struct mote *m)
{
    if (m->flight.out) { /* it has not left */
        m->line->ready_bytes -= m->flight.out->ready ? m->flight.out->len : 0;
        list_remove(&m->flight.out->link);
        free(m->flight.out);
        m->flight.out = NULL;
    }
    m->flight.kind = FLIGHT_NONE;
    if (!m->handshake)
        timer_stop(&m->retry);
}

static void drop_message(struct mote *m)
{
    message_drop(m->flight.of.message);
    m->flight.of.message = NULL;
    m->flight.unknown = 0;
}

static void send_flight(struct mote *m, store_ticket ticket)
{
    static const uint8_t ranks[] = {
        [FLIGHT_REGISTER] = OUT_REGISTER, [FLIGHT_PUBLISH] = OUT_PUBLISH, [FLIGHT_RELEASE] = OUT_ACK};

    m->flight.out = line_send_bytes(m->line, &m->peer, ranks[m->flight.kind],
                                    (struct bytes){m->flight.packet.data, m->flight.packet.len},
                                    ticket > m->fence ? ticket : m->fence);
    m->flight.out->mote = m;
}

static void begin_flight(struct mote *m, enum flight_kind kind, const struct mqttsn_packet *p,
                         store_ticket ticket)
{
    end_flight(m);
    m->flight.kind = (uint8_t)kind;
    m->flight.tries = 0;
    m->flight.id = p->id;
    m->flight.topic_id = p->topic_id;
    m->flight.packet.len = 0;
    mqttsn_encode(&mqttsn_12, buf_extend(&m->flight.packet, mqttsn_size(&mqttsn_12, p)), p);
    send_flight(m, ticket);
}

/* Its time runs from when it has left. */
void deliver_sent(struct mote *m)
{
    timer_start(broker_timers(m->line->b), &m->retry, m->line->settings->retry_s);
}

/* It sleeps on, or is left alone until it is heard; what it should get stays. */
static void give_up(struct mote *m)
{
    m->line->counts.given_up++;
    end_flight(m);
    if (m->state == MOTE_ASLEEP)
        sleep_again(m);
    else
        m->deaf = true;
}

void deliver_retry(struct mote *m)
{
    if (m->flight.kind == FLIGHT_NONE)
        return;
    if (m->flight.tries++ >= m->line->settings->retries) {
        give_up(m);
        return;
    }
    m->retries++;
    m->line->counts.retries++;
    mqttsn_set_dup(&mqttsn_12, m->flight.packet.data, m->flight.packet.len);
    send_flight(m, 0);
}

void deliver_rewind(struct mote *m)
{
    end_flight(m);
    drop_message(m);
    session_attach(m->session, &mote_session_ops, m, 1);
    deliver_go_on(m);
}

static void drop_waiting(struct mote *m, struct sn_waiting *w)
{
    list_remove(&w->link);
    m->waiting_count--;
    message_drop(w->message);
    free(w);
}

void deliver_stop(struct mote *m)
{
    end_flight(m);
    drop_message(m);
    list_for_safe(it, &m->waiting) drop_waiting(m, list_entry(it, struct sn_waiting, link));
    buf_free(&m->flight.packet);
}

/* ---- packets ---- */

static void skip(struct mote *m)
{
    uint16_t id = m->flight.of.id;

    end_flight(m);
    drop_message(m);
    session_skip(m->session, id);
}

/* False when the link takes none that large. */
static bool publish_of(const struct mote *m, struct message *message, uint8_t kind, uint16_t topic_id,
                       struct mqttsn_packet *p)
{
    *p = (struct mqttsn_packet){
        .type = MQTTSN_PUBLISH, .topic = kind, .topic_id = topic_id, .text = message_payload(message)};
    size_t size = mqttsn_size(&mqttsn_12, p);
    return size && size + 3 + m->peer.node_len <= m->line->link->most;
}

/* False when the mote may have no further number. */
static bool begin_register(struct mote *m, struct bytes name, bool qos0)
{
    const struct sn_settings *s = m->line->settings;
    uint16_t topic_id = session_topic_id(m->session, name);

    if (!topic_id)
        topic_id = session_add_topic(m->session, name, topic_first_id(s), s->most_topics, false);
    if (!topic_id)
        return false;
    m->last_id = session_free_id(m->session, (uint16_t)m->last_id);
    const struct mqttsn_packet p = {
        .type = MQTTSN_REGISTER, .topic_id = topic_id, .id = (uint16_t)m->last_id, .text = name};
    m->flight.qos0 = qos0;
    begin_flight(m, FLIGHT_REGISTER, &p, session_written(m->session));
    return true;
}

/* The message of QoS 1 or 2 whose turn it is: itself, or the REGISTER that must come before it. */
static void transmit(struct mote *m)
{
    const struct delivery *d = &m->flight.of;
    struct mqttsn_packet p;
    struct bytes name;
    uint8_t kind;
    uint16_t topic_id;

    if (!topic_for(m, d->message->topic, &kind, &topic_id, &name)) {
        if (!name.len || !begin_register(m, name, false)) {
            count_dropped(m, &m->line->counts.topic_refused);
            skip(m);
        }
        return;
    }
    if (!publish_of(m, d->message, kind, topic_id, &p)) {
        count_dropped(m, &m->line->counts.too_large);
        skip(m);
        return;
    }
    p.qos = d->qos;
    p.retain = d->retain;
    p.dup = d->dup;
    p.id = d->id;
    begin_flight(m, FLIGHT_PUBLISH, &p, d->ticket);
}

static void count_delivery(struct mote *m, size_t payload)
{
    struct broker_stats *stats = broker_stats(m->line->b);

    m->line->counts.deliveries++;
    m->wake_left -= m->wake_left > 0;
    stats->messages_out++;
    stats->bytes_out += payload;
}

/* ---- QoS 0 ---- */

static void send_qos0(struct mote *m, struct message *message, bool retain, uint8_t kind, uint16_t topic_id)
{
    struct mqttsn_packet p;

    if (!publish_of(m, message, kind, topic_id, &p)) {
        count_dropped(m, &m->line->counts.too_large);
        return;
    }
    p.retain = retain;
    mote_send(m, &p, 0);
    count_delivery(m, p.text.len);
}

/* The oldest gives way. */
static void wait_for_mote(struct mote *m, const struct delivery *d)
{
    struct sn_waiting *w = mem_alloc(sizeof(*w));

    w->message = message_keep(d->message);
    w->retain = d->retain;
    list_add_tail(&m->waiting, &w->link);
    m->waiting_count++;
    if (m->waiting_count <= m->line->settings->most_waiting)
        return;
    count_dropped(m, &m->line->counts.dropped_qos0);
    drop_waiting(m, list_entry(m->waiting.next, struct sn_waiting, link));
}

/* True when it was dealt with: sent, dropped, or its topic is being registered. */
static bool send_waiting(struct mote *m, struct sn_waiting *w, bool *registers)
{
    struct bytes name;
    uint8_t kind;
    uint16_t topic_id;

    *registers = false;
    if (topic_for(m, w->message->topic, &kind, &topic_id, &name)) {
        send_qos0(m, w->message, w->retain, kind, topic_id);
        return true;
    }
    *registers = name.len && begin_register(m, name, true);
    if (!*registers)
        count_dropped(m, &m->line->counts.topic_refused);
    return !*registers;
}

void deliver_go_on(struct mote *m)
{
    bool registers = false;

    if (!listens(m) || m->flight.kind != FLIGHT_NONE)
        return;
    while (!list_empty(&m->waiting) && may_have_more(m) && link_has_room(m->line) && !registers) {
        struct sn_waiting *w = list_entry(m->waiting.next, struct sn_waiting, link);
        if (send_waiting(m, w, &registers))
            drop_waiting(m, w);
    }
    if (list_empty(&m->waiting))
        session_wake(m->session);
}

static bool deliver_qos0(struct mote *m, const struct delivery *d)
{
    struct bytes name;
    uint8_t kind;
    uint16_t topic_id;
    bool known = topic_for(m, d->message->topic, &kind, &topic_id, &name);

    if (known && listens(m) && may_have_more(m) && list_empty(&m->waiting)) {
        if (!link_has_room(m->line))
            return false;
        send_qos0(m, d->message, d->retain, kind, topic_id);
        return true;
    }
    if (!name.len)
        return false;
    wait_for_mote(m, d);
    deliver_go_on(m);
    return true;
}

/* ---- the session's reader ---- */

static bool on_deliver(struct session *s, const struct delivery *d)
{
    struct mote *m = s->reader;
    struct actor a = mote_actor(m);

    if (!actor_may_receive(&a, d->message->topic)) { /* as if it had been sent */
        if (d->qos)
            session_skip(s, d->id);
        return true;
    }
    if (!d->qos)
        return deliver_qos0(m, d);
    m->flight.of = *d;
    m->flight.of.message = message_keep(d->message);
    m->flight.of.sub_ids = NULL;
    count_delivery(m, message_payload(d->message).len);
    transmit(m);
    return true;
}

static void on_release(struct session *s, uint16_t id, store_ticket ticket)
{
    const struct mqttsn_packet p = {.type = MQTTSN_PUBREL, .id = id};

    begin_flight(s->reader, FLIGHT_RELEASE, &p, ticket);
}

static bool on_room(struct session *s)
{
    const struct mote *m = s->reader;

    return listens(m) && may_have_more(m) && m->flight.kind == FLIGHT_NONE && list_empty(&m->waiting) &&
           link_has_room(m->line);
}

static void on_displaced(struct session *s)
{
    struct mote *m = s->reader;
    const struct mqttsn_packet p = {.type = MQTTSN_DISCONNECT, .bare = true};

    if (m->placed)
        mote_send(m, &p, 0);
    mote_leave(m, LEAVE_DISPLACED);
}

static const char *user(const struct session *s)
{
    const struct mote *m = s->reader;

    return m->who ? m->who->user : NULL;
}

static bool may_publish(struct session *s, struct bytes topic)
{
    struct actor a = mote_actor(s->reader);

    return actor_may_publish(&a, topic, 1, false);
}

const struct session_ops mote_session_ops = {.kind = "mote",
                                             .on_deliver = on_deliver,
                                             .on_release = on_release,
                                             .on_room = on_room,
                                             .on_displaced = on_displaced,
                                             .user = user,
                                             .may_publish = may_publish};

/* ---- what motes answer ---- */

static void count_unknown(struct mote *m)
{
    broker_stats(m->line->b)->unknown_acks++;
}

static bool is_flight(const struct mote *m, enum flight_kind kind, uint16_t id)
{
    return m->flight.kind == kind && m->flight.id == id;
}

/* It is busy; it is asked again, and not given up. */
static void wait_longer(struct mote *m)
{
    m->flight.tries = 0;
    deliver_sent(m);
}

void on_regack(struct mote *m, const struct mqttsn_packet *p)
{
    if (!is_flight(m, FLIGHT_REGISTER, p->id) || m->flight.topic_id != p->topic_id) {
        count_unknown(m);
        return;
    }
    if (p->code == MQTTSN_CONGESTION) {
        wait_longer(m);
        return;
    }
    bool qos0 = m->flight.qos0;
    end_flight(m);
    if (p->code == MQTTSN_ACCEPTED)
        session_know_topic(m->session, p->topic_id, true);
    else
        count_dropped(m, &m->line->counts.topic_refused);
    if (p->code != MQTTSN_ACCEPTED && qos0 && !list_empty(&m->waiting))
        drop_waiting(m, list_entry(m->waiting.next, struct sn_waiting, link));
    else if (p->code != MQTTSN_ACCEPTED && !qos0)
        skip(m);
    else if (!qos0)
        transmit(m);
    deliver_go_on(m);
}

/* The mote does not know the topic: it lost its table. It is told again, and then the message. */
static void on_unknown_topic(struct mote *m, const struct mqttsn_packet *p)
{
    session_know_topic(m->session, p->topic_id, false);
    if (!is_flight(m, FLIGHT_PUBLISH, p->id))
        return;
    if (++m->flight.unknown <= UNKNOWN_MOST) {
        end_flight(m);
        transmit(m);
        return;
    }
    count_dropped(m, &m->line->counts.topic_refused);
    skip(m);
    deliver_go_on(m);
}

void on_puback(struct mote *m, const struct mqttsn_packet *p)
{
    bool mine = is_flight(m, FLIGHT_PUBLISH, p->id);

    if (p->code == MQTTSN_BAD_TOPIC_ID) {
        on_unknown_topic(m, p);
    } else if (mine && p->code == MQTTSN_CONGESTION) {
        wait_longer(m);
    } else if (mine && p->code != MQTTSN_ACCEPTED) {
        count_dropped(m, &m->line->counts.topic_refused);
        skip(m);
        deliver_go_on(m);
    } else if (mine && m->flight.of.qos == 1) {
        end_flight(m);
        drop_message(m);
        session_on_puback(m->session, p->id);
        deliver_go_on(m);
    } else {
        count_unknown(m);
    }
}

/* What is not known any more is released as well, the mote waits for it; but not while it may come again from
 * the queue: then the mote would take it for another one. */
void on_pubrec(struct mote *m, const struct mqttsn_packet *p)
{
    const struct mqttsn_packet answer = {.type = MQTTSN_PUBREL, .id = p->id};
    store_ticket ticket;
    bool release;

    if (session_on_pubrec(m->session, p->id, false, &release, &ticket)) {
        count_unknown(m);
        if (!session_backlog(m->session))
            mote_send(m, &answer, session_written(m->session));
        return;
    }
    if (!is_flight(m, FLIGHT_PUBLISH, p->id) && !is_flight(m, FLIGHT_RELEASE, p->id))
        return; /* it is sent when its turn comes */
    drop_message(m);
    begin_flight(m, FLIGHT_RELEASE, &answer, ticket);
}

void on_pubcomp(struct mote *m, const struct mqttsn_packet *p)
{
    if (!is_flight(m, FLIGHT_RELEASE, p->id) || session_on_pubcomp(m->session, p->id)) {
        count_unknown(m);
        return;
    }
    end_flight(m);
    deliver_go_on(m);
}
