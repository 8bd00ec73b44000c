/* SPDX-License-Identifier: Apache-2.0 */
/* MQTT-SN on a Modbus line. The first octet says what the rest is: answers to the gateway's polls (each with
 * its length before it), octets that a node hears, or what happens to the frames between the two, one octet
 * an exchange: its lowest bits lose the poll, the answer, or begin one side anew; the others say whether each
 * side has something to send. Between the two nothing is lost but where a side begins anew, and nothing comes
 * twice or out of order. */
#include <stdlib.h>
#include <string.h>

#include "drivers/mqttsn/bus.h"
#include "drivers/mqttsn/node/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 200 /* packets are counted by an octet */, UNIT = 20, FUNCTION = 65, SILENCE_US = 1750 };
enum { LOSE_POLL = 1, LOSE_ANSWER = 2, NODE_ANEW = 4, GATEWAY_ANEW = 8, DOWN = 16, UP = 32, FULL = 64 };

struct world {
    struct bus_poll gateway;
    struct node node;
    uint8_t down[2], down_next, down_seen; /* down: the packet under way, if any; its second octet counts */
    bool down_waits, down_gap, up_gap, full;
    uint8_t up_next, up_seen;
    uint32_t now_us;
};

static bool on_packet(void *arg, const uint8_t *packet, size_t len)
{
    struct world *w = arg;

    if (w->full)
        return false;
    if (len != 2)
        abort();
    uint8_t step = (uint8_t)(packet[1] - w->down_seen);
    if (!step || (step != 1 && !w->down_gap))
        abort();
    w->down_gap = false;
    w->down_seen = packet[1];
    return true;
}

static bool swallow(void *arg, const uint8_t *packet, size_t len)
{
    uint8_t sum = 0;

    (void)arg;
    for (size_t i = 0; i < len; i++) /* the sanitizer looks at each */
        sum ^= packet[i];
    if (!len || len > NODE_PACKET_MAX)
        abort();
    return sum & 1;
}

static void node_anew(struct world *w)
{
    w->down_gap = w->up_gap = true; /* what either had under way may be gone */
    w->node = (struct node){
        .unit = UNIT, .function = FUNCTION, .silence_us = SILENCE_US, .on_packet = on_packet, .arg = w};
}

static void take_answer(struct world *w, struct bytes pdu)
{
    struct bus_answer a;

    if (bus_poll_take(&w->gateway, pdu, &a))
        abort(); /* nothing was damaged */
    if (a.delivered || a.lost)
        w->down_waits = false;
    if (a.lost)
        w->down_gap = true;
    if (!a.packet.len)
        return;
    uint8_t step = (uint8_t)(a.packet.data[1] - w->up_seen);
    if (a.packet.len != 2 || !step || (step != 1 && !w->up_gap))
        abort();
    w->up_gap = false;
    w->up_seen = a.packet.data[1];
}

static size_t add_sum(uint8_t *frame, size_t len)
{
    uint16_t crc = 0xffff;

    for (size_t i = 0; i < len; i++) {
        crc ^= frame[i];
        for (int k = 0; k < 8; k++)
            crc = (uint16_t)(crc & 1 ? crc >> 1 ^ 0xa001 : crc >> 1);
    }
    frame[len] = (uint8_t)crc;
    frame[len + 1] = (uint8_t)(crc >> 8);
    return len + 2;
}

static void exchange(struct world *w, uint8_t what)
{
    uint8_t frame[NODE_FRAME_MAX + 3] = {UNIT}, answer[NODE_FRAME_MAX];
    const uint8_t up[2] = {2, (uint8_t)(w->up_next + 1)};

    w->full = what & FULL;
    if (what & NODE_ANEW)
        node_anew(w);
    if (what & GATEWAY_ANEW) {
        w->down_waits = w->down_waits && !w->gateway.pending;
        w->down_gap = w->up_gap = true;
        bus_poll_reset(&w->gateway);
    }
    if (what & UP && node_send(&w->node, up, sizeof up))
        w->up_next++;
    if (what & DOWN && !w->down_waits) {
        w->down[0] = 2;
        w->down[1] = ++w->down_next;
        w->down_waits = true;
    }
    size_t len =
        1 + bus_poll_put(&w->gateway, (struct bytes){w->down, w->down_waits ? 2 : 0}, false, frame + 1);
    if (what & LOSE_POLL)
        return;
    node_feed(&w->node, frame, add_sum(frame, len), w->now_us);
    w->now_us += SILENCE_US;
    len = node_step(&w->node, w->now_us, answer);
    if (len < 7)
        abort();
    if (!(what & LOSE_ANSWER))
        take_answer(w, (struct bytes){answer + 1, len - 3});
}

static void play_both(const uint8_t *data, size_t size)
{
    struct world w = {.gateway.function = FUNCTION};

    node_anew(&w);
    for (size_t i = 0; i < size && i < MOST; i++)
        exchange(&w, data[i]);
    /* With a line that works all arrives. */
    for (int i = 0; i < 4; i++)
        exchange(&w, 0);
    if (w.down_waits || w.node.packet_len)
        abort();
    if (!w.down_gap && w.down_seen != w.down_next)
        abort();
    if (!w.up_gap && w.up_seen != w.up_next)
        abort();
}

static void play_gateway(const uint8_t *data, size_t size)
{
    struct bus_poll b = {.function = FUNCTION};
    const uint8_t packet[] = {2, 0x17};
    uint8_t pdu[BUS_PDU_MAX];
    struct bus_answer a;

    while (size) {
        size_t len = *data++;
        size--;
        len = len < size ? len : size;
        if (bus_poll_put(&b, (struct bytes){packet, sizeof packet}, true, pdu) > sizeof pdu)
            abort();
        uint8_t *copy = malloc(len + 1);
        if (!copy)
            abort();
        memcpy(copy, data, len);
        if (!bus_poll_take(&b, (struct bytes){copy, len}, &a) && a.packet.len > BUS_PACKET_MAX)
            abort();
        free(copy);
        data += len, size -= len;
    }
}

static void play_node(const uint8_t *data, size_t size)
{
    struct node n = {.unit = UNIT, .function = FUNCTION, .silence_us = SILENCE_US, .on_packet = swallow};
    uint8_t frame[NODE_FRAME_MAX];
    uint32_t now = 0;

    while (size) {
        size_t len = *data++;
        size--;
        len = len < size ? len : size;
        node_feed(&n, data, len, now);
        now += SILENCE_US;
        if (node_step(&n, now, frame) > sizeof frame || n.rx_len > sizeof n.rx)
            abort();
        data += len, size -= len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const plays[])(const uint8_t *, size_t) = {play_both, play_gateway, play_node};

    if (size)
        plays[data[0] % 3](data + 1, size - 1);
    return 0;
}
