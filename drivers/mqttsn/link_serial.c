/* SPDX-License-Identifier: Apache-2.0 */
/* A serial line with motes behind it: a tty on the loop and a framing. A line that tells motes apart is a
 * forwarder to the gateway: their packets come in its envelopes, with the node's id or the radio's address.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/mqttsn.h"
#include "drivers/mqttsn/framing.h"
#include "drivers/mqttsn/link.h"

enum {
    ENVELOPE = 3,
    NODE_MOST = 8,
    CHUNK = 512,
    READS_MOST = 8, /* in one go; others have their turn, too */
    RETRY_FIRST_MS = 250,
    RETRY_MOST_MS = 5000,
    /* The loop's timers are as coarse as this. So long before a packet has left the next one may follow it,
     * or the wire would be idle between any two. */
    EARLY_US = 1000,
    GAP_CHARS = 5,
};

/* A handle of libuv's lives on while it closes, and the port may be open again by then. */
struct tty_poll {
    uv_poll_t handle;
    struct serial_link *link;
};

struct serial_link {
    struct link link;
    char *name, *spec;
    uv_loop_t *loop;
    struct port port;
    struct port_settings settings;
    struct tty_poll *poll; /* NULL: the port is not open */
    uv_timer_t timer;
    struct framing framing;
    uint8_t *in, *out, *wrapped;
    size_t out_at, out_len;       /* of a frame that the tty has not taken whole */
    uint64_t free_us;             /* when what was written has left */
    uint64_t reopen_us, since_us; /* since: the link was made */
    uint64_t octets_out, openings, too_long;
    int retry_ms;
    bool wants_room, was_down, closed;
    bool blocked; /* the tty took a part alone: the loop tells when it takes more */
};

static uint64_t wire_us(const struct serial_link *l, uint64_t octets)
{
    return octets * l->settings.format->bits_per_char * 1000000 / l->settings.baud;
}

