/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/broker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "broker/broker_private.h"
#include "broker/session_ids.h"
#include "broker/share.h"

enum {
    REPLAY_STEPS = 8192, /* retained topics that are looked at in one round: about a millisecond */
    OWNER_S = 10         /* after a start a session's owner attaches to it within this time, or not at all */
};

struct broker *broker_new(uv_loop_t *loop, struct net *net, struct store *store,
                          const struct broker_limits *limits)
{
    struct broker *b = mem_alloc(sizeof(*b));

    b->loop = loop;
    b->net = net;
    b->store = store;
    b->limits = *limits;
    b->replay_steps = REPLAY_STEPS;
    b->timers = timers_new(loop);
    b->router = router_new();
    b->retain = retain_new(store, limits->retained);
    list_init(&b->waking);
    list_init(&b->waiters);
    store_on_session_gone(store, session_number_free, b);
    return b;
}

void broker_free(struct broker *b)
{
    if (!b)
        return;
    for (struct map_node *n = map_next(&b->sessions, NULL), *next; n; n = next) {
        next = map_next(&b->sessions, n);
        session_free(container_of(n, struct session, by_name));
    }
    map_free(&b->sessions);
    map_free(&b->replays);
    router_free(b->router);
    retain_free(b->retain);
    timers_close(b->timers);
    free(b->free_numbers);
    free(b);
}

/* ---- routing ---- */

/* One copy to whichever member is next; 0 when nobody can take it. */
static store_ticket offer_to_share(struct share *share, struct message *m, uint32_t *count)
{
    struct subscription *sub = share_pick(share, m->qos);

    if (!sub)
        return 0;
    const struct subscription_options *o = &sub->options;
    uint8_t qos = o->qos < m->qos ? o->qos : m->qos;
    uint32_t ids[2] = {1, o->id};
    ++*count;
    const struct offer offer = {qos, o->retain_as_published && m->retain, true, o->id ? ids : NULL};
    return session_offer(sub->session, m, &offer);
}

static store_ticket offer_to(const struct target *t, struct message *m, uint32_t *count)
{
    if (t->share)
        return offer_to_share(t->share, m, count);
    if ((t->not_own || t->own_only) && (t->session->key == m->publisher) == t->not_own)
        return 0;
    uint8_t qos = t->raise || t->qos < m->qos ? t->qos : m->qos;
    ++*count;
    const struct offer offer = {qos, t->retain_as_published && m->retain, false, t->sub_ids};
    return session_offer(t->session, m, &offer);
}

store_ticket broker_publish(struct broker *b, struct message *m, uint32_t *receivers)
{
    const struct route *route = router_match(b->router, m->topic);
    store_ticket most = 0;
    bool refused = false;
    uint32_t count = 0;

    b->stats.messages_in++;
    b->stats.bytes_in += m->payload.len;
    for (uint32_t i = 0; i < route->count; i++) {
        store_ticket ticket = offer_to(&route->targets[i], m, &count);
        if (ticket == SESSION_REFUSED)
            refused = true;
        else if (ticket > most)
            most = ticket;
    }
    if (m->retain) {
        store_ticket ticket = retain_set(b->retain, m, true);
        most = ticket > most ? ticket : most;
    }
    if (receivers)
        *receivers = count;
    return refused ? SESSION_REFUSED : most;
}

store_ticket broker_publish_bytes(struct broker *b, const char *topic, struct bytes payload, uint8_t qos,
                                  bool retain)
{
    struct message m = {.topic = bytes_of(topic),
                        .payload = payload,
                        .qos = qos,
                        .retain = retain,
                        .boot = b->boot,
                        .born_us = (int64_t)clock_boot_us()};
    store_ticket ticket = broker_publish(b, &m, NULL);

    message_done(&m);
    return ticket;
}

void broker_set_volatile(struct broker *b, const char *topic, struct bytes payload)
{
    struct message m = {
        .topic = bytes_of(topic), .payload = payload, .retain = true, .born_us = (int64_t)clock_boot_us()};

    retain_set(b->retain, &m, false);
    message_done(&m);
}

