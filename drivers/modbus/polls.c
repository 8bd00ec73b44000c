/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/polls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/modbus/raw.h"

enum {
    STALE_AFTER = 2, /* polls in a row without an answer, of a device */
    ILLEGAL_ADDRESS = 2,
    ILLEGAL_VALUE = 3,
    PATH_UNAVAILABLE = 10,
    TARGET_SILENT = 11,
    LOAD_WINDOW_US = 2000000,
    LOAD_WINDOWS = 5, /* that the load is averaged over */
};

/* ---- to the loop ---- */

static struct modbus_post *post_of(const struct polls *p, enum modbus_post_kind kind, unsigned device)
{
    struct modbus_post *post = mem_alloc(sizeof *post);

    post->kind = kind;
    post->device = device;
    post->line = p->counts;
    if (kind < POST_RAW)
        post->unit = p->units[device].counts;
    return post;
}

static bool has_room(const struct polls *p)
{
    return mailbox_room(p->mail) > p->under_way;
}

static void hand_over(const struct polls *p, struct modbus_post *post)
{
    if (mailbox_post(p->mail, &post->link))
        modbus_post_free(post); /* not reached: there was room */
}

static void tell_unit(struct polls *p, unsigned device)
{
    const struct poll_unit *u = &p->units[device];
    struct modbus_post *post = post_of(p, POST_STATE, device);

    post->state = u->state;
    post->at_us = u->since_us;
    snprintf(post->reason, sizeof post->reason, "%s", u->reason);
    hand_over(p, post);
}

static void tell_line(struct polls *p)
{
    struct modbus_post *post = post_of(p, POST_LINE, 0);

    post->open = p->open;
    post->at_us = p->open_since_us;
    snprintf(post->reason, sizeof post->reason, "%s", p->why);
    hand_over(p, post);
}

static void tell_cuts(struct polls *p, unsigned device)
{
    const struct poll_unit *u = &p->units[device];
    struct modbus_post *post = post_of(p, POST_LEARNT, device);

    post->cut_count = u->limits.cut_count;
    post->cuts = mem_alloc((post->cut_count + 1) * sizeof *post->cuts);
    memcpy(post->cuts, u->cuts, post->cut_count * sizeof *post->cuts);
    hand_over(p, post);
}

static void post_reading(struct polls *p, struct poll *poll)
{
    struct modbus_post *post = post_of(p, POST_READING, poll->device);

    post->group = poll->group;
    post->points = poll->points;
    post->at_us = poll->taken_us;
    poll->points = NULL;
    hand_over(p, post);
}

static const struct modbus_group *group_of(const struct polls *p, const struct poll *poll)
{
    return &p->m->devices[poll->device].groups[poll->group];
}

static void new_points(const struct polls *p, struct poll *poll, enum quality quality)
{
    const struct modbus_group *g = group_of(p, poll);

    free(poll->points);
    poll->points = mem_alloc((g->point_count + 1) * sizeof *poll->points + g->text_room);
    for (size_t i = 0; i < g->point_count; i++)
        poll->points[i] = (struct reading_point){.name = g->points[i].name, .quality = quality};
}

/* Once; then nothing is said of the group until it answers. */
static void tell_stale(struct polls *p, struct poll *poll, uint64_t now_us)
{
    new_points(p, poll, QUALITY_STALE);
    poll->taken_us = now_us;
    poll->owes_stale = false;
    poll->stale = true;
    post_reading(p, poll);
}

/* What finds no room in the mailbox is told as soon as there is some. */
static void tell(struct polls *p, uint64_t now_us)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].owes_stale && !p->list[i].begun && has_room(p))
            tell_stale(p, &p->list[i], now_us);
    if (!p->line_told && has_room(p)) {
        tell_line(p);
        p->line_told = true;
    }
    for (unsigned i = 0; i < p->m->device_count; i++)
        if (!p->units[i].told && has_room(p)) {
            tell_unit(p, i);
            p->units[i].told = true;
        }
    for (unsigned i = 0; i < p->m->device_count; i++)
        if (!p->units[i].cuts_told && has_room(p)) {
            tell_cuts(p, i);
            p->units[i].cuts_told = true;
        }
}

