/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/poller.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "drivers/modbus/rtu.h"

enum {
    STALE_AFTER = 2, /* polls in a row without an answer */
    LOAD_WINDOW_US = 2000000,
    LOAD_WINDOWS = 5, /* that the load is averaged over */
};

/* A group's poll that is under way: one block after the other, others may come in between. */
struct poll {
    unsigned device, group;
    size_t next_block;
    bool begun, answered;
    uint64_t taken_us;
    struct reading_point *points;
};

struct unit {
    enum device_state state;
    uint64_t since_us;
    char reason[160];
    bool told; /* the loop knows */
    unsigned bad_polls;
    struct modbus_counts counts;
};

struct poller {
    const struct modbus_line *m;
    struct rtu *rtu;
    struct line *line; /* while served */
    int tty_fd;
    struct exchange x;
    struct schedule schedule;
    struct schedule_task *tasks; /* polls[i] is what tasks[i] does */
    struct schedule_unit *schedule_units;
    struct poll *polls;
    struct unit *units; /* as m->devices */
    size_t poll_count;
    size_t under_way;            /* polls that have begun: each has a place in the mailbox coming to it */
    uint8_t data[RTU_FRAME_MAX]; /* of the last block */
    uint64_t data_us;            /* when the first part of it had come */
    struct modbus_counts counts;
    uint64_t window_us, busy_us; /* of the load */
    unsigned windows;
    bool line_told;
    bool open;
    uint64_t open_since_us;
    char why[160];
};

/* ---- to the loop ---- */

void modbus_post_free(struct modbus_post *p)
{
    free(p->points);
    free(p);
}

static struct modbus_counts line_counts(const struct poller *p)
{
    struct modbus_counts c = p->counts;

    c.late = p->x.counts.frames_late;
    c.foreign = p->x.counts.frames_foreign;
    c.stray = p->x.counts.bytes_stray;
    c.echoes = p->x.counts.echoes;
    c.late_us_most = p->x.counts.late_us_most;
    return c;
}

static struct modbus_post *post_of(const struct poller *p, enum modbus_post_kind kind, unsigned device)
{
    struct modbus_post *post = mem_alloc(sizeof *post);

    post->kind = kind;
    post->device = device;
    post->line = line_counts(p);
    if (kind != POST_LINE) {
        post->unit = p->units[device].counts;
        post->unit.late = p->x.late[p->m->devices[device].unit].frames;
    }
    return post;
}

static bool has_room(const struct poller *p, struct line *l)
{
    return mailbox_room(&l->mail) > p->under_way;
}

static void hand_over(struct line *l, struct modbus_post *post)
{
    if (mailbox_post(&l->mail, &post->link))
        modbus_post_free(post); /* not reached: there was room */
}

static void tell_unit(struct poller *p, struct line *l, unsigned device)
{
    const struct unit *u = &p->units[device];
    struct modbus_post *post = post_of(p, POST_STATE, device);

    post->state = u->state;
    post->at_us = u->since_us;
    snprintf(post->reason, sizeof post->reason, "%s", u->reason);
    hand_over(l, post);
}

static void tell_line(struct poller *p, struct line *l)
{
    struct modbus_post *post = post_of(p, POST_LINE, 0);

    post->open = p->open;
    post->at_us = p->open_since_us;
    snprintf(post->reason, sizeof post->reason, "%s", p->why);
    hand_over(l, post);
}

/* What found no room in the mailbox is told as soon as there is some. */
static void tell(struct poller *p, struct line *l)
{
    if (!p->line_told && has_room(p, l)) {
        tell_line(p, l);
        p->line_told = true;
    }
    for (unsigned i = 0; i < p->m->device_count; i++)
        if (!p->units[i].told && has_room(p, l)) {
            tell_unit(p, l, i);
            p->units[i].told = true;
        }
}

static void set_state(struct poller *p, unsigned device, enum device_state state, const char *reason)
{
    struct unit *u = &p->units[device];

    if (u->state == state)
        return;
    u->state = state;
    u->since_us = clock_boot_us();
    u->told = false;
    snprintf(u->reason, sizeof u->reason, "%s", reason);
}

/* ---- one exchange ---- */

static enum quality quality_of(const struct poller *p, uint8_t *detail)
{
    static const enum quality qualities[] = {
        [EXCHANGE_OK] = QUALITY_GOOD,         [EXCHANGE_EXCEPTION] = QUALITY_EXCEPTION,
        [EXCHANGE_TIMEOUT] = QUALITY_TIMEOUT, [EXCHANGE_CRC] = QUALITY_CRC,
        [EXCHANGE_BUSY] = QUALITY_BUSY,
    };

