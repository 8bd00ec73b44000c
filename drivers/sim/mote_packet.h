/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of MQTT-SN 1.2 as a mote needs them, by itself so that it can judge a gateway. Pure. */
#ifndef SLUICE_DRIVERS_SIM_MOTE_PACKET_H
#define SLUICE_DRIVERS_SIM_MOTE_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum sim_sn_type { /* MQTT-SN 1.2 §5.2.2 */
                   SIM_SN_CONNECT = 0x04,
                   SIM_SN_CONNACK = 0x05,
                   SIM_SN_WILLTOPICREQ = 0x06,
                   SIM_SN_WILLTOPIC = 0x07,
                   SIM_SN_WILLMSGREQ = 0x08,
                   SIM_SN_WILLMSG = 0x09,
                   SIM_SN_REGISTER = 0x0a,
                   SIM_SN_REGACK = 0x0b,
                   SIM_SN_PUBLISH = 0x0c,
                   SIM_SN_PUBACK = 0x0d,
                   SIM_SN_PUBCOMP = 0x0e,
                   SIM_SN_PUBREC = 0x0f,
                   SIM_SN_PUBREL = 0x10,
                   SIM_SN_SUBSCRIBE = 0x12,
                   SIM_SN_SUBACK = 0x13,
                   SIM_SN_PINGREQ = 0x16,
                   SIM_SN_PINGRESP = 0x17,
                   SIM_SN_DISCONNECT = 0x18,
};

enum { /* §5.3.4 */
       SIM_SN_DUP = 0x80,
       SIM_SN_QOS = 0x60,
       SIM_SN_RETAIN = 0x10,
       SIM_SN_WILL = 0x08,
       SIM_SN_CLEAN = 0x04,
       SIM_SN_TOPIC = 0x03,
       SIM_SN_PREDEFINED = 0x01,
       SIM_SN_SHORT = 0x02,
};

/* Begins a message in b, whose old contents go; its fields are appended, then it is ended. */
void sim_sn_begin(struct buf *b, uint8_t type);
void sim_sn_end(struct buf *b);

/* Sets a message's flag of a repeat, if it is of a type that has one. */
void sim_sn_repeat(struct buf *b);

/* Takes one whole message apart; false when its length is not that of the datagram. */
bool sim_sn_open(const uint8_t *data, size_t len, uint8_t *type, struct cursor *body);

#endif
