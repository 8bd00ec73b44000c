/* SPDX-License-Identifier: Apache-2.0 */
/* How a version of MQTT-SN is described to the codec; nobody else includes it. A row lists the fields of one
 * message in their order, and which flags it may carry: others are ignored when they come and zero when they
 * go. Any thread. */
#ifndef SLUICE_CODEC_MQTTSN_TABLE_H
#define SLUICE_CODEC_MQTTSN_TABLE_H

#include "codec/mqttsn.h"

enum mqttsn_field {
    FIELD_END,
    FIELD_FLAGS,
    FIELD_NUMBER,
    FIELD_CODE,
    FIELD_DURATION,
    FIELD_TOPIC_ID,
    FIELD_ID,
    FIELD_TOPIC,    /* a name, or by the flags an id or a short name */
    FIELD_TEXT,     /* the rest */
    FIELD_NAME,     /* the rest, which is not empty */
    FIELD_OPTIONAL, /* what follows may be missing as a whole */
    FIELDS_MOST = 6
};

enum { /* §5.3.4 */
       FLAG_DUP = 0x80,
       FLAG_QOS = 0x60,
       FLAG_RETAIN = 0x10,
       FLAG_WILL = 0x08,
       FLAG_CLEAN = 0x04,
       FLAG_TOPIC = 0x03
};

struct mqttsn_row {
    uint8_t wire; /* its number on the wire */
    uint8_t flags;
    uint8_t fields[FIELDS_MOST];
};

struct mqttsn_table {
    struct mqttsn_row rows[MQTTSN_TYPES];
    uint8_t types[256]; /* 1 + enum mqttsn_type by number on the wire; 0: reserved */
};

#endif
