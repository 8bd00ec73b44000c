/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/mote.h"

#include <stdlib.h>

#include "base/mem.h"
#include "drivers/sim/mote_ask.h"
#include "drivers/sim/mote_packet.h"

enum {
    SECOND = 1000000,
    PROTOCOL = 1,
    ACCEPTED = 0,
    CONGESTION = 1,
    BAD_ID = 2,
    TO_ALL = 2 /* ADVERTISE, SEARCHGW, GWINFO */
};

void sim_mote_init(struct sim_mote *m, struct sim_mote_plan *plan, const struct sim_mote_world *world,
                   size_t number, uint64_t now_us)
{
    m->plan = plan;
    m->world = world;
    m->id = sim_mote_fill(plan->id, number, NULL);
    m->topic = sim_mote_fill(plan->topic, number, m->id);
    m->topic_id = plan->topic_id;
    m->next_publish = now_us + plan->start_us + sim_chance_below(world->chance, plan->every_us);
    /* They do not all come in the same moment. */
    sim_mote_set_due(m, plan->qos == SIM_QOS_MINUS_ONE
                            ? m->next_publish
                            : now_us + sim_chance_below(world->chance, plan->start_us + 1));
}

void sim_mote_free(struct sim_mote *m)
{
    free(m->id);
    free(m->topic);
    buf_free(&m->pending);
}

/* ---- what comes next ---- */

static bool chance(struct sim_mote *m, uint64_t ppm)
{
    return sim_chance_ppm(m->world->chance, ppm);
}

/* As after a new battery: what was under way is gone, too. */
static void forget(struct sim_mote *m, uint64_t now)
{
    m->plan->counts.forgot++;
    if (m->publishing) {
        m->plan->counts.lost++;
        m->world->lost(m, now, m->n);
    }
    m->publishing = false;
    m->pending_type = 0;
    m->state = SIM_MOTE_AWAY;
    m->subscribed = m->id_count = 0;
    m->topic_id = m->plan->topic_id;
    m->got_id = 0;
}

static void maybe_move(struct sim_mote *m)
{
    if (!m->world->move || !chance(m, m->plan->move_ppm))
        return;
    m->plan->counts.moved++;
    m->world->move(m);
    if (m->state == SIM_MOTE_HERE) /* at another address one has to say who one is */
        m->state = SIM_MOTE_AWAY;
}

/* Once for each message, before it. */
static void try_luck(struct sim_mote *m, uint64_t now)
{
    if (m->lucky == m->n)
        return;
    m->lucky = m->n;
    maybe_move(m);
    if (chance(m, m->plan->forget_ppm))
        forget(m, now);
}

static void asleep_next(struct sim_mote *m, uint64_t now)
{
    if (now >= m->next_publish) {
        sim_mote_ask_connect(m, now);
    } else if (now >= m->next_wake) {
        maybe_move(m);
        m->state = SIM_MOTE_WAKING;
        m->next_wake = now + m->plan->wake_us;
        sim_mote_ask_ping(m, now, true);
    } else {
        sim_mote_set_due(m, m->next_publish < m->next_wake ? m->next_publish : m->next_wake);
    }
}

static void here_next(struct sim_mote *m, uint64_t now)
{
    uint64_t ping_at =
        m->plan->keepalive_s ? m->last_sent + m->plan->keepalive_s * (uint64_t)SECOND * 3 / 4 : UINT64_MAX;

    if (!m->topic_id && !sim_mote_is_short(m))
        sim_mote_ask_register(m, now);
    else if (m->subscribed < m->plan->filter_count)
        sim_mote_ask_subscribe(m, now);
    else if (now >= m->next_publish)
        sim_mote_publish(m, now);
    else if (m->plan->sleep_s)
        sim_mote_ask_sleep(m, now);
    else if (now >= ping_at)
        sim_mote_ask_ping(m, now, false);
    else
        sim_mote_set_due(m, m->next_publish < ping_at ? m->next_publish : ping_at);
}

static void next(struct sim_mote *m, uint64_t now)
{
    if (m->plan->qos == SIM_QOS_MINUS_ONE && now >= m->next_publish)
        sim_mote_publish(m, now);
    else if (m->plan->qos == SIM_QOS_MINUS_ONE)
        sim_mote_set_due(m, m->next_publish);
    else if (m->state == SIM_MOTE_AWAY)
        sim_mote_ask_connect(m, now);
    else if (m->state == SIM_MOTE_HERE)
        here_next(m, now);
    else
        asleep_next(m, now);
}

static void answered(struct sim_mote *m, uint64_t now)
{
    m->pending_type = 0;
    sim_mote_set_due(m, now);
}

static void lose_publish(struct sim_mote *m, uint64_t now)
{
    if (!m->publishing)
        return;
    m->publishing = false;
    m->plan->counts.lost++;
    m->world->lost(m, now, m->n);
}

