/* SPDX-License-Identifier: Apache-2.0 */
/* Motes on a Modbus RTU line, each polled by a user-defined function. Who is next, and how often a node that
 * does not answer is tried, is the business of a schedule like that of the line; the exchanges are requests
 * to the line like those of other masters (raw.h). One is under way at a time, and after each one the line is
 * left alone for so long that polls take no more than their share of it. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "codec/mqttsn.h"
#include "drivers/lines.h"
#include "drivers/modbus/raw.h"
#include "drivers/mqttsn/bus.h"
#include "drivers/mqttsn/link.h"
#include "drivers/schedule.h"

enum {
    ENVELOPE = 4, /* with a node of one octet */
    WAITING_MOST = 32,
    FAST_US = 20000, /* between polls of a node that has something to say */
    AGAIN_US = 250000,
    EXPIRES_US = 2000000,
    DEAD_AFTER = 3,
    PROBE_FIRST_US = 1000000,
    PROBE_MOST_US = 60000000,
    PROBE_SHARE = 5,
    KEEP_US = 30000000 /* silent for so long, a node has what waits for it no more */
};

struct bus_packet {
    struct list link;
    size_t len;
    uint8_t data[];
};

struct bus_node {
    char *name;
    uint8_t unit;
    struct bus_poll poll;
    uint64_t every_us, since_us, heard_us;
    struct list waiting; /* struct bus_packet */
    unsigned waiting_count;
    enum device_state state;
    char reason[96];
    uint64_t polls, answers, missed, restarts, dropped;
};

struct bus_link {
    struct link link;
    char *carrier; /* the line's name */
    uv_loop_t *loop;
    uv_timer_t timer;
    struct bus_node *nodes;
    size_t count;
    struct schedule schedule;
    struct schedule_task *tasks; /* tasks[i] and units[i] are nodes[i] */
    struct schedule_unit *units;
    unsigned share;
    struct modbus_raw raw;
    size_t asked; /* whom raw asks */
    uint64_t asked_us, rest_until_us, since_us, busy_us;
    bool asking, probing, closed, timer_closed;
};

static const struct schedule_limits limits = {DEAD_AFTER, PROBE_FIRST_US, PROBE_MOST_US, PROBE_SHARE};

/* ---- the end ---- */

static void drop_first(struct bus_node *n)
{
    free(list_entry(list_pop(&n->waiting), struct bus_packet, link));
    n->waiting_count--;
}

static void drop_waiting(struct bus_node *n)
{
    n->dropped += n->waiting_count;
    while (!list_empty(&n->waiting))
        drop_first(n);
}

/* The line may still have our request when we have been closed. */
static void free_link(struct bus_link *l)
{
    if (!l->timer_closed || l->asking)
        return;
    for (size_t i = 0; i < l->count; i++) {
        drop_waiting(&l->nodes[i]);
        free(l->nodes[i].name);
    }
    free(l->nodes);
    free(l->tasks);
    free(l->units);
    free(l->carrier);
    free(l);
}

static void on_closed(uv_handle_t *handle)
{
    struct bus_link *l = container_of((uv_timer_t *)handle, struct bus_link, timer);

    l->timer_closed = true;
    free_link(l);
}

static void close_link(struct link *link)
{
    struct bus_link *l = container_of(link, struct bus_link, link);

    l->closed = true;
    uv_close((uv_handle_t *)&l->timer, on_closed);
}

/* ---- nodes ---- */

static void tell(struct bus_link *l, struct bus_node *n, enum device_state state, const char *reason,
                 uint64_t now_us)
{
    if (n->state == state && !strcmp(n->reason, reason))
        return;
    if (n->state != state)
        n->since_us = now_us;
    n->state = state;
    snprintf(n->reason, sizeof(n->reason), "%s", reason);
    l->link.events->on_node(l->link.arg, n->name, state, n->since_us, n->reason);
}

