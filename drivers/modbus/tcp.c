/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "drivers/modbus/config.h"
#include "drivers/modbus/order.h"
#include "drivers/modbus/polls.h"
#include "drivers/modbus/raw.h"
#include "drivers/modbus/tcp_frame.h"
#include "drivers/tap.h"
#include "net/conn.h"

enum {
    FLIGHTS = 32,
    ORDERS_MAX = 64,
    CONNECT_MS = 10000,
    RETRY_FIRST_MS = 250,
    RETRY_MOST_MS = 5000,
    DEAF_US = 15000000, /* nothing at all for so long while we wait: the connection is not one any more */
};

enum flight_kind { FLIGHT_FREE, FLIGHT_POLL, FLIGHT_PROBE, FLIGHT_ORDER, FLIGHT_RAW };

/* A request that waits for its answer. */
struct flight {
    enum flight_kind kind;
    uint16_t id;
    uint8_t unit;
    bool open;                /* the answer's length is not known */
    unsigned device, round;   /* round: of the poll */
    size_t index;             /* of the poll */
    struct order_run run;     /* ORDER */
    struct modbus_order *raw; /* RAW */
    uint8_t pdu[TCP_PDU_MAX];
    size_t len, data_len;
    uint64_t sent_us, deadline_us, began_us;
};

struct link {
    struct conn conn;
    struct tcp_client *client; /* NULL: it has ended */
};

struct tcp_client {
    const struct modbus_line *m;
    struct net *net;
    struct tap *tap;
    struct link *link; /* NULL: none */
    uv_timer_t *timer;
    struct polls polls;
    struct list orders;    /* of struct modbus_order: to be carried out */
    struct raw_turns raws; /* the same, of others */
    size_t order_count;    /* of both */
    unsigned raw_count;    /* of those in flight */
    struct flight flights[FLIGHTS];
    unsigned in_flight;
    uint16_t last_id;
    bool up, was_down;
    unsigned retry_ms;
    uint64_t retry_us, heard_us;
};

/* ---- results ---- */

static bool poll_is_current(const struct tcp_client *t, const struct flight *f)
{
    const struct poll *p = &t->polls.list[f->index];

    return p->begun && p->round == f->round;
}

static bool send_step(struct tcp_client *t, struct flight *f);

static void end_flight(struct tcp_client *t, struct flight *f)
{
    f->kind = FLIGHT_FREE;
    t->in_flight--;
}

static void end_order(struct tcp_client *t, struct flight *f, uint64_t now_us)
{
    struct modbus_order *o = f->run.order;

    t->polls.units[f->device].no_mask = f->run.no_mask;
    o->took_us = (uint32_t)(now_us - f->began_us);
    t->polls.under_way--;
    polls_ordered(&t->polls, o, now_us);
    end_flight(t, f);
}

static void end_raw(struct tcp_client *t, struct flight *f, enum order_verdict verdict, uint64_t now_us)
{
    f->raw->verdict = verdict;
    t->raws.owed_us += (now_us - f->began_us) / t->m->in_flight;
    t->raw_count--;
    t->polls.under_way--;
    polls_ordered(&t->polls, f->raw, now_us);
    end_flight(t, f);
}

static void land_raw(struct tcp_client *t, struct flight *f, const struct modbus_result *r,
                     struct bytes answer, uint64_t now_us)
{
    polls_exchanged_raw(&t->polls, f->raw->device, r, (now_us - f->sent_us) / t->m->in_flight, now_us);
    raw_note(&t->raws, f->raw->raw, r->verdict, now_us);
    raw_took(f->raw->raw, r, answer);
    end_raw(t, f, order_verdict_of(r->verdict), now_us);
}

