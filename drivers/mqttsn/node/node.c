/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/mqttsn/node/node.h"

#include <string.h>

enum {
    ANSWER = 0x80,
    START = 0x40,
    MORE = 0x20,
    POLL_NUMBER = 0x1f,
    HEAD = 5, /* unit, function, control, numbers, length */
    SUM = 2,
    REQUEST_MIN = 4,
    EXCEPTION = 0x80,
    ILLEGAL_FUNCTION = 1
};

/* Modbus over Serial Line 1.02, 6.2.2 */
static uint16_t sum(const uint8_t *p, size_t len)
{
    uint16_t crc = 0xffff;

    while (len--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = (uint16_t)(crc & 1 ? crc >> 1 ^ 0xa001 : crc >> 1);
    }
    return crc;
}

static bool sum_is_good(const uint8_t *p, size_t len)
{
    uint16_t crc = sum(p, len - SUM);

    return p[len - 2] == (uint8_t)crc && p[len - 1] == (uint8_t)(crc >> 8);
}

static size_t add_sum(uint8_t *frame, size_t len)
{
    uint16_t crc = sum(frame, len);

    frame[len] = (uint8_t)crc;
    frame[len + 1] = (uint8_t)(crc >> 8);
    return len + SUM;
}

/* Only the newest octets can be a poll that ends now. */
void node_feed(struct node *n, const uint8_t *data, size_t len, uint32_t now_us)
{
    if (len > sizeof(n->rx)) {
        data += len - sizeof(n->rx);
        len = sizeof(n->rx);
    }
    if (n->rx_len + len > sizeof(n->rx)) {
        size_t drop = n->rx_len + len - sizeof(n->rx);
        memmove(n->rx, n->rx + drop, n->rx_len - drop);
        n->rx_len -= drop;
    }
    memcpy(n->rx + n->rx_len, data, len);
    n->rx_len += len;
    n->last_us = now_us;
}

bool node_send(struct node *n, const uint8_t *packet, size_t len)
{
    if (!len || len > sizeof(n->packet) || n->packet_len)
        return false;
    memcpy(n->packet, packet, len);
    n->packet_len = len;
    n->shown = false;
    return true;
}

/* The gateway begins anew. Whether it has what was in an answer before, nobody knows: MQTT-SN repeats what
 * must not be lost, and what is of QoS 0 must not come twice. */
static void start(struct node *n)
{
    if (n->packet_len && n->shown) {
        n->packet_len = 0;
        n->lost++;
    }
    n->synced = true;
    n->sent = n->taken = 0;
}

static void take(struct node *n, const uint8_t *poll)
{
    uint8_t number = poll[3] >> 4, theirs = poll[3] & 15;
    size_t len = poll[4];

    if (n->packet_len && n->shown && theirs == n->sent)
        n->packet_len = 0;
    if (!len)
        return;
    if (number != (uint8_t)((n->taken + 1) & 15))
        n->repeats++;
    else if (n->on_packet(n->arg, poll + HEAD, len))
        n->taken = number;
}

/* Answers the poll: what begins at p and ends with the silence. */
static size_t answer(struct node *n, const uint8_t *poll, uint8_t *frame)
{
    uint8_t control = ANSWER | (poll[2] & POLL_NUMBER);
    size_t len = 0;

    n->polls++;
    if (poll[2] & START)
        start(n);
    if (poll[2] & START || !n->synced) {
        control |= START;
    } else {
        take(n, poll);
        len = n->packet_len;
    }
    if (len && !n->shown) {
        n->sent = (n->sent + 1) & 15;
        n->shown = true;
    }
    frame[0] = n->unit;
    frame[1] = n->function;
    frame[2] = control | (n->more ? MORE : 0);
    frame[3] = control & START ? 0 : (uint8_t)(n->sent << 4 | n->taken);
    frame[4] = (uint8_t)len;
    memcpy(frame + HEAD, n->packet, len);
    return add_sum(frame, HEAD + len);
}

/* A device must answer what it does not know, or a master takes it for dead. */
static size_t refuse(const struct node *n, uint8_t function, uint8_t *frame)
{
    frame[0] = n->unit;
    frame[1] = function | EXCEPTION;
    frame[2] = ILLEGAL_FUNCTION;
    return add_sum(frame, 3);
}

/* A poll stands right before the silence, whatever came before it without a pause. Its length says where it
 * begins, and its highest bit that it is no answer, such as our own come back. */
static const uint8_t *find_poll(const struct node *n)
{
    for (size_t at = 0; at + HEAD + SUM <= n->rx_len; at++) {
        const uint8_t *p = n->rx + at;
        size_t len = n->rx_len - at;
        if (p[0] == n->unit && p[1] == n->function && !(p[2] & ANSWER) && p[4] + HEAD + SUM == (int)len &&
            sum_is_good(p, len))
            return p;
    }
    return NULL;
}

size_t node_step(struct node *n, uint32_t now_us, uint8_t frame[NODE_FRAME_MAX])
{
    size_t out = 0, len = n->rx_len;

    if (!len || now_us - n->last_us < n->silence_us)
        return 0;
    const uint8_t *poll = find_poll(n);
    if (poll)
        out = answer(n, poll, frame);
    else if (len >= REQUEST_MIN && n->rx[0] == n->unit && n->rx[1] != n->function && n->rx[1] < EXCEPTION &&
             sum_is_good(n->rx, len))
        out = refuse(n, n->rx[1], frame);
    else
        n->foreign++;
    n->rx_len = 0;
    return out;
}
