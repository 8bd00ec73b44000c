/* SPDX-License-Identifier: Apache-2.0 */
/* Motes come, are found, move and go. */
#include "drivers/mqttsn/gateway.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/session_ids.h"

#define NAME_PREFIX "\1mote:" /* so that a mote and a client never meet in one session */

enum {
    NOTE_FORMAT = 1,
    LINE_GONE_S = 30, /* how long a line that has ended may take to come back */
};

/* ---- where it is ---- */

static uint64_t peer_hash(const struct sn_peer *p)
{
    uint8_t key[25 + SN_NODE_MOST];
    const struct address *a = &p->place.at;

    key[0] = a->family;
    memcpy(key + 1, &a->port, 2);
    memcpy(key + 3, a->ip, 16);
    memcpy(key + 19, &p->place.scope, 4);
    key[23] = p->wrapped;
    key[24] = p->node_len;
    memcpy(key + 25, p->node, p->node_len);
    return map_hash(key, 25u + p->node_len);
}

static bool peer_same(const struct sn_peer *a, const struct sn_peer *b)
{
    const struct address *x = &a->place.at, *y = &b->place.at;

    return x->family == y->family && x->port == y->port && !memcmp(x->ip, y->ip, sizeof(x->ip)) &&
           a->place.scope == b->place.scope && a->wrapped == b->wrapped && a->node_len == b->node_len &&
           !memcmp(a->node, b->node, a->node_len);
}

static bool is_at(const struct map_node *n, const void *key)
{
    return peer_same(&container_of(n, const struct mote, by_peer)->peer, key);
}

struct mote *mote_at(const struct sn_line *l, const struct sn_peer *at)
{
    struct map_node *n = map_find(&l->by_peer, peer_hash(at), is_at, at);

    return n ? container_of(n, struct mote, by_peer) : NULL;
}

bool mote_is_at(const struct mote *m, const struct sn_peer *at)
{
    return m->placed && peer_same(&m->peer, at);
}

static void place(struct mote *m, const struct sn_peer *at)
{
    m->peer = *at;
    m->placed = true;
    m->rate = line_rate_place(m->line, at);
    map_insert(&m->line->by_peer, &m->by_peer, peer_hash(at));
}

void mote_unplace(struct mote *m)
{
    if (!m->placed)
        return;
    map_remove(&m->line->by_peer, &m->by_peer);
    m->placed = false;
    if (m->rate)
        place_leave(m->rate);
    m->rate = NULL;
}

void mote_move(struct mote *m, const struct sn_peer *to)
{
    mote_unplace(m);
    place(m, to);
    m->line->counts.moved++;
    mote_note_owner(m);
}

/* ---- its session ---- */

struct buf mote_session_name(struct bytes id)
{
    struct buf name = {0};

    buf_append(&name, NAME_PREFIX, sizeof(NAME_PREFIX) - 1);
    buf_append(&name, id.data, id.len);
    return name;
}

static struct bytes id_in(const struct session *s)
{
    const size_t head = sizeof(NAME_PREFIX) - 1;

    return (struct bytes){(const uint8_t *)s->name + head, s->name_len - head};
}

struct bytes mote_id(const struct mote *m)
{
    if (m->session)
        return id_in(m->session);
    return m->handshake ? (struct bytes){m->handshake->id.data, m->handshake->id.len} : (struct bytes){0};
}

struct mote *mote_named(struct sn_line *l, struct bytes id)
{
    struct buf name = mote_session_name(id);
    struct session *s = session_find(l->b, (struct bytes){name.data, name.len});

    buf_free(&name);
    return s && s->ops == &mote_session_ops ? s->reader : NULL;
}

static void describe(const void *of, char out[160])
{
    const struct mote *m = of;
    struct bytes id = mote_id(m);
    char peer[160];

    peer_text(m->line, &m->peer, peer);
    snprintf(out, 160, "mote %.*s (%.80s)", (int)(id.len < 48 ? id.len : 48), (const char *)id.data, peer);
}

struct actor mote_actor(const struct mote *m)
{
    return (struct actor){m->line->auth, m->who, describe, m};
}

static bool allow_fits(const struct sn_allow *a, const char *id, const struct sn_peer *at)
{
    return (!a->id || !fnmatch(a->id, id, 0)) && (!a->has_source || network_has(&a->source, &at->place.at)) &&
           (!a->has_node ||
            (at->wrapped && a->node_len == at->node_len && !memcmp(a->node, at->node, at->node_len)));
}