static void land(struct tcp_client *t, struct flight *f, const struct modbus_result *r, uint64_t now_us)
{
    uint64_t busy_us = (now_us - f->sent_us) / t->m->in_flight;

    polls_exchanged(&t->polls, f->device, r, busy_us, now_us);
    raw_repay(&t->raws, busy_us);
    switch (f->kind) {
    case FLIGHT_POLL:
        t->polls.tasks[f->index].busy = false;
        end_flight(t, f);
        if (poll_is_current(t, f))
            polls_took(&t->polls, f->index, r, now_us);
        break;
    case FLIGHT_PROBE:
        t->polls.schedule_units[f->device].busy = false;
        end_flight(t, f);
        schedule_probed(&t->polls.schedule, now_us - busy_us, now_us);
        polls_probed(&t->polls, f->device, r, now_us);
        break;
    case FLIGHT_ORDER:
        order_took(&f->run, r);
        if (!send_step(t, f))
            end_order(t, f, now_us);
        break;
    case FLIGHT_RAW:
    case FLIGHT_FREE:
        break;
    }
}

/* ---- requests ---- */

static struct flight *free_flight(struct tcp_client *t)
{
    for (unsigned i = 0; i < t->m->in_flight; i++)
        if (!t->flights[i].kind)
            return &t->flights[i];
    return NULL;
}

static struct flight *flight_of(struct tcp_client *t, uint16_t id)
{
    for (unsigned i = 0; i < t->m->in_flight; i++)
        if (t->flights[i].kind && t->flights[i].id == id)
            return &t->flights[i];
    return NULL;
}

static uint32_t response_of(const struct tcp_client *t, const struct flight *f)
{
    if (f->kind != FLIGHT_RAW)
        return polls_response(&t->polls, f->device);
    if (f->raw->raw->response_us)
        return f->raw->raw->response_us;
    return f->raw->device == ORDER_NO_DEVICE ? t->m->response_us : t->m->devices[f->raw->device].response_us;
}

static void send_pdu(struct tcp_client *t, struct flight *f)
{
    f->id = ++t->last_id;
    f->sent_us = clock_boot_us();
    f->deadline_us = f->sent_us + response_of(t, f);
    if (t->in_flight == 1)
        t->heard_us = f->sent_us;
    struct buf *lane = conn_free_lane(&t->link->conn);
    size_t from = lane->len;
    tcp_frame_put(lane, f->id, f->unit, (struct bytes){f->pdu, f->len});
    tap_put(t->tap, TAP_REQUEST, (struct bytes){lane->data + from, lane->len - from}, f->sent_us, f->sent_us);
}

static void send_read(struct tcp_client *t, struct flight *f, const struct plan_block *b)
{
    const uint8_t pdu[5] = {(uint8_t)b->table, (uint8_t)(b->address >> 8), (uint8_t)b->address,
                            (uint8_t)(b->count >> 8), (uint8_t)b->count};

    memcpy(f->pdu, pdu, sizeof pdu);
    f->len = sizeof pdu;
    f->data_len = table_bytes(b->table, b->count);
    send_pdu(t, f);
}

static void begin_flight(struct tcp_client *t, struct flight *f, enum flight_kind kind, unsigned device,
                         size_t index)
{
    f->kind = kind;
    f->device = device;
    f->unit = t->m->devices[device].unit;
    f->open = false;
    f->index = index;
    f->began_us = clock_boot_us();
    t->in_flight++;
}

/* The next request of an order; false when there is none. */
static bool send_step(struct tcp_client *t, struct flight *f)
{
    struct order_request q;

    switch (order_next(&f->run, &q)) {
    case ORDER_SEND_READ:
        send_read(t, f, &q.read);
        return true;
    case ORDER_SEND_WRITE:
        memcpy(f->pdu, q.pdu, q.len);
        f->len = q.len;
        f->data_len = q.pdu[0] == 23 ? q.reply_len - 5 : 0;
        send_pdu(t, f);
        return true;
    case ORDER_ENDED:
        break;
    }
    return false;
}

static void begin_order(struct tcp_client *t, struct flight *f, uint64_t now_us)
{
    struct modbus_order *o = list_entry(list_pop(&t->orders), struct modbus_order, link);
    const struct modbus_point *p = &t->m->devices[o->device].groups[o->group].points[o->point];

    t->order_count--;
    begin_flight(t, f, FLIGHT_ORDER, o->device, 0);
    t->polls.under_way++; /* its result has a place in the mailbox */
    order_begin(&f->run, o, p, t->polls.units[o->device].no_mask, false, false);
    if (o->expires_us && now_us > o->expires_us) {
        o->verdict = ORDER_EXPIRED;
        end_order(t, f, now_us);
    } else if (!send_step(t, f)) {
        end_order(t, f, now_us);
    }
}