static void update_load(struct polls *p, uint64_t now_us)
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

uint64_t polls_tell(struct polls *p, uint64_t now_us)
{
    update_load(p, now_us);
    tell(p, now_us);
    return p->window_us + LOAD_WINDOW_US;
}

static void set_state(struct polls *p, unsigned device, enum device_state state, const char *reason,
                      uint64_t now_us)
{
    struct poll_unit *u = &p->units[device];

    if (u->state == state)
        return;
    u->state = state;
    u->since_us = now_us;
    u->told = false;
    snprintf(u->reason, sizeof u->reason, "%s", reason);
}

/* ---- after an exchange ---- */

static enum quality quality_of(const struct modbus_result *r, uint8_t *detail)
{
    static const enum quality qualities[] = {
        [EXCHANGE_OK] = QUALITY_GOOD,         [EXCHANGE_EXCEPTION] = QUALITY_EXCEPTION,
        [EXCHANGE_TIMEOUT] = QUALITY_TIMEOUT, [EXCHANGE_CRC] = QUALITY_CRC,
        [EXCHANGE_BUSY] = QUALITY_BUSY,
    };

    *detail = r->verdict == EXCHANGE_EXCEPTION ? r->exception : 0;
    return qualities[r->verdict];
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

/* A gateway's word that the unit behind it is not to be had is no answer of the unit. */
static bool is_absent(const struct modbus_result *r)
{
    return r->verdict == EXCHANGE_EXCEPTION &&
           (r->exception == PATH_UNAVAILABLE || r->exception == TARGET_SILENT);
}

static bool has_answered(const struct modbus_result *r)
{
    return (r->verdict == EXCHANGE_OK || r->verdict == EXCHANGE_EXCEPTION) && !is_absent(r);
}

uint32_t polls_response(const struct polls *p, unsigned device)
{
    const struct modbus_device *d = &p->m->devices[device];

    return d->learn_response ? response_limit(&p->units[device].response, p->m->slack_us, d->response_us)
                             : d->response_us;
}

/* What a hole between two registers may cost depends on how long a request takes that goes without it. */
static void note_turnaround(struct polls *p, unsigned device)
{
    struct poll_unit *u = &p->units[device];
    uint32_t usual = u->response.usual_us, planned = u->planned_us;
    uint32_t off = usual > planned ? usual - planned : planned - usual;

    if (u->response.count < RESPONSE_KNOWN || off < 2000 || off < planned / 2)
        return;
    u->planned_us = usual;
    for (size_t i = 0; i < p->count; i++)
        p->list[i].replan = p->list[i].replan || p->list[i].device == device;
}

void polls_exchanged(struct polls *p, unsigned device, const struct modbus_result *r, uint64_t busy_us,
                     uint64_t now_us)
{
    struct poll_unit *u = &p->units[device];

    p->busy_us += busy_us;
    count(&u->counts, r->verdict);
    count(&p->counts, r->verdict);
    if (has_answered(r)) {
        u->counts.response_us = r->took_us;
        response_took(&u->response, r->begun_us);
        note_turnaround(p, device);
        schedule_answered(&p->schedule, device, now_us);
    } else if (r->verdict == EXCHANGE_TIMEOUT || is_absent(r) || p->schedule_units[device].dead) {
        response_missed(&u->response);
        schedule_missed(&p->schedule, device, now_us);
    }
    u->counts.turnaround_us = u->response.usual_us;
    u->counts.limit_us = polls_response(p, device);
}

void polls_exchanged_raw(struct polls *p, unsigned device, const struct modbus_result *r, uint64_t busy_us,
                         uint64_t now_us)
{
    p->busy_us += busy_us;
    p->counts.raw++;
    count(&p->counts, r->verdict);
    if (device != ORDER_NO_DEVICE && has_answered(r))
        schedule_answered(&p->schedule, device, now_us);
}

static void judge_unit(struct polls *p, unsigned device, bool answered, const struct modbus_result *last,
                       uint64_t now_us)
{
    struct poll_unit *u = &p->units[device];
    struct buf reason = {0};
    uint8_t detail;
    enum quality quality = quality_of(last, &detail);

    quality_print(&reason, quality, detail);
    u->bad_polls = answered ? 0 : u->bad_polls + 1;
    if (p->schedule_units[device].dead)
        set_state(p, device, DEVICE_DEAD, (const char *)reason.data, now_us);
    else if (answered)
        set_state(p, device, DEVICE_ONLINE, "answers", now_us);
    else if (u->bad_polls >= STALE_AFTER)
        set_state(p, device, DEVICE_STALE, (const char *)reason.data, now_us);
    buf_free(&reason);
}

void polls_probed(struct polls *p, unsigned device, const struct modbus_result *r, uint64_t now_us)
{
    if (has_answered(r))
        judge_unit(p, device, true, r, now_us);
}

/* ---- polls ---- */

static void begin(struct polls *p, struct poll *poll)
{
    if (poll->replan) {
        modbus_plan_free(&poll->plan);
        const struct poll_unit *u = &p->units[poll->device];
        const struct plan_cost cost = {p->m->cost.timing, u->planned_us};
        modbus_plan_make(&poll->plan, &cost, &u->limits, group_of(p, poll));
        poll->replan = false;
    }
    poll->answered = false;
    poll->round++;
    poll->next_block = 0;
    new_points(p, poll, QUALITY_SKIPPED);
}

static void skip(struct polls *p, size_t index, uint64_t now_us)
{
    p->units[p->list[index].device].counts.skipped++;
    p->counts.skipped++;
    schedule_polled(&p->schedule, index, now_us);
}

void polls_put_off(struct polls *p, size_t index, uint64_t now_us)
{
    struct poll *poll = &p->list[index];

    free(poll->points);
    poll->points = NULL;
    poll->begun = false;
    p->under_way--;
    skip(p, index, now_us);
}

const struct plan_block *polls_next(struct polls *p, size_t index, uint64_t now_us)
{
    struct poll *poll = &p->list[index];

    if (!poll->begun && !has_room(p)) {
        skip(p, index, now_us);
        return NULL;
    }
    if (!poll->begun) {
        p->under_way++;
        poll->begun = true;
        begin(p, poll);
    }
    return &poll->plan.blocks[poll->next_block];
}

bool polls_may_cut(const struct polls *p, size_t index, unsigned address)
{
    const struct poll *poll = &p->list[index];

    return modbus_group_may_cut(group_of(p, poll), poll->plan.blocks[poll->next_block].table, address);
}

static bool read_point(const struct modbus_point *m, const struct plan_block *b, const uint8_t *data,
                       char *texts, struct value *out)
{
    unsigned at = (unsigned)m->address - b->address;

    if (!table_is_bits(m->table))
        return value_read(&m->spec, data + 2 * at, texts + m->text_at, out);
    return value_read_bit(&m->spec, data[at / 8] >> at % 8 & 1, out);
}

/* The block's points get what the exchange brought. */
static void take_block(struct polls *p, struct poll *poll, const struct modbus_result *r)
{
    const struct modbus_group *g = group_of(p, poll);
    const struct plan_block *b = &poll->plan.blocks[poll->next_block];
    char *texts = (char *)(poll->points + g->point_count + 1);
    uint8_t detail;
    enum quality quality = quality_of(r, &detail);

    if (!poll->answered)
        poll->taken_us = r->ended_us;
    poll->answered = poll->answered || has_answered(r);
    for (size_t i = 0; i < g->point_count; i++) {
        struct reading_point *to = &poll->points[i];
        if (poll->plan.block_of[i] != poll->next_block)
            continue;
        to->quality = quality;
        to->detail = detail;
        if (quality != QUALITY_GOOD)
            continue;
        to->lag_ms = (uint32_t)(r->ended_us > poll->taken_us ? (r->ended_us - poll->taken_us) / 1000 : 0);
        if (!read_point(&g->points[i], b, r->data, texts, &to->value))
            to->quality = QUALITY_RANGE;
        else if (p->m->simulated)
            to->quality = QUALITY_SIMULATED;
    }
}

/* A poll without any answer is told as what it met, and after some of them as stale, once. */
static void post_poll(struct polls *p, struct poll *poll, uint64_t now_us)
{
    poll->missed = poll->answered ? 0 : poll->missed + 1;
    poll->stale = poll->stale && !poll->answered;
    poll->owes_stale = poll->owes_stale && !poll->answered;
    bool dead = p->schedule_units[poll->device].dead;
    if (poll->answered || (poll->missed < group_of(p, poll)->stale_after && !poll->stale))
        post_reading(p, poll);
    else if (!poll->stale)
        tell_stale(p, poll, now_us);
    if (dead && !poll->stale)
        poll->owes_stale = true;
}

static void pace(struct polls *p, size_t index)
{
    const struct modbus_group *g = group_of(p, &p->list[index]);

    p->tasks[index].period_us = atomic_load(&g->hurry) ? g->alarm_period_us : g->period_us;
}

static void finish(struct polls *p, size_t index, const struct modbus_result *last, uint64_t now_us)
{
    struct poll *poll = &p->list[index];
    struct poll_unit *u = &p->units[poll->device];

    judge_unit(p, poll->device, poll->answered, last, now_us);
    u->counts.polls++;
    p->counts.polls++;
    poll->begun = false;
    p->under_way--;
    post_poll(p, poll, now_us);
    pace(p, index);
    uint64_t before = p->tasks[index].overruns;
    schedule_polled(&p->schedule, index, now_us);
    u->counts.overruns += p->tasks[index].overruns - before;
    p->counts.overruns += p->tasks[index].overruns - before;
}

static void finish_all_of(struct polls *p, unsigned device, const struct modbus_result *last, uint64_t now_us)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->list[i].device != device)
            continue;
        if (p->list[i].begun)
            finish(p, i, last, now_us);
        else
            p->list[i].owes_stale = !p->list[i].stale;
    }
}

