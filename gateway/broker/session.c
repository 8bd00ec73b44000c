/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions come and go, subscribe, and remember what they received with QoS 2. The queue is in queue.c. */
#include "broker/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker_private.h"
#include "broker/replay.h"
#include "broker/share.h"
#include "codec/mqtt.h"

enum { FORMAT = 2 /* of a record */, NOTE_MOST_S = 3600 };

static bool name_equal(const struct map_node *n, const void *key)
{
    const struct session *s = container_of(n, const struct session, by_name);

    return bytes_equal((struct bytes){(const uint8_t *)s->name, s->name_len}, *(const struct bytes *)key);
}

struct session *session_find(struct broker *b, struct bytes name)
{
    struct map_node *n = map_find(&b->sessions, map_hash(name.data, name.len), name_equal, &name);

    return n ? container_of(n, struct session, by_name) : NULL;
}

/* A session that has been away for some time notes on disk when it ends; those that come and go write
 * nothing. */
static void note_end(struct session *s)
{
    session_expire_in(s, s->left_s);
    s->left_s = 0;
    s->noted = clock_is_set();
    if (s->noted)
        session_save(s);
}

static void on_expiry(struct timer *t)
{
    struct session *s = container_of(t, struct expiry, timer)->session;

    if (s->left_s) {
        note_end(s);
        return;
    }
    broker_stats(s->broker)->expired += !s->leaving;
    if (s->ops)
        session_detach(s); /* it is handing over its queue, see share.h */
    session_fire_will(s);  /* [MQTT-3.1.2-8]: the session's end also ends the delay */
    session_end(s);
}

static void on_will(struct timer *t)
{
    session_fire_will(container_of(t, struct will, timer)->session);
}

/* What a new session and one from disk have in common. */
static struct session *make(struct broker *b, struct bytes name, uint32_t no)
{
    struct session *s = mem_alloc(sizeof(*s) + name.len + 1);

    s->broker = b;
    memcpy(s->name, name.data, name.len);
    s->name_len = (uint16_t)name.len;
    s->key = ++b->next_key;
    s->no = no;
    s->queue = queue_none();
    s->window = b->limits.inflight;
    list_init(&s->subscriptions);
    list_init(&s->wake);
    map_insert(&b->sessions, &s->by_name, map_hash(name.data, name.len));
    return s;
}

static uint32_t take_number(struct broker *b)
{
    if (b->free_count)
        return b->free_numbers[--b->free_count];
    return ++b->last_number;
}

void session_number_free(void *arg, uint32_t no)
{
    struct broker *b = arg;

    if (b->free_count == b->free_cap) {
        b->free_cap = b->free_cap ? b->free_cap * 2 : 16;
        b->free_numbers = mem_resize(b->free_numbers, b->free_cap * sizeof(*b->free_numbers));
    }
    b->free_numbers[b->free_count++] = no;
}

int session_new(struct session **out, struct broker *b, struct bytes name, bool durable)
{
    if (b->sessions.count >= b->limits.sessions)
        return -EMFILE;
    *out = make(b, name, durable ? take_number(b) : 0);
    if (durable)
        session_save(*out);
    return 0;
}

static void note_gone(struct session *s)
{
    s->broker->gone[s->by_name.hash % GONE_SLOTS] = store_open_ticket(s->broker->store);
}

void session_give_up_name(struct session *s)
{
    note_gone(s);
    map_remove(&s->broker->sessions, &s->by_name);
    map_insert(&s->broker->sessions, &s->by_name, map_hash_u64(s->key)); /* which is no name's */
    s->expiry_s = s->left_s = 0;
    s->nameless = true;
    s->noted = false;
    session_save(s);
}

/* On disk every session has a name. */
static void write_name(const struct session *s, struct buf *record)
{
    char made[32];
    int len = snprintf(made, sizeof(made), "\1leaving:%u", s->no);

    buf_u16(record, s->nameless ? (uint16_t)len : s->name_len);
    buf_append(record, s->nameless ? made : s->name, s->nameless ? (size_t)len : s->name_len);
}

