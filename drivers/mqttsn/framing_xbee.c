/* SPDX-License-Identifier: Apache-2.0 */
/* A radio of the XBee family in API mode, without escapes (AP=1) or with them (AP=2). What it says of its
 * sending is counted and never waited for: MQTT-SN has its own repeats. */
#include "drivers/mqttsn/framing.h"

enum { START = 0x7e, ESC = 0x7d, FLIP = 0x20, HEAD = 3, AROUND = HEAD + 1, OVERHEAD = 14 };
enum { SHORT = 0x10000 /* addresses below it have 16 bits; those of 64 begin with their maker's number */ };
enum {
    TX_64 = 0x00,
    TX_16 = 0x01,
    TX = 0x10,
    RX_64 = 0x80,
    RX_16 = 0x81,
    TX_STATUS_OLD = 0x89,
    MODEM_STATUS = 0x8a,
    TX_STATUS = 0x8b,
    RX = 0x90,
};

/* What comes: where its address is, and what stands between address and packet. */
static const struct incoming {
    uint8_t type, address, rest;
    bool old;
} incoming[] = {
    {RX, 8, 3, false},   /* 16-bit address, options */
    {RX_64, 8, 2, true}, /* strength, options */
    {RX_16, 2, 2, true},
};

static bool take_incoming(struct framing *f, uint8_t type, struct cursor *c)
{
    for (size_t i = 0; i < sizeof(incoming) / sizeof(incoming[0]); i++) {
        const struct incoming *in = &incoming[i];
        if (in->type != type)
            continue;
        uint64_t address = in->address == 8 ? cursor_u64(c) : cursor_u16(c);
        cursor_take(c, in->rest);
        size_t len = cursor_left(c);
        if (c->failed || !len)
            return false;
        f->old_radio = in->old;
        framing_packet(f, address, cursor_bytes(c, len));
        return true;
    }
    return false;
}

/* The delivery status is the second octet of the old radios' frame and the fifth of the others'. */
static bool take_status(struct framing *f, uint8_t type, struct cursor *c)
{
    if (type == MODEM_STATUS) {
        f->counts.restarts++;
        return true;
    }
    if (type != TX_STATUS && type != TX_STATUS_OLD)
        return false;
    cursor_take(c, type == TX_STATUS ? 4 : 1);
    uint8_t status = cursor_u8(c);
    if (c->failed)
        return false;
    if (status)
        f->counts.unsent++;
    else
        f->counts.sent++;
    return true;
}

static void take_frame(struct framing *f, const uint8_t *data, size_t len)
{
    struct cursor c = cursor_of(data, len);
    uint8_t type = cursor_u8(&c);

    if (!take_incoming(f, type, &c) && !take_status(f, type, &c))
        f->counts.foreign++;
}

static bool sum_good(const uint8_t *data, size_t len)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + data[i]);
    return sum == 0xff;
}

/* The frame at the front: its length in all; 0: more bytes are needed, or it is none and bad is set. */
static size_t whole(struct framing *f, bool *bad)
{
    *bad = f->in[0] != START;
    if (*bad || f->len < HEAD)
        return 0;
    size_t len = (size_t)(f->in[1] << 8 | f->in[2]);
    *bad = !len || len > f->most + OVERHEAD;
    if (*bad || f->len < len + AROUND)
        return 0;
    *bad = !sum_good(f->in + HEAD, len + 1);
    f->counts.bad_sums += *bad;
    return *bad ? 0 : len + AROUND;
}

/* Without escapes a start may also be data: after something bad the next one is tried. */
static void take_frames(struct framing *f)
{
    bool bad;

    while (f->len) {
        size_t len = whole(f, &bad);
        if (!len && !bad)
            return;
        if (bad) {
            framing_skip(f, 1);
        } else {
            take_frame(f, f->in + HEAD, len - AROUND);
            framing_drop(f, len);
        }
    }
}

static void take(struct framing *f, uint8_t byte)
{
    f->in[f->len++] = byte;
    take_frames(f);
}

static void gap(struct framing *f)
{
    while (f->len) {
        framing_skip(f, 1);
        take_frames(f);
    }
}

/* With escapes a start is always one, so nothing bad is looked into. */
static void take_escaped(struct framing *f, uint8_t byte)
{
    bool bad;

    if (byte == ESC) {
        f->escaped = true;
        return;
    }
    if (byte == START)
        framing_skip(f, f->len);
    else if (f->escaped)
        byte ^= FLIP;
    f->escaped = false;
    f->in[f->len++] = byte;
    size_t len = whole(f, &bad);
    if (len) {
        take_frame(f, f->in + HEAD, len - AROUND);
        framing_drop(f, len);
    } else if (bad) {
        framing_skip(f, f->len);
    }
}

static void gap_escaped(struct framing *f)
{
    f->escaped = false;
    framing_skip(f, f->len);
}

struct writer {
    uint8_t *at, sum;
    bool escapes;
};

static void write_byte(struct writer *w, uint8_t byte)
{
    w->sum = (uint8_t)(w->sum + byte);
    if (w->escapes && (byte == START || byte == ESC || byte == 0x11 || byte == 0x13)) {
        *w->at++ = ESC;
        byte ^= FLIP;
    }
    *w->at++ = byte;
}

static void write_number(struct writer *w, uint64_t number, unsigned octets)
{
    while (octets--)
        write_byte(w, (uint8_t)(number >> 8 * octets));
}

static void write_head(struct writer *w, struct framing *f, uint64_t address, size_t len)
{
    uint8_t type = f->old_radio ? address < SHORT ? TX_16 : TX_64 : TX;
    unsigned octets = type == TX_16 ? 2 : 8;

    f->frame_id = (uint8_t)(f->frame_id == 255 ? 1 : f->frame_id + 1);
    write_number(w, 2 + octets + (type == TX ? 4 : 1) + len, 2);
    w->sum = 0;
    write_byte(w, type);
    write_byte(w, f->frame_id);
    write_number(w, address, octets);
    if (type == TX)
        write_number(w, 0xfffe00, 3); /* its 16-bit address is not known; as many hops as it takes */
    write_byte(w, 0);
}

static size_t put_with(struct framing *f, uint64_t address, struct bytes packet, uint8_t *out, bool escapes)
{
    struct writer w = {.at = out, .escapes = escapes};

    *w.at++ = START;
    write_head(&w, f, address, packet.len);
    for (size_t i = 0; i < packet.len; i++)
        write_byte(&w, packet.data[i]);
    write_byte(&w, (uint8_t)(0xff - w.sum));
    return (size_t)(w.at - out);
}

static size_t put(struct framing *f, uint64_t address, struct bytes packet, uint8_t *out)
{
    return put_with(f, address, packet, out, false);
}

static size_t put_escaped(struct framing *f, uint64_t address, struct bytes packet, uint8_t *out)
{
    return put_with(f, address, packet, out, true);
}

const struct framing_kind framing_xbee = {.name = "xbee",
                                          .address_len = 8,
                                          .overhead = AROUND + OVERHEAD,
                                          .radio = true,
                                          .take = take,
                                          .gap = gap,
                                          .put = put};
const struct framing_kind framing_xbee_escaped = {.name = "xbee-escaped",
                                                  .address_len = 8,
                                                  .overhead = AROUND + OVERHEAD,
                                                  .radio = true,
                                                  .take = take_escaped,
                                                  .gap = gap_escaped,
                                                  .put = put_escaped};