bool line_allows(const struct sn_line *l, struct bytes id, const struct sn_peer *at, const char **user)
{
    const struct sn_settings *s = l->settings;
    bool allowed = !s->allow_count;
    char *text = mem_strndup((const char *)id.data, id.len);

    *user = s->user;
    for (size_t i = 0; i < s->allow_count && !allowed; i++) {
        allowed = allow_fits(&s->allow[i], text, at);
        if (allowed && s->allow[i].user)
            *user = s->allow[i].user;
    }
    free(text);
    return allowed;
}

/* ---- life ---- */

static void on_life(struct timer *t);

static void on_retry(struct timer *t)
{
    struct mote *m = container_of(t, struct mote, retry);

    if (m->handshake)
        will_ask_again(m);
    else
        deliver_retry(m);
}

struct mote *mote_new(struct sn_line *l, const struct sn_peer *at)
{
    struct mote *m = mem_alloc(sizeof(*m));

    m->line = l;
    list_init(&m->awake);
    list_init(&m->waiting);
    timer_init(&m->life, on_life);
    timer_init(&m->retry, on_retry);
    list_add_tail(&l->motes, &m->in_line);
    l->mote_count++;
    m->seen_us = m->since_us = clock_boot_us();
    if (at)
        place(m, at);
    return m;
}

void mote_free(struct mote *m)
{
    deliver_stop(m);
    mote_unplace(m);
    handshake_free(m->handshake);
    identity_free(m->who);
    timer_stop(&m->life);
    timer_stop(&m->retry);
    list_remove(&m->awake);
    list_remove(&m->in_line);
    m->line->mote_count--;
    free(m);
}

/* Seconds of silence after which it is lost: one and a half times what it said (§6.11, §6.14). */
static uint32_t patience(const struct mote *m)
{
    uint32_t named = m->state == MOTE_ASLEEP ? m->sleep_s : m->keep_alive;

    if (m->state == MOTE_ACTIVE && !named)
        named = m->line->settings->keep_alive_s;
    return named + (named + 1) / 2;
}

void mote_watch(struct mote *m)
{
    uint64_t passed = (clock_boot_us() - m->seen_us) / 1000000;
    uint32_t most = patience(m);

    timer_start(broker_timers(m->line->b), &m->life, passed < most ? most - (uint32_t)passed : 1);
}

/* The timer is only moved when it fires: packets cost it nothing. */
static void on_life(struct timer *t)
{
    struct mote *m = container_of(t, struct mote, life);

    if (clock_boot_us() - m->seen_us < (uint64_t)patience(m) * 1000000) {
        mote_watch(m);
        return;
    }
    m->line->counts.lost++;
    broker_stats(m->line->b)->keepalive_timeouts++;
    mote_leave(m, LEAVE_LOST);
}

void mote_heard(struct mote *m)
{
    m->seen_us = clock_boot_us();
    m->heard = true;
    if (!m->deaf)
        return;
    m->deaf = false;
    deliver_rewind(m);
}

static const struct {
    const char *state, *reason;
} leavings[] = {
    [LEAVE_ORDERLY] = {"offline", "it disconnected"},
    [LEAVE_LOST] = {"lost", "silent for one and a half times what it said"},
    [LEAVE_DISPLACED] = {NULL, NULL},
    [LEAVE_STOP] = {NULL, NULL},
};

static void end_session(struct session *s, enum mote_leaving how)
{
    if (how == LEAVE_LOST)
        session_will_due(s);
    if (s->no) {
        session_expire_later(s);
        return;
    }
    if (how == LEAVE_ORDERLY)
        session_set_will(s, NULL, 0);
    session_end(s);
}

/* The line may come back, in this run or the next, and take its mote back; else it is as if it had been lost.
 */
static void await_line(struct session *s)
{
    if (s->will) {
        s->will->delay_s = LINE_GONE_S;
        session_will_due(s);
        s->will->delay_s = 0;
    }
    if (s->no)
        session_expire_later(s);
    else
        session_expire_in(s, LINE_GONE_S);
}

/* m is gone when it returns. */
void mote_leave(struct mote *m, enum mote_leaving how)
{
    struct session *s = m->session;

    deliver_stop(m);
    if (s && leavings[how].state) {
        mote_publish_state(m, leavings[how].state, leavings[how].reason);
        session_note(s, "owner", (struct bytes){0});
        will_rest(s);
    }
    if (s)
        session_detach(s);
    if (s && leavings[how].state)
        end_session(s, how);
    else if (s && how == LEAVE_STOP)
        await_line(s);
    mote_free(m);
}

