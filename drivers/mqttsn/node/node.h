/* SPDX-License-Identifier: Apache-2.0 */
/* The node's side of MQTT-SN on a Modbus line: octets and the time go in, answers come out. No system, no
 * allocation, no clock of its own, nothing included but two headers of the language; README.md tells how to
 * put it into a device. One struct a port; not for several threads. */
#ifndef SLUICE_DRIVERS_MQTTSN_NODE_NODE_H
#define SLUICE_DRIVERS_MQTTSN_NODE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NODE_FRAME_MAX = 256, NODE_PACKET_MAX = 249 };

struct node {
    /* Set by the device: */
    uint8_t unit;        /* 1 to 247 */
    uint8_t function;    /* 65 to 72 or 100 to 110 */
    uint32_t silence_us; /* 3.5 characters; 1750 above 19200 baud */
    bool more;           /* there is more to send behind the packet that was given */
    /* A packet of MQTT-SN has come; it lives during the call, which may call node_send. False: there is no
     * room for it, and the gateway brings it again. */
    bool (*on_packet)(void *arg, const uint8_t *packet, size_t len);
    void *arg;
    /* The node's own; all 0 at the start: */
    bool synced, shown; /* shown: the packet has been in an answer */
    uint8_t sent, taken;
    uint8_t packet[NODE_PACKET_MAX];
    size_t packet_len; /* 0: none */
    uint8_t rx[NODE_FRAME_MAX];
    size_t rx_len;
    uint32_t last_us;
    /* For whoever looks for faults: */
    uint32_t polls, repeats, foreign, lost;
};

/* Octets that came from the line, those of others too. now_us may wrap round. */
void node_feed(struct node *n, const uint8_t *data, size_t len, uint32_t now_us);

/* Call it often, at least each millisecond. When a poll for this node has ended, its answer: so many octets
 * of frame, to be sent at once and without a pause. 0: nothing is to be sent. */
size_t node_step(struct node *n, uint32_t now_us, uint8_t frame[NODE_FRAME_MAX]);

/* Gives the node a packet, which goes out with the next answer and is repeated until the gateway has it.
 * False: it is too long, or the one before is still there. */
bool node_send(struct node *n, const uint8_t *packet, size_t len);

#endif
