/* SPDX-License-Identifier: Apache-2.0 */
/* A session's queue and window: what is offered is queued, what is queued is pulled while there is room, what
 * is acknowledged is removed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/broker.h"
#include "broker/packet_id.h"
#include "broker/replay.h"
#include "broker/session.h"

enum {
    READY_MOST = 512,         /* messages of a durable queue's head that are kept in memory */
    READY_BYTES = 256 * 1024, /* and their bytes */
    READ_ROWS = 256,
    BODY_ABOVE = 4096, /* larger payloads are stored once for all queues */
    FLIGHT_WINDOWS =
        4, /* places in flight, in windows: acknowledged out of order they stay until older ones are done */
};

struct queue_read {
    struct session *session; /* NULL: it has ended meanwhile */
};

static size_t cost(const struct message *m)
{
    return m->topic.len + m->props.len + m->payload.len + 32;
}

static void count_bytes_gone(struct session *s, const struct message *m)
{
    size_t gone = cost(m);

    s->queue->bytes -= gone < s->queue->bytes ? gone : s->queue->bytes;
}

static void release_content(struct session *s, struct delivery *d)
{
    if (d->message) {
        count_bytes_gone(s, d->message);
        message_drop(d->message);
    }
    free(d->sub_ids);
    d->message = NULL;
    d->sub_ids = NULL;
}

/* ---- what goes in ---- */

static const struct queue nothing;

/* No queue yet: what all such sessions share is never written to. */
struct queue *queue_none(void)
{
    return (struct queue *)(uintptr_t)&nothing;
}

static struct queue_limits limits_for(const struct session *s)
{
    const struct broker_limits *limits = broker_limits(s->broker);
    struct queue_limits own = limits->queue;

    if (!s->no && (!own.bytes || own.bytes > limits->reader_backlog))
        own.bytes = limits->reader_backlog; /* it is memory */
    return own;
}

struct queue *session_queue(struct session *s)
{
    if (s->queue != &nothing)
        return s->queue;
    s->queue = mem_alloc(sizeof(*s->queue));
    s->queue->limits = limits_for(s);
    return s->queue;
}

void session_limit_queue(struct session *s)
{
    if (s->queue != &nothing && *s->name != '\1')
        s->queue->limits = limits_for(s);
}

static void forget(struct session *s)
{
    struct queue *q = s->queue;

    if (q == &nothing)
        return;
    deliveries_free(&q->flight);
    deliveries_free(&q->ready);
    q->ready_bytes = 0;
    q->in_flight = 0;
    if (q->read)
        q->read->session = NULL;
    q->read = NULL;
}

void session_choose(struct session *s, struct choice *choice)
{
    struct queue *q = session_queue(s);

    if (q->choice)
        q->choice->free(q->choice);
    q->choice = choice;
}

void session_free_queue(struct session *s)
{
    forget(s);
    if (s->queue != &nothing) {
        session_choose(s, NULL);
        free(s->queue->inbound);
        free(s->queue);
    }
    s->queue = queue_none();
}

static void drop_body(void *owner)
{
    message_drop(owner);
}

static store_ticket store_delivery(struct session *s, const struct delivery *d)
{
    struct store *store = broker_store(s->broker);
    struct message *m = d->message;
    bool apart = m->payload.len > BODY_ABOVE;
    struct buf row = {0};

    /* What belongs to this delivery and not to the message comes first. */
    buf_u8(&row, d->qos);
    buf_u8(&row, (uint8_t)(d->retain | d->shared << 1));
    uint32_t ids = d->sub_ids ? d->sub_ids[0] : 0;
    buf_u8(&row, (uint8_t)(ids > 255 ? 255 : ids));
    for (uint32_t i = 0; i < ids && i < 255; i++)
        buf_u32(&row, d->sub_ids[i + 1]);
    message_write(&row, m, !apart);
    if (apart) {
        if (!m->body_id)
            m->body_id = store_next_body(store);
        struct store_body body = {m->body_id, m->payload, message_keep(m), drop_body};
        store_queue_put(store, s->no, d->seq, (struct bytes){row.data, row.len}, &body);
    } else {
        store_queue_put(store, s->no, d->seq, (struct bytes){row.data, row.len}, NULL);
    }
    buf_free(&row);
    return store_open_ticket(store);
}