void session_save(struct session *s)
{
    struct buf record = {0};

    if (!s->no)
        return;
    buf_u8(&record, FORMAT);
    buf_u32(&record, s->expiry_s);
    write_name(s, &record);
    buf_u32(&record, s->will ? s->will->delay_s : 0);
    buf_u64(&record, s->noted && s->expiry
                         ? (uint64_t)((int64_t)s->expiry->timer.due_s * 1000000 + clock_offset_us())
                         : 0);
    if (s->will)
        message_write(&record, s->will->message, true);
    store_session_put(s->broker->store, s->no, (struct bytes){record.data, record.len});
    buf_free(&record);
    session_queue(s)->saved = store_open_ticket(s->broker->store);
}

store_ticket session_saved(const struct session *s)
{
    return s->queue->saved;
}

store_ticket session_gone(const struct broker *b, struct bytes name)
{
    return b->gone[map_hash(name.data, name.len) % GONE_SLOTS];
}

/* NULL when the record is not one. */
struct session *session_restore(struct broker *b, uint32_t no, struct bytes record)
{
    struct cursor c = cursor_of(record.data, record.len);
    uint8_t format = cursor_u8(&c);
    uint32_t expiry_s = cursor_u32(&c);
    struct bytes name = cursor_bytes(&c, cursor_u16(&c));
    uint32_t will_delay_s = cursor_u32(&c);
    int64_t end_us = format < 2 ? 0 : (int64_t)cursor_u64(&c);

    if (c.failed || !format || format > FORMAT || session_find(b, name))
        return NULL;
    struct session *s = make(b, name, no);
    s->expiry_s = expiry_s;
    if (end_us && clock_is_set()) {
        int64_t left_us = end_us - clock_wall_us();
        s->noted = true;
        s->left_s = left_us < 0                             ? 0
                    : left_us > (int64_t)expiry_s * 1000000 ? expiry_s
                                                            : (uint32_t)(left_us / 1000000);
    }
    if (cursor_left(&c))
        session_set_will(s, message_read((struct bytes){c.at, cursor_left(&c)}, NULL), will_delay_s);
    return s;
}

static void subscription_free(struct subscription *sub)
{
    replay_end(sub);
    sub->session->broker->shared_count -= sub->shared;
    router_remove(sub->session->broker->router, sub);
    list_remove(&sub->in_session);
    sub->session->broker->subscription_count--;
    free(sub);
}

void session_free(struct session *s)
{
    list_for_safe(it, &s->subscriptions) subscription_free(list_entry(it, struct subscription, in_session));
    session_free_queue(s);
    list_remove(&s->wake);
    session_stop_expiry(s);
    session_set_will(s, NULL, 0);
    session_ids_free(s);
    map_remove(&s->broker->sessions, &s->by_name);
    free(s);
}

void session_end(struct session *s)
{
    if (share_hands_over(s))
        return;
    if (s->no) {
        store_session_purge(s->broker->store, s->no);
        note_gone(s);
    }
    session_free(s);
}

void session_detach(struct session *s)
{
    s->ops = NULL;
    s->reader = NULL;
    list_remove(&s->wake);
}

static uint32_t note_after_s(uint32_t expiry_s)
{
    uint32_t eighth = expiry_s / 8;

    return eighth > NOTE_MOST_S ? NOTE_MOST_S : eighth ? eighth : expiry_s > 1;
}

void session_expire_in(struct session *s, uint32_t seconds)
{
    session_stop_expiry(s);
    s->expiry = mem_alloc(sizeof(*s->expiry));
    s->expiry->session = s;
    timer_init(&s->expiry->timer, on_expiry);
    timer_start(s->broker->timers, &s->expiry->timer, seconds);
}

void session_expire_later(struct session *s)
{
    uint32_t first = s->noted ? 0 : note_after_s(s->expiry_s);

    if (s->expiry_s == UINT32_MAX)
        return;
    if (!s->noted) /* else it comes from disk, and less may be left */
        s->left_s = s->expiry_s;
    session_expire_in(s, first ? first : s->left_s);
    s->left_s = first ? s->left_s - first : 0;
}