/* ---- what a device refuses ---- */

/* Where to cut a refused block: behind the widest hole, which is what it most likely refuses; without holes
 * in the middle. 0: it holds one point. */
static unsigned cut_of(const struct polls *p, const struct poll *poll)
{
    const struct modbus_group *g = group_of(p, poll);
    const struct plan_block *b = &poll->plan.blocks[poll->next_block];
    unsigned best = 0, best_hole = 0, middle = b->address + b->count / 2u, best_off = UINT32_MAX;

    for (size_t i = 0; i < g->point_count; i++) {
        unsigned at = g->points[i].address, end = b->address, off = at > middle ? at - middle : middle - at;
        if (poll->plan.block_of[i] != poll->next_block || at == b->address ||
            !modbus_group_may_cut(g, b->table, at))
            continue;
        for (size_t k = 0; k < g->point_count; k++) {
            unsigned before = g->points[k].address + (unsigned)g->points[k].count;
            if (g->points[k].table == b->table && before <= at && before > end)
                end = before;
        }
        if (at - end < best_hole || (at - end == best_hole && off >= best_off))
            continue;
        best = at;
        best_hole = at - end;
        best_off = off;
    }
    return best;
}

/* True when there is something new to try. */
static bool learn(struct polls *p, struct poll *poll, const struct modbus_result *r)
{
    struct poll_unit *u = &p->units[poll->device];
    bool refused = r->verdict == EXCHANGE_EXCEPTION && !r->doubtful &&
                   (r->exception == ILLEGAL_ADDRESS || r->exception == ILLEGAL_VALUE);
    unsigned at = refused && u->limits.cut_count < CUTS_MAX ? cut_of(p, poll) : 0;

    if (!at)
        return false;
    u->cuts[u->limits.cut_count++] =
        (struct plan_cut){poll->plan.blocks[poll->next_block].table, (uint16_t)at};
    u->cuts_told = false;
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i].device == poll->device)
            p->list[i].replan = true;
    return true;
}

