/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the motes' side of a serial line; what the gateway's side does is another's. */
#include "drivers/sim/motes_private.h"

#include "base/mem.h"

enum { LONG = 1, ENVELOPE = 0xfe };

/* ---- plain ---- */

static void plain_put(struct buf *out, uint16_t node, const uint8_t *packet, size_t len)
{
    (void)node;
    buf_append(out, packet, len);
}

/* The length of the message at data, 0 when it is not whole. */
static size_t message(const uint8_t *data, size_t len)
{
    struct cursor c = cursor_of(data, len);
    size_t said = cursor_u8(&c);

    if (said == LONG)
        said = cursor_u16(&c);
    uint8_t type = cursor_u8(&c);
    if (c.failed || said > len)
        return 0;
    size_t inner = type == ENVELOPE ? message(data + said, len - said) : 0;
    return type == ENVELOPE && !inner ? 0 : said + inner;
}

static bool plain_take(struct buf *in, uint16_t *node, struct buf *packet, struct buf *status)
{
    size_t len = message(in->data, in->len);

    (void)node, (void)status;
    if (!len)
        return false;
    buf_append(packet, in->data, len);
    buf_consume(in, len);
    return true;
}

/* ---- slip-crc ---- */

static uint16_t fcs(const uint8_t *data, size_t len)
{
    uint16_t sum = 0xffff;

    while (len--) {
        sum ^= *data++;
        for (int i = 0; i < 8; i++)
            sum = (uint16_t)(sum & 1 ? sum >> 1 ^ 0x8408 : sum >> 1);
    }
    return sum ^ 0xffff;
}

static void slip_octet(struct buf *out, uint8_t octet)
{
    if (octet == 0xc0 || octet == 0xdb) {
        buf_u8(out, 0xdb);
        octet = octet == 0xc0 ? 0xdc : 0xdd;
    }
    buf_u8(out, octet);
}

static void slip_put(struct buf *out, uint16_t node, const uint8_t *packet, size_t len)
{
    struct buf inside = {0};

    buf_u16(&inside, node);
    buf_append(&inside, packet, len);
    uint16_t sum = fcs(inside.data, inside.len);
    buf_u8(&inside, (uint8_t)sum);
    buf_u8(&inside, (uint8_t)(sum >> 8));
    buf_u8(out, 0xc0);
    for (size_t i = 0; i < inside.len; i++)
        slip_octet(out, inside.data[i]);
    buf_u8(out, 0xc0);
    buf_free(&inside);
}

/* The frame of len octets without its ends. */
static bool slip_open(const uint8_t *data, size_t len, uint16_t *node, struct buf *packet)
{
    struct buf b = {0};

    for (size_t i = 0; i < len; i++)
        if (data[i] == 0xdb && i + 1 < len)
            buf_u8(&b, data[++i] == 0xdc ? 0xc0 : 0xdb);
        else
            buf_u8(&b, data[i]);
    bool good = b.len > 4 && fcs(b.data, b.len - 2) == (b.data[b.len - 2] | b.data[b.len - 1] << 8);
    if (good) {
        *node = (uint16_t)(b.data[0] << 8 | b.data[1]);
        buf_append(packet, b.data + 2, b.len - 4);
    }
    buf_free(&b);
    return good;
}

static bool slip_take(struct buf *in, uint16_t *node, struct buf *packet, struct buf *status)
{
    uint8_t *end;

    (void)status;
    while ((end = in->len ? memchr(in->data, 0xc0, in->len) : NULL)) {
        size_t len = (size_t)(end - in->data);
        bool good = len && slip_open(in->data, len, node, packet);
        buf_consume(in, len + 1);
        if (good)
            return true;
    }
    return false;
}

/* ---- xbee ---- */

enum { FIRST_RADIO = 0x40520000, MAKER = 0x0013a200 };

static void radio_octet(struct buf *out, uint8_t octet, bool escapes)
{
    if (escapes && (octet == 0x7e || octet == 0x7d || octet == 0x11 || octet == 0x13)) {
        buf_u8(out, 0x7d);
        octet ^= 0x20;
    }
    buf_u8(out, octet);
}

static void radio_frame(struct buf *out, const struct buf *inside, bool escapes)
{
    uint8_t sum = 0;

    buf_u8(out, 0x7e);
    radio_octet(out, (uint8_t)(inside->len >> 8), escapes);
    radio_octet(out, (uint8_t)inside->len, escapes);
    for (size_t i = 0; i < inside->len; i++) {
        sum = (uint8_t)(sum + inside->data[i]);
        radio_octet(out, inside->data[i], escapes);
    }
    radio_octet(out, (uint8_t)(0xff - sum), escapes);
}

