/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of every type and version: what they say, and their bytes by hand after the tables of the
 * standards. */
#ifndef SLUICE_TESTS_MQTT_SAMPLES_H
#define SLUICE_TESTS_MQTT_SAMPLES_H

#include "tests/unit/mqtt_support.h"

struct sample_prop {
    enum mqtt_prop id;
    uint32_t number;
    const char *text;
};

struct sample {
    const char *name;
    uint8_t version;
    const char *hex; /* without the remaining length */
    struct mqtt_packet packet;
    struct sample_prop props[12], will_props[8];
    const char *extra, *will_extra;
};

#define CONNECT(...)     .packet = {.type = MQTT_CONNECT, .connect = {__VA_ARGS__}}
#define CONNACK(...)     .packet = {.type = MQTT_CONNACK, .connack = {__VA_ARGS__}}
#define PUBLISH(...)     .packet = {.type = MQTT_PUBLISH, .publish = {__VA_ARGS__}}
#define ACK(name, ...)   .packet = {.type = MQTT_##name, .ack = {__VA_ARGS__}}
#define SUBSCRIBE(...)   .packet = {.type = MQTT_SUBSCRIBE, .subscribe = {__VA_ARGS__}}
#define UNSUBSCRIBE(...) .packet = {.type = MQTT_UNSUBSCRIBE, .subscribe = {__VA_ARGS__}}
#define EMPTY(name)      .packet = {.type = MQTT_##name}

