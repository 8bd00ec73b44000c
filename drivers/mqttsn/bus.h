/* SPDX-License-Identifier: Apache-2.0 */
/* MQTT-SN inside a user-defined function of Modbus RTU, the gateway's side: what one poll of a node says and
 * what its answer means (docs/serial-motes.md). A packet is repeated until the other side has taken it, and
 * taken once, whatever frames the line loses. Pure: no I/O, no clock; one struct a node. */
#ifndef SLUICE_DRIVERS_MQTTSN_BUS_H
#define SLUICE_DRIVERS_MQTTSN_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { BUS_PDU_MAX = 253, BUS_HEAD = 4, BUS_PACKET_MAX = BUS_PDU_MAX - BUS_HEAD };

struct bus_poll {
    uint8_t function;
    bool synced;         /* both sides count from the same start */
    bool pending;        /* the node has not said that it took the packet that was sent last */
    uint8_t number;      /* of the poll */
    uint8_t sent, taken; /* numbers of packets */
};

struct bus_answer {
    bool delivered;      /* the packet that was pending was taken */
    bool lost;           /* it was pending and perhaps was taken: it must not be sent again */
    bool started;        /* both sides have begun anew */
    bool more;           /* the node has more to say */
    struct bytes packet; /* new; within the answer; empty: none */
};

/* Function and what follows it. packet: the first that waits for the node, which stays the same while it is
 * pending; empty: none. more: others wait behind it. Returns the length. */
size_t bus_poll_put(struct bus_poll *b, struct bytes packet, bool more, uint8_t out[BUS_PDU_MAX]);

/* 0, or -EBADMSG: this does not answer the last poll, and nothing has changed. */
int bus_poll_take(struct bus_poll *b, struct bytes pdu, struct bus_answer *out);

/* Nothing is known of the node any more; what is pending is lost. */
void bus_poll_reset(struct bus_poll *b);

#endif
