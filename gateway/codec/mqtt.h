/* SPDX-License-Identifier: Apache-2.0 */
/* MQTT 3.1, 3.1.1 and 5.0 packets, both ways. Pure: no allocation, no I/O, no log, no state; a decoded packet
 * points into the caller's bytes. The decoder holds on any bytes and checks all that can be seen in one
 * packet alone (MQTT 3.1.1 §2, §3; 5.0 §2, §3); what needs the connection's state (aliases, quotas, order of
 * packets) is the broker's. Any thread. */
#ifndef SLUICE_CODEC_MQTT_H
#define SLUICE_CODEC_MQTT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum mqtt_version { MQTT_3_1 = 3, MQTT_3_1_1 = 4, MQTT_5 = 5 };

enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK,
    MQTT_PUBLISH,
    MQTT_PUBACK,
    MQTT_PUBREC,
    MQTT_PUBREL,
    MQTT_PUBCOMP,
    MQTT_SUBSCRIBE,
    MQTT_SUBACK,
    MQTT_UNSUBSCRIBE,
    MQTT_UNSUBACK,
    MQTT_PINGREQ,
    MQTT_PINGRESP,
    MQTT_DISCONNECT,
    MQTT_AUTH,
};

/* MQTT 5.0 §2.4. The 3.1.1 CONNACK return codes are mapped to these by mqtt_connack_3() and back by
 * mqtt_connack_5(). */
enum mqtt_reason {
    MQTT_OK = 0x00, /* also: normal disconnection, granted QoS 0 */
    MQTT_GRANTED_1 = 0x01,
    MQTT_GRANTED_2 = 0x02,
    MQTT_DISCONNECT_WITH_WILL = 0x04,
    MQTT_NO_SUBSCRIBERS = 0x10,
    MQTT_NO_SUBSCRIPTION = 0x11,
    MQTT_CONTINUE_AUTH = 0x18,
    MQTT_REAUTHENTICATE = 0x19,
    MQTT_UNSPECIFIED = 0x80,
    MQTT_MALFORMED = 0x81,
    MQTT_PROTOCOL_ERROR = 0x82,
    MQTT_IMPLEMENTATION_ERROR = 0x83,
    MQTT_BAD_VERSION = 0x84,
    MQTT_BAD_CLIENT_ID = 0x85,
    MQTT_BAD_CREDENTIALS = 0x86,
    MQTT_NOT_AUTHORIZED = 0x87,
    MQTT_SERVER_UNAVAILABLE = 0x88,
    MQTT_SERVER_BUSY = 0x89,
    MQTT_BANNED = 0x8a,
    MQTT_SHUTTING_DOWN = 0x8b,
    MQTT_BAD_AUTH_METHOD = 0x8c,
    MQTT_KEEPALIVE_TIMEOUT = 0x8d,
    MQTT_TAKEN_OVER = 0x8e,
    MQTT_BAD_FILTER = 0x8f,
    MQTT_BAD_TOPIC = 0x90,
    MQTT_ID_IN_USE = 0x91,
    MQTT_ID_NOT_FOUND = 0x92,
    MQTT_RECEIVE_MAXIMUM_EXCEEDED = 0x93,
    MQTT_BAD_ALIAS = 0x94,
    MQTT_PACKET_TOO_LARGE = 0x95,
    MQTT_RATE_TOO_HIGH = 0x96,
    MQTT_QUOTA_EXCEEDED = 0x97,
    MQTT_ADMINISTRATIVE = 0x98,
    MQTT_BAD_PAYLOAD_FORMAT = 0x99,
    MQTT_NO_RETAIN = 0x9a,
    MQTT_NO_QOS = 0x9b,
    MQTT_USE_ANOTHER_SERVER = 0x9c,
    MQTT_SERVER_MOVED = 0x9d,
    MQTT_NO_SHARED = 0x9e,
    MQTT_CONNECTION_RATE = 0x9f,
    MQTT_MAXIMUM_CONNECT_TIME = 0xa0,
    MQTT_NO_SUBSCRIPTION_IDS = 0xa1,
    MQTT_NO_WILDCARDS = 0xa2,
};