static const struct sample samples[] = {
    {"CONNECT 3.1", 3, "10 0006 'MQIsdp' 03 02 003c 0001 'a'",
     CONNECT(.version = 3, .clean = true, .keep_alive = 60, .client_id = B("a"))},
    {"CONNECT 3.1 all", 3, "10 0006 'MQIsdp' 03 f4 0001 0001 'a' 0001 't' 0001 'w' 0001 'u' 0001 'p'",
     CONNECT(.version = 3, .keep_alive = 1, .client_id = B("a"), .has_will = true, .has_user = true,
             .has_password = true, .user = B("u"), .password = B("p"),
             .will = {.topic = B("t"), .payload = B("w"), .qos = 2, .retain = true})},
    {"CONNECT 3.1 bridge", 3, "10 0006 'MQIsdp' 83 00 0000 0001 'b'",
     CONNECT(.version = 3, .bridge = true, .client_id = B("b"))},
    {"CONNECT 3.1.1", 4, "10 0004 'MQTT' 04 02 003c 0000",
     CONNECT(.version = 4, .clean = true, .keep_alive = 60)},
    {"CONNECT 3.1.1 all", 4, "10 0004 'MQTT' 04 ec ffff 0003 'abc' 0003 'a/b' 0000 0002 'me' 0002 00ff",
     CONNECT(.version = 4, .keep_alive = 65535, .client_id = B("abc"), .has_will = true, .has_user = true,
             .has_password = true, .user = B("me"), .password = B("\x00\xff"),
             .will = {.topic = B("a/b"), .qos = 1, .retain = true})},
    {"CONNECT 3.1.1 bridge", 4, "10 0004 'MQTT' 84 02 0000 0001 'b'",
     CONNECT(.version = 4, .bridge = true, .clean = true, .client_id = B("b"))},
    {"CONNECT 5.0", 5, "10 0004 'MQTT' 05 02 003c 00 0000",
     CONNECT(.version = 5, .clean = true, .keep_alive = 60)},
    {"CONNECT 5.0 password alone", 5, "10 0004 'MQTT' 05 40 0000 00 0001 'c' 0001 'p'",
     CONNECT(.version = 5, .client_id = B("c"), .has_password = true, .password = B("p"))},
    {"CONNECT 5.0 all", 5,
     "10 0004 'MQTT' 05 ce 000a 2a 11 0000000a 15 0001 'm' 16 0002 00ff 17 00 19 01 21 0014 22 000a"
     "   27 00100000 26 0001 'k' 0001 'v' 26 0001 'k' 0000 0001 'c'"
     "   26 01 01 02 00000078 03 0004 'json' 08 0003 'r/t' 09 0001 00 18 00000005 26 0002 'wk' 0002 'wv'"
     "   0001 't' 0003 'bye' 0001 'u' 0001 'p'",
     CONNECT(.version = 5, .clean = true, .keep_alive = 10, .client_id = B("c"), .has_will = true,
             .has_user = true, .has_password = true, .user = B("u"), .password = B("p"),
             .will = {.topic = B("t"), .payload = B("bye"), .qos = 1}),
     .props = {{MQTT_SESSION_EXPIRY, 10, NULL},
               {MQTT_AUTH_METHOD, 0, "'m'"},
               {MQTT_AUTH_DATA, 0, "00ff"},
               {MQTT_REQUEST_PROBLEM_INFO, 0, NULL},
               {MQTT_REQUEST_RESPONSE_INFO, 1, NULL},
               {MQTT_RECEIVE_MAXIMUM, 20, NULL},
               {MQTT_TOPIC_ALIAS_MAXIMUM, 10, NULL},
               {MQTT_MAXIMUM_PACKET_SIZE, 1 << 20, NULL}},
     .extra = "26 0001 'k' 0001 'v' 26 0001 'k' 0000",
     .will_props = {{MQTT_PAYLOAD_FORMAT, 1, NULL},
                    {MQTT_MESSAGE_EXPIRY, 120, NULL},
                    {MQTT_CONTENT_TYPE, 0, "'json'"},
                    {MQTT_RESPONSE_TOPIC, 0, "'r/t'"},
                    {MQTT_CORRELATION_DATA, 0, "00"},
                    {MQTT_WILL_DELAY, 5, NULL}},
     .will_extra = "26 0002 'wk' 0002 'wv'"},

    {"CONNACK 3.1", 3, "20 00 05", CONNACK(.reason = MQTT_NOT_AUTHORIZED)},
    {"CONNACK 3.1.1", 4, "20 01 00", CONNACK(.session_present = true)},
    {"CONNACK 3.1.1 refused", 4, "20 00 03", CONNACK(.reason = MQTT_SERVER_UNAVAILABLE)},
    {"CONNACK 5.0", 5, "20 00 00 00", CONNACK(.reason = 0)},
    {"CONNACK 5.0 all", 5,
     "20 01 00 2b 11 00000e10 12 0002 'id' 13 001e 15 0001 'm' 16 0001 'd' 1a 0001 'i' 1c 0001 's' 1f 0001 "
     "'r'"
     "   21 000a 22 0005 24 01 25 01",
     CONNACK(.session_present = true),
     .props = {{MQTT_SESSION_EXPIRY, 3600, NULL},
               {MQTT_ASSIGNED_CLIENT_ID, 0, "'id'"},
               {MQTT_SERVER_KEEP_ALIVE, 30, NULL},
               {MQTT_AUTH_METHOD, 0, "'m'"},
               {MQTT_AUTH_DATA, 0, "'d'"},
               {MQTT_RESPONSE_INFO, 0, "'i'"},
               {MQTT_SERVER_REFERENCE, 0, "'s'"},
               {MQTT_REASON_STRING, 0, "'r'"},
               {MQTT_RECEIVE_MAXIMUM, 10, NULL},
               {MQTT_TOPIC_ALIAS_MAXIMUM, 5, NULL},
               {MQTT_MAXIMUM_QOS, 1, NULL},
               {MQTT_RETAIN_AVAILABLE, 1, NULL}}},
    {"CONNACK 5.0 limits", 5, "20 00 87 12 27 00000800 28 00 29 00 2a 00 26 0001 'a' 0001 'b'",
     CONNACK(.reason = MQTT_NOT_AUTHORIZED),
     .props = {{MQTT_MAXIMUM_PACKET_SIZE, 2048, NULL},
               {MQTT_WILDCARD_AVAILABLE, 0, NULL},
               {MQTT_SUBSCRIPTION_ID_AVAILABLE, 0, NULL},
               {MQTT_SHARED_AVAILABLE, 0, NULL}},
     .extra = "26 0001 'a' 0001 'b'"},

    {"PUBLISH 3.1", 3, "30 0001 't' 'hello'", PUBLISH(.topic = B("t"), .payload = B("hello"))},
    {"PUBLISH 3.1.1 QoS 0", 4, "31 0003 'a/b'", PUBLISH(.retain = true, .topic = B("a/b"))},
    {"PUBLISH 3.1.1 QoS 1", 4, "3a 0003 'a/b' 000a ff",
     PUBLISH(.dup = true, .qos = 1, .id = 10, .topic = B("a/b"), .payload = B("\xff"))},
    {"PUBLISH 3.1.1 QoS 2", 4, "35 0006 c3a9e282ac 'x' ffff 00",
     PUBLISH(.qos = 2, .retain = true, .id = 65535, .topic = B("\xc3\xa9\xe2\x82\xacx"), .payload = B("\0"))},
    {"PUBLISH 5.0", 5, "30 0001 't' 00 'hi'", PUBLISH(.topic = B("t"), .payload = B("hi"))},
    {"PUBLISH 5.0 alias alone", 5, "32 0000 0001 03 23 0001 'hi'",
     PUBLISH(.qos = 1, .id = 1, .payload = B("hi")), .props = {{MQTT_TOPIC_ALIAS, 1, NULL}}},
    {"PUBLISH 5.0 all", 5,
     "34 0001 't' 0007 28 01 00 02 ffffffff 03 0001 'c' 08 0001 'r' 09 0002 0000 0b 8001 23 ffff"
     "   26 0001 'k' 0001 'v' 0b ffffff7f 0b 01 'hi'",
     PUBLISH(.qos = 2, .id = 7, .topic = B("t"), .payload = B("hi")),
     .props = {{MQTT_PAYLOAD_FORMAT, 0, NULL},
               {MQTT_MESSAGE_EXPIRY, UINT32_MAX, NULL},
               {MQTT_CONTENT_TYPE, 0, "'c'"},
               {MQTT_RESPONSE_TOPIC, 0, "'r'"},
               {MQTT_CORRELATION_DATA, 0, "0000"},
               {MQTT_SUBSCRIPTION_ID, 128, NULL},
               {MQTT_TOPIC_ALIAS, 65535, NULL}},
     .extra = "26 0001 'k' 0001 'v' 0b ffffff7f 0b 01"},

    {"PUBACK 3.1", 3, "40 0001", ACK(PUBACK, .id = 1)},
    {"PUBACK 3.1.1", 4, "40 0102", ACK(PUBACK, .id = 258)},
    {"PUBACK 5.0 of two bytes", 5, "40 0001", ACK(PUBACK, .id = 1)},
    {"PUBACK 5.0 of three bytes", 5, "40 0001 10", ACK(PUBACK, .id = 1, .reason = MQTT_NO_SUBSCRIBERS)},
    {"PUBACK 5.0 all", 5, "40 0001 97 0b 1f 0001 'r' 26 0001 'a' 0001 'b'",
     ACK(PUBACK, .id = 1, .reason = MQTT_QUOTA_EXCEEDED), .props = {{MQTT_REASON_STRING, 0, "'r'"}},
     .extra = "26 0001 'a' 0001 'b'"},
    {"PUBACK 5.0 success with text", 5, "40 0001 00 04 1f 0001 'r'", ACK(PUBACK, .id = 1),
     .props = {{MQTT_REASON_STRING, 0, "'r'"}}},
    {"PUBREC 3.1.1", 4, "50 0002", ACK(PUBREC, .id = 2)},
    {"PUBREC 5.0", 5, "50 0002 91", ACK(PUBREC, .id = 2, .reason = MQTT_ID_IN_USE)},
    {"PUBREL 3.1", 3, "62 0003", ACK(PUBREL, .id = 3)},
    {"PUBREL 3.1.1", 4, "62 0003", ACK(PUBREL, .id = 3)},
    {"PUBREL 5.0", 5, "62 0003 92", ACK(PUBREL, .id = 3, .reason = MQTT_ID_NOT_FOUND)},
    {"PUBCOMP 3.1.1", 4, "70 ffff", ACK(PUBCOMP, .id = 65535)},
    {"PUBCOMP 5.0", 5, "70 ffff 92 05 26 0000 0000", ACK(PUBCOMP, .id = 65535, .reason = MQTT_ID_NOT_FOUND),
     .extra = "26 0000 0000"},

    {"SUBSCRIBE 3.1", 3, "82 0001 0001 '#' 00", SUBSCRIBE(.id = 1, .filters = B("\0\1#\0"))},
    {"SUBSCRIBE 3.1.1", 4, "82 0001 0003 'a/+' 01 0003 'b/#' 02",
     SUBSCRIBE(.id = 1, .filters = B("\0\3a/+\1\0\3b/#\2"))},
    {"SUBSCRIBE 5.0", 5, "82 0001 00 0001 'a' 2e", SUBSCRIBE(.id = 1, .filters = B("\0\1a\x2e"))},
    {"SUBSCRIBE 5.0 all", 5, "82 0001 0a 0b ff7f 26 0001 'a' 0001 'b' 000a '$share/g/a' 19",
     SUBSCRIBE(.id = 1, .filters = B("\0\12$share/g/a\x19")), .props = {{MQTT_SUBSCRIPTION_ID, 16383, NULL}},
     .extra = "26 0001 'a' 0001 'b'"},
    {"SUBACK 3.1", 3, "90 0001 02", ACK(SUBACK, .id = 1, .codes = B("\2"))},
    {"SUBACK 3.1.1", 4, "90 0001 00 01 02 80", ACK(SUBACK, .id = 1, .codes = B("\0\1\2\x80"))},
    {"SUBACK 5.0", 5, "90 0001 00 02 87", ACK(SUBACK, .id = 1, .codes = B("\2\x87"))},
    {"SUBACK 5.0 all", 5, "90 0001 0b 1f 0001 'r' 26 0001 'a' 0001 'b' a2",
     ACK(SUBACK, .id = 1, .codes = B("\xa2")), .props = {{MQTT_REASON_STRING, 0, "'r'"}},
     .extra = "26 0001 'a' 0001 'b'"},
    {"UNSUBSCRIBE 3.1", 3, "a2 0001 0001 'a'", UNSUBSCRIBE(.id = 1, .filters = B("\0\1a"))},
    {"UNSUBSCRIBE 3.1.1", 4, "a2 0001 0001 'a' 0002 '+/'", UNSUBSCRIBE(.id = 1, .filters = B("\0\1a\0\2+/"))},
    {"UNSUBSCRIBE 5.0", 5, "a2 0001 07 26 0001 'a' 0001 'b' 0001 '#'",
     UNSUBSCRIBE(.id = 1, .filters = B("\0\1#")), .extra = "26 0001 'a' 0001 'b'"},
    {"UNSUBACK 3.1", 3, "b0 0001", ACK(UNSUBACK, .id = 1)},
    {"UNSUBACK 3.1.1", 4, "b0 0001", ACK(UNSUBACK, .id = 1)},
    {"UNSUBACK 5.0", 5, "b0 0001 00 00 11", ACK(UNSUBACK, .id = 1, .codes = B("\0\x11"))},
    {"UNSUBACK 5.0 all", 5, "b0 0001 0b 1f 0001 'r' 26 0001 'a' 0001 'b' 8f",
     ACK(UNSUBACK, .id = 1, .codes = B("\x8f")), .props = {{MQTT_REASON_STRING, 0, "'r'"}},
     .extra = "26 0001 'a' 0001 'b'"},

    {"PINGREQ 3.1", 3, "c0", EMPTY(PINGREQ)},
    {"PINGREQ 3.1.1", 4, "c0", EMPTY(PINGREQ)},
    {"PINGREQ 5.0", 5, "c0", EMPTY(PINGREQ)},
    {"PINGRESP 3.1", 3, "d0", EMPTY(PINGRESP)},
    {"PINGRESP 3.1.1", 4, "d0", EMPTY(PINGRESP)},
    {"PINGRESP 5.0", 5, "d0", EMPTY(PINGRESP)},
    {"DISCONNECT 3.1", 3, "e0", ACK(DISCONNECT, .id = 0)},
    {"DISCONNECT 3.1.1", 4, "e0", ACK(DISCONNECT, .id = 0)},
    {"DISCONNECT 5.0 of no byte", 5, "e0", ACK(DISCONNECT, .id = 0)},
    {"DISCONNECT 5.0 of one byte", 5, "e0 04", ACK(DISCONNECT, .reason = MQTT_DISCONNECT_WITH_WILL)},
    {"DISCONNECT 5.0 all", 5, "e0 9d 14 11 00000000 1c 0001 's' 1f 0001 'r' 26 0001 'a' 0001 'b'",
     ACK(DISCONNECT, .reason = MQTT_SERVER_MOVED),
     .props = {{MQTT_SESSION_EXPIRY, 0, NULL},
               {MQTT_SERVER_REFERENCE, 0, "'s'"},
               {MQTT_REASON_STRING, 0, "'r'"}},
     .extra = "26 0001 'a' 0001 'b'"},
    {"AUTH of no byte", 5, "f0", ACK(AUTH, .id = 0)},
    {"AUTH", 5, "f0 18 08 15 0001 'm' 16 0001 00", ACK(AUTH, .reason = MQTT_CONTINUE_AUTH),
     .props = {{MQTT_AUTH_METHOD, 0, "'m'"}, {MQTT_AUTH_DATA, 0, "00"}}},
    {"AUTH all", 5, "f0 19 13 15 0001 'm' 16 0001 00 1f 0001 'r' 26 0001 'a' 0001 'b'",
     ACK(AUTH, .reason = MQTT_REAUTHENTICATE),
     .props = {{MQTT_AUTH_METHOD, 0, "'m'"}, {MQTT_AUTH_DATA, 0, "00"}, {MQTT_REASON_STRING, 0, "'r'"}},
     .extra = "26 0001 'a' 0001 'b'"},
};