/* ---- over a restart ---- */

void mote_note_owner(struct mote *m)
{
    struct buf note = {0};
    size_t name_len = strlen(m->line->settings->name);
    const struct address *a = &m->peer.place.at;

    buf_u8(&note, NOTE_FORMAT);
    buf_u8(&note, m->state);
    buf_u8(&note, (uint8_t)(m->placed | m->peer.wrapped << 1 | m->assigned << 2));
    buf_u16(&note, m->keep_alive);
    buf_u16(&note, m->sleep_s);
    buf_u8(&note, (uint8_t)name_len);
    buf_append(&note, m->line->settings->name, name_len);
    buf_u8(&note, a->family);
    buf_u16(&note, a->port);
    buf_append(&note, a->ip, sizeof(a->ip));
    buf_u32(&note, m->peer.place.scope);
    buf_u8(&note, m->peer.control);
    buf_u8(&note, m->peer.node_len);
    buf_append(&note, m->peer.node, m->peer.node_len);
    session_note(m->session, "owner", (struct bytes){note.data, note.len});
    buf_free(&note);
}

struct noted {
    uint8_t state;
    bool placed, assigned;
    uint16_t keep_alive, sleep_s;
    struct bytes line;
    struct sn_peer peer;
};

static bool read_note(struct bytes note, struct noted *out)
{
    struct cursor c = cursor_of(note.data, note.len);
    struct address *a = &out->peer.place.at;

    *out = (struct noted){0};
    uint8_t format = cursor_u8(&c);
    out->state = cursor_u8(&c);
    uint8_t flags = cursor_u8(&c);
    out->placed = flags & 1;
    out->peer.wrapped = flags >> 1 & 1;
    out->assigned = flags >> 2 & 1;
    out->keep_alive = cursor_u16(&c);
    out->sleep_s = cursor_u16(&c);
    out->line = cursor_bytes(&c, cursor_u8(&c));
    a->family = cursor_u8(&c);
    a->port = cursor_u16(&c);
    struct bytes ip = cursor_bytes(&c, sizeof(a->ip));
    out->peer.place.scope = cursor_u32(&c);
    out->peer.control = cursor_u8(&c);
    out->peer.node_len = cursor_u8(&c);
    struct bytes node = cursor_bytes(&c, out->peer.node_len);
    if (c.failed || format != NOTE_FORMAT || node.len > SN_NODE_MOST ||
        (out->state != MOTE_ACTIVE && out->state != MOTE_ASLEEP))
        return false;
    memcpy(a->ip, ip.data, ip.len);
    if (node.len)
        memcpy(out->peer.node, node.data, node.len);
    return true;
}

/* It goes on where it was: it need not know that we were away. Its silence counts from now. */
static void restore(void *arg, struct session *s)
{
    struct sn_line *l = arg;
    struct noted n;
    const char *user, *why;

    if (s->ops || !read_note(session_noted(s, "owner"), &n) ||
        !bytes_equal(n.line, bytes_of(l->settings->name)) || !line_allows(l, id_in(s), &n.peer, &user) ||
        (n.placed && mote_at(l, &n.peer)))
        return;
    struct identity *who = user ? identity_of_port(user) : NULL;
    if (auth_bind(l->auth, &who, id_in(s), true, &why)) {
        identity_free(who);
        return;
    }
    struct mote *m = mote_new(l, n.placed ? &n.peer : NULL);
    m->session = s;
    m->who = who;
    m->state = n.state;
    m->assigned = n.assigned;
    m->heard = true;
    m->keep_alive = n.keep_alive;
    m->sleep_s = n.sleep_s;
    session_queue(s)->limits = l->settings->queue;
    session_attach(s, &mote_session_ops, m, 1);
    struct actor a = mote_actor(m);
    actor_review(&a, s);
    mote_watch(m);
}

void line_restore(struct sn_line *l)
{
    broker_each_session(l->b, restore, l);
}

/* ---- answers ---- */

void mote_send(struct mote *m, const struct mqttsn_packet *p, store_ticket ticket)
{
    line_send(m->line, &m->peer, p, ticket > m->fence ? ticket : m->fence);
}

void mote_answer(struct mote *m, uint8_t type, uint16_t topic_id, uint16_t id, uint8_t code,
                 store_ticket ticket)
{
    const struct mqttsn_packet p = {.type = type, .topic_id = topic_id, .id = id, .code = code};

    mote_send(m, &p, ticket);
}