static void begin_raw(struct tcp_client *t, struct flight *f, uint64_t now_us)
{
    struct modbus_order *o = list_entry(list_pop(&t->raws.waiting), struct modbus_order, link);
    struct raw_shape shape;

    t->order_count--;
    t->raw_count++;
    begin_flight(t, f, FLIGHT_RAW, 0, 0);
    t->polls.under_way++;
    f->raw = o;
    f->unit = o->raw->unit;
    memcpy(f->pdu, o->raw->pdu, o->raw->len);
    f->len = o->raw->len;
    bool right = !raw_shape((struct bytes){f->pdu, f->len}, &shape);
    f->open = !shape.reply_len;
    f->data_len = right && (f->pdu[0] <= TABLE_INPUT || f->pdu[0] == 23) ? shape.reply_len - 5 : 0;
    if (o->expires_us && now_us > o->expires_us)
        end_raw(t, f, ORDER_EXPIRED, now_us);
    else if (raw_is_spared(&t->raws, o->raw, now_us))
        end_raw(t, f, ORDER_TIMEOUT, now_us);
    else
        send_pdu(t, f);
}

static void begin_poll(struct tcp_client *t, struct flight *f, size_t index, uint64_t now_us)
{
    const struct plan_block *b = polls_next(&t->polls, index, now_us);

    if (!b)
        return;
    begin_flight(t, f, FLIGHT_POLL, t->polls.list[index].device, index);
    f->round = t->polls.list[index].round;
    t->polls.tasks[index].busy = true;
    send_read(t, f, b);
}

static void begin_probe(struct tcp_client *t, struct flight *f, unsigned device)
{
    const struct modbus_point *p = &t->m->devices[device].groups[0].points[0];
    const struct plan_block b = {p->table, p->address, p->count};

    begin_flight(t, f, FLIGHT_PROBE, device, 0);
    t->polls.schedule_units[device].busy = true;
    send_read(t, f, &b);
}

/* False when nothing is to be sent before *until_us. */
static bool send_one(struct tcp_client *t, struct flight *f, uint64_t *until_us)
{
    uint64_t now = clock_boot_us();
    size_t index;

    bool room = polls_may_order(&t->polls);
    if (!list_empty(&t->orders) && room) {
        begin_order(t, f, now);
        return true;
    }
    enum schedule_what what = schedule_next(&t->polls.schedule, now, &index, until_us);
    bool due = what != SCHEDULE_WAIT, many = t->raw_count && t->raw_count >= t->m->in_flight / 2;
    if (room && raw_is_due(&t->raws, due) && !(due && many)) {
        begin_raw(t, f, now);
        return true;
    }
    switch (what) {
    case SCHEDULE_POLL:
        begin_poll(t, f, index, now);
        return true;
    case SCHEDULE_PROBE:
        begin_probe(t, f, (unsigned)index);
        return true;
    case SCHEDULE_WAIT:
        break;
    }
    return false;
}

/* ---- the connection ---- */

static void pump(struct tcp_client *t);
static void on_timer(uv_timer_t *timer);

static void wait_until(struct tcp_client *t, uint64_t until_us)
{
    uint64_t now = clock_boot_us();
    uint64_t ms = until_us > now ? (until_us - now + 999) / 1000 : 0;

    uv_update_time(t->timer->loop);
    uv_timer_start(t->timer, on_timer, ms, 0);
}

static void drop_flights(struct tcp_client *t, uint64_t now_us)
{
    for (unsigned i = 0; i < t->m->in_flight; i++) {
        struct flight *f = &t->flights[i];
        if (f->kind == FLIGHT_POLL)
            t->polls.tasks[f->index].busy = false;
        if (f->kind == FLIGHT_PROBE)
            t->polls.schedule_units[f->device].busy = false;
        if (f->kind == FLIGHT_ORDER) {
            f->run.order->verdict = ORDER_INTERRUPTED;
            end_order(t, f, now_us);
        } else if (f->kind == FLIGHT_RAW) {
            end_raw(t, f, ORDER_INTERRUPTED, now_us);
        } else if (f->kind) {
            end_flight(t, f);
        }
    }
    polls_drop(&t->polls);
}