/* Property identifiers (MQTT 5.0 §2.2.2.2); also the bit numbers of mqtt_props.present. */
enum mqtt_prop {
    MQTT_PAYLOAD_FORMAT = 1,
    MQTT_MESSAGE_EXPIRY = 2,
    MQTT_CONTENT_TYPE = 3,
    MQTT_RESPONSE_TOPIC = 8,
    MQTT_CORRELATION_DATA = 9,
    MQTT_SUBSCRIPTION_ID = 11,
    MQTT_SESSION_EXPIRY = 17,
    MQTT_ASSIGNED_CLIENT_ID = 18,
    MQTT_SERVER_KEEP_ALIVE = 19,
    MQTT_AUTH_METHOD = 21,
    MQTT_AUTH_DATA = 22,
    MQTT_REQUEST_PROBLEM_INFO = 23,
    MQTT_WILL_DELAY = 24,
    MQTT_REQUEST_RESPONSE_INFO = 25,
    MQTT_RESPONSE_INFO = 26,
    MQTT_SERVER_REFERENCE = 28,
    MQTT_REASON_STRING = 31,
    MQTT_RECEIVE_MAXIMUM = 33,
    MQTT_TOPIC_ALIAS_MAXIMUM = 34,
    MQTT_TOPIC_ALIAS = 35,
    MQTT_MAXIMUM_QOS = 36,
    MQTT_RETAIN_AVAILABLE = 37,
    MQTT_USER_PROPERTY = 38,
    MQTT_MAXIMUM_PACKET_SIZE = 39,
    MQTT_WILDCARD_AVAILABLE = 40,
    MQTT_SUBSCRIPTION_ID_AVAILABLE = 41,
    MQTT_SHARED_AVAILABLE = 42,
};

/* The properties of one packet. A member means something only when its bit is in present; integers are in
 * number[], strings and binary data in text[], read and set by the functions below. User properties (decoding
 * sets their bit, encoding ignores it), and subscription identifiers beyond the first, are walked with
 * mqtt_props_next over raw. To encode: user properties and further subscription identifiers go out as extra,
 * whole encoded properties that are copied behind the others. Decoding leaves extra empty. */
enum { MQTT_NUMBER_SLOTS = 17, MQTT_TEXT_SLOTS = 9 };
struct mqtt_props {
    uint64_t present;
    uint32_t number[MQTT_NUMBER_SLOTS];
    struct bytes text[MQTT_TEXT_SLOTS];
    struct bytes raw;   /* decoded: the property bytes without their length */
    struct bytes extra; /* to encode */
};

static inline bool mqtt_has(const struct mqtt_props *p, enum mqtt_prop id)
{
    return p->present >> id & 1;
}
/* The value, or fallback when it is absent. id must be of the kind asked for. */
uint32_t mqtt_number(const struct mqtt_props *p, enum mqtt_prop id, uint32_t fallback);
struct bytes mqtt_text(const struct mqtt_props *p, enum mqtt_prop id);
void mqtt_set_number(struct mqtt_props *p, enum mqtt_prop id, uint32_t value);
void mqtt_set_text(struct mqtt_props *p, enum mqtt_prop id, struct bytes value);

/* One property of raw bytes that were checked before. name is set for user properties alone. */
struct mqtt_property {
    enum mqtt_prop id;
    uint32_t number;
    struct bytes name, text;
    struct bytes whole; /* identifier and value as encoded */
};
/* False at the end. at begins as cursor_of(raw). */
bool mqtt_props_next(struct cursor *at, struct mqtt_property *out);

struct mqtt_will {
    struct bytes topic, payload;
    uint8_t qos;
    bool retain;
    struct mqtt_props props;
};

struct mqtt_connect {
    uint8_t version; /* enum mqtt_version; a CONNECT of an unknown version decodes to that number and nothing
                        more */
    bool clean;      /* clean session, clean start */
    bool has_will, has_user, has_password;
    uint16_t keep_alive; /* s */
    struct bytes client_id, user, password;
    struct mqtt_props props;
    struct mqtt_will will;
    bool bridge; /* the top bit of the version, as other brokers' bridges set it */
};

struct mqtt_connack {
    bool session_present;
    uint8_t reason; /* enum mqtt_reason for every version */
    struct mqtt_props props;
};