void broker_on_sys_wanted(struct broker *b, void (*wanted)(void *arg), void *arg)
{
    b->sys_wanted = wanted;
    b->sys_wanted_arg = arg;
}

uint32_t broker_receivers(struct broker *b, struct bytes topic)
{
    return router_match(b->router, topic)->count;
}

/* ---- the turn ---- */

static void publish_kept_wills(struct broker *b)
{
    for (uint32_t i = 0; i < b->will_count; i++) {
        broker_publish(b, b->wills[i], NULL);
        message_drop(b->wills[i]);
    }
    free(b->wills);
    b->wills = NULL;
    b->will_count = 0;
}

void broker_wake(struct broker *b)
{
    struct list now = LIST_INIT(now);

    if (b->wills)
        publish_kept_wills(b);
    b->replay_steps = REPLAY_STEPS;
    list_splice(&now, &b->waking);
    for (struct list *it; (it = list_pop(&now));)
        session_pump(list_entry(it, struct session, wake));
}

bool broker_waking(const struct broker *b)
{
    return !list_empty(&b->waking);
}

bool broker_congested(const struct broker *b)
{
    return store_full(b->store);
}

void broker_when_calm(struct broker *b, struct broker_waiter *w)
{
    list_remove(&w->link);
    list_add_tail(&b->waiters, &w->link);
}

void broker_on_commit(struct broker *b)
{
    while (!list_empty(&b->waiters) && !broker_congested(b)) {
        struct list *it = list_pop(&b->waiters);
        struct broker_waiter *w = list_entry(it, struct broker_waiter, link);
        w->calm(w);
    }
}

/* ---- from disk ---- */

static struct session *by_number(struct broker *b, uint32_t no)
{
    return no < b->loading_size ? b->loading[no] : NULL;
}

static void remember_number(struct broker *b, uint32_t no, struct session *s)
{
    if (no >= b->loading_size) {
        uint32_t size = b->loading_size ? b->loading_size : 64;
        while (size <= no)
            size *= 2;
        b->loading = mem_resize(b->loading, size * sizeof(*b->loading));
        memset(b->loading + b->loading_size, 0, (size - b->loading_size) * sizeof(*b->loading));
        b->loading_size = size;
    }
    b->loading[no] = s;
    if (no > b->last_number)
        b->last_number = no;
}

/* Marks numbers whose session is still being removed. */
static struct session dead_session;

static void on_session(void *arg, uint32_t no, struct bytes record, uint64_t head, uint64_t tail,
                       uint64_t bytes, bool dead)
{
    struct broker *b = arg;
    struct session *s = dead ? &dead_session : session_restore(b, no, record);

    if (!s) {
        log_error("session %u: its record cannot be read; it is removed with its queue", no);
        store_session_purge(b->store, no);
        s = &dead_session;
    }
    remember_number(b, no, s);
    if (s == &dead_session)
        return;
    struct queue *q = session_queue(s);
    q->loaded = head;
    q->tail = tail;
    q->queued = tail - head;
    q->bytes = bytes;
    q->may_be_sent = tail - head < 65535 ? tail : head + 65535;
}

static void on_subscription(void *arg, uint32_t no, struct bytes filter, struct bytes record)
{
    struct session *s = by_number(arg, no);

    if (s && s != &dead_session && !session_ids_restore(s, filter, record))
        session_restore_subscription(s, filter, record);
}

static void on_identifier(void *arg, uint32_t no, uint16_t id)
{
    struct session *s = by_number(arg, no);

    if (s && s != &dead_session)
        session_inbound_restore(s, id);
}

static bool on_ledger(void *arg, uint64_t offset, struct bytes record, uint64_t body_id)
{
    struct broker *b = arg;

    return retain_restore(b->retain, offset, record, body_id);
}

static void on_value(void *arg, const char *name, struct bytes value)
{
    struct broker *b = arg;

    if (b->on_value)
        b->on_value(b->on_value_arg, name, value);
}