static bool parse_row(const struct store_row *row, struct delivery *d)
{
    struct cursor c = cursor_of(row->record.data, row->record.len);

    d->qos = cursor_u8(&c);
    uint8_t flags = cursor_u8(&c);
    d->retain = flags & 1;
    d->shared = flags >> 1 & 1;
    uint32_t ids = cursor_u8(&c);
    if (ids) {
        d->sub_ids = mem_alloc((ids + 1) * sizeof(uint32_t));
        d->sub_ids[0] = ids;
        for (uint32_t i = 0; i < ids; i++)
            d->sub_ids[i + 1] = cursor_u32(&c);
    }
    if (!c.failed && d->qos >= 1 && d->qos <= 2)
        d->message = message_read((struct bytes){c.at, cursor_left(&c)}, row->body_id ? &row->body : NULL);
    if (!d->message) {
        free(d->sub_ids);
        d->sub_ids = NULL;
    }
    return d->message != NULL;
}

static void remove_row(struct session *s, uint64_t seq)
{
    if (s->no)
        store_queue_remove(broker_store(s->broker), s->no, seq, seq + 1);
}

/* Gives up the oldest that is not in flight. False when it is not in memory. */
static bool drop_first(struct session *s)
{
    if (!s->queue->ready.count)
        return false;
    struct delivery *d = deliveries_at(&s->queue->ready, 0);
    s->queue->ready_bytes -= message_cost(d->message);
    release_content(s, d);
    remove_row(s, d->seq);
    deliveries_shift(&s->queue->ready);
    s->queue->queued--;
    return true;
}

static bool over_limits(const struct session *s, uint64_t messages, uint64_t bytes)
{
    return (s->queue->limits.messages && messages > s->queue->limits.messages) ||
           (s->queue->limits.bytes && bytes > s->queue->limits.bytes);
}

bool session_queue_room(const struct session *s)
{
    const struct queue *q = s->queue;

    if (!q->queued && !q->in_flight)
        return true;
    return q->queued < READ_ROWS && q->ready_bytes < READY_BYTES / 2 &&
           !over_limits(s, 2 * (q->queued + 1), 2 * q->bytes);
}

static void count_full(struct session *s)
{
    broker_stats(s->broker)->dropped++;
    broker_stats(s->broker)->queue_full++;
}

/* Makes room for m by the queue's policy. 0, -ENOBUFS: m is dropped; -EDQUOT: m is refused. */
static int make_room(struct session *s, const struct message *m)
{
    uint64_t need = cost(m);

    if (!over_limits(s, s->queue->queued + 1, s->queue->bytes + need))
        return 0;
    if (s->queue->limits.full == QUEUE_REFUSE) {
        s->queue->counts.refused++;
        return -EDQUOT;
    }
    while (s->queue->limits.full == QUEUE_DROP_OLDEST &&
           over_limits(s, s->queue->queued + 1, s->queue->bytes + need)) {
        if (!drop_first(s)) {
            /* The oldest are on disk: fetch them; meanwhile the queue may exceed its bounds a little. */
            session_read_ahead(s);
            if (s->queue->read && !over_limits(s, s->queue->queued - s->queue->queued / 8,
                                               s->queue->bytes - s->queue->bytes / 8))
                return 0;
            break;
        }
        s->queue->counts.dropped_oldest++;
        count_full(s);
    }
    if (!over_limits(s, s->queue->queued + 1, s->queue->bytes + need))
        return 0;
    s->queue->counts.dropped_newest++;
    count_full(s);
    return -ENOBUFS;
}

static uint32_t *copy_ids(const uint32_t *ids)
{
    if (!ids)
        return NULL;
    size_t size = (ids[0] + 1) * sizeof(*ids);
    return memcpy(mem_alloc(size), ids, size);
}

static store_ticket enqueue(struct session *s, struct message *m, const struct offer *o)
{
    session_queue(s);
    int err = make_room(s, m);

    if (err)
        return err == -EDQUOT ? SESSION_REFUSED : 0;
    struct delivery d = {.message = message_keep(m),
                         .sub_ids = copy_ids(o->sub_ids),
                         .seq = s->queue->tail++,
                         .qos = o->qos,
                         .retain = o->retain,
                         .shared = o->shared};
    s->queue->bytes += cost(m);
    s->queue->queued++;
    if (s->no)
        d.ticket = store_delivery(s, &d);
    bool in_memory = s->queue->loaded == d.seq &&
                     (!s->no || (s->queue->ready.count < READY_MOST && s->queue->ready_bytes < READY_BYTES));
    if (in_memory) {
        s->queue->loaded = d.seq + 1;
        s->queue->ready_bytes += message_cost(d.message);
        *deliveries_push(&s->queue->ready) = d;
    } else {
        message_drop(d.message);
        free(d.sub_ids);
    }
    session_wake(s);
    return d.ticket;
}

