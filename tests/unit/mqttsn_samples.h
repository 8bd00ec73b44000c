/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of MQTT-SN 1.2 of every type: what they say, and their bytes by hand after the tables of the
 * standard (§5.4). The length is put before them. */
#ifndef SLUICE_TESTS_MQTTSN_SAMPLES_H
#define SLUICE_TESTS_MQTTSN_SAMPLES_H

#include "codec/mqttsn.h"
#include "tests/unit/mqtt_support.h"

struct sn_sample {
    const char *hex;
    struct mqttsn_packet packet;
    size_t least; /* bytes of its shortest form, length included, where a text may be cut; 0: none may */
};

#define P(name, ...)                                                                                         \
    {                                                                                                        \
        .type = MQTTSN_##name, __VA_ARGS__                                                                   \
    }

static const struct sn_sample sn_samples[] = {
    {"00 07 0384", P(ADVERTISE, .number = 7, .duration = 900), 0},
    {"01 02", P(SEARCHGW, .number = 2), 0},
    {"02 07", P(GWINFO, .number = 7), 0},
    {"02 07 c0000207", P(GWINFO, .number = 7, .text = B("\xc0\x00\x02\x07")), 3},
    {"04 00 01 003c 'm1'", P(CONNECT, .number = 1, .duration = 60, .text = B("m1")), 6},
    {"04 0c 01 0000", P(CONNECT, .will = true, .clean = true, .number = 1), 0},
    {"05 02", P(CONNACK, .code = MQTTSN_BAD_TOPIC_ID), 0},
    {"06", P(WILLTOPICREQ), 0},
    {"07 50 'w/t'", P(WILLTOPIC, .qos = 2, .retain = true, .text = B("w/t")), 3},
    {"07", P(WILLTOPIC, .bare = true), 0},
    {"08", P(WILLMSGREQ), 0},
    {"09 'gone'", P(WILLMSG, .text = B("gone")), 2},
    {"0a 0000 0102 'a/b'", P(REGISTER, .id = 0x102, .text = B("a/b")), 7},
    {"0b 0003 0102 00", P(REGACK, .topic_id = 3, .id = 0x102), 0},
    {"0c 00 0003 0000 '21.5'", P(PUBLISH, .topic_id = 3, .text = B("21.5")), 7},
    {"0c b1 0007 0102",
     P(PUBLISH, .dup = true, .qos = 1, .retain = true, .topic = MQTTSN_PREDEFINED, .topic_id = 7,
       .id = 0x102),
     0},
    {"0c 62 'tt' 0000 00",
     P(PUBLISH, .qos = MQTTSN_MINUS_ONE, .topic = MQTTSN_SHORT, .topic_id = 0x7474, .text = B("\x00")), 7},
    {"0d 0003 0102 02", P(PUBACK, .topic_id = 3, .id = 0x102, .code = MQTTSN_BAD_TOPIC_ID), 0},
    {"0e 0102", P(PUBCOMP, .id = 0x102), 0},
    {"0f 0102", P(PUBREC, .id = 0x102), 0},
    {"10 0102", P(PUBREL, .id = 0x102), 0},
    {"12 20 0102 'a/#'", P(SUBSCRIBE, .qos = 1, .id = 0x102, .text = B("a/#")), 6},
    {"12 c1 0102 0007",
     P(SUBSCRIBE, .dup = true, .qos = 2, .id = 0x102, .topic = MQTTSN_PREDEFINED, .topic_id = 7), 0},
    {"12 02 0102 'tt'", P(SUBSCRIBE, .id = 0x102, .topic = MQTTSN_SHORT, .topic_id = 0x7474), 0},
    {"13 40 0003 0102 03", P(SUBACK, .qos = 2, .topic_id = 3, .id = 0x102, .code = MQTTSN_NOT_SUPPORTED), 0},
    {"14 00 0102 'a/#'", P(UNSUBSCRIBE, .id = 0x102, .text = B("a/#")), 6},
    {"14 02 0102 'tt'", P(UNSUBSCRIBE, .id = 0x102, .topic = MQTTSN_SHORT, .topic_id = 0x7474), 0},
    {"15 0102", P(UNSUBACK, .id = 0x102), 0},
    {"16", P(PINGREQ), 0},
    {"16 'm1'", P(PINGREQ, .text = B("m1")), 2},
    {"17", P(PINGRESP), 0},
    {"18", P(DISCONNECT, .bare = true), 0},
    {"18 0e10", P(DISCONNECT, .duration = 3600), 2},
    {"1a 30 'w/t'", P(WILLTOPICUPD, .qos = 1, .retain = true, .text = B("w/t")), 3},
    {"1a", P(WILLTOPICUPD, .bare = true), 0},
    {"1b 03", P(WILLTOPICRESP, .code = MQTTSN_NOT_SUPPORTED), 0},
    {"1c 'gone'", P(WILLMSGUPD, .text = B("gone")), 2},
    {"1d 00", P(WILLMSGRESP), 0},
};

static inline struct buf sn_message_of(const char *hex)
{
    struct buf out = {0};

    buf_u8(&out, 0);
    unhex(&out, hex);
    out.data[0] = (uint8_t)out.len;
    return out;
}

static inline bool sn_packets_equal(const struct mqttsn_packet *a, const struct mqttsn_packet *b)
{
    return a->type == b->type && a->qos == b->qos && a->dup == b->dup && a->retain == b->retain &&
           a->will == b->will && a->clean == b->clean && a->bare == b->bare && a->topic == b->topic &&
           a->number == b->number && a->code == b->code && a->duration == b->duration &&
           a->topic_id == b->topic_id && a->id == b->id && bytes_equal(a->text, b->text);
}

/* Decodes from memory that ends where the message ends, so that a sanitizer sees any step beyond. The message
 * points into *copy, which the caller frees. */
static inline int sn_decode_exact(const uint8_t *data, size_t len, struct mqttsn_packet *out, uint8_t **copy)
{
    *copy = malloc(len ? len : 1);
    if (!*copy)
        abort();
    if (len)
        memcpy(*copy, data, len);
    memset(out, 0xa5, sizeof(*out));
    return mqttsn_decode(&mqttsn_12, (struct bytes){len ? *copy : *copy + 1, len}, out);
}

#endif