/* Published when all services have started: a bridge says what its sessions take. */
static void keep_will(struct broker *b, struct session *s)
{
    struct message *will = session_take_will(s);

    if (!will)
        return;
    b->wills = mem_resize(b->wills, (b->will_count + 1) * sizeof(struct message *));
    b->wills[b->will_count++] = will;
}

/* Nobody is connected yet: wills of sessions whose connection the last run took down are due. */
static void wake_restored(struct broker *b)
{
    for (struct map_node *n = map_next(&b->sessions, NULL), *next; n; n = next) {
        struct session *s = container_of(n, struct session, by_name);
        next = map_next(&b->sessions, n);
        if (!s->expiry_s) { /* it was to end with its connection */
            keep_will(b, s);
            session_end(s);
            continue;
        }
        session_expire_later(s);
        if (s->will && session_noted(s, "owner").len)
            timer_start(b->timers, &s->will->timer, OWNER_S);
        else if (s->will && s->will->delay_s)
            session_will_due(s);
        else
            keep_will(b, s);
        session_read_ahead(s);
    }
}

int broker_load(struct broker *b, void (*value)(void *arg, const char *name, struct bytes value), void *arg)
{
    const struct store_visitor visitor = {b, on_value, on_session, on_subscription, on_identifier, on_ledger};

    b->on_value = value;
    b->on_value_arg = arg;
    int err = store_load(b->store, &visitor);
    for (uint32_t no = 1; no < b->last_number; no++)
        if (!by_number(b, no))
            session_number_free(b, no);
    free(b->loading);
    b->loading = NULL;
    b->loading_size = 0;
    if (err)
        return err;
    retain_restored(b->retain);
    wake_restored(b);
    return 0;
}

/* ---- what others may know ---- */

struct timers *broker_timers(struct broker *b)
{
    return b->timers;
}

struct store *broker_store(struct broker *b)
{
    return b->store;
}

void broker_want(struct broker *b, store_ticket ticket)
{
    if (ticket && ticket == store_open_ticket(b->store))
        store_want(b->store);
}

store_ticket broker_done_ticket(const struct broker *b)
{
    return store_done_ticket(b->store);
}

struct net *broker_net(struct broker *b)
{
    return b->net;
}

uv_loop_t *broker_loop(const struct broker *b)
{
    return b->loop;
}

const struct broker_limits *broker_limits(const struct broker *b)
{
    return &b->limits;
}

void broker_set_limits(struct broker *b, const struct broker_limits *limits)
{
    b->limits = *limits;
    retain_limit(b->retain, limits->retained);
    for (struct map_node *n = map_next(&b->sessions, NULL); n; n = map_next(&b->sessions, n))
        session_limit_queue(container_of(n, struct session, by_name));
}

struct broker_stats *broker_stats(struct broker *b)
{
    return &b->stats;
}

uint32_t broker_boot(const struct broker *b)
{
    return b->boot;
}

void broker_set_boot(struct broker *b, uint32_t boot)
{
    b->boot = boot;
}

struct broker_counts broker_counts(const struct broker *b)
{
    return (struct broker_counts){.sessions = b->sessions.count,
                                  .subscriptions = b->subscription_count,
                                  .shared = b->shared_count,
                                  .retained = retain_count(b->retain),
                                  .retained_bytes = retain_bytes(b->retain),
                                  .retained_refused = retain_refused(b->retain)};
}

struct session *broker_publisher(struct broker *b, uint64_t key)
{
    for (struct map_node *n = map_next(&b->sessions, NULL); key && n; n = map_next(&b->sessions, n))
        if (container_of(n, struct session, by_name)->key == key)
            return container_of(n, struct session, by_name);
    return NULL;
}

void broker_each_session(struct broker *b, void (*each)(void *arg, struct session *s), void *arg)
{
    for (struct map_node *n = map_next(&b->sessions, NULL); n; n = map_next(&b->sessions, n))
        each(arg, container_of(n, struct session, by_name));
}