void session_stop_expiry(struct session *s)
{
    if (!s->expiry)
        return;
    timer_stop(&s->expiry->timer);
    free(s->expiry);
    s->expiry = NULL;
}

void session_wake(struct session *s)
{
    if (s->ops && list_empty(&s->wake))
        list_add_tail(&s->broker->waking, &s->wake);
}

/* ---- will ---- */

void session_set_will(struct session *s, struct message *will, uint32_t delay_s)
{
    if (s->will) {
        message_drop(s->will->message);
        timer_stop(&s->will->timer);
        free(s->will);
        s->will = NULL;
    }
    if (!will)
        return;
    s->will = mem_alloc(sizeof(*s->will));
    *s->will = (struct will){.session = s, .message = will, .delay_s = delay_s};
    timer_init(&s->will->timer, on_will);
}

struct message *session_take_will(struct session *s)
{
    if (!s->will)
        return NULL;
    struct message *will = message_keep(s->will->message);
    session_set_will(s, NULL, 0);
    will->born_us = (int64_t)clock_boot_us(); /* its expiry begins now (§3.1.3.2.4) */
    will->publisher = s->key;
    session_save(s);
    return will;
}

void session_fire_will(struct session *s)
{
    struct message *will = session_take_will(s);

    if (!will)
        return;
    broker_publish(s->broker, will, NULL);
    message_drop(will);
}

void session_will_due(struct session *s)
{
    if (s->will && s->will->delay_s)
        timer_start(s->broker->timers, &s->will->timer, s->will->delay_s);
    else
        session_fire_will(s);
}

/* ---- subscriptions ---- */

static bool options_same(const struct subscription_options *a, const struct subscription_options *b)
{
    return a->qos == b->qos && a->no_local == b->no_local &&
           a->retain_as_published == b->retain_as_published && a->raise == b->raise &&
           a->retain_handling == b->retain_handling && a->id == b->id;
}

void session_save_subscription(const struct subscription *sub)
{
    const struct subscription_options *o = &sub->options;
    const struct session *s = sub->session;
    struct buf record = {0};

    if (!s->no)
        return;
    buf_u8(&record, o->qos);
    buf_u8(&record,
           (uint8_t)(o->no_local | o->retain_as_published << 1 | o->raise << 2 | sub->replaying << 3));
    buf_u8(&record, o->retain_handling);
    buf_u32(&record, o->id);
    store_subscription_put(s->broker->store, s->no,
                           (struct bytes){(const uint8_t *)sub->filter, sub->filter_len},
                           (struct bytes){record.data, record.len});
    buf_free(&record);
}

static struct subscription *add_subscription(struct session *s, struct bytes filter)
{
    struct subscription *sub = mem_alloc(mem_size_with(struct subscription, filter, filter.len));

    sub->session = s;
    sub->filter_len = (uint16_t)filter.len;
    memcpy(sub->filter, filter.data, filter.len);
    list_add_tail(&s->subscriptions, &sub->in_session);
    s->broker->subscription_count++;
    router_add(s->broker->router, sub);
    s->broker->shared_count += sub->shared;
    return sub;
}

static void tell_sys(struct broker *b, struct bytes filter)
{
    struct bytes name;

    share_split(filter, &name, &filter);
    if (b->sys_wanted && filter.len > 5 && !memcmp(filter.data, "$SYS/", 5))
        b->sys_wanted(b->sys_wanted_arg);
}

void session_subscribe(struct session *s, struct bytes filter, const struct subscription_options *o)
{
    struct subscription *sub = router_find(s->broker->router, s, filter);
    bool fresh = !sub, replayed = sub && sub->replaying;

    if (fresh)
        sub = add_subscription(s, filter);
    bool changed = fresh || !options_same(&sub->options, o);
    if (changed) {
        sub->options = *o;
        router_changed(s->broker->router);
    }
    tell_sys(s->broker, filter);
    bool due = !sub->shared && (o->retain_handling == 0 || (o->retain_handling == 1 && fresh));
    if (due)
        replay_begin(sub);
    if (changed || replayed != sub->replaying)
        session_save_subscription(sub);
}