/* No answer to any try: it begins anew, after a while, as those who share the trouble do. */
static void give_up(struct sim_mote *m, uint64_t now)
{
    m->plan->counts.unanswered++;
    lose_publish(m, now);
    m->pending_type = 0;
    m->state = SIM_MOTE_AWAY;
    sim_mote_set_due(m, now + m->plan->retry_us + sim_chance_below(m->world->chance, m->plan->retry_us));
}

void sim_mote_run(struct sim_mote *m, uint64_t now)
{
    if (!m->pending_type) {
        if (now >= m->next_publish)
            try_luck(m, now);
        next(m, now);
    } else if (m->tries > m->plan->retries) {
        give_up(m, now);
    } else {
        m->tries++;
        m->plan->counts.repeated++;
        sim_sn_repeat(&m->pending);
        sim_mote_set_due(m, now + m->plan->retry_us);
        sim_mote_say(m, now, &m->pending);
    }
}

/* ---- what the gateway says ---- */

/* True when a request was accepted. One for which there is no room is made again later, as if unanswered. */
static bool accepted(struct sim_mote *m, uint64_t now, uint8_t code)
{
    if (code == ACCEPTED)
        return true;
    if (code == CONGESTION) {
        m->plan->counts.congested++;
        sim_mote_set_due(m, now + m->plan->retry_us);
        return false;
    }
    m->plan->counts.refused++;
    lose_publish(m, now);
    m->pending_type = 0;
    sim_mote_set_due(m, now + m->plan->retry_us);
    return false;
}

static void know(struct sim_mote *m, uint16_t id)
{
    for (size_t i = 0; i < m->id_count; i++)
        if (m->ids[i] == id)
            return;
    if (!id)
        return;
    if (m->id_count == SIM_MOTE_IDS) {
        memmove(m->ids, m->ids + 1, sizeof(m->ids) - sizeof(m->ids[0]));
        m->id_count--;
    }
    m->ids[m->id_count++] = id;
}

static bool known(const struct sim_mote *m, uint8_t flags, uint16_t id)
{
    if (flags & SIM_SN_TOPIC)
        return true;
    for (size_t i = 0; i < m->id_count; i++)
        if (m->ids[i] == id)
            return true;
    return id == m->topic_id;
}

static void on_connack(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    uint8_t was = m->pending_type;

    if (was != SIM_SN_CONNECT && was != SIM_SN_WILLTOPIC && was != SIM_SN_WILLMSG)
        return;
    if (!accepted(m, now, cursor_u8(c)))
        return;
    m->plan->counts.connected++;
    m->state = SIM_MOTE_HERE;
    answered(m, now);
}

static void on_willtopicreq(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    (void)c;
    if (!m->plan->will_topic || (m->pending_type != SIM_SN_CONNECT && m->pending_type != SIM_SN_WILLTOPIC))
        return;
    sim_mote_ask_willtopic(m, now);
}

static void on_willmsgreq(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    (void)c;
    if (m->pending_type != SIM_SN_WILLTOPIC && m->pending_type != SIM_SN_WILLMSG)
        return;
    sim_mote_ask_willmsg(m, now);
}

static void on_regack(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    uint16_t topic = cursor_u16(c), id = cursor_u16(c);
    uint8_t code = cursor_u8(c);

    if (m->pending_type != SIM_SN_REGISTER || id != m->pending_id || !accepted(m, now, code))
        return;
    m->topic_id = topic;
    answered(m, now);
}

static void on_suback(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    cursor_u8(c);
    uint16_t topic = cursor_u16(c), id = cursor_u16(c);
    uint8_t code = cursor_u8(c);

    if (m->pending_type != SIM_SN_SUBSCRIBE || id != m->pending_id || !accepted(m, now, code))
        return;
    know(m, topic);
    m->subscribed++;
    answered(m, now);
}

static void acknowledged(struct sim_mote *m, uint64_t now)
{
    m->publishing = false;
    m->plan->counts.acknowledged++;
    m->world->acknowledged(m, now, m->n, now - m->published_us);
    answered(m, now);
}

static void on_puback(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    cursor_u16(c);
    uint16_t id = cursor_u16(c);
    uint8_t code = cursor_u8(c);

    if (code == BAD_ID) /* it has lost its table */
        m->topic_id = m->plan->topic_id;
    if (m->pending_type != SIM_SN_PUBLISH || id != m->pending_id || !accepted(m, now, code))
        return;
    if (m->plan->qos == 1)
        acknowledged(m, now);
    else
        m->plan->counts.makes_no_sense++;
}

static void on_pubrec(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    uint16_t id = cursor_u16(c);

    if (id != m->pending_id || m->pending_type != SIM_SN_PUBLISH)
        return;
    sim_mote_ask_pubrel(m, now, id);
}

static void on_pubcomp(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    if (cursor_u16(c) == m->pending_id && m->pending_type == SIM_SN_PUBREL)
        acknowledged(m, now);
}

static void fall_asleep(struct sim_mote *m, uint64_t now)
{
    m->plan->counts.slept++;
    m->state = SIM_MOTE_ASLEEP;
    m->next_wake = now + m->plan->wake_us;
    answered(m, now);
}