static bool is_gone(const struct bus_node *n, uint64_t now_us)
{
    return n->state != DEVICE_ONLINE && now_us - n->heard_us > KEEP_US;
}

static void lose(struct bus_link *l, struct bus_node *n, const char *why, uint64_t now_us)
{
    tell(l, n, DEVICE_DEAD, why, now_us);
    if (!is_gone(n, now_us))
        return;
    bus_poll_reset(&n->poll);
    drop_waiting(n);
}

static void lose_all(struct bus_link *l, const char *why, uint64_t now_us)
{
    for (size_t i = 0; i < l->count; i++) {
        l->units[i].dead = true;
        l->units[i].backoff_us = 0;
        l->units[i].probe_us = now_us;
        lose(l, &l->nodes[i], why, now_us);
    }
}

static void missed(struct bus_link *l, size_t i, const char *why, uint64_t now_us)
{
    struct bus_node *n = &l->nodes[i];

    n->missed++;
    if (schedule_missed(&l->schedule, i, now_us) || l->units[i].dead)
        lose(l, n, why, now_us);
}

static void deliver(struct bus_link *l, const struct bus_node *n, struct bytes packet)
{
    const struct link_place place = {0};
    const struct mqttsn_envelope envelope = {0, {&n->unit, 1}};
    uint8_t whole[ENVELOPE + BUS_PACKET_MAX];
    size_t head = mqttsn_wrap(whole, &envelope);

    memcpy(whole + head, packet.data, packet.len);
    l->link.events->on_packet(l->link.arg, &place, (struct bytes){whole, head + packet.len}, false);
}

/* The less it says the more rarely it is asked. */
static void set_pace(struct bus_link *l, size_t i, bool traffic)
{
    struct schedule_task *t = &l->tasks[i];
    uint64_t slower = 2 * t->period_us;

    if (traffic)
        t->period_us = FAST_US;
    else
        t->period_us = slower < l->nodes[i].every_us ? slower : l->nodes[i].every_us;
}

static void answered(struct bus_link *l, size_t i, uint64_t now_us)
{
    struct bus_node *n = &l->nodes[i];
    struct bus_answer a;

    if (bus_poll_take(&n->poll, (struct bytes){l->raw.answer, l->raw.answer_len}, &a)) {
        missed(l, i, "its answers are none", now_us);
        return;
    }
    n->answers++;
    n->heard_us = now_us;
    n->restarts += a.started;
    n->dropped += a.lost;
    schedule_answered(&l->schedule, i, now_us);
    tell(l, n, DEVICE_ONLINE, "", now_us);
    if ((a.delivered || a.lost) && n->waiting_count)
        drop_first(n);
    if (a.packet.len)
        deliver(l, n, a.packet);
    set_pace(l, i, a.more || a.packet.len || a.delivered || !n->poll.synced || n->waiting_count);
}

/* ---- polls ---- */

static void on_timer(uv_timer_t *timer);

static void wake_at(struct bus_link *l, uint64_t due_us)
{
    uint64_t now = clock_boot_us();

    if (l->closed || l->asking)
        return;
    if (due_us < l->rest_until_us)
        due_us = l->rest_until_us;
    if (due_us == UINT64_MAX)
        return;
    uv_update_time(l->loop);
    uv_timer_start(&l->timer, on_timer, due_us > now ? (due_us - now + 999) / 1000 : 0, 0);
}

static void took(struct bus_link *l, uint64_t now_us)
{
    const char *why = "no answer";
    char refused[64];

    switch (l->raw.verdict) {
    case ORDER_OK:
        answered(l, l->asked, now_us);
        break;
    case ORDER_EXCEPTION:
        snprintf(refused, sizeof(refused), "function %u is refused with exception %u", l->raw.pdu[0],
                 l->raw.exception);
        why = refused;
        missed(l, l->asked, why, now_us);
        break;
    case ORDER_CRC:
        why = "its answers are damaged";
        missed(l, l->asked, why, now_us);
        break;
    case ORDER_TIMEOUT:
        missed(l, l->asked, why, now_us);
        break;
    default: /* the line had no time for it, or has ended: that says nothing of the node */
        l->rest_until_us = now_us + AGAIN_US;
        break;
    }
}