    *detail = p->x.verdict == EXCHANGE_EXCEPTION ? p->x.reply[2] : 0;
    return qualities[p->x.verdict];
}

static void count(struct modbus_counts *c, enum exchange_verdict verdict)
{
    c->requests++;
    c->ok += verdict == EXCHANGE_OK;
    c->exceptions += verdict == EXCHANGE_EXCEPTION;
    c->timeouts += verdict == EXCHANGE_TIMEOUT;
    c->crc += verdict == EXCHANGE_CRC;
    c->busy += verdict == EXCHANGE_BUSY;
}

static bool unit_answered(const struct poller *p)
{
    return p->x.verdict == EXCHANGE_OK || p->x.verdict == EXCHANGE_EXCEPTION;
}

static void after_exchange(struct poller *p, unsigned device, uint64_t began_us)
{
    struct unit *u = &p->units[device];
    uint64_t now = rtu_now_us();

    p->busy_us += now - began_us;
    count(&u->counts, p->x.verdict);
    count(&p->counts, p->x.verdict);
    if (unit_answered(p)) {
        u->counts.response_us = (uint32_t)(p->x.done_us > p->x.sent_us ? p->x.done_us - p->x.sent_us : 0);
        schedule_answered(&p->schedule, device, now);
    } else if (p->x.verdict == EXCHANGE_TIMEOUT || p->schedule_units[device].dead) {
        schedule_missed(&p->schedule, device, now);
    }
}

/* Reads count items from address. 0: p->x has the verdict; -E…: the line is lost or stops. */
static int ask(struct poller *p, unsigned device, const struct plan_block *b)
{
    const struct modbus_device *d = &p->m->devices[device];
    const uint8_t pdu[5] = {(uint8_t)b->table, (uint8_t)(b->address >> 8), (uint8_t)b->address,
                            (uint8_t)(b->count >> 8), (uint8_t)b->count};
    uint8_t frame[RTU_FRAME_MAX];
    int len = rtu_frame(p->rtu, d->unit, pdu, sizeof pdu, frame);
    uint64_t began = rtu_now_us();

    if (len < 0)
        return len;
    struct exchange_request request = {.frame = {frame, (size_t)len},
                                       .reply_len = 5 + table_bytes(b->table, b->count),
                                       .response_us = d->response_us,
                                       .holdoff_us = p->m->holdoff_us};
    exchange_begin(&p->x, &request, began);
    int err = rtu_run(&p->x, p->tty_fd, p->line->wake_fd);
    if (err)
        return err;
    if (p->x.verdict == EXCHANGE_OK && rtu_confirm(p->rtu, p->x.reply, p->x.reply_got)) {
        log_error("line %s: libmodbus refuses a reply that has been judged as good", p->m->name);
        p->x.verdict = EXCHANGE_CRC;
    }
    after_exchange(p, device, began);
    return 0;
}

struct cut {
    const struct modbus_group *group;
    size_t block;
};

static bool may_cut(void *arg, unsigned address)
{
    const struct cut *c = arg;

    for (size_t i = 0; i < c->group->point_count; i++) {
        const struct modbus_point *m = &c->group->points[i];
        if (m->block == c->block && m->address < address && address < m->address + (unsigned)m->count)
            return false;
    }
    return true;
}

