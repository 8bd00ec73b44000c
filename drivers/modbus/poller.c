/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/poller.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "drivers/modbus/poller_tty.h"
#include "drivers/modbus/raw.h"
#include "drivers/modbus/rtu.h"

struct poller {
    const struct modbus_line *m;
    struct rtu *rtu;
    const struct poller_io *io;
    void *io_arg;
    struct exchange x;
    struct line_visit visit; /* who has the line */
    struct sniff sniff;
    struct polls polls;
    struct list orders;    /* taken from the line, to be carried out */
    struct raw_turns raws; /* those of them that others have asked for */
    bool yielded;          /* the last poll has: the next one does not, or it would never come to that */
    uint8_t data[RTU_FRAME_MAX]; /* of the last block */
    uint64_t data_us;            /* when the first part of it had come */
};

static uint64_t now_of(const struct poller *p)
{
    return p->io->now(p->io_arg);
}

/* What the line counts beside the exchanges' verdicts. */
static void note_counts(struct poller *p)
{
    struct modbus_counts *c = &p->polls.counts;

    c->late = p->x.counts.frames_late;
    c->foreign = p->x.counts.frames_foreign;
    c->stray = p->x.counts.bytes_stray;
    c->echoes = p->x.counts.echoes;
    c->late_us_most = p->x.counts.late_us_most;
    for (size_t i = 0; i < p->m->device_count; i++) {
        const struct late *l = &p->x.late[p->m->devices[i].unit];
        struct poll_unit *u = &p->polls.units[i];
        if (l->frames != u->counts.late)
            response_late(&u->response, l->took_us);
        u->counts.late = l->frames;
    }
}

/* ---- one exchange ---- */

static struct modbus_result result_of(const struct poller *p)
{
    const struct exchange *x = &p->x;
    uint64_t took_us = x->done_us > x->sent_us ? x->done_us - x->sent_us : 0;
    uint64_t reply_us = rtu_wire_us(&x->timing, x->reply_got);

    return (struct modbus_result){
        .verdict = x->verdict,
        .exception = x->verdict == EXCHANGE_EXCEPTION ? x->reply[2] : 0,
        .data = p->data,
        .ended_us = p->data_us,
        .took_us = (uint32_t)took_us,
        .begun_us = (uint32_t)(took_us > reply_us ? took_us - reply_us : 0),
        .doubtful = x->late[x->frame[0]].count,
    };
}

/* Who is asked, and for whom. */
struct asked {
    unsigned device; /* what it brings is that device's; ORDER_NO_DEVICE: nobody's */
    uint8_t unit;
    uint32_t response_us;
    const struct plan_limits *limits;
    bool yields;    /* to orders, until something has been sent */
    unsigned owner; /* of the unit, where device is none */
};

static struct asked asked_of(const struct poller *p, unsigned device)
{
    return (struct asked){.device = device,
                          .unit = p->m->devices[device].unit,
                          .response_us = polls_response(&p->polls, device),
                          .limits = &p->polls.units[device].limits};
}

static void note_exchange(struct poller *p, const struct asked *a, uint64_t began)
{
    struct modbus_result r = result_of(p);
    uint64_t now = now_of(p);

    if (a->device == ORDER_NO_DEVICE)
        polls_exchanged_raw(&p->polls, a->owner, &r, now - began, now);
    else
        polls_exchanged(&p->polls, a->device, &r, now - began, now);
    note_counts(p);
}

/* libmodbus knows no answer whose length we do not know. */
static bool libmodbus_refuses(struct poller *p)
{
    return p->x.verdict == EXCHANGE_OK && p->x.reply_len && rtu_confirm(p->rtu, p->x.reply, p->x.reply_got);
}

enum { UNSAFE = 1, WITHDRAWN = 2 };

/* Sends function and what follows it. 0: p->x has the verdict; WITHDRAWN, where it yields: orders have come
 * and nothing was sent; -E…: the line is lost or stops. */