static void radio_put(struct buf *out, uint16_t node, const uint8_t *packet, size_t len, bool escapes)
{
    struct buf inside = {0};

    buf_u8(&inside, 0x90);
    buf_u32(&inside, MAKER);
    buf_u32(&inside, FIRST_RADIO + node);
    buf_u16(&inside, node);
    buf_u8(&inside, 1);
    buf_append(&inside, packet, len);
    radio_frame(out, &inside, escapes);
    buf_free(&inside);
}

/* What the gateway asks its radio to send: frame 10 with a number, an address, a packet. */
static bool radio_request(const struct buf *b, uint16_t *node, struct buf *packet, struct buf *status,
                          bool escapes)
{
    struct cursor c = cursor_of(b->data, b->len);
    struct buf said = {0};

    if (cursor_u8(&c) != 0x10)
        return false;
    uint8_t number = cursor_u8(&c);
    uint64_t address = cursor_u64(&c);
    cursor_take(&c, 4);
    size_t len = cursor_left(&c);
    if (c.failed || !len)
        return false;
    *node = address == SIM_NODE_ALL ? SIM_NODE_ALL : (uint16_t)(address - FIRST_RADIO);
    bool there = address == SIM_NODE_ALL || address >> 32 == MAKER;
    buf_u8(&said, 0x8b);
    buf_u8(&said, number);
    buf_u16(&said, *node);
    buf_u8(&said, 0);
    buf_u8(&said, there ? 0 : 0x24); /* address not found */
    buf_u8(&said, 0);
    radio_frame(status, &said, escapes);
    buf_free(&said);
    if (there)
        buf_append(packet, cursor_take(&c, len), len);
    return there;
}

/* The octets of a frame behind its start, escapes undone; how many octets of in that took. */
static size_t radio_read(const struct buf *in, size_t count, bool escapes, struct buf *out)
{
    size_t at = 1;

    for (; out->len < count && at < in->len; at++)
        if (escapes && in->data[at] == 0x7d) {
            if (++at == in->len)
                break;
            buf_u8(out, in->data[at] ^ 0x20);
        } else {
            buf_u8(out, in->data[at]);
        }
    return out->len < count ? 0 : at;
}

static uint8_t radio_sum(const struct buf *b)
{
    uint8_t sum = 0;

    for (size_t i = 2; i < b->len; i++)
        sum = (uint8_t)(sum + b->data[i]);
    return sum;
}

/* One frame out of in: 1; 0: more octets are needed; -1: what was there was none. */
static int radio_one(struct buf *in, struct buf *inside, bool escapes)
{
    struct buf b = {0};
    size_t used = 0, len = 0;

    if (radio_read(in, 2, escapes, &b)) {
        len = (size_t)(b.data[0] << 8 | b.data[1]);
        b.len = 0;
        used = radio_read(in, len + 3, escapes, &b);
    }
    bool good = used && radio_sum(&b) == 0xff;
    if (good)
        buf_append(inside, b.data + 2, len);
    if (used)
        buf_consume(in, good ? used : 1);
    buf_free(&b);
    return !used ? 0 : good ? 1 : -1;
}

static bool radio_take(struct buf *in, uint16_t *node, struct buf *packet, struct buf *status, bool escapes)
{
    struct buf inside = {0};
    bool found = false;
    int is = -1;

    while (!found && is && in->len) {
        is = -1;
        if (in->data[0] != 0x7e)
            buf_consume(in, 1);
        else
            is = radio_one(in, &inside, escapes);
        if (is > 0)
            found = radio_request(&inside, node, packet, status, escapes);
        inside.len = 0;
    }
    buf_free(&inside);
    return found;
}

static void xbee_put(struct buf *out, uint16_t node, const uint8_t *packet, size_t len)
{
    radio_put(out, node, packet, len, false);
}

static bool xbee_take(struct buf *in, uint16_t *node, struct buf *packet, struct buf *status)
{
    return radio_take(in, node, packet, status, false);
}

static void escaped_put(struct buf *out, uint16_t node, const uint8_t *packet, size_t len)
{
    radio_put(out, node, packet, len, true);
}

static bool escaped_take(struct buf *in, uint16_t *node, struct buf *packet, struct buf *status)
{
    return radio_take(in, node, packet, status, true);
}

static const struct sim_mote_frame_kind plain = {"plain", false, plain_put, plain_take},
                                        slip = {"slip-crc", true, slip_put, slip_take},
                                        xbee = {"xbee", true, xbee_put, xbee_take},
                                        escaped = {"xbee-escaped", true, escaped_put, escaped_take};

const struct sim_mote_frame_kind *const sim_mote_frame_kinds[] = {&plain, &slip, &xbee, &escaped};
const char *const sim_mote_frame_names[] = {"plain", "slip-crc", "xbee", "xbee-escaped", NULL};
_Static_assert(ARRAY_SIZE(sim_mote_frame_names) == ARRAY_SIZE(sim_mote_frame_kinds) + 1,
               "a name for each kind, in the same order");
