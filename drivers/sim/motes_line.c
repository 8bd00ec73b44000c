/* SPDX-License-Identifier: Apache-2.0 */
/* Motes behind one serial line, which is a pty at the pace of a wire. Each direction is a wire of its own;
 * who writes faster than the wire carries is told by most_ahead_us. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "drivers/sim/motes_private.h"

enum { PIECE_US = 1000, SILENCE_US = 100000, CHUNK = 512 };

static uint64_t airtime_us(const struct sim_motes *s, size_t octets)
{
    return octets * s->conf.char_bits * 1000000 / s->conf.baud;
}

/* A wire does not wait for a processor. Where the system does not allow it this, it waits like everybody. */
static void keep_time(void)
{
    const struct sched_param first = {.sched_priority = 1};

    sched_setscheduler(0, SCHED_FIFO, &first);
}

static int open_line(struct sim_motes *s, char *error, size_t size)
{
    int err = sim_pty_open(&s->line.pty, s->conf.baud);

    if (err) {
        snprintf(error, size, "no pty to be had: %s", strerror(-err));
        return err;
    }
    keep_time();
    snprintf(s->place, sizeof(s->place), "%s", s->line.pty.path);
    err = sim_motes_watch(s, s->line.pty.fd, NULL);
    return err ? err : sim_motes_watch(s, s->line.pty.watch, &s->line);
}

static void add(struct sim_motes *s, struct sim_mote *m, int *err)
{
    (void)s, (void)m;
    *err = 0;
}

static void send_line(struct sim_motes *s, struct sim_mote *m, const uint8_t *packet, size_t len)
{
    s->conf.frame->put(&s->line.up, m->node, packet, len);
}

/* Puts one octet behind out, or what noise makes of it. */
static void carry(struct sim_motes *s, struct buf *out, uint8_t octet)
{
    if (!sim_chance_ppm(&s->chance, s->conf.noise_ppm)) {
        buf_u8(out, octet);
        return;
    }
    s->line.noise++;
    uint64_t kind = sim_chance_below(&s->chance, 3);
    if (kind == 1)
        buf_u8(out, octet);
    if (kind)
        buf_u8(out, octet ^ sim_chance_damage(&s->chance));
}

/* How many octets of a wire that is free at *free_us may pass until now; they take its time. */
static size_t passing(const struct sim_motes *s, size_t waiting, uint64_t *free_us, uint64_t now)
{
    uint64_t can = now > *free_us ? (now - *free_us) * s->conf.baud / s->conf.char_bits / 1000000 : 0;
    size_t count = waiting < can ? waiting : (size_t)can;

    *free_us += airtime_us(s, count);
    return count;
}

static void go_up(struct sim_motes *s, uint64_t now)
{
    struct sim_motes_line *l = &s->line;
    struct buf out = {0};
    size_t count = passing(s, l->up.len, &l->up_free, now);

    for (size_t i = 0; i < count; i++)
        carry(s, &out, l->up.data[i]);
    if (out.len && write(l->pty.fd, out.data, out.len) != (ssize_t)out.len)
        s->lost_on_the_way++;
    if (count)
        buf_consume(&l->up, count);
    l->octets_up += count;
    buf_free(&out);
    if (!l->up.len && l->up_free < now)
        l->up_free = now;
}

static void to_motes(struct sim_motes *s, uint16_t node, const struct buf *packet)
{
    if (!s->conf.frame->many)
        sim_motes_heard(s, &s->motes[0], packet->data, packet->len);
    else if (node && node <= s->count)
        sim_motes_heard(s, &s->motes[node - 1], packet->data, packet->len);
    for (size_t i = 0; node == SIM_NODE_ALL && i < s->count; i++)
        sim_motes_heard(s, &s->motes[i], packet->data, packet->len);
}

static void go_down(struct sim_motes *s, uint64_t now)
{
    struct sim_motes_line *l = &s->line;
    struct buf packet = {0};
    size_t count = passing(s, l->down.len, &l->down_free, now);
    uint16_t node = 0;

    if (count && now > l->heard_us + SILENCE_US)
        l->heard.len = 0;
    for (size_t i = 0; i < count; i++)
        carry(s, &l->heard, l->down.data[i]);
    if (count) {
        buf_consume(&l->down, count);
        l->heard_us = now;
    }
    l->octets_down += count;
    while (s->conf.frame->take(&l->heard, &node, &packet, &l->up)) {
        to_motes(s, node, &packet);
        packet.len = 0;
    }
    buf_free(&packet);
}

/* Octets pass in pieces, not one by one. */
static uint64_t due(const struct sim_motes *s, const struct buf *wire, uint64_t free_us)
{
    uint64_t all = airtime_us(s, wire->len), one = airtime_us(s, 1) + 1,
             piece = PIECE_US > one ? PIECE_US : one;

    return !wire->len ? UINT64_MAX : free_us + (all < piece ? all : piece);
}

static uint64_t run(struct sim_motes *s, uint64_t now)
{
    go_down(s, now);
    go_up(s, now);
    uint64_t up = due(s, &s->line.up, s->line.up_free), down = due(s, &s->line.down, s->line.down_free);
    return up < down ? up : down;
}

static void readable(struct sim_motes *s, void *of, uint64_t now)
{
    struct sim_motes_line *l = &s->line;

    if (of) {
        sim_pty_watched(&l->pty);
        return;
    }
    uint8_t data[CHUNK];
    ssize_t count = read(l->pty.fd, data, sizeof(data));
    if (count <= 0)
        return;
    if (!l->down.len && l->down_free < now)
        l->down_free = now;
    uint64_t busy = l->down_free + airtime_us(s, l->down.len);
    if (busy > now && busy - now > l->most_ahead_us)
        l->most_ahead_us = busy - now;
    buf_append(&l->down, data, (size_t)count);
}

static void close_line(struct sim_motes *s)
{
    sim_pty_close(&s->line.pty);
    buf_free(&s->line.up);
    buf_free(&s->line.down);
    buf_free(&s->line.heard);
}

const struct sim_mote_way sim_motes_line = {
    .open = open_line, .add = add, .send = send_line, .readable = readable, .run = run, .close = close_line};