static int ask(struct poller *p, const struct asked *a, struct bytes pdu, size_t reply_len)
{
    uint8_t frame[RTU_FRAME_MAX];
    int len = rtu_frame(p->rtu, a->unit, pdu.data, pdu.len, frame);
    uint64_t began = now_of(p);

    if (len < 0)
        return len;
    struct exchange_request request = {.frame = {frame, (size_t)len},
                                       .reply_len = reply_len,
                                       .response_us = a->response_us,
                                       .holdoff_us = p->m->holdoff_us};
    exchange_begin(&p->x, &request, began);
    int err = p->io->run(p->io_arg, &p->x, a->yields);
    if (err)
        return err > 0 ? WITHDRAWN : err;
    if (libmodbus_refuses(p)) {
        log_error("line %s: libmodbus refuses a reply that has been judged as good", p->m->name);
        p->x.verdict = EXCHANGE_CRC;
    }
    note_exchange(p, a, began);
    return 0;
}

static int ask_read(struct poller *p, const struct asked *a, const struct plan_block *b)
{
    const uint8_t pdu[5] = {(uint8_t)b->table, (uint8_t)(b->address >> 8), (uint8_t)b->address,
                            (uint8_t)(b->count >> 8), (uint8_t)b->count};

    return ask(p, a, (struct bytes){pdu, sizeof pdu}, 5 + table_bytes(b->table, b->count));
}

/* Where a poll's block may be read in two parts; NULL: nowhere. */
struct cut {
    const struct polls *polls;
    size_t index; /* of the poll */
};

static bool may_cut(void *arg, unsigned address)
{
    const struct cut *c = arg;

    return c && polls_may_cut(c->polls, c->index, address);
}

/* One part of a block; its bytes go behind those of the parts before. */
static int ask_part(struct poller *p, const struct asked *a, const struct plan_block *part, size_t *filled)
{
    int err = ask_read(p, a, part);

    if (err)
        return err;
    if (!*filled)
        p->data_us = p->x.done_us;
    if (p->x.verdict == EXCHANGE_OK) {
        memcpy(p->data + *filled, p->x.reply + 3, table_bytes(part->table, part->count));
        *filled += table_bytes(part->table, part->count);
    }
    return 0;
}

/* The block, in a shape that no late reply can have. UNSAFE: there is none now. What is read in parts belongs
 * together: only the first yields. */
static int ask_block(struct poller *p, const struct asked *a, const struct plan_block *b, struct cut *cut)
{
    struct late *l = &p->x.late[a->unit];
    struct asked firm = *a;
    struct plan_block parts[2];
    size_t filled = 0;

    firm.yields = false;
    late_expire(l, now_of(p));
    unsigned count = late_parts(l, b, a->limits, may_cut, cut, parts);
    int err = 0;
    bool wider = count && parts[0].count > b->count;
    /* It would only be refused again. */
    if (!count || (wider && l->narrow && !late_is_ripe(l, now_of(p))))
        return UNSAFE;
    p->x.verdict = EXCHANGE_OK;
    for (unsigned i = 0; i < count && !err && p->x.verdict == EXCHANGE_OK; i++)
        err = ask_part(p, i ? &firm : a, &parts[i], &filled);
    if (err || !wider)
        return err;
    l->narrow = p->x.verdict == EXCHANGE_EXCEPTION;
    if (!l->narrow)
        return 0;
    /* The unit has no register behind the block. */
    return late_forget_reads(l, b, now_of(p)) ? ask_part(p, &firm, b, &filled) : UNSAFE;
}

/* ---- orders ---- */

static int send_order(struct poller *p, struct order_run *run, struct order_request *q, bool write)
{
    struct asked a = asked_of(p, run->order->device);
    int err =
        write ? ask(p, &a, (struct bytes){q->pdu, q->len}, q->reply_len) : ask_block(p, &a, &q->read, NULL);

    if (err < 0)
        return err;
    if (err == UNSAFE)
        p->x.verdict = EXCHANGE_BUSY;
    if (write && p->x.verdict == EXCHANGE_OK)
        memcpy(p->data, p->x.reply + 3, p->x.reply_got > 5 ? p->x.reply_got - 5 : 0);
    struct modbus_result r = result_of(p);
    order_took(run, &r);
    return 0;
}