/* What the gateway's packets have on top, which does not go over the wire. */
static size_t envelope_of(const struct framing_kind *kind)
{
    return kind->address_len ? (size_t)(ENVELOPE + kind->address_len) : 0;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void on_timer(uv_timer_t *timer);

static void set_timer(struct serial_link *l)
{
    uint64_t due = UINT64_MAX, now = clock_boot_us();

    if (l->closed)
        return;
    if (!l->poll)
        due = l->reopen_us;
    else if (l->wants_room && !l->out_len)
        due = l->free_us > EARLY_US ? l->free_us - EARLY_US : 0;
    if (l->poll)
        due = earliest(due, framing_deadline(&l->framing));
    if (due == UINT64_MAX) {
        uv_timer_stop(&l->timer);
        return;
    }
    uv_update_time(l->loop);
    uv_timer_start(&l->timer, on_timer, due > now ? (due - now + 999) / 1000 : 0, 0);
}

/* ---- the port ---- */

static void free_poll(uv_handle_t *handle)
{
    free(container_of(handle, struct tty_poll, handle));
}

/* What is still in the tty belongs to nobody any more, and closing would wait for it. */
static void close_port(struct serial_link *l)
{
    if (l->poll) {
        uv_poll_stop(&l->poll->handle);
        uv_close((uv_handle_t *)&l->poll->handle, free_poll);
        l->poll = NULL;
        tcflush(l->port.fd, TCIOFLUSH);
    }
    port_close(&l->port);
    l->out_len = l->out_at = 0;
    l->blocked = false;
}

static void tell_down(struct serial_link *l, const char *why)
{
    if (!l->was_down)
        log_error("line %s: %s; trying again until it is there", l->name, why);
    l->was_down = true;
    l->reopen_us = clock_boot_us() + (uint64_t)l->retry_ms * 1000;
    l->retry_ms = l->retry_ms * 2 < RETRY_MOST_MS ? l->retry_ms * 2 : RETRY_MOST_MS;
    set_timer(l);
}

static void lose_port(struct serial_link *l, int err)
{
    char why[192];

    close_port(l);
    snprintf(why, sizeof(why), "%s was lost: %s", l->spec, strerror(-err));
    tell_down(l, why);
}

static void on_poll(uv_poll_t *handle, int status, int events);

static int watch(struct serial_link *l)
{
    int events = UV_READABLE | UV_DISCONNECT | (l->blocked ? UV_WRITABLE : 0);

    return uv_poll_start(&l->poll->handle, events, on_poll);
}

static void tell_open(const struct serial_link *l)
{
    char text[384] = "";

    port_facts_text(&l->port.facts, text, sizeof(text));
    log_info("line %s: open on %s%s%s%s", l->name, l->spec, text[0] ? " (" : "", text, text[0] ? ")" : "");
    if (l->port.facts.rs485_lost[0])
        log_warn("line %s: the driver %s does not keep all of rs485: %s", l->name, l->port.facts.driver,
                 l->port.facts.rs485_lost);
}

static void open_port(struct serial_link *l)
{
    char why[256] = "";
    int err = port_open(&l->port, &l->settings, why, sizeof(why));

    if (err) {
        tell_down(l, why);
        return;
    }
    l->poll = mem_alloc(sizeof(*l->poll));
    l->poll->link = l;
    err = uv_poll_init(l->loop, &l->poll->handle, l->port.fd);
    if (err) { /* the handle is none yet */
        free(l->poll);
        l->poll = NULL;
    } else {
        err = watch(l);
    }
    if (err) {
        lose_port(l, err);
        return;
    }
    framing_reset(&l->framing);
    l->free_us = 0;
    l->retry_ms = RETRY_FIRST_MS;
    l->was_down = false;
    l->openings++;
    tell_open(l);
}

/* ---- octets ---- */

static void on_framed(void *arg, uint64_t address, struct bytes packet)
{
    struct serial_link *l = arg;
    const struct link_place place = {0};
    uint8_t node[NODE_MOST], *at = l->wrapped;
    uint8_t len = l->framing.kind->address_len;

    if (l->closed)
        return;
    for (size_t i = 0; i < len; i++)
        node[i] = (uint8_t)(address >> 8 * (len - 1 - i));
    if (len)
        at += mqttsn_wrap(at, &(struct mqttsn_envelope){0, {node, len}});
    memcpy(at, packet.data, packet.len);
    at += packet.len;
    l->link.events->on_packet(l->link.arg, &place, (struct bytes){l->wrapped, (size_t)(at - l->wrapped)},
                              false);
}

/* 0, or -E… when the port is lost: then a tty that says that there is something has nothing. */
static int read_some(struct serial_link *l, bool may_be_empty)
{
    uint8_t data[CHUNK];

    for (int i = 0; i < READS_MOST; i++) {
        ssize_t count = read(l->port.fd, data, sizeof(data));
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (count <= 0)
            return count ? -errno : i || may_be_empty ? 0 : -EIO;
        framing_feed(&l->framing, clock_boot_us(), data, (size_t)count);
        if ((size_t)count < sizeof(data))
            return 0;
    }
    return 0;
}

/* Gives the tty what is left of the frame. 0, or -E… when the port is lost. */
static int write_rest(struct serial_link *l)
{
    ssize_t count = write(l->port.fd, l->out + l->out_at, l->out_len - l->out_at);
    uint64_t now = clock_boot_us();

    if (count < 0 && errno != EAGAIN && errno != EINTR)
        return -errno;
    if (count > 0) {
        l->out_at += (size_t)count;
        l->octets_out += (uint64_t)count;
        l->free_us = (l->free_us > now ? l->free_us : now) + wire_us(l, (uint64_t)count);
    }
    if (l->out_at == l->out_len)
        l->out_at = l->out_len = 0;
    if (l->blocked == (l->out_len > 0))
        return 0;
    l->blocked = l->out_len > 0;
    return watch(l);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct serial_link *l = container_of(handle, struct tty_poll, handle)->link;
    int err = status < 0 ? -EIO : 0; /* libuv calls a line that was hung up a bad descriptor */

    if (!err && events & (UV_READABLE | UV_DISCONNECT))
        err = read_some(l, false);
    if (l->closed || !l->poll)
        return;
    if (!err && events & UV_DISCONNECT)
        err = -EIO;
    if (!err && events & UV_WRITABLE && l->out_len)
        err = write_rest(l);
    if (err)
        lose_port(l, err);
    else
        set_timer(l);
}

static bool has_room(const struct serial_link *l)
{
    return l->poll && !l->out_len && clock_boot_us() + EARLY_US >= l->free_us;
}

static void on_timer(uv_timer_t *timer)
{
    struct serial_link *l = container_of(timer, struct serial_link, timer);

    if (!l->poll && clock_boot_us() >= l->reopen_us)
        open_port(l);
    /* When the loop was late, what seems to be a silence may lie in the tty. */
    int err = l->poll ? read_some(l, true) : 0;
    if (err)
        lose_port(l, err);
    if (l->poll)
        framing_idle(&l->framing, clock_boot_us());
    if (!l->closed && l->wants_room && has_room(l)) {
        l->wants_room = false;
        l->link.events->on_room(l->link.arg);
    }
    set_timer(l);
}

/* ---- the kind ---- */

static bool put(struct serial_link *l, uint64_t address, struct bytes packet)
{
    if (!has_room(l)) {
        l->wants_room = true;
        set_timer(l);
        return false;
    }
    if (packet.len > l->framing.most) {
        l->too_long++;
        return true;
    }
    l->out_len = framing_put(&l->framing, address, packet, l->out);
    l->out_at = 0;
    int err = write_rest(l);
    if (err)
        lose_port(l, err);
    return true;
}

static bool send_packet(struct link *link, const struct link_place *to, struct bytes packet)
{
    struct serial_link *l = container_of(link, struct serial_link, link);
    struct mqttsn_envelope envelope = {0};
    struct bytes inner = packet;
    uint64_t address = 0;

    (void)to;
    if (l->framing.kind->address_len && mqttsn_unwrap(packet, &envelope, &inner) == 1)
        for (size_t i = 0; i < envelope.node.len; i++)
            address = address << 8 | envelope.node.data[i];
    return put(l, address, inner);
}

static bool shout(struct link *link, struct bytes packet)
{
    return put(container_of(link, struct serial_link, link), FRAMING_ALL, packet);
}

static uint64_t airtime_us(const struct link *link, size_t octets)
{
    const struct serial_link *l = container_of(link, struct serial_link, link);
    const struct framing_kind *kind = l->framing.kind;
    size_t envelope = envelope_of(kind);

    return wire_us(l, octets + kind->overhead - (octets > envelope ? envelope : 0));
}

static double share(const struct serial_link *l, uint64_t octets)
{
    uint64_t passed = clock_boot_us() - l->since_us;

    return passed ? (double)wire_us(l, octets) / (double)passed : 0;
}

static void status(const struct link *link, cJSON *into)
{
    const struct serial_link *l = container_of(link, struct serial_link, link);
    const struct framing_counts *c = &l->framing.counts;
    struct port_facts facts = l->port.facts;
    cJSON *o = cJSON_AddObjectToObject(into, "serial");
    const struct {
        const char *name;
        uint64_t count;
    } counts[] = {
        {"baud", l->settings.baud},
        {"openings", l->openings},
        {"octets_in", c->bytes},
        {"octets_out", l->octets_out},
        {"skipped", c->skipped},
        {"bad_sums", c->bad_sums},
        {"gaps", c->gaps},
        {"foreign", c->foreign},
        {"radio_sent", c->sent},
        {"radio_unsent", c->unsent},
        {"radio_restarts", c->restarts},
        {"too_long", l->too_long},
    };

    cJSON_AddStringToObject(o, "framing", l->framing.kind->name);
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        cJSON_AddNumberToObject(o, counts[i].name, (double)counts[i].count);
    cJSON_AddNumberToObject(o, "airtime_in", share(l, c->bytes));
    cJSON_AddNumberToObject(o, "airtime_out", share(l, l->octets_out));
    if (l->poll) {
        port_facts_count(&facts, l->port.fd);
        port_facts_status(&facts, into);
    } else {
        cJSON_ReplaceItemInObject(into, "state", cJSON_CreateString("down"));
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct serial_link *l = container_of((uv_timer_t *)handle, struct serial_link, timer);

    free(l->in);
    free(l->out);
    free(l->wrapped);
    free(l->name);
    free(l->spec);
    free(l);
}

static void close_link(struct link *link)
{
    struct serial_link *l = container_of(link, struct serial_link, link);

    l->closed = true;
    close_port(l);
    uv_close((uv_handle_t *)&l->timer, on_closed);
}

static int check(const struct link_settings *s, char *error, size_t size)
{
    const char *rest;
    const struct port_kind *kind = port_kind_of(s->spec, &rest);

    if (s->serial.rs485.mode && s->serial.rs485.mode->drive) {
        snprintf(error, size,
                 "rs485 with mode = \"%s\" holds everything up while it sends; motes need an adapter that "
                 "switches by itself, or mode = \"kernel\"",
                 s->serial.rs485.mode->name);
        return -EINVAL;
    }
    return kind->check ? kind->check(rest, error, size) : 0;
}

/* Whom a cable leads to is here; whom a radio reaches may be anybody. */
static bool is_local(const struct link_settings *s)
{
    return !s->serial.framing->radio;
}

static int open_link(struct link **out, uv_loop_t *loop, const struct link_settings *s, char *error,
                     size_t size)
{
    struct serial_link *l = mem_alloc(sizeof(*l));
    const struct link_serial *serial = &s->serial;

    (void)error, (void)size;
    *l = (struct serial_link){
        .link = {.kind = link_kind_of(s->spec),
                 .local = is_local(s),
                 .most = serial->most + envelope_of(serial->framing)},
        .name = mem_strdup(s->name),
        .spec = mem_strdup(s->spec),
        .loop = loop,
        .port.fd = -1,
        .settings = {.baud = serial->baud, .format = serial->format, .rs485 = serial->rs485},
        .in = mem_alloc(FRAMING_ROOM(serial->most)),
        .out = mem_alloc(FRAMING_FRAME(serial->most)),
        .wrapped = mem_alloc(FRAMING_ROOM(serial->most)),
        .since_us = clock_boot_us(),
        .retry_ms = RETRY_FIRST_MS,
    };
    l->settings.spec = l->spec;
    uint64_t chars_us = wire_us(l, GAP_CHARS);
    l->framing = (struct framing){.kind = serial->framing,
                                  .most = serial->most,
                                  .gap_us = serial->gap_us > chars_us ? serial->gap_us : (uint32_t)chars_us,
                                  .emit = on_framed,
                                  .arg = l,
                                  .in = l->in};
    uv_timer_init(loop, &l->timer);
    set_timer(l); /* opens the port, once whoever asked has the link */
    *out = &l->link;
    return 0;
}

#define SERIAL_LINK(begins, words)                                                                           \
    {                                                                                                        \
        .prefix = begins, .what = words, .check = check, .is_local = is_local, .open = open_link,            \
        .send = send_packet, .shout = shout, .airtime_us = airtime_us, .status = status, .close = close_link \
    }

const struct link_kind link_tty = SERIAL_LINK("/", "a path such as /dev/ttyUSB0");
const struct link_kind link_usb = SERIAL_LINK("usb:", "usb:VENDOR:PRODUCT:SERIAL");