struct mqtt_publish {
    bool dup, retain;
    uint8_t qos;
    uint16_t id; /* 0 when qos is 0 */
    struct bytes topic, payload;
    struct mqtt_props props;
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT (no id), AUTH (no id), UNSUBACK and SUBACK (codes instead of
 * reason). */
struct mqtt_ack {
    uint16_t id;
    uint8_t reason;
    struct bytes codes; /* one reason code for each filter; 3.1.1 UNSUBACK: empty */
    struct mqtt_props props;
};

/* SUBSCRIBE and UNSUBSCRIBE. */
struct mqtt_subscribe {
    uint16_t id;
    struct mqtt_props props;
    struct bytes
        filters; /* decoded and checked; walk with mqtt_filter_next. To encode: made by mqtt_filter_put */
};

struct mqtt_filter {
    struct bytes filter;
    uint8_t qos;
    bool no_local, retain_as_published;
    uint8_t retain_handling;
};
bool mqtt_filter_next(struct cursor *at, enum mqtt_type type, struct mqtt_filter *out);
/* Bytes of one filter as it stands in the packet; out needs 3 + filter.len bytes. Returns how many were
 * written. */
size_t mqtt_filter_put(uint8_t *out, enum mqtt_type type, const struct mqtt_filter *f);

struct mqtt_packet {
    uint8_t type; /* enum mqtt_type */
    union {
        struct mqtt_connect connect;
        struct mqtt_connack connack;
        struct mqtt_publish publish;
        struct mqtt_ack ack;
        struct mqtt_subscribe subscribe;
    };
};

/* Finds the end of the first packet. 1: *header (2 to 5) and *total (header included) are set, though all
 * bytes need not be there yet (compare total with len); 0: too few bytes to tell; -EBADMSG: the length is
 * malformed
 * ([MQTT-1.5.5-1]); -EMSGSIZE: it is over max (total is set). */
int mqtt_frame(const uint8_t *data, size_t len, size_t max, size_t *header, size_t *total);

/* Decodes one whole packet of data[0..len). version: of the connection; for CONNECT it is ignored. 0, or
 * -EBADMSG with *why = the reason code for DISCONNECT or CONNACK: 0x81 malformed, 0x82 protocol error, 0x84 a
 * CONNECT of a protocol that is none of MQTT's, 0x8f a bad filter, 0x90 a bad topic name, 0x94 topic alias 0.
 * Checks, besides structure: flags of the fixed header, UTF-8 ([MQTT-1.5.4-1], -2), topic names without
 * wildcards, filters (§4.7.1), properties (allowed in this packet, once where once, ranges), packet
 * identifiers not 0, bytes left over. */
int mqtt_decode(const uint8_t *data, size_t len, uint8_t version, struct mqtt_packet *out, uint8_t *why);

/* Bytes that mqtt_encode will write; 0 when it cannot be encoded (a string over 65,535, a packet over
 * 268,435,460). */
size_t mqtt_encoded_size(const struct mqtt_packet *p, uint8_t version);
/* Writes exactly that many and returns how many. For 3.1 and 3.1.1 properties and reason codes are left out,
 * a CONNACK has its return code and a SUBACK 0x80 for every failure. A CONNECT is of its own version. */
size_t mqtt_encode(uint8_t *out, const struct mqtt_packet *p, uint8_t version);

/* The first byte and the remaining length: 2 to 5 bytes at out. Returns how many. */
size_t mqtt_put_header(uint8_t *out, uint8_t first, size_t remaining);
/* A variable byte integer at out, 1 to 4 bytes (5.0 §1.5.5), and its size. */
size_t mqtt_put_varint(uint8_t *out, uint32_t value);
size_t mqtt_varint_size(uint32_t value);

/* 3.1.1 §3.2.2.3 return code for a reason and back. */
uint8_t mqtt_connack_3(uint8_t reason);
uint8_t mqtt_connack_5(uint8_t return_code);

/* "not authorized" and the like, for logs. Never NULL. */
const char *mqtt_reason_text(uint8_t reason);
const char *mqtt_type_name(uint8_t type);

/* UTF-8 as MQTT takes it: no surrogates, nothing overlong, no U+0000 (3.1.1 §1.5.3). */
bool mqtt_utf8_ok(struct bytes text);
/* Well-formed text without control characters and non-characters, which a receiver may refuse (5.0 §1.5.4).
 */
bool mqtt_utf8_tidy(struct bytes text);
/* A topic name: 1 to 65,535 bytes, no wildcard. A filter: wildcards alone in their level, # last. */
bool mqtt_topic_ok(struct bytes topic);
bool mqtt_filter_ok(struct bytes filter);
/* True when topic is matched by filter (§4.7), the rule for a leading $ included. Both are well-formed. */
bool mqtt_topic_matches(struct bytes filter, struct bytes topic);

#endif
