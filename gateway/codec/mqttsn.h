/* SPDX-License-Identifier: Apache-2.0 */
/* MQTT-SN messages, both ways, and forwarder encapsulation. Pure: no allocation, no I/O, no log, no state; a
 * decoded message points into the caller's bytes. What a message holds is a row of a table, one table for
 * each version of the protocol, which the same code reads and writes by. Decoding holds on any bytes and
 * checks what one message alone can show (MQTT-SN 1.2 §5.2-5.5); whether a name is a topic is the gateway's
 * to ask. Any thread. */
#ifndef SLUICE_CODEC_MQTTSN_H
#define SLUICE_CODEC_MQTTSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* What a message is for; on the wire it has the number that its table says (for 1.2: §5.2.2). */
enum mqttsn_type {
    MQTTSN_ADVERTISE,
    MQTTSN_SEARCHGW,
    MQTTSN_GWINFO,
    MQTTSN_CONNECT,
    MQTTSN_CONNACK,
    MQTTSN_WILLTOPICREQ,
    MQTTSN_WILLTOPIC,
    MQTTSN_WILLMSGREQ,
    MQTTSN_WILLMSG,
    MQTTSN_REGISTER,
    MQTTSN_REGACK,
    MQTTSN_PUBLISH,
    MQTTSN_PUBACK,
    MQTTSN_PUBCOMP,
    MQTTSN_PUBREC,
    MQTTSN_PUBREL,
    MQTTSN_SUBSCRIBE,
    MQTTSN_SUBACK,
    MQTTSN_UNSUBSCRIBE,
    MQTTSN_UNSUBACK,
    MQTTSN_PINGREQ,
    MQTTSN_PINGRESP,
    MQTTSN_DISCONNECT,
    MQTTSN_WILLTOPICUPD,
    MQTTSN_WILLTOPICRESP,
    MQTTSN_WILLMSGUPD,
    MQTTSN_WILLMSGRESP,
    MQTTSN_TYPES
};

/* §5.3.10 */
enum mqttsn_code {
    MQTTSN_ACCEPTED,
    MQTTSN_CONGESTION,
    MQTTSN_BAD_TOPIC_ID,
    MQTTSN_NOT_SUPPORTED,
};

/* What a topic id is, or that a name stands in its place (§5.3.4, TopicIdType). */
enum mqttsn_topic { MQTTSN_NORMAL, MQTTSN_PREDEFINED, MQTTSN_SHORT };

enum { MQTTSN_MINUS_ONE = 3 /* qos of what is published without a connection */ };

struct mqttsn_packet {
    uint8_t type; /* enum mqttsn_type */
    uint8_t qos;  /* 0, 1, 2, MQTTSN_MINUS_ONE */
    bool dup, retain, will, clean;
    bool bare; /* WILLTOPIC, WILLTOPICUPD, DISCONNECT: without what they may have: no flags, no duration */
    uint8_t topic;     /* enum mqttsn_topic */
    uint8_t number;    /* gateway id, radius, protocol id */
    uint8_t code;      /* enum mqttsn_code; others are reserved */
    uint16_t duration; /* s */
    uint16_t topic_id; /* short names: their two bytes */
    uint16_t id;       /* message id */
    struct bytes text; /* what the message ends with: client id, topic name, data, address */
};

struct mqttsn_table; /* a version's messages */
extern const struct mqttsn_table mqttsn_12;

/* The length that a message's first bytes say (§5.2.1). 1: *header (1 or 3) and *total (all of it) are set,
 * though all bytes need not be there; 0: too few bytes to tell; -EBADMSG: no message has this length. */
int mqttsn_frame(const uint8_t *data, size_t len, size_t *header, size_t *total);

/* Decodes one whole message. 0, -EBADMSG, or -ENOTSUP when its type is none of the table's. */
int mqttsn_decode(const struct mqttsn_table *table, struct bytes whole, struct mqttsn_packet *out);

/* Bytes that mqttsn_encode will write, 0 when it cannot be encoded (over 65,535). */
size_t mqttsn_size(const struct mqttsn_table *table, const struct mqttsn_packet *p);
/* Writes exactly that many and returns how many. */
size_t mqttsn_encode(const struct mqttsn_table *table, uint8_t *out, const struct mqttsn_packet *p);

/* Marks an encoded message as sent again; of one that has no such flag nothing changes. */
void mqttsn_set_dup(const struct mqttsn_table *table, uint8_t *whole, size_t len);

/* "PUBLISH" and the like, for logs. Never NULL. */
const char *mqttsn_type_name(uint8_t type);

/* A message in an envelope of a forwarder (§5.5). */
enum { MQTTSN_NODE_MOST = 252 };
struct mqttsn_envelope {
    uint8_t control; /* radius; the rest is reserved and goes back as it came */
    struct bytes node;
};

/* Takes whole apart. 1: it is in an envelope, *inner is what it holds; 0: it is not, *inner is whole itself;
 * -EBADMSG: the envelope is cut, empty, or holds another one. */
int mqttsn_unwrap(struct bytes whole, struct mqttsn_envelope *envelope, struct bytes *inner);
/* The envelope's own bytes, which stand before the message: 3 + node.len at out. Returns how many. */
size_t mqttsn_wrap(uint8_t *out, const struct mqttsn_envelope *envelope);

#endif