/* To its end, without a poll in between: what is read, changed and written must be one. */
static int run_order(struct poller *p, struct modbus_order *o)
{
    const struct modbus_point *point = &p->m->devices[o->device].groups[o->group].points[o->point];
    struct poll_unit *u = &p->polls.units[o->device];
    struct late *l = &p->x.late[p->m->devices[o->device].unit];
    uint64_t began = now_of(p);
    struct order_run run;
    struct order_request q;
    int err = 0;

    late_expire(l, began);
    order_begin(&run, o, point, u->no_mask, !p->x.echo_known, late_has(l, point->write.function));
    if (o->expires_us && began > o->expires_us) {
        o->verdict = ORDER_EXPIRED;
    } else {
        enum order_step step;
        while (!err && (step = order_next(&run, &q)) != ORDER_ENDED)
            err = send_order(p, &run, &q, step == ORDER_SEND_WRITE);
        u->no_mask = run.no_mask;
    }
    if (err)
        o->verdict = run.step == ORDER_READ_FIRST ? ORDER_DOWN : ORDER_INTERRUPTED;
    uint64_t now = now_of(p);
    o->took_us = (uint32_t)(now - began);
    polls_ordered(&p->polls, o, now);
    return err;
}

/* ---- requests of others ---- */

static struct asked asked_raw(const struct poller *p, const struct modbus_order *o)
{
    static const struct plan_limits all = {.registers = PLAN_REGISTERS_MAX, .bits = PLAN_BITS_MAX};
    bool ours = o->device != ORDER_NO_DEVICE;
    uint32_t own = ours ? p->m->devices[o->device].response_us : p->m->response_us;

    return (struct asked){.device = ORDER_NO_DEVICE,
                          .unit = o->raw->unit,
                          .response_us = o->raw->response_us ? o->raw->response_us : own,
                          .limits = ours ? &p->polls.units[o->device].limits : &all,
                          .owner = o->device};
}

static void raw_answered(struct poller *p, struct modbus_raw *raw, struct bytes answer)
{
    struct modbus_result r = result_of(p);

    r.ended_us = p->x.done_us;
    raw_took(raw, &r, answer);
}

/* In a shape that no late reply can have, which may be wider than what was asked for. */
static int raw_read(struct poller *p, const struct asked *a, struct modbus_raw *raw,
                    const struct raw_range *range)
{
    const struct plan_block b = {range->table, range->first, range->count};
    size_t bytes = table_bytes(b.table, b.count);
    uint8_t answer[RAW_PDU_MAX] = {raw->pdu[0], (uint8_t)bytes};
    int err = ask_block(p, a, &b, NULL);

    if (err < 0)
        return err;
    if (err == UNSAFE)
        p->x.verdict = EXCHANGE_BUSY;
    if (p->x.verdict != EXCHANGE_OK) {
        raw_answered(p, raw, (struct bytes){p->x.reply + 1, 2});
        return 0;
    }
    memcpy(answer + 2, p->data, bytes);
    if (table_is_bits(b.table) && b.count % 8)
        answer[1 + bytes] &= (uint8_t)((1 << b.count % 8) - 1);
    raw_answered(p, raw, (struct bytes){answer, 2 + bytes});
    return 0;
}

/* Only an answer to a read tells an echo from the answer to what looks like it (exchange.h). Without one,
 * what could be confused is not sent; the verdict is that of the read. */
static int raw_send(struct poller *p, const struct asked *a, struct modbus_raw *raw, size_t reply_len)
{
    const struct plan_block first = {TABLE_HOLDING, 0, 1};
    int err = p->x.echo_known || raw->numbered ? 0 : ask_block(p, a, &first, NULL);

    if (err < 0)
        return err;
    bool late = err == UNSAFE || (!raw->numbered && late_has(&p->x.late[raw->unit], raw->pdu[0]));
    if (late)
        p->x.verdict = EXCHANGE_BUSY;
    if (late || (!p->x.echo_known && reply_len)) {
        raw_answered(p, raw, (struct bytes){0});
        return 0;
    }
    err = ask(p, a, (struct bytes){raw->pdu, raw->len}, reply_len);
    if (!err)
        raw_answered(p, raw, (struct bytes){p->x.reply + 1, p->x.reply_got > 3 ? p->x.reply_got - 3 : 0});
    return err;
}

