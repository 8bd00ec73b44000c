/* SPDX-License-Identifier: Apache-2.0 */
/* DISCONNECT, sleep and waking (§6.12, §6.14), and PINGREQ of those who are awake anyway (§6.11). */
#include "base/clock.h"
#include "drivers/mqttsn/gateway.h"

static const struct mqttsn_packet pong = {.type = MQTTSN_PINGRESP};
static const struct mqttsn_packet bye = {.type = MQTTSN_DISCONNECT, .bare = true};

static void fall_asleep(struct mote *m, uint16_t duration)
{
    bool before = m->state == MOTE_ASLEEP;

    m->state = MOTE_ASLEEP;
    m->sleep_s = duration;
    list_remove(&m->awake);
    deliver_rewind(m);
    mote_note_owner(m);
    mote_send(m, &bye, session_written(m->session));
    mote_watch(m);
    if (!before)
        mote_publish_state(m, "asleep", "it said so");
}

void on_disconnect(struct mote *m, const struct mqttsn_packet *p)
{
    struct sn_line *l = m->line;
    struct sn_peer at = m->peer;
    struct session *s = m->session->no ? m->session : NULL; /* which outlives the mote */
    store_ticket fence = m->fence;

    mote_heard(m);
    if (!p->bare && p->duration) {
        fall_asleep(m, p->duration);
        return;
    }
    mote_leave(m, LEAVE_ORDERLY);
    store_ticket ticket = s ? session_written(s) : fence;
    line_send(l, &at, &bye, ticket);
}

void sleep_again(struct mote *m)
{
    list_remove(&m->awake);
    deliver_rewind(m);
}

/* PINGRESP comes when the last message is acknowledged, and ends the waking: not before what is of QoS 0. */
void sleep_settle(struct mote *m)
{
    const struct session *s = m->session;
    bool spent = m->line->settings->wake_messages && !m->wake_left;

    if (m->flight.kind != FLIGHT_NONE || m->handshake)
        return;
    if (!spent && (!list_empty(&m->waiting) || session_backlog(s) || s->queue->replays))
        return;
    list_remove(&m->awake);
    uint8_t last[2];
    mqttsn_encode(&mqttsn_12, last, &pong);
    line_send_bytes(m->line, &m->peer, OUT_PUBLISH, (struct bytes){last, sizeof(last)}, m->fence);
}

static void wake(struct mote *m)
{
    if (!list_empty(&m->awake))
        return; /* it is, and waits for what is under way */
    m->line->counts.wakes++;
    m->wake_left = m->line->settings->wake_messages;
    list_add_tail(&m->line->awake, &m->awake);
    deliver_rewind(m);
}

void on_pingreq(struct sn_line *l, const struct sn_peer *from, struct mote *m, const struct mqttsn_packet *p)
{
    const char *user;

    if (p->text.len) {
        struct mote *named = mote_named(l, p->text);
        bool may = named && named->line == l && (!m || m == named) && line_allows(l, p->text, from, &user);
        if (may && !mote_is_at(named, from))
            mote_move(named, from);
        m = may ? named : NULL;
    }
    if (!m || !m->session) {
        line_tell_stranger(l, from);
        return;
    }
    mote_heard(m);
    if (m->state == MOTE_ASLEEP && p->text.len)
        wake(m);
    else
        mote_send(m, &pong, 0);
}
