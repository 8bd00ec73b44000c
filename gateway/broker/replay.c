/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/replay.h"

#include <stdlib.h>

#include "base/clock.h"
#include "broker/broker_private.h"

/* Of one subscription. */
struct replay {
    struct map_node by_subscription;
    struct list link;
    struct subscription *sub;
    uint64_t place;
    int64_t since_us; /* what was published after it has come by itself */
};

/* Of one session, in the order in which they began. */
struct replays {
    struct list all;
};

static void offer(const struct subscription *sub, struct message *m)
{
    const struct subscription_options *o = &sub->options;
    uint8_t qos = o->raise || o->qos < m->qos ? o->qos : m->qos;
    uint32_t ids[2] = {1, o->id};
    if (o->no_local && m->publisher == sub->session->key) /* 5.0 [MQTT-3.8.3-3] */
        return;
    const struct offer offer = {qos, true, false, o->id ? ids : NULL};

    broker_want(sub->session->broker, session_offer(sub->session, m, &offer)); /* somebody waits for it */
}

static bool has_room(const struct subscription *sub)
{
    struct session *s = sub->session;

    if (sub->options.qos && !session_queue_room(s))
        return false;
    return !s->ops || s->ops->on_room(s);
}

/* True when nothing is left. */
static bool step(const struct subscription *sub, uint64_t *place, int64_t since_us)
{
    struct broker *b = sub->session->broker;
    struct bytes filter = {(const uint8_t *)sub->filter, sub->filter_len};

    while (*place != RETAIN_END && b->replay_steps && has_room(sub)) {
        struct message *m = retain_next(b->retain, filter, place, &b->replay_steps);
        if (m && m->born_us <= since_us)
            offer(sub, m);
    }
    return *place == RETAIN_END;
}

static bool is_of(const struct map_node *n, const void *sub)
{
    return container_of(n, const struct replay, by_subscription)->sub == sub;
}

static uint64_t hash_of(const struct subscription *sub)
{
    return map_hash_u64((uintptr_t)sub);
}

static void go_on_later(struct subscription *sub, uint64_t place, int64_t since_us)
{
    struct queue *q = session_queue(sub->session);
    struct replay *r = mem_alloc(sizeof(*r));

    if (!q->replays) {
        q->replays = mem_alloc(sizeof(*q->replays));
        list_init(&q->replays->all);
    }
    r->sub = sub;
    r->place = place;
    r->since_us = since_us;
    list_add_tail(&q->replays->all, &r->link);
    map_insert(&sub->session->broker->replays, &r->by_subscription, hash_of(sub));
    sub->replaying = true;
    session_wake(sub->session);
}

void replay_begin(struct subscription *sub)
{
    int64_t now_us = (int64_t)clock_boot_us();
    uint64_t place = 0;

    replay_end(sub);
    if (!step(sub, &place, now_us))
        go_on_later(sub, place, now_us);
}

void replay_restore(struct subscription *sub)
{
    go_on_later(sub, 0, (int64_t)clock_boot_us());
}

void replay_end(struct subscription *sub)
{
    struct map *all = &sub->session->broker->replays;
    struct queue *q = sub->session->queue;

    if (!sub->replaying)
        return;
    struct map_node *n = map_find(all, hash_of(sub), is_of, sub);
    struct replay *r = container_of(n, struct replay, by_subscription);
    map_remove(all, n);
    list_remove(&r->link);
    free(r);
    sub->replaying = false;
    if (list_empty(&q->replays->all)) {
        free(q->replays);
        q->replays = NULL;
    }
}

void replay_go_on(struct session *s)
{
    while (s->queue->replays) {
        struct replay *r = list_entry(s->queue->replays->all.next, struct replay, link);
        struct subscription *sub = r->sub;
        if (!step(sub, &r->place, r->since_us)) {
            if (!s->broker->replay_steps)
                session_wake(s);
            return;
        }
        replay_end(sub);
        session_save_subscription(sub);
    }
}
