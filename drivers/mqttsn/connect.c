/* SPDX-License-Identifier: Apache-2.0 */
/* CONNECT: who may come, the session that it finds or makes (§6.2, §6.3). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "broker/session_ids.h"
#include "codec/mqtt.h"
#include "drivers/mqttsn/gateway.h"

enum { PROTOCOL = 1, ID_MOST = 1024 };

void handshake_free(struct sn_handshake *h)
{
    if (!h)
        return;
    buf_free(&h->id);
    buf_free(&h->topic);
    message_drop(h->will);
    free(h);
}

static void end_handshake(struct mote *m)
{
    handshake_free(m->handshake);
    m->handshake = NULL;
    timer_stop(&m->retry);
}

static void say_connack(struct sn_line *l, const struct sn_peer *to, uint8_t code, store_ticket ticket)
{
    const struct mqttsn_packet p = {.type = MQTTSN_CONNACK, .code = code};

    line_send(l, to, &p, ticket);
}

/* WILLMSG again: CONNACK was lost. */
void connect_answer_again(struct mote *m, const struct mqttsn_packet *p)
{
    (void)p;
    say_connack(m->line, &m->peer, MQTTSN_ACCEPTED, m->fence);
}

static void refuse(struct sn_line *l, const struct sn_peer *to, uint8_t code, struct bytes id,
                   const char *why)
{
    char peer[160];

    peer_text(l, to, peer);
    auth_note(l->auth, "line %s: mote %.*s (%s) refused: %s", l->settings->name,
              (int)(id.len < 64 ? id.len : 64), id.data ? (const char *)id.data : "", peer, why);
    l->counts.refused++;
    say_connack(l, to, code, 0);
}

/* A mote that is connected stays so. */
void connect_refuse(struct mote *m, uint8_t code, const char *why)
{
    refuse(m->line, &m->peer, code, (struct bytes){m->handshake->id.data, m->handshake->id.len}, why);
    end_handshake(m);
    if (!m->session)
        mote_free(m);
}

/* ---- the session ---- */

/* Makes the session that CONNECT asks for the mote's own, with nobody else attached. 0 or -E…; *gone: at this
 * ticket an earlier one is gone from the disk. */
static int take_session(struct mote *m, struct bytes name, store_ticket *gone)
{
    struct broker *b = m->line->b;
    struct session *s = session_find(b, name);

    *gone = 0;
    if (s && s->ops && s->reader != m) {
        broker_stats(b)->taken_over++;
        s->ops->on_displaced(s);
        s = session_find(b, name);
    }
    if (s && s->reader == m)
        session_detach(s);
    if (m->handshake->clean)
        deliver_stop(m);
    m->session = NULL;
    if (s && (m->handshake->clean || !s->no)) {
        session_set_will(s, NULL, 0); /* a clean session begins without the will of the last (§6.3) */
        session_end(s);
        s = NULL;
    }
    if (!s) {
        int err = session_new(&s, b, name, !m->handshake->clean);
        if (err)
            return err;
        *gone = session_gone(b, name);
    }
    m->session = s;
    return 0;
}

static void set_session(struct mote *m)
{
    struct sn_handshake *h = m->handshake;
    struct session *s = m->session;
    uint32_t expiry_s = h->clean ? 0 : broker_limits(m->line->b)->session_expiry_max_s;
    bool changed = s->expiry_s != expiry_s || s->noted || h->will;

    s->expiry_s = expiry_s;
    s->noted = false;
    if (h->will) {
        session_note(s, "will", (struct bytes){0});
        session_set_will(s, h->will, 0);
        h->will = NULL;
    } else if (!s->will) {
        will_arm(s);
        changed |= s->will != NULL;
    }
    if (changed)
        session_save(s);
    session_queue(s)->limits = m->line->settings->queue;
}

/* It is in: CONNACK, and what waits for it follows. */
static void admit(struct mote *m)
{
    struct sn_handshake *h = m->handshake;
    struct buf name = mote_session_name((struct bytes){h->id.data, h->id.len});
    store_ticket gone;
    int err = take_session(m, (struct bytes){name.data, name.len}, &gone);

    buf_free(&name);
    if (err) {
        connect_refuse(m, MQTTSN_CONGESTION, "as many sessions as limits.sessions allows");
        return;
    }
    set_session(m);
    m->state = MOTE_ACTIVE;
    list_remove(&m->awake);
    m->keep_alive = h->keep_alive;
    m->assigned = h->assigned;
    m->heard = m->deaf = false;
    m->since_us = m->seen_us = clock_boot_us();
    mote_note_owner(m);
    end_handshake(m);
    store_ticket written = session_written(m->session);
    m->fence = written > gone ? written : gone;
    m->line->counts.connects++;
    broker_stats(m->line->b)->connects++;
    say_connack(m->line, &m->peer, MQTTSN_ACCEPTED, m->fence);
    session_attach(m->session, &mote_session_ops, m, 1);
    struct actor a = mote_actor(m);
    actor_review(&a, m->session); /* the rules may have changed while it was away */
    mote_publish_state(m, "online", "it connected");
    mote_watch(m);
    deliver_go_on(m);
}