static void on_pingresp(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    (void)c;
    if (m->pending_type != SIM_SN_PINGREQ)
        return;
    if (m->state == SIM_MOTE_WAKING) {
        m->plan->counts.woken++;
        m->state = SIM_MOTE_ASLEEP;
    }
    answered(m, now);
}

static void on_disconnect(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    (void)c;
    if (m->pending_type == SIM_SN_DISCONNECT) {
        fall_asleep(m, now);
        return;
    }
    m->plan->counts.sent_away++;
    if (m->plan->qos == SIM_QOS_MINUS_ONE)
        return;
    lose_publish(m, now);
    m->state = SIM_MOTE_AWAY;
    m->pending_type = 0;
    sim_mote_set_due(m, now + sim_chance_below(m->world->chance, m->plan->retry_us));
}

/* ---- what others publish ---- */

static void on_register(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    uint16_t topic = cursor_u16(c), id = cursor_u16(c);

    know(m, topic);
    sim_mote_reply(
        m, now, SIM_SN_REGACK,
        (const uint8_t[]){(uint8_t)(topic >> 8), (uint8_t)topic, (uint8_t)(id >> 8), (uint8_t)id, ACCEPTED},
        5);
}

static void take(struct sim_mote *m, uint64_t now, uint8_t flags, uint16_t id, struct cursor *c)
{
    size_t len = cursor_left(c);

    if (flags & SIM_SN_DUP && id == m->got_last)
        m->plan->counts.received_again++;
    else
        m->plan->counts.received++;
    m->got_last = id;
    m->world->received(m, now, (flags & SIM_SN_QOS) >> 5, cursor_bytes(c, len));
}

static void on_publish(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    uint8_t flags = cursor_u8(c);
    const uint8_t *ids = cursor_take(c, 4);

    uint16_t topic = (uint16_t)(ids[0] << 8 | ids[1]), id = (uint16_t)(ids[2] << 8 | ids[3]);
    uint8_t qos = (flags & SIM_SN_QOS) >> 5;
    if (!known(m, flags, topic)) {
        m->plan->counts.unknown_ids++;
        sim_mote_reply(m, now, SIM_SN_PUBACK, (const uint8_t[]){ids[0], ids[1], ids[2], ids[3], BAD_ID}, 5);
        return;
    }
    if (qos == 2 && m->got_id == id)
        m->plan->counts.received_again++;
    else
        take(m, now, flags, id, c);
    if (qos == 2) {
        m->got_id = id;
        sim_mote_reply(m, now, SIM_SN_PUBREC, ids + 2, 2);
    } else if (qos == 1) {
        sim_mote_reply(m, now, SIM_SN_PUBACK, (const uint8_t[]){ids[0], ids[1], ids[2], ids[3], ACCEPTED}, 5);
    }
}

static void on_pubrel(struct sim_mote *m, uint64_t now, struct cursor *c)
{
    const uint8_t *id = cursor_take(c, 2);

    m->got_id = 0;
    sim_mote_reply(m, now, SIM_SN_PUBCOMP, id, 2);
}

static const struct {
    uint8_t type, least; /* octets behind the type */
    bool more;
    void (*take)(struct sim_mote *m, uint64_t now, struct cursor *body);
} handlers[] = {
    {SIM_SN_CONNACK, 1, false, on_connack},       {SIM_SN_WILLTOPICREQ, 0, false, on_willtopicreq},
    {SIM_SN_WILLMSGREQ, 0, false, on_willmsgreq}, {SIM_SN_REGISTER, 5, true, on_register},
    {SIM_SN_REGACK, 5, false, on_regack},         {SIM_SN_PUBLISH, 5, true, on_publish},
    {SIM_SN_PUBACK, 5, false, on_puback},         {SIM_SN_PUBREC, 2, false, on_pubrec},
    {SIM_SN_PUBREL, 2, false, on_pubrel},         {SIM_SN_PUBCOMP, 2, false, on_pubcomp},
    {SIM_SN_SUBACK, 6, false, on_suback},         {SIM_SN_PINGRESP, 0, false, on_pingresp},
    {SIM_SN_DISCONNECT, 0, false, on_disconnect},
};

/* False: it is nothing that a gateway says to a mote. */
static bool handle(struct sim_mote *m, uint64_t now, uint8_t type, struct cursor *body)
{
    for (size_t i = 0; i < ARRAY_SIZE(handlers); i++) {
        size_t least = handlers[i].least, left = cursor_left(body);
        if (handlers[i].type != type || left < least || (left > least && !handlers[i].more))
            continue;
        handlers[i].take(m, now, body);
        return true;
    }
    return type <= TO_ALL;
}

void sim_mote_hear(struct sim_mote *m, uint64_t now, const uint8_t *packet, size_t len)
{
    struct cursor body;
    uint8_t type;

    if (m->state == SIM_MOTE_ASLEEP && !m->pending_type) {
        m->plan->counts.heard_asleep++;
        return;
    }
    m->plan->counts.heard++;
    if (!sim_sn_open(packet, len, &type, &body) || !handle(m, now, type, &body))
        m->plan->counts.makes_no_sense++;
}