static void refuse_orders(struct tcp_client *t, uint64_t now_us)
{
    list_splice(&t->orders, &t->raws.waiting);
    while (!list_empty(&t->orders) && polls_may_order(&t->polls)) {
        struct modbus_order *o = list_entry(list_pop(&t->orders), struct modbus_order, link);
        t->order_count--;
        o->verdict = ORDER_DOWN;
        polls_ordered(&t->polls, o, now_us);
    }
}

static void on_open(struct conn *c)
{
    struct tcp_client *t = container_of(c, struct link, conn)->client;
    uint64_t now = clock_boot_us();

    if (!t)
        return;
    log_info("line %s: open on %s", t->m->name, t->m->port);
    t->up = true;
    t->was_down = false;
    t->retry_ms = RETRY_FIRST_MS;
    t->heard_us = now;
    polls_open(&t->polls, now);
    pump(t);
}

static void on_answer(struct tcp_client *t, const struct tcp_frame *answer, struct bytes whole)
{
    struct flight *f = flight_of(t, answer->id);
    uint64_t now = clock_boot_us();
    struct modbus_result r = {.ended_us = now};

    t->heard_us = now;
    if (!f) {
        t->polls.counts.late++;
        tap_put(t->tap, TAP_LATE, whole, now, now);
        return;
    }
    r.verdict =
        f->open ? tcp_frame_judge_open(answer, f->unit, f->pdu[0], &r.exception)
                : tcp_frame_judge(answer, f->unit, (struct bytes){f->pdu, f->len}, f->data_len, &r.exception);
    tap_put(t->tap, r.verdict == EXCHANGE_CRC ? TAP_BROKEN : TAP_REPLY, whole, now, now);
    r.data = answer->pdu.data + 2;
    r.took_us = r.begun_us = (uint32_t)(now - f->sent_us);
    if (f->kind == FLIGHT_RAW)
        land_raw(t, f, &r, answer->pdu, now);
    else
        land(t, f, &r, now);
}

static size_t on_data(struct conn *c, const uint8_t *data, size_t len)
{
    struct tcp_client *t = container_of(c, struct link, conn)->client;
    struct tcp_frame frame;
    size_t used = 0;
    int got = 0;

    while (t && used < len && (got = tcp_frame_next(data + used, len - used, &frame)) > 0) {
        on_answer(t, &frame, (struct bytes){data + used, (size_t)got});
        used += (size_t)got;
    }
    if (got < 0) {
        log_warn("line %s: %s does not speak Modbus TCP", t->m->name, t->m->port);
        conn_close(c);
        return len;
    }
    if (t)
        pump(t);
    return used;
}

static void on_close(struct conn *c, const char *why)
{
    struct tcp_client *t = container_of(c, struct link, conn)->client;
    uint64_t now = clock_boot_us();

    if (!t)
        return;
    t->up = false;
    t->link = NULL;
    drop_flights(t, now);
    if (!t->was_down)
        log_error("line %s: %s; trying again until it is there", t->m->name, why ? why : "closed");
    t->was_down = true;
    polls_down(&t->polls, why ? why : "closed", now);
    refuse_orders(t, now);
    t->retry_us = now + t->retry_ms * 1000ull;
    t->retry_ms = t->retry_ms * 2 < RETRY_MOST_MS ? t->retry_ms * 2 : RETRY_MOST_MS;
    wait_until(t, t->retry_us);
}

static void on_gone(struct conn *c)
{
    free(container_of(c, struct link, conn));
}

static const struct conn_events events = {
    .on_open = on_open, .on_data = on_data, .on_close = on_close, .on_gone = on_gone};