store_ticket session_offer(struct session *s, struct message *m, const struct offer *o)
{
    const struct choice *choice = s->queue->choice;

    if (choice && !choice->takes(choice, m))
        return 0;
    if (o->qos)
        return enqueue(s, m, o);
    struct delivery d = {.message = m, .sub_ids = (uint32_t *)(uintptr_t)o->sub_ids, .retain = o->retain};
    if (s->ops && !s->ops->on_deliver(s, &d)) {
        session_queue(s)->counts.dropped_qos0++;
        broker_stats(s->broker)->dropped++;
        broker_stats(s->broker)->slow_reader++;
    }
    return 0;
}

static void each_shared(struct session *s, const struct deliveries *r,
                        void (*pass)(struct session *s, struct message *m, uint8_t qos))
{
    for (uint32_t i = 0; i < r->count; i++) {
        const struct delivery *d = deliveries_at(r, i);
        bool begun = d->dup || d->state != DELIVERY_QUEUED;
        if (d->shared && d->message && (d->qos == 1 || !begun))
            pass(s, d->message, d->qos);
    }
}

void session_each_shared(struct session *s, void (*pass)(struct session *s, struct message *m, uint8_t qos))
{
    each_shared(s, &s->queue->flight, pass);
    each_shared(s, &s->queue->ready, pass);
}

/* ---- what comes back from disk ---- */

static void take_row(struct session *s, const struct store_row *row)
{
    struct delivery d = {.seq = row->seq};

    s->queue->loaded = row->seq + 1;
    if (row->released) {
        d.state = DELIVERY_RELEASED;
        d.qos = 2;
    } else if (!parse_row(row, &d)) {
        log_error("session %s: a queued message (%llu) cannot be read and is dropped", s->name,
                  (unsigned long long)row->seq);
        remove_row(s, row->seq);
        s->queue->queued -= s->queue->queued > 0;
        return;
    }
    d.dup = row->seq < s->queue->may_be_sent;
    s->queue->ready_bytes += d.message ? message_cost(d.message) : 0;
    *deliveries_push(&s->queue->ready) = d;
}

static void on_read(void *arg, const struct store_row *rows, size_t count, int err)
{
    struct queue_read *read = arg;
    struct session *s = read->session;

    for (size_t i = 0; i < count; i++) {
        if (s && !err && rows[i].seq >= s->queue->loaded)
            take_row(s, &rows[i]);
        else if (rows[i].body_id)
            free((void *)(uintptr_t)rows[i].body.data);
    }
    free(read);
    if (!s)
        return;
    s->queue->read = NULL;
    if (err)
        return;
    if (!count) { /* nothing is there any more up to where tail was */
        s->queue->loaded = s->queue->tail;
        s->queue->queued = s->queue->ready.count;
    }
    session_wake(s);
}

void session_read_ahead(struct session *s)
{
    if (s->queue->read || !s->no || s->queue->loaded >= s->queue->tail)
        return;
    if (s->queue->ready.count >= READ_ROWS || s->queue->ready_bytes >= READY_BYTES / 2)
        return;
    s->queue->read = mem_alloc(sizeof(*s->queue->read));
    s->queue->read->session = s;
    store_queue_read(broker_store(s->broker), s->no, s->queue->loaded, READ_ROWS, READY_BYTES, on_read,
                     s->queue->read);
}

/* ---- what goes out ---- */

static bool too_old(const struct session *s, const struct message *m)
{
    if (message_expired(m))
        return true;
    if (!s->queue->limits.keep_s || !clock_is_set())
        return false;
    return (int64_t)clock_boot_us() - m->born_us > (int64_t)s->queue->limits.keep_s * 1000000;
}

/* True when the first in ready may be sent as far as identifiers and window go. */
static bool window_open(const struct session *s)
{
    if (!s->queue->ready.count)
        return false;
    /* The peer's quota holds back PUBLISH alone (5.0 [MQTT-3.3.4-10]). */
    if (deliveries_at(&s->queue->ready, 0)->state != DELIVERY_RELEASED &&
        (s->queue->in_flight >= s->window || s->queue->flight.count >= FLIGHT_WINDOWS * (uint32_t)s->window))
        return false;
    return !s->queue->flight.count ||
           deliveries_at(&s->queue->ready, 0)->seq - deliveries_at(&s->queue->flight, 0)->seq <
               packet_id_span(s);
}

bool session_presses(const struct session *s)
{
    return window_open(s) || (s->queue->read && !s->queue->ready.count);
}

bool session_publishes_next(const struct session *s)
{
    return s->queue->ready.count && deliveries_at(&s->queue->ready, 0)->state != DELIVERY_RELEASED;
}

/* True when the peer may hold its identifier: then it goes out whatever its age. After a restart that is not
 * known: at QoS 1 nothing hangs on it. */
static bool begun(const struct session *s, const struct delivery *d)
{
    return d->dup && (d->qos == 2 || d->seq >= s->queue->may_be_sent);
}

