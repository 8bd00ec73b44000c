/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of MQTT-SN 1.2 (§5.2.2, §5.4). */
#include "codec/mqttsn_table.h"

#define MESSAGES(M)                                                                                          \
    M(ADVERTISE, 0x00, 0, FIELD_NUMBER, FIELD_DURATION)                                                      \
    M(SEARCHGW, 0x01, 0, FIELD_NUMBER)                                                                       \
    M(GWINFO, 0x02, 0, FIELD_NUMBER, FIELD_TEXT)                                                             \
    M(CONNECT, 0x04, FLAG_WILL | FLAG_CLEAN, FIELD_FLAGS, FIELD_NUMBER, FIELD_DURATION, FIELD_TEXT)          \
    M(CONNACK, 0x05, 0, FIELD_CODE)                                                                          \
    M(WILLTOPICREQ, 0x06, 0, FIELD_END)                                                                      \
    M(WILLTOPIC, 0x07, FLAG_QOS | FLAG_RETAIN, FIELD_OPTIONAL, FIELD_FLAGS, FIELD_TEXT)                      \
    M(WILLMSGREQ, 0x08, 0, FIELD_END)                                                                        \
    M(WILLMSG, 0x09, 0, FIELD_TEXT)                                                                          \
    M(REGISTER, 0x0a, 0, FIELD_TOPIC_ID, FIELD_ID, FIELD_NAME)                                               \
    M(REGACK, 0x0b, 0, FIELD_TOPIC_ID, FIELD_ID, FIELD_CODE)                                                 \
    M(PUBLISH, 0x0c, FLAG_DUP | FLAG_QOS | FLAG_RETAIN | FLAG_TOPIC, FIELD_FLAGS, FIELD_TOPIC_ID, FIELD_ID,  \
      FIELD_TEXT)                                                                                            \
    M(PUBACK, 0x0d, 0, FIELD_TOPIC_ID, FIELD_ID, FIELD_CODE)                                                 \
    M(PUBCOMP, 0x0e, 0, FIELD_ID)                                                                            \
    M(PUBREC, 0x0f, 0, FIELD_ID)                                                                             \
    M(PUBREL, 0x10, 0, FIELD_ID)                                                                             \
    M(SUBSCRIBE, 0x12, FLAG_DUP | FLAG_QOS | FLAG_TOPIC, FIELD_FLAGS, FIELD_ID, FIELD_TOPIC)                 \
    M(SUBACK, 0x13, FLAG_QOS, FIELD_FLAGS, FIELD_TOPIC_ID, FIELD_ID, FIELD_CODE)                             \
    M(UNSUBSCRIBE, 0x14, FLAG_DUP | FLAG_TOPIC, FIELD_FLAGS, FIELD_ID, FIELD_TOPIC)                          \
    M(UNSUBACK, 0x15, 0, FIELD_ID)                                                                           \
    M(PINGREQ, 0x16, 0, FIELD_TEXT)                                                                          \
    M(PINGRESP, 0x17, 0, FIELD_END)                                                                          \
    M(DISCONNECT, 0x18, 0, FIELD_OPTIONAL, FIELD_DURATION)                                                   \
    M(WILLTOPICUPD, 0x1a, FLAG_QOS | FLAG_RETAIN, FIELD_OPTIONAL, FIELD_FLAGS, FIELD_TEXT)                   \
    M(WILLTOPICRESP, 0x1b, 0, FIELD_CODE)                                                                    \
    M(WILLMSGUPD, 0x1c, 0, FIELD_TEXT)                                                                       \
    M(WILLMSGRESP, 0x1d, 0, FIELD_CODE)

#define ROW(name, wire, flags, ...)  [MQTTSN_##name] = {wire, flags, {__VA_ARGS__}},
#define TYPE(name, wire, flags, ...) [wire] = 1 + MQTTSN_##name,
#define NAME(name, wire, flags, ...) [MQTTSN_##name] = #name,

const struct mqttsn_table mqttsn_12 = {.rows = {MESSAGES(ROW)}, .types = {MESSAGES(TYPE)}};

static const char *const names[MQTTSN_TYPES] = {MESSAGES(NAME)};

const char *mqttsn_type_name(uint8_t type)
{
    return type < MQTTSN_TYPES ? names[type] : "unknown";
}