void connect_go_on(struct mote *m)
{
    struct sn_handshake *h = m->handshake;
    struct actor a = mote_actor(m);

    if (h->will && !actor_may_publish(&a, h->will->topic, h->will->qos, h->will->retain)) {
        auth_counts(m->line->auth)->denied_connect++;
        connect_refuse(m, MQTTSN_NOT_SUPPORTED, "it may not publish its will");
        return;
    }
    admit(m);
}

/* ---- the packet ---- */

/* Who it is, by what the line says of its id and place. */
static bool identify(struct mote *m, struct bytes id, const char **why)
{
    const char *user;
    struct identity *who;

    *why = "no row of allow lets this id be at this place";
    if (!line_allows(m->line, id, &m->peer, &user))
        return false;
    who = user ? identity_of_port(user) : NULL;
    if (auth_bind(m->line->auth, &who, id, true, why)) {
        identity_free(who);
        return false;
    }
    identity_free(m->who);
    m->who = who;
    return true;
}

static const char *id_wrong(struct bytes id)
{
    if (id.len > ID_MOST)
        return "its id is too long";
    if (!mqtt_utf8_tidy(id))
        return "its id is no text";
    return NULL;
}

/* CONNACK was lost: the mote has said nothing since. With a will it expects to be asked again. */
static bool is_repeat(const struct mote *m, const struct mqttsn_packet *p)
{
    bool same = p->text.len ? bytes_equal(p->text, mote_id(m)) : m->assigned;

    return m->session && same && !p->will && !m->heard && !m->handshake && m->state == MOTE_ACTIVE;
}

/* Somebody else speaks from where m was: m is not there any more. */
static void give_way(struct mote *m)
{
    if (m->session && m->state == MOTE_ASLEEP) {
        mote_unplace(m); /* it may come back from elsewhere */
        mote_note_owner(m);
    } else {
        mote_leave(m, LEAVE_LOST);
    }
}

static struct sn_handshake *begin(const struct mqttsn_packet *p)
{
    struct sn_handshake *h = mem_alloc(sizeof(*h));
    uint8_t random[10];
    char made[32] = "auto-";

    h->clean = p->clean;
    h->keep_alive = p->duration;
    buf_append(&h->id, p->text.data, p->text.len);
    if (p->text.len)
        return h;
    h->assigned = true;
    h->clean = true; /* nobody could come back to it */
    crypto_random(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(made + 5 + 2 * i, 3, "%02x", random[i]);
    buf_append(&h->id, made, strlen(made));
    return h;
}

static const char *judge(const struct sn_line *l, const struct mote *m, const struct mqttsn_packet *p,
                         uint8_t *code)
{
    *code = MQTTSN_NOT_SUPPORTED;
    if (p->number != PROTOCOL)
        return "it speaks another version of the protocol";
    if (id_wrong(p->text))
        return id_wrong(p->text);
    *code = MQTTSN_CONGESTION;
    if (broker_congested(l->b))
        return "the disk does not keep up";
    if (!m && l->mote_count >= l->settings->most_motes)
        return "as many motes as the line may have";
    return NULL;
}

void on_connect(struct sn_line *l, const struct sn_peer *from, struct mote *m, const struct mqttsn_packet *p)
{
    uint8_t code;
    const char *why = judge(l, m, p, &code);

    if (why) {
        refuse(l, from, code, p->text, why);
        return;
    }
    if (m && is_repeat(m, p)) {
        mote_heard(m);
        m->heard = false;
        say_connack(l, from, MQTTSN_ACCEPTED, m->fence);
        return;
    }
    if (m && m->session && (p->text.len ? !bytes_equal(p->text, mote_id(m)) : !m->assigned)) {
        give_way(m);
        m = NULL;
    }
    if (!m)
        m = mote_new(l, from);
    handshake_free(m->handshake);
    m->handshake = begin(p);
    if (!identify(m, (struct bytes){m->handshake->id.data, m->handshake->id.len}, &why)) {
        auth_counts(l->auth)->denied_connect++;
        connect_refuse(m, MQTTSN_NOT_SUPPORTED, why);
        return;
    }
    if (m->session)
        deliver_rewind(m); /* it takes nothing until CONNACK */
    if (p->will)
        will_ask(m);
    else
        connect_go_on(m);
}
