/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the MQTT codec share; nobody else includes it. Functions that judge bytes return a reason
 * code (enum mqtt_reason), 0 when they are fine. Sizes are 64 bits wide, so that what is too long stays too
 * long in a sum. Properties of a will count as those of packet type 0. Any thread. */
#ifndef SLUICE_CODEC_MQTT_WIRE_H
#define SLUICE_CODEC_MQTT_WIRE_H

#include "codec/mqtt.h"

enum { MQTT_WILL = 0 };

#define MQTT_MAX_REMAINING 268435455u /* four bytes of seven bits */
#define MQTT_TOO_LONG      (UINT64_C(1) << 32)

/* Bodies of the fifteen packet types; a decode function stands for those with the same layout. */
typedef uint8_t mqtt_decode_fn(struct bytes body, uint8_t first, uint8_t version, struct mqtt_packet *out);
typedef uint64_t mqtt_size_fn(const struct mqtt_packet *p, uint8_t version);
typedef uint8_t *mqtt_put_fn(uint8_t *at, const struct mqtt_packet *p, uint8_t version);

mqtt_decode_fn mqtt_decode_connect, mqtt_decode_connack, mqtt_decode_publish, mqtt_decode_ack,
    mqtt_decode_subscribe, mqtt_decode_codes, mqtt_decode_empty, mqtt_decode_disconnect, mqtt_decode_auth;
mqtt_size_fn mqtt_size_connect, mqtt_size_connack, mqtt_size_publish, mqtt_size_ack, mqtt_size_subscribe,
    mqtt_size_codes, mqtt_size_empty, mqtt_size_disconnect, mqtt_size_auth;
mqtt_put_fn mqtt_put_connect, mqtt_put_connack, mqtt_put_publish, mqtt_put_ack, mqtt_put_subscribe,
    mqtt_put_codes, mqtt_put_empty, mqtt_put_disconnect, mqtt_put_auth;

/* raw: the properties without their length; packet: whose they are. */
uint8_t mqtt_props_decode(struct bytes raw, unsigned packet, struct mqtt_props *out);
/* With and without their length. */
uint64_t mqtt_props_total(const struct mqtt_props *p);
uint64_t mqtt_props_size(const struct mqtt_props *p);
uint8_t *mqtt_props_put(uint8_t *at, const struct mqtt_props *p);

/* A variable byte integer; the cursor fails when it is cut, over four bytes or not the shortest form. */
uint32_t mqtt_take_varint(struct cursor *c);

uint8_t mqtt_topic_error(struct bytes topic);
uint8_t mqtt_filter_error(struct bytes filter);
/* True for $share/…; then *why says whether its share name and filter are fine (5.0 §4.8.2). */
bool mqtt_shared(struct bytes filter, uint8_t *why);

/* May a packet of this type carry the code? (5.0 §2.4) */
bool mqtt_reason_fits(uint8_t reason, unsigned packet);

static inline struct bytes mqtt_take_binary(struct cursor *c)
{
    return cursor_bytes(c, cursor_u16(c));
}

static inline struct bytes mqtt_take_rest(struct cursor *c)
{
    return cursor_bytes(c, cursor_left(c));
}

static inline uint64_t mqtt_binary_size(struct bytes text)
{
    return text.len > UINT16_MAX ? MQTT_TOO_LONG : 2 + text.len;
}

static inline uint8_t *mqtt_put_u16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static inline uint8_t *mqtt_put_bytes(uint8_t *at, struct bytes text)
{
    if (text.len)
        memcpy(at, text.data, text.len);
    return at + text.len;
}

static inline uint8_t *mqtt_put_binary(uint8_t *at, struct bytes text)
{
    return mqtt_put_bytes(mqtt_put_u16(at, (uint32_t)text.len), text);
}

#endif