void polls_took(struct polls *p, size_t index, const struct modbus_result *r, uint64_t now_us)
{
    struct poll *poll = &p->list[index];

    if (learn(p, poll, r)) {
        begin(p, poll);
        return;
    }
    take_block(p, poll, r);
    poll->next_block++;
    if (p->schedule_units[poll->device].dead)
        finish_all_of(p, poll->device, r, now_us);
    else if (poll->next_block == poll->plan.block_count)
        finish(p, index, r, now_us);
}

void polls_drop(struct polls *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->list[i].points);
        p->list[i].points = NULL;
        p->list[i].begun = false;
    }
    p->under_way = 0;
}

/* ---- orders ---- */

bool polls_may_order(struct polls *p)
{
    return has_room(p);
}

static bool has_written(const struct modbus_order *o, const struct poll *poll)
{
    return poll->device == o->device && (o->raw ? o->raw->writes : poll->group == o->group);
}

void polls_ordered(struct polls *p, struct modbus_order *order, uint64_t now_us)
{
    struct modbus_post *post = order->raw ? post_of(p, POST_RAW, 0) : post_of(p, POST_ORDER, order->device);

    post->order = order;
    for (size_t i = 0; i < p->count; i++)
        if (has_written(order, &p->list[i]) && !p->list[i].begun && p->tasks[i].due_us > now_us)
            p->tasks[i].due_us = now_us;
    hand_over(p, post);
}