static void on_done(struct modbus_raw *raw)
{
    struct bus_link *l = raw->arg;
    uint64_t now = clock_boot_us(), busy = raw->line_us;

    l->asking = false;
    if (l->closed) {
        free_link(l);
        return;
    }
    l->busy_us += busy;
    l->rest_until_us = now + busy * (100 - l->share) / l->share;
    took(l, now);
    if (l->probing)
        schedule_probed(&l->schedule, now - busy, now);
    else
        schedule_polled(&l->schedule, l->asked, now);
    wake_at(l, now);
}

static void ask(struct bus_link *l, size_t i, bool probing, uint64_t now_us)
{
    struct bus_node *n = &l->nodes[i];
    struct bytes packet = {0};

    if (!list_empty(&n->waiting)) {
        const struct bus_packet *p = list_entry(n->waiting.next, struct bus_packet, link);
        packet = (struct bytes){p->data, p->len};
    }
    l->raw = (struct modbus_raw){
        .unit = n->unit, .expires_us = now_us + EXPIRES_US, .numbered = true, .done = on_done, .arg = l};
    l->raw.len = bus_poll_put(&n->poll, packet, n->waiting_count > 1, l->raw.pdu);
    l->asked = i;
    l->probing = probing;
    l->asking = true;
    n->polls++;
    int err = lines_raw(l->carrier, &l->raw);
    if (!err)
        return;
    l->asking = false;
    l->rest_until_us = now_us + AGAIN_US;
    if (err != -EAGAIN)
        lose_all(l, "the line is down", now_us);
    wake_at(l, now_us);
}

static void on_timer(uv_timer_t *timer)
{
    struct bus_link *l = container_of(timer, struct bus_link, timer);
    uint64_t now = clock_boot_us(), until;
    size_t i;

    if (l->closed || l->asking)
        return;
    if (now < l->rest_until_us) {
        wake_at(l, l->rest_until_us);
        return;
    }
    enum schedule_what what = schedule_next(&l->schedule, now, &i, &until);
    if (what == SCHEDULE_WAIT)
        wake_at(l, until);
    else
        ask(l, i, what == SCHEDULE_PROBE, now);
}

/* ---- the kind ---- */

static struct bus_node *find(const struct bus_link *l, struct bytes node)
{
    for (size_t i = 0; node.len == 1 && i < l->count; i++)
        if (l->nodes[i].unit == node.data[0])
            return &l->nodes[i];
    return NULL;
}

/* Nobody waits for one node: what it has no time for, or what is for a dead one, is lost as on a radio. */
static bool send_packet(struct link *link, const struct link_place *to, struct bytes packet)
{
    struct bus_link *l = container_of(link, struct bus_link, link);
    struct mqttsn_envelope envelope = {0};
    struct bytes inner;
    uint64_t now = clock_boot_us();

    (void)to;
    struct bus_node *n = mqttsn_unwrap(packet, &envelope, &inner) == 1 ? find(l, envelope.node) : NULL;
    if (!n)
        return true;
    size_t i = (size_t)(n - l->nodes);
    if (is_gone(n, now) || n->waiting_count >= WAITING_MOST || inner.len > BUS_PACKET_MAX) {
        n->dropped++;
        return true;
    }
    struct bus_packet *p = mem_alloc(sizeof(*p) + inner.len);
    p->len = inner.len;
    memcpy(p->data, inner.data, inner.len);
    list_add_tail(&n->waiting, &p->link);
    n->waiting_count++;
    l->tasks[i].period_us = FAST_US;
    if (l->tasks[i].due_us > now)
        l->tasks[i].due_us = now;
    wake_at(l, now);
    return true;
}