static void start_link(struct tcp_client *t)
{
    char host[256];
    struct conn_target target = {.host = host, .timeout_ms = CONNECT_MS};
    struct link *l = mem_alloc(sizeof *l);

    l->client = t;
    t->link = l;
    modbus_tcp_place(t->m->port, host, &target.port);
    int err = conn_connect(&l->conn, t->net, &target, &events);
    if (!err)
        return;
    t->link = NULL;
    free(l);
    t->retry_us = clock_boot_us() + RETRY_MOST_MS * 1000ull;
    wait_until(t, t->retry_us);
}

static void tap_timeout(const struct tcp_client *t, const struct flight *f, uint64_t now_us)
{
    struct buf frame = {0};

    tcp_frame_put(&frame, f->id, f->unit, (struct bytes){f->pdu, f->len});
    tap_put(t->tap, TAP_TIMEOUT, (struct bytes){frame.data, frame.len}, f->sent_us, now_us);
    buf_free(&frame);
}

static uint64_t expire(struct tcp_client *t, uint64_t now_us)
{
    const struct modbus_result silence = {.verdict = EXCHANGE_TIMEOUT, .ended_us = now_us};
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < t->m->in_flight; i++) {
        struct flight *f = &t->flights[i];
        bool over = f->kind && f->deadline_us <= now_us;
        if (over)
            tap_timeout(t, f, now_us);
        if (over && f->kind == FLIGHT_RAW)
            land_raw(t, f, &silence, (struct bytes){0}, now_us);
        else if (over)
            land(t, f, &silence, now_us);
        if (f->kind && f->deadline_us < next)
            next = f->deadline_us;
    }
    return next;
}

/* Sends what is due, and comes back when something is. */
static void pump(struct tcp_client *t)
{
    uint64_t now = clock_boot_us(), until = UINT64_MAX;
    struct flight *f;

    uint64_t again = polls_tell(&t->polls, now);
    if (t->in_flight && now > t->heard_us + DEAF_US) {
        conn_abort(&t->link->conn);
        return;
    }
    expire(t, now);
    while ((f = free_flight(t)) && send_one(t, f, &until))
        ;
    uint64_t deadline = expire(t, now);
    until = until < deadline ? until : deadline;
    wait_until(t, until < again ? until : again);
}

static void on_timer(uv_timer_t *timer)
{
    struct tcp_client *t = timer->data;

    if (t->up) {
        pump(t);
    } else if (!t->link) {
        polls_tell(&t->polls, clock_boot_us());
        start_link(t);
    }
}

int tcp_client_order(struct tcp_client *t, struct list *order)
{
    if (t->order_count >= ORDERS_MAX)
        return -EAGAIN;
    list_add_tail(list_entry(order, struct modbus_order, link)->raw ? &t->raws.waiting : &t->orders, order);
    t->order_count++;
    if (t->up)
        wait_until(t, 0);
    return 0;
}

/* ---- start and end ---- */

int tcp_client_new(struct tcp_client **out, const struct modbus_line *m, struct net *net, uv_loop_t *loop,
                   struct mailbox *mail, struct tap *tap)
{
    struct tcp_client *t = mem_alloc(sizeof *t);

    *t = (struct tcp_client){
        .m = m, .net = net, .tap = tap, .retry_ms = RETRY_FIRST_MS, .timer = mem_alloc(sizeof *t->timer)};
    list_init(&t->orders);
    list_init(&t->raws.waiting);
    polls_init(&t->polls, m);
    t->polls.mail = mail;
    uv_timer_init(loop, t->timer);
    t->timer->data = t;
    uv_timer_start(t->timer, on_timer, 0, 0);
    *out = t;
    return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
    free(h);
}

void tcp_client_free(struct tcp_client *t)
{
    uint64_t now = clock_boot_us();

    if (!t)
        return;
    uv_close((uv_handle_t *)t->timer, on_timer_closed);
    drop_flights(t, now);
    list_splice(&t->orders, &t->raws.waiting);
    for (struct list *it; (it = list_pop(&t->orders));)
        free(list_entry(it, struct modbus_order, link));
    if (t->link) {
        t->link->client = NULL;
        conn_abort(&t->link->conn);
    }
    polls_free(&t->polls);
    free(t);
}