/* ---- the line ---- */

void polls_open(struct polls *p, uint64_t now_us)
{
    p->open = true;
    p->line_told = false;
    p->open_since_us = now_us;
    p->why[0] = 0;
    p->window_us = now_us;
    p->busy_us = 0;
    p->windows = 0;
    memset(p->schedule_units, 0, p->m->device_count * sizeof *p->schedule_units);
    schedule_init(&p->schedule, &p->m->limits, p->tasks, p->count, p->schedule_units, p->m->device_count,
                  now_us);
}

void polls_down(struct polls *p, const char *why, uint64_t now_us)
{
    p->open = false;
    p->line_told = false;
    p->open_since_us = now_us;
    snprintf(p->why, sizeof p->why, "%s", why);
    for (unsigned i = 0; i < p->m->device_count; i++)
        set_state(p, i, DEVICE_DEAD, p->why, now_us);
    for (size_t i = 0; i < p->count; i++)
        p->list[i].owes_stale = !p->list[i].stale && p->units[p->list[i].device].counts.polls;
    tell(p, now_us);
}

static void init_unit(struct poll_unit *u, const struct plan_limits *limits)
{
    u->told = u->cuts_told = true;
    u->limits = *limits;
    if (limits->cut_count)
        memcpy(u->cuts, limits->cuts, limits->cut_count * sizeof *u->cuts);
    u->limits.cuts = u->cuts;
}

void polls_init(struct polls *p, const struct modbus_line *m)
{
    size_t at = 0;

    *p = (struct polls){.m = m, .line_told = true};
    for (size_t d = 0; d < m->device_count; d++)
        p->count += m->devices[d].group_count;
    p->list = mem_alloc((p->count + 1) * sizeof *p->list);
    p->tasks = mem_alloc((p->count + 1) * sizeof *p->tasks);
    p->units = mem_alloc((m->device_count + 1) * sizeof *p->units);
    p->schedule_units = mem_alloc((m->device_count + 1) * sizeof *p->schedule_units);
    for (unsigned d = 0; d < m->device_count; d++) {
        init_unit(&p->units[d], &m->devices[d].limits);
        p->units[d].planned_us = m->cost.turnaround_us;
        for (unsigned g = 0; g < m->devices[d].group_count; g++, at++) {
            p->list[at] = (struct poll){.device = d, .group = g, .replan = true};
            p->tasks[at] = (struct schedule_task){.unit = d, .period_us = m->devices[d].groups[g].period_us};
        }
    }
}

void polls_free(struct polls *p)
{
    polls_drop(p);
    for (size_t i = 0; i < p->count; i++)
        modbus_plan_free(&p->list[i].plan);
    free(p->list);
    free(p->tasks);
    free(p->units);
    free(p->schedule_units);
}