/* One part of a block; its bytes go behind those of the parts before. */
static int ask_part(struct poller *p, unsigned device, const struct plan_block *part, size_t *filled)
{
    int err = ask(p, device, part);

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

/* The block, in a shape that no late reply can have. */
static int ask_block(struct poller *p, unsigned device, struct cut *cut)
{
    const struct plan_block *b = &cut->group->blocks[cut->block];
    struct late *l = &p->x.late[p->m->devices[device].unit];
    struct plan_block parts[2];
    size_t filled = 0;

    late_expire(l, rtu_now_us());
    unsigned count = late_parts(l, b, may_cut, cut, parts);
    int err = 0;
    p->x.verdict = count ? EXCHANGE_OK : EXCHANGE_BUSY;
    for (unsigned i = 0; i < count && !err && p->x.verdict == EXCHANGE_OK; i++)
        err = ask_part(p, device, &parts[i], &filled);
    if (err || parts[0].count <= b->count || p->x.verdict != EXCHANGE_EXCEPTION)
        return err;
    /* The unit has no register behind the block. It has answered, though, and units answer in order: what was
     * open will not come any more. */
    l->count = 0;
    return ask_part(p, device, b, &filled);
}

/* ---- polls ---- */

static const struct modbus_group *group_of(const struct poller *p, const struct poll *poll)
{
    return &p->m->devices[poll->device].groups[poll->group];
}

static uint64_t boot_time_of(uint64_t steady_us)
{
    return clock_boot_us() - (rtu_now_us() - steady_us);
}

static void begin(struct poller *p, struct poll *poll)
{
    const struct modbus_group *g = group_of(p, poll);

    p->under_way++;
    poll->begun = true;
    poll->answered = false;
    poll->next_block = 0;
    poll->points = mem_alloc((g->point_count + 1) * sizeof *poll->points);
    for (size_t i = 0; i < g->point_count; i++)
        poll->points[i] = (struct reading_point){.name = g->points[i].name, .quality = QUALITY_SKIPPED};
}

static bool read_point(const struct modbus_point *m, const struct plan_block *b, const uint8_t *data,
                       struct value *out)
{
    unsigned at = (unsigned)m->address - b->address;

    if (!table_is_bits(m->table))
        return value_read(&m->spec, data + 2 * at, out);
    *out = value_of_bit(data[at / 8] >> at % 8 & 1);
    return true;
}

/* The block's points get what the exchange brought. */
static void take_block(struct poller *p, struct poll *poll)
{
    const struct modbus_group *g = group_of(p, poll);
    const struct plan_block *b = &g->blocks[poll->next_block];
    uint8_t detail;
    enum quality quality = quality_of(p, &detail);
    uint64_t ended = boot_time_of(p->data_us);

    if (!poll->answered)
        poll->taken_us = ended;
    poll->answered = poll->answered || unit_answered(p);
    for (size_t i = 0; i < g->point_count; i++) {
        struct reading_point *r = &poll->points[i];
        if (g->points[i].block != poll->next_block)
            continue;
        r->quality = quality;
        r->detail = detail;
        if (quality != QUALITY_GOOD)
            continue;
        r->lag_ms = (uint32_t)(ended > poll->taken_us ? (ended - poll->taken_us) / 1000 : 0);
        if (!read_point(&g->points[i], b, p->data, &r->value))
            r->quality = QUALITY_RANGE;
    }
}

static void judge_unit(struct poller *p, unsigned device, bool answered)
{
    struct unit *u = &p->units[device];
    struct buf reason = {0};
    uint8_t detail;
    enum quality quality = quality_of(p, &detail);

    quality_print(&reason, quality, detail);
    u->bad_polls = answered ? 0 : u->bad_polls + 1;
    if (p->schedule_units[device].dead)
        set_state(p, device, DEVICE_DEAD, (const char *)reason.data);
    else if (answered)
        set_state(p, device, DEVICE_ONLINE, "answers");
    else if (u->bad_polls >= STALE_AFTER)
        set_state(p, device, DEVICE_STALE, (const char *)reason.data);
    buf_free(&reason);
}

static void finish(struct poller *p, size_t index)
{
    struct poll *poll = &p->polls[index];
    struct unit *u = &p->units[poll->device];

    judge_unit(p, poll->device, poll->answered);
    u->counts.polls++;
    p->counts.polls++;
    struct modbus_post *post = post_of(p, POST_READING, poll->device);
    post->group = poll->group;
    post->points = poll->points;
    post->at_us = poll->taken_us;
    poll->points = NULL;
    poll->begun = false;
    p->under_way--;
    hand_over(p->line, post);
    uint64_t before = p->tasks[index].overruns;
    schedule_polled(&p->schedule, index, rtu_now_us());
    u->counts.overruns += p->tasks[index].overruns - before;
    p->counts.overruns += p->tasks[index].overruns - before;
}

static void finish_all_of(struct poller *p, unsigned device)
{
    for (size_t i = 0; i < p->poll_count; i++)
        if (p->polls[i].device == device && p->polls[i].begun)
            finish(p, i);
}

static int poll_step(struct poller *p, size_t index)
{
    struct poll *poll = &p->polls[index];
    const struct modbus_group *g = group_of(p, poll);

    if (!poll->begun) {
        if (!has_room(p, p->line)) {
            p->units[poll->device].counts.skipped++;
            p->counts.skipped++;
            schedule_polled(&p->schedule, index, rtu_now_us());
            return 0;
        }
        begin(p, poll);
    }
    int err = ask_block(p, poll->device, &(struct cut){g, poll->next_block});
    if (err)
        return err;
    take_block(p, poll);
    poll->next_block++;
    if (p->schedule_units[poll->device].dead)
        finish_all_of(p, poll->device);
    else if (poll->next_block == g->block_count)
        finish(p, index);
    return 0;
}

static int probe(struct poller *p, unsigned device)
{
    uint64_t began = rtu_now_us();
    const struct modbus_device *d = &p->m->devices[device];
    struct plan_block b = late_probe(&p->x.late[d->unit], &d->groups[0].blocks[0]);
    int err = ask(p, device, &b);

    if (err)
        return err;
    schedule_probed(&p->schedule, began, rtu_now_us());
    if (unit_answered(p))
        judge_unit(p, device, true);
    return 0;
}

/* ---- the line ---- */

static void update_load(struct poller *p, uint64_t now_us)
{
    if (now_us - p->window_us < LOAD_WINDOW_US)
        return;
    double load = (double)p->busy_us / (double)(now_us - p->window_us);
    p->windows += p->windows < LOAD_WINDOWS;
    p->counts.load += (load - p->counts.load) / p->windows;
    p->window_us = now_us;
    p->busy_us = 0;
    p->line_told = false;
}

static int step(struct poller *p)
{
    uint64_t until, now = rtu_now_us();
    size_t index;

    update_load(p, now);
    tell(p, p->line);
    switch (schedule_next(&p->schedule, now, &index, &until)) {
    case SCHEDULE_POLL:
        return poll_step(p, index);
    case SCHEDULE_PROBE:
        return probe(p, (unsigned)index);
    case SCHEDULE_WAIT:
        break;
    }
    uint64_t window_end = p->window_us + LOAD_WINDOW_US;
    return rtu_listen(&p->x, p->tty_fd, p->line->wake_fd, until < window_end ? until : window_end);
}

static void drop_polls(struct poller *p)
{
    for (size_t i = 0; i < p->poll_count; i++) {
        free(p->polls[i].points);
        p->polls[i].points = NULL;
        p->polls[i].begun = false;
    }
    p->under_way = 0;
}

static int serve(void *arg, struct line *l, struct port *port)
{
    struct poller *p = arg;
    uint64_t now = rtu_now_us();
    int err = 0;

    p->line = l;
    p->tty_fd = port->fd;
    p->open = true;
    p->line_told = false;
    p->open_since_us = clock_boot_us();
    p->why[0] = 0;
    p->window_us = now;
    p->busy_us = 0;
    p->windows = 0;
    memset(p->schedule_units, 0, p->m->device_count * sizeof *p->schedule_units);
    schedule_init(&p->schedule, &p->m->limits, p->tasks, p->poll_count, p->schedule_units, p->m->device_count,
                  now);
    exchange_reset(&p->x, now);
    while (!err && !line_stopping(l))
        err = step(p);
    drop_polls(p);
    return line_stopping(l) ? 0 : err;
}

static void down(void *arg, struct line *l, const char *why)
{
    struct poller *p = arg;

    p->open = false;
    p->line_told = false;
    p->open_since_us = clock_boot_us();
    snprintf(p->why, sizeof p->why, "%s", why);
    for (unsigned i = 0; i < p->m->device_count; i++)
        set_state(p, i, DEVICE_DEAD, p->why);
    tell(p, l);
}

const struct line_ops poller_ops = {serve, down};

static void make_tasks(struct poller *p)
{
    const struct modbus_line *m = p->m;
    size_t at = 0;

    for (size_t d = 0; d < m->device_count; d++)
        p->poll_count += m->devices[d].group_count;
    p->polls = mem_alloc((p->poll_count + 1) * sizeof *p->polls);
    p->tasks = mem_alloc((p->poll_count + 1) * sizeof *p->tasks);
    p->units = mem_alloc((m->device_count + 1) * sizeof *p->units);
    p->schedule_units = mem_alloc((m->device_count + 1) * sizeof *p->schedule_units);
    for (unsigned d = 0; d < m->device_count; d++) {
        p->units[d].told = true;
        for (unsigned g = 0; g < m->devices[d].group_count; g++, at++) {
            p->polls[at] = (struct poll){.device = d, .group = g};
            p->tasks[at] = (struct schedule_task){.unit = d, .period_us = m->devices[d].groups[g].period_us};
        }
    }
}

int poller_new(struct poller **out, const struct modbus_line *m)
{
    struct rtu *rtu;
    int err = rtu_new(&rtu);

    if (err)
        return err;
    struct poller *p = mem_alloc(sizeof *p);
    p->m = m;
    p->rtu = rtu;
    p->line_told = true;
    exchange_init(&p->x, m->cost.timing);
    make_tasks(p);
    *out = p;
    return 0;
}

void poller_free(struct poller *p)
{
    if (!p)
        return;
    drop_polls(p);
    rtu_free(p->rtu);
    free(p->polls);
    free(p->tasks);
    free(p->units);
    free(p->schedule_units);
    free(p);
}