static void send_first(struct session *s)
{
    struct delivery d = *deliveries_at(&s->queue->ready, 0);

    if (d.message)
        s->queue->ready_bytes -= message_cost(d.message);
    deliveries_shift(&s->queue->ready);
    s->queue->queued -= s->queue->queued > 0;
    if (d.message && !begun(s, &d) && too_old(s, d.message)) {
        s->queue->counts.expired++;
        release_content(s, &d);
        remove_row(s, d.seq);
        return;
    }
    d.id = packet_id_of(s, d.seq);
    if (d.state == DELIVERY_QUEUED)
        d.state = DELIVERY_SENT;
    *deliveries_push(&s->queue->flight) = d;
    s->queue->in_flight++;
    if (d.state == DELIVERY_RELEASED)
        s->ops->on_release(s, d.id, d.ticket);
    else
        s->ops->on_deliver(s, &d);
}

void session_pump(struct session *s)
{
    if (!s->ops)
        return;
    while (window_open(s) && s->ops->on_room(s))
        send_first(s);
    replay_go_on(s);
    session_read_ahead(s);
    if (s->ops->on_pumped)
        s->ops->on_pumped(s);
}

/* What was in flight when the reader went is sent again from the start, before anything new, in the same
 * order
 * ([MQTT-4.4.0-1], [MQTT-4.6.0-1]). */
static void unsend(struct session *s)
{
    struct deliveries all = {0};

    if (!s->queue->flight.count)
        return;
    for (uint32_t i = 0; i < s->queue->flight.count; i++) {
        struct delivery d = *deliveries_at(&s->queue->flight, i);
        if (d.state == DELIVERY_DONE)
            continue;
        if (d.state == DELIVERY_SENT) {
            d.state = DELIVERY_QUEUED;
            d.dup = true;
        }
        s->queue->ready_bytes += d.message ? message_cost(d.message) : 0;
        s->queue->queued++;
        *deliveries_push(&all) = d;
    }
    for (uint32_t i = 0; i < s->queue->ready.count; i++)
        *deliveries_push(&all) = *deliveries_at(&s->queue->ready, i);
    free(s->queue->flight.slots);
    free(s->queue->ready.slots);
    s->queue->flight = (struct deliveries){0};
    s->queue->ready = all;
    s->queue->in_flight = 0;
}

void session_attach(struct session *s, const struct session_ops *ops, void *reader, uint16_t window)
{
    unsend(s);
    s->ops = ops;
    s->reader = reader;
    s->window = window;
    session_stop_expiry(s);
    if (s->will)
        timer_stop(&s->will->timer);
    session_wake(s);
}

/* ---- acknowledgements ---- */

static void finish(struct session *s, struct delivery *d)
{
    release_content(s, d);
    d->state = DELIVERY_DONE;
    s->queue->in_flight--;
    s->queue->delivered++;
    s->queue->last_ack_us = clock_boot_us();
    remove_row(s, d->seq);
    while (s->queue->flight.count && deliveries_at(&s->queue->flight, 0)->state == DELIVERY_DONE)
        deliveries_shift(&s->queue->flight);
    if (s->queue->ready.count || s->queue->loaded < s->queue->tail || s->queue->replays)
        session_wake(s);
}

int session_on_puback(struct session *s, uint16_t id)
{
    struct delivery *d = packet_id_find(s, id);

    if (!d || d->qos != 1 || d->state != DELIVERY_SENT)
        return -ENOENT;
    finish(s, d);
    return 0;
}

int session_on_pubrec(struct session *s, uint16_t id, bool refused, bool *release, store_ticket *ticket)
{
    struct delivery *d = packet_id_find(s, id);

    *release = false;
    *ticket = 0;
    if (!d || d->qos != 2 || d->state == DELIVERY_DONE)
        return -ENOENT;
    s->queue->last_ack_us = clock_boot_us();
    if (refused) {
        finish(s, d);
        return 0;
    }
    *release = true;
    if (d->state == DELIVERY_SENT) {
        release_content(s, d);
        d->state = DELIVERY_RELEASED;
        d->ticket = 0;
        if (s->no) {
            store_queue_release(broker_store(s->broker), s->no, d->seq);
            d->ticket = store_open_ticket(broker_store(s->broker));
        }
    }
    *ticket = d->ticket;
    return 0;
}

int session_on_pubcomp(struct session *s, uint16_t id)
{
    struct delivery *d = packet_id_find(s, id);

    if (!d || d->state != DELIVERY_RELEASED)
        return -ENOENT;
    finish(s, d);
    return 0;
}

void session_skip(struct session *s, uint16_t id)
{
    struct delivery *d = packet_id_find(s, id);

    if (!d)
        return;
    finish(s, d);
}