/* The polls' own, of which no packet is a part; the other line counts it. */
static uint64_t airtime_us(const struct link *link, size_t octets)
{
    (void)link, (void)octets;
    return 0;
}

static void add_node(const struct bus_node *n, cJSON *into)
{
    cJSON *o = cJSON_CreateObject();
    const struct {
        const char *name;
        uint64_t count;
    } counts[] = {
        {"unit", n->unit},       {"polls", n->polls},       {"answers", n->answers},
        {"missed", n->missed},   {"restarts", n->restarts}, {"waiting", n->waiting_count},
        {"dropped", n->dropped},
    };

    cJSON_AddStringToObject(o, "name", n->name);
    cJSON_AddStringToObject(o, "state", device_state_name(n->state));
    cJSON_AddStringToObject(o, "reason", n->reason);
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        cJSON_AddNumberToObject(o, counts[i].name, (double)counts[i].count);
    cJSON_AddItemToArray(into, o);
}

static void status(const struct link *link, cJSON *into)
{
    const struct bus_link *l = container_of(link, struct bus_link, link);
    uint64_t passed = clock_boot_us() - l->since_us;
    cJSON *o = cJSON_AddObjectToObject(into, "bus"), *nodes = cJSON_AddArrayToObject(o, "nodes");

    cJSON_AddStringToObject(o, "line", l->carrier);
    cJSON_AddNumberToObject(o, "share", passed ? (double)l->busy_us / (double)passed : 0);
    for (size_t i = 0; i < l->count; i++)
        add_node(&l->nodes[i], nodes);
}

/* What only the whole configuration tells is looked at in config.c. */
static int check(const struct link_settings *s, char *error, size_t size)
{
    (void)s, (void)error, (void)size;
    return 0;
}

static bool is_local(const struct link_settings *s)
{
    (void)s;
    return true;
}

static int open_link(struct link **out, uv_loop_t *loop, const struct link_settings *s, char *error,
                     size_t size)
{
    struct bus_link *l = mem_alloc(sizeof(*l));
    uint64_t now = clock_boot_us();

    (void)error, (void)size;
    *l = (struct bus_link){
        .link = {.kind = link_kind_of(s->spec), .local = true, .most = ENVELOPE + BUS_PACKET_MAX},
        .carrier = mem_strdup(s->spec + strlen("line:")),
        .loop = loop,
        .nodes = mem_alloc((s->node_count + 1) * sizeof(*l->nodes)),
        .tasks = mem_alloc((s->node_count + 1) * sizeof(*l->tasks)),
        .units = mem_alloc((s->node_count + 1) * sizeof(*l->units)),
        .count = s->node_count,
        .share = s->share,
        .since_us = now,
    };
    for (size_t i = 0; i < l->count; i++) {
        const struct link_node *from = &s->nodes[i];
        l->nodes[i] = (struct bus_node){.name = mem_strdup(from->name),
                                        .unit = from->unit,
                                        .poll.function = from->function,
                                        .every_us = from->every_us,
                                        .heard_us = now};
        list_init(&l->nodes[i].waiting);
        l->tasks[i] = (struct schedule_task){.unit = (unsigned)i, .period_us = from->every_us};
    }
    schedule_init(&l->schedule, &limits, l->tasks, l->count, l->units, l->count, now);
    uv_timer_init(loop, &l->timer);
    wake_at(l, now); /* the other line may start after this one */
    *out = &l->link;
    return 0;
}

const struct link_kind link_bus = {.prefix = "line:",
                                   .what = "line:NAME",
                                   .check = check,
                                   .is_local = is_local,
                                   .open = open_link,
                                   .send = send_packet,
                                   .airtime_us = airtime_us,
                                   .status = status,
                                   .close = close_link};