static int run_raw(struct poller *p)
{
    struct modbus_order *o = list_entry(list_pop(&p->raws.waiting), struct modbus_order, link);
    struct asked a = asked_raw(p, o);
    uint64_t began = now_of(p);
    struct raw_shape shape;
    int err = raw_shape((struct bytes){o->raw->pdu, o->raw->len}, &shape); /* 0: checked when it was given */

    late_expire(&p->x.late[o->raw->unit], began);
    if (o->expires_us && began > o->expires_us) {
        o->verdict = ORDER_EXPIRED;
    } else if (raw_is_spared(&p->raws, o->raw, began)) {
        o->verdict = ORDER_TIMEOUT;
    } else {
        err = o->raw->pdu[0] <= TABLE_INPUT ? raw_read(p, &a, o->raw, &shape.ranges[0])
                                            : raw_send(p, &a, o->raw, shape.reply_len);
        o->verdict = err ? ORDER_INTERRUPTED : order_verdict_of(p->x.verdict);
        raw_note(&p->raws, o->raw, p->x.verdict, now_of(p));
    }
    uint64_t now = now_of(p);
    o->raw->line_us = (uint32_t)(now - began);
    p->raws.owed_us += now - began + 1; /* what costs no time at all must not go on for ever either */
    polls_ordered(&p->polls, o, now);
    return err;
}

/* ---- the line ---- */

static int poll_step(struct poller *p, size_t index)
{
    const struct plan_block *b = polls_next(&p->polls, index, now_of(p));

    if (!b)
        return 0;
    struct cut cut = {&p->polls, index};
    struct asked a = asked_of(p, p->polls.list[index].device);
    a.yields = !p->yielded;
    int err = ask_block(p, &a, b, &cut);
    p->yielded = err == WITHDRAWN;
    if (err < 0)
        return err;
    if (err == UNSAFE)
        polls_put_off(&p->polls, index, now_of(p));
    if (err)
        return 0;
    struct modbus_result r = result_of(p);
    polls_took(&p->polls, index, &r, now_of(p));
    return 0;
}

static int probe(struct poller *p, unsigned device)
{
    uint64_t began = now_of(p);
    const struct modbus_device *d = &p->m->devices[device];
    const struct modbus_point *first = &d->groups[0].points[0];
    const struct plan_block of = {first->table, first->address, first->count};
    struct plan_block b = late_probe(&p->x.late[d->unit], &of, &p->polls.units[device].limits);
    struct asked a = asked_of(p, device);
    int err = ask_read(p, &a, &b);

    if (err)
        return err;
    struct modbus_result r = result_of(p);
    schedule_probed(&p->polls.schedule, began, now_of(p));
    polls_probed(&p->polls, device, &r, now_of(p));
    return 0;
}

static void take_orders(struct poller *p)
{
    struct list fresh = LIST_INIT(fresh);

    p->io->take_orders(p->io_arg, &fresh);
    for (struct list *it; (it = list_pop(&fresh));)
        list_add_tail(list_entry(it, struct modbus_order, link)->raw ? &p->raws.waiting : &p->orders, it);
}

/* ---- visits ---- */

/* The speed changes, and with it the silences. */
static int change_speed(struct poller *p, const struct line_visit *v)
{
    const struct serial_format *f = v->baud ? &serial_formats[v->format] : p->m->format;
    uint32_t baud = v->baud ? v->baud : p->m->baud;
    int err = p->io->set(p->io_arg, *v);

    if (!err)
        exchange_retime(&p->x, rtu_timing(baud, f->bits_per_char), now_of(p));
    return err;
}

/* Whoever comes, goes, or wants another speed: what was under way is forgotten, so that no reading has parts
 * from before and after. */
static int begin_visit(struct poller *p, const struct line_visit *v)
{
    bool other = v->baud != p->visit.baud || v->format != p->visit.format;
    int err = other ? change_speed(p, v) : 0;

    /* Nobody stays deaf because a visitor wants what the port cannot do. */
    if (err && v->baud)
        err = 0;
    polls_drop(&p->polls);
    p->visit = *v;
    exchange_sniff(&p->x, v->on && v->listen ? &p->sniff : NULL, now_of(p));
    return err;
}

static int follow_visit(struct poller *p)
{
    struct line_visit v = p->io->visited ? p->io->visited(p->io_arg) : (struct line_visit){0};

    if (v.on == p->visit.on && v.listen == p->visit.listen && v.baud == p->visit.baud &&
        v.format == p->visit.format)
        return 0;
    return begin_visit(p, &v);
}

/* The next request of who has the line; nothing else is sent meanwhile. */
static struct modbus_order *visitors(struct poller *p)
{
    list_for(it, &p->raws.waiting)
    {
        struct modbus_order *o = list_entry(it, struct modbus_order, link);
        if (o->raw->visitor && !p->visit.listen)
            return o;
    }
    return NULL;
}