/* Text of a sample that lives until the process ends. */
static inline struct bytes sample_text(struct buf *keep, const char *text)
{
    size_t start = keep->len;

    if (!text)
        return (struct bytes){0};
    unhex(keep, text);
    return (struct bytes){keep->data + start, keep->len - start};
}

static inline void sample_props(struct mqtt_props *out, const struct sample_prop *props, size_t count,
                                const char *extra, struct buf *keep)
{
    for (size_t i = 0; i < count && props[i].id; i++) {
        if (is_text(props[i].id))
            mqtt_set_text(out, props[i].id, sample_text(keep, props[i].text));
        else
            mqtt_set_number(out, props[i].id, props[i].number);
    }
    out->extra = sample_text(keep, extra);
}

/* The packet of a sample; keep holds its texts and is the caller's to free. */
static inline struct mqtt_packet sample_packet(const struct sample *s, struct buf *keep)
{
    struct mqtt_packet p = s->packet;

    keep->len = 0;
    if (!keep->cap)
        buf_grow(keep, 4096); /* texts must not move while they are pointed at */
    if (props_of(&p))
        sample_props(props_of(&p), s->props, ARRAY_SIZE(s->props), s->extra, keep);
    if (p.type == MQTT_CONNECT)
        sample_props(&p.connect.will.props, s->will_props, ARRAY_SIZE(s->will_props), s->will_extra, keep);
    return p;
}

#endif
