/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/mqttsn/bus.h"

#include <errno.h>
#include <string.h>

enum { ANSWER = 0x80, START = 0x40, MORE = 0x20, POLL_NUMBERS = 32, NUMBERS = 16 };

static uint8_t after(uint8_t number)
{
    return (uint8_t)((number + 1) % NUMBERS);
}

static uint8_t before(uint8_t number)
{
    return (uint8_t)((number + NUMBERS - 1) % NUMBERS);
}

size_t bus_poll_put(struct bus_poll *b, struct bytes packet, bool more, uint8_t out[BUS_PDU_MAX])
{
    size_t len = b->synced && packet.len <= BUS_PACKET_MAX ? packet.len : 0;

    b->number = (uint8_t)((b->number + 1) % POLL_NUMBERS);
    if (len && !b->pending) {
        b->sent = after(b->sent);
        b->pending = true;
    }
    out[0] = b->function;
    out[1] = (uint8_t)(b->number | (b->synced ? 0 : START) | (more ? MORE : 0));
    out[2] = b->synced ? (uint8_t)(b->sent << 4 | b->taken) : 0;
    out[3] = (uint8_t)len;
    if (len)
        memcpy(out + BUS_HEAD, packet.data, len);
    return BUS_HEAD + len;
}

void bus_poll_reset(struct bus_poll *b)
{
    b->synced = b->pending = false;
    b->sent = b->taken = 0;
}

/* The node has begun anew, or counts otherwise than we do. */
static void begin_anew(struct bus_poll *b, struct bus_answer *out)
{
    out->lost = b->pending;
    out->packet = (struct bytes){0};
    bus_poll_reset(b);
}

static void take_numbers(struct bus_poll *b, uint8_t sent, uint8_t taken, struct bus_answer *out)
{
    out->delivered = b->pending && taken == b->sent;
    bool knows = out->delivered || taken == (b->pending ? before(b->sent) : b->sent);
    bool follows = out->packet.len && sent == after(b->taken);

    if (out->delivered)
        b->pending = false;
    if (!knows || (!follows && sent != b->taken)) {
        begin_anew(b, out);
        return;
    }
    if (follows)
        b->taken = sent;
    else
        out->packet = (struct bytes){0};
}

int bus_poll_take(struct bus_poll *b, struct bytes pdu, struct bus_answer *out)
{
    struct cursor c = cursor_of(pdu.data, pdu.len);
    uint8_t function = cursor_u8(&c), control = cursor_u8(&c), numbers = cursor_u8(&c), len = cursor_u8(&c);
    bool start = control & START;

    *out = (struct bus_answer){.more = control & MORE, .packet = cursor_bytes(&c, len)};
    if (c.failed || cursor_left(&c) || function != b->function || !(control & ANSWER) ||
        control % POLL_NUMBERS != b->number || (start && len) || (!start && !b->synced))
        return -EBADMSG;
    if (!start) {
        take_numbers(b, numbers >> 4, numbers & 15, out);
    } else if (b->synced) {
        begin_anew(b, out);
    } else {
        b->synced = out->started = true;
    }
    return 0;
}