static void refuse_others(struct poller *p)
{
    list_for_safe(it, &p->raws.waiting)
    {
        if (!list_entry(it, struct modbus_order, link)->raw->visitor || p->visit.listen) {
            list_remove(it);
            list_add_tail(&p->orders, it);
        }
    }
    while (!list_empty(&p->orders) && polls_may_order(&p->polls)) {
        struct modbus_order *o = list_entry(list_pop(&p->orders), struct modbus_order, link);
        o->verdict = ORDER_BUSY;
        polls_ordered(&p->polls, o, now_of(p));
    }
}

static int visited_step(struct poller *p, uint64_t until_us)
{
    struct modbus_order *o = visitors(p);

    refuse_others(p);
    if (o && polls_may_order(&p->polls))
        return run_raw(p);
    return p->io->listen(p->io_arg, &p->x, until_us);
}

int poller_step(struct poller *p)
{
    uint64_t until, now = now_of(p);
    size_t index;
    int err = follow_visit(p);

    if (err)
        return err;
    note_counts(p);
    uint64_t again = polls_tell(&p->polls, now);
    take_orders(p);
    if (p->visit.on)
        return visited_step(p, again);
    bool room = polls_may_order(&p->polls);
    if (room && !list_empty(&p->orders))
        return run_order(p, list_entry(list_pop(&p->orders), struct modbus_order, link));
    enum schedule_what what = schedule_next(&p->polls.schedule, now, &index, &until);
    if (room && raw_is_due(&p->raws, what != SCHEDULE_WAIT))
        return run_raw(p);
    if (what == SCHEDULE_WAIT)
        return p->io->listen(p->io_arg, &p->x, until < again ? until : again);
    err = what == SCHEDULE_POLL ? poll_step(p, index) : probe(p, (unsigned)index);
    raw_repay(&p->raws, now_of(p) - now);
    return err;
}

void poller_open(struct poller *p, const struct poller_io *io, void *io_arg, struct mailbox *mail)
{
    p->io = io;
    p->io_arg = io_arg;
    p->visit = (struct line_visit){0};
    p->x.sniff = NULL;
    p->x.timing = p->m->cost.timing;
    p->polls.mail = mail;
    polls_open(&p->polls, now_of(p));
    exchange_reset(&p->x, now_of(p));
}

/* ---- on the tty of a line ---- */

static int serve(void *arg, struct line *l, struct port *port)
{
    struct poller *p = arg;
    struct poller_tty tty = {l, port};
    int err = 0;

    poller_open(p, &poller_tty_io, &tty, &l->mail);
    while (!err && !line_stopping(l)) {
        err = poller_step(p);
        line_look(l, port);
    }
    polls_drop(&p->polls);
    return line_stopping(l) ? 0 : err;
}

static void down(void *arg, struct line *l, const char *why)
{
    struct poller *p = arg;

    p->polls.mail = &l->mail;
    polls_down(&p->polls, why, clock_boot_us());
}

/* Without a port nothing is sent; as many are answered as the mailbox takes, the others when there is room.
 */
static void refuse(void *arg, struct line *l)
{
    struct poller *p = arg;

    line_take_orders(l, &p->orders);
    list_splice(&p->orders, &p->raws.waiting);
    while (!list_empty(&p->orders) && polls_may_order(&p->polls)) {
        struct modbus_order *o = list_entry(list_pop(&p->orders), struct modbus_order, link);
        o->verdict = ORDER_DOWN;
        polls_ordered(&p->polls, o, clock_boot_us());
    }
}

const struct line_ops poller_ops = {serve, down, refuse};

int poller_new(struct poller **out, const struct modbus_line *m, struct tap *tap)
{
    struct rtu *rtu;
    int err = rtu_new(&rtu);

    if (err)
        return err;
    struct poller *p = mem_alloc(sizeof *p);
    p->m = m;
    p->rtu = rtu;
    exchange_init(&p->x, m->cost.timing);
    p->x.tap = tap;
    polls_init(&p->polls, m);
    list_init(&p->orders);
    list_init(&p->raws.waiting);
    *out = p;
    return 0;
}

void poller_free(struct poller *p)
{
    if (!p)
        return;
    list_splice(&p->orders, &p->raws.waiting);
    for (struct list *it; (it = list_pop(&p->orders));)
        free(list_entry(it, struct modbus_order, link));
    rtu_free(p->rtu);
    polls_free(&p->polls);
    free(p);
}
