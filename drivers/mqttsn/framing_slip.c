/* SPDX-License-Identifier: Apache-2.0 */
/* SLIP (RFC 1055) around a node's id, a packet and the check sum of PPP (RFC 1662, C.2). That of Modbus would
 * not do: it does not see a zero more or less at the end, and here the end is all that tells the length. */
#include <string.h>

#include "drivers/mqttsn/framing.h"

enum { END = 0xc0, ESC = 0xdb, ESC_END = 0xdc, ESC_ESC = 0xdd };
enum { NODE = 2, SUM = 2, LEAST = NODE + 2 + SUM, GOOD = 0xf0b8 };

/* One nibble at a time, as for Modbus. The sum itself is what comes out, inverted, low octet first. */
static uint16_t sum_of(const uint8_t *data, size_t len)
{
    static const uint16_t nibbles[16] = {0x0000, 0x1081, 0x2102, 0x3183, 0x4204, 0x5285, 0x6306, 0x7387,
                                         0x8408, 0x9489, 0xa50a, 0xb58b, 0xc60c, 0xd68d, 0xe70e, 0xf78f};
    uint16_t sum = 0xffff;

    for (size_t i = 0; i < len; i++) {
        sum = (uint16_t)(sum >> 4 ^ nibbles[(sum ^ data[i]) & 15]);
        sum = (uint16_t)(sum >> 4 ^ nibbles[(sum ^ data[i] >> 4) & 15]);
    }
    return sum;
}

static void finish(struct framing *f)
{
    if (!f->raw)
        return;
    if (!f->lost && !f->escaped && f->len >= LEAST && sum_of(f->in, f->len) == GOOD) {
        framing_packet(f, (uint64_t)(f->in[0] << 8 | f->in[1]),
                       (struct bytes){f->in + NODE, f->len - NODE - SUM});
    } else {
        f->counts.skipped += f->raw;
        f->counts.bad_sums++;
    }
}

static void take(struct framing *f, uint8_t byte)
{
    if (byte == END) {
        finish(f);
        f->len = f->raw = 0;
        f->lost = f->escaped = false;
        return;
    }
    f->raw++;
    if (f->escaped) {
        f->lost |= byte != ESC_END && byte != ESC_ESC;
        byte = byte == ESC_END ? END : ESC;
    } else if (byte == ESC) {
        f->escaped = true;
        return;
    }
    f->escaped = false;
    f->lost |= f->len >= f->most + NODE + SUM;
    if (!f->lost)
        f->in[f->len++] = byte;
}

static uint8_t *escape(uint8_t *at, uint8_t byte)
{
    if (byte != END && byte != ESC) {
        *at = byte;
        return at + 1;
    }
    at[0] = ESC;
    at[1] = byte == END ? ESC_END : ESC_ESC;
    return at + 2;
}

static size_t put(struct framing *f, uint64_t address, struct bytes packet, uint8_t *out)
{
    size_t len = NODE + packet.len + SUM;
    uint8_t *plain = out + FRAMING_FRAME(f->most) - len, *at = out;

    /* What is still to be escaped lies at the end of the room, which twice its length cannot reach. */
    plain[0] = (uint8_t)(address >> 8);
    plain[1] = (uint8_t)address;
    memcpy(plain + NODE, packet.data, packet.len);
    uint16_t sum = (uint16_t)~sum_of(plain, NODE + packet.len);
    plain[len - 2] = (uint8_t)sum;
    plain[len - 1] = (uint8_t)(sum >> 8);
    *at++ = END;
    for (size_t i = 0; i < len; i++)
        at = escape(at, plain[i]);
    *at++ = END;
    return (size_t)(at - out);
}

const struct framing_kind framing_slip_crc = {
    .name = "slip-crc", .address_len = NODE, .overhead = NODE + SUM + 2, .take = take, .put = put};