void session_restore_subscription(struct session *s, struct bytes filter, struct bytes record)
{
    struct cursor c = cursor_of(record.data, record.len);
    struct subscription_options o = {.qos = cursor_u8(&c)};
    uint8_t flags = cursor_u8(&c);

    o.no_local = flags & 1;
    o.retain_as_published = flags >> 1 & 1;
    o.raise = flags >> 2 & 1;
    o.retain_handling = cursor_u8(&c);
    o.id = cursor_u32(&c);
    if (c.failed || router_find(s->broker->router, s, filter))
        return;
    struct subscription *sub = add_subscription(s, filter);
    sub->options = o;
    if (flags >> 3 & 1)
        replay_restore(sub);
}

bool session_subscribes(const struct session *s, struct bytes filter)
{
    return router_find(s->broker->router, s, filter) != NULL;
}

bool session_unsubscribe(struct session *s, struct bytes filter)
{
    struct subscription *sub = router_find(s->broker->router, s, filter);

    if (!sub)
        return false;
    if (s->no)
        store_subscription_remove(s->broker->store, s->no, filter); /* which may be sub's own */
    subscription_free(sub);
    return true;
}

/* ---- inbound QoS 2 ---- */

/* The place of id in the sorted identifiers. */
static uint32_t inbound_place(const struct session *s, uint16_t id, bool *there)
{
    const struct queue *q = s->queue;
    uint32_t low = 0, high = q->inbound_count;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (q->inbound[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    *there = low < q->inbound_count && q->inbound[low] == id;
    return low;
}

bool session_inbound_restore(struct session *s, uint16_t id)
{
    struct queue *q = session_queue(s);
    bool there;
    uint32_t at = inbound_place(s, id, &there);

    if (there)
        return false;
    if (q->inbound_count == q->inbound_cap) {
        q->inbound_cap = q->inbound_cap ? q->inbound_cap * 2 : 8;
        q->inbound = mem_resize(q->inbound, q->inbound_cap * sizeof(*q->inbound));
    }
    memmove(&q->inbound[at + 1], &q->inbound[at], (q->inbound_count - at) * sizeof(*q->inbound));
    q->inbound[at] = id;
    q->inbound_count++;
    return true;
}

store_ticket session_written(const struct session *s)
{
    return s->no ? store_written_ticket(s->broker->store) : 0;
}

bool session_inbound(struct session *s, uint16_t id, store_ticket *ticket)
{
    bool fresh = session_inbound_restore(s, id);

    if (fresh && s->no)
        store_identifier_put(s->broker->store, s->no, id);
    *ticket = session_written(s); /* a repeat's identifier may itself still wait for the disk */
    return fresh;
}

bool session_inbound_done(struct session *s, uint16_t id, store_ticket *ticket)
{
    struct queue *q = s->queue;
    bool there;
    uint32_t at = inbound_place(s, id, &there);

    if (!there) {
        *ticket = session_written(s); /* what removed it may itself still wait for the disk */
        return false;
    }
    q->inbound_count--;
    memmove(&q->inbound[at], &q->inbound[at + 1], (q->inbound_count - at) * sizeof(*q->inbound));
    if (s->no)
        store_identifier_remove(s->broker->store, s->no, id);
    *ticket = session_written(s);
    return true;
}

/* ---- what status tells ---- */

uint64_t session_backlog(const struct session *s)
{
    return s->queue->queued + s->queue->in_flight;
}

uint64_t session_oldest_s(const struct session *s)
{
    const struct deliveries *r = s->queue->flight.count ? &s->queue->flight : &s->queue->ready;

    for (uint32_t i = 0; i < r->count; i++) {
        const struct message *m = deliveries_at(r, i)->message;
        if (m)
            return (uint64_t)(((int64_t)clock_boot_us() - m->born_us) / 1000000);
    }
    return 0;
}
