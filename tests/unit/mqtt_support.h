/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the MQTT codec share: packets written as text, and when two packets say the same. Nothing
 * here knows the codec's tables. */
#ifndef SLUICE_TESTS_MQTT_SUPPORT_H
#define SLUICE_TESTS_MQTT_SUPPORT_H

#include <ctype.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/mqtt.h"

#define B(text)                                                                                              \
    {                                                                                                        \
        (const uint8_t *)(text), sizeof(text) - 1                                                            \
    }

/* Appends "0004 'MQTT' 05": pairs of hex digits, and text between quotes. */
static inline void unhex(struct buf *out, const char *text)
{
    for (; *text; text++) {
        char pair[3] = {text[0], text[1], 0};
        if (*text == '\'') {
            for (text++; *text != '\''; text++)
                buf_u8(out, (uint8_t)*text);
        } else if (isxdigit((unsigned char)*text)) {
            buf_u8(out, (uint8_t)strtol(pair, NULL, 16));
            text++;
        }
    }
}

/* "30 0001 't'": the first byte and the body; the remaining length is put between them. */
static inline struct buf packet_of(const char *text)
{
    struct buf raw = {0}, out = {0};

    unhex(&raw, text);
    out.len = mqtt_put_header(buf_extend(&out, 5), raw.data[0], raw.len - 1);
    buf_append(&out, raw.data + 1, raw.len - 1);
    buf_free(&raw);
    return out;
}

/* Decodes from memory that ends where the packet ends, so that a sanitizer sees any step beyond. The packet
 * points into *copy, which the caller frees. */
static inline int decode_exact(const uint8_t *data, size_t len, uint8_t version, struct mqtt_packet *out,
                               uint8_t *why, uint8_t **copy)
{
    *copy = malloc(len ? len : 1);
    if (!*copy)
        abort();
    if (len)
        memcpy(*copy, data, len);
    /* What decoding leaves alone must never be looked at. */
    memset(out, 0xa5, sizeof(*out));
    return mqtt_decode(len ? *copy : *copy + 1, len, version, out, why);
}

static inline struct mqtt_props *props_of(struct mqtt_packet *p)
{
    switch (p->type) {
    case MQTT_CONNECT:
        return &p->connect.props;
    case MQTT_CONNACK:
        return &p->connack.props;
    case MQTT_PUBLISH:
        return &p->publish.props;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return &p->subscribe.props;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return NULL;
    default:
        return &p->ack.props;
    }
}

/* What of the properties stands in no slot, as it has to be encoded. */
static inline struct buf extras_of(const struct mqtt_props *p)
{
    struct cursor at = cursor_of(p->raw.data, p->raw.len);
    struct mqtt_property one;
    struct buf out = {0};
    bool first = true;

    while (mqtt_props_next(&at, &one)) {
        bool repeated = one.id == MQTT_SUBSCRIPTION_ID && !first;
        if (one.id == MQTT_SUBSCRIPTION_ID)
            first = false;
        if (one.id == MQTT_USER_PROPERTY || repeated)
            buf_append(&out, one.whole.data, one.whole.len);
    }
    buf_append(&out, p->extra.data, p->extra.len);
    return out;
}

static inline bool is_text(unsigned id)
{
    return id == MQTT_CONTENT_TYPE || id == MQTT_RESPONSE_TOPIC || id == MQTT_CORRELATION_DATA ||
           id == MQTT_ASSIGNED_CLIENT_ID || id == MQTT_AUTH_METHOD || id == MQTT_AUTH_DATA ||
           id == MQTT_RESPONSE_INFO || id == MQTT_SERVER_REFERENCE || id == MQTT_REASON_STRING;
}

static inline bool props_equal(const struct mqtt_props *a, const struct mqtt_props *b)
{
    struct buf extra_a = extras_of(a), extra_b = extras_of(b);
    bool same =
        bytes_equal((struct bytes){extra_a.data, extra_a.len}, (struct bytes){extra_b.data, extra_b.len});

    buf_free(&extra_a);
    buf_free(&extra_b);
    for (unsigned id = 0; id < 64; id++) {
        if (id == MQTT_USER_PROPERTY)
            continue;
        if (mqtt_has(a, id) != mqtt_has(b, id))
            return false;
        if (!mqtt_has(a, id))
            continue;
        same = same && (is_text(id) ? bytes_equal(mqtt_text(a, id), mqtt_text(b, id))
                                    : mqtt_number(a, id, 0) == mqtt_number(b, id, 0));
    }
    return same;
}

static inline bool wills_equal(const struct mqtt_will *a, const struct mqtt_will *b, bool props)
{
    return bytes_equal(a->topic, b->topic) && bytes_equal(a->payload, b->payload) && a->qos == b->qos &&
           a->retain == b->retain && (!props || props_equal(&a->props, &b->props));
}

static inline bool connects_equal(const struct mqtt_connect *a, const struct mqtt_connect *b)
{
    bool known = a->version >= MQTT_3_1 && a->version <= MQTT_5, v5 = a->version == MQTT_5;

    if (a->version != b->version || !known)
        return a->version == b->version;
    return a->clean == b->clean && a->has_will == b->has_will && a->has_user == b->has_user &&
           a->has_password == b->has_password && a->keep_alive == b->keep_alive && a->bridge == b->bridge &&
           bytes_equal(a->client_id, b->client_id) && (!a->has_user || bytes_equal(a->user, b->user)) &&
           (!a->has_password || bytes_equal(a->password, b->password)) &&
           (!v5 || props_equal(&a->props, &b->props)) &&
           (!a->has_will || wills_equal(&a->will, &b->will, v5));
}

static inline bool bodies_equal(const struct mqtt_packet *a, const struct mqtt_packet *b)
{
    switch (a->type) {
    case MQTT_CONNACK:
        return a->connack.session_present == b->connack.session_present &&
               a->connack.reason == b->connack.reason;
    case MQTT_PUBLISH:
        return a->publish.dup == b->publish.dup && a->publish.retain == b->publish.retain &&
               a->publish.qos == b->publish.qos && a->publish.id == b->publish.id &&
               bytes_equal(a->publish.topic, b->publish.topic) &&
               bytes_equal(a->publish.payload, b->publish.payload);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return a->subscribe.id == b->subscribe.id && bytes_equal(a->subscribe.filters, b->subscribe.filters);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return true;
    default:
        return a->ack.id == b->ack.id && a->ack.reason == b->ack.reason &&
               bytes_equal(a->ack.codes, b->ack.codes);
    }
}

static inline bool packets_equal(struct mqtt_packet *a, struct mqtt_packet *b, uint8_t version)
{
    if (a->type != b->type)
        return false;
    if (a->type == MQTT_CONNECT)
        return connects_equal(&a->connect, &b->connect);
    return bodies_equal(a, b) && (version != MQTT_5 || !props_of(a) || props_equal(props_of(a), props_of(b)));
}

/* Encodes a packet as decoded, user properties included. Nothing when it cannot be encoded. */
static inline struct buf encode_again(const struct mqtt_packet *decoded, uint8_t version)
{
    struct mqtt_packet p = *decoded;
    struct mqtt_props *props = props_of(&p);
    struct buf extra = {0}, will_extra = {0}, out = {0};

    if (p.type == MQTT_CONNECT)
        version = p.connect.version;
    if (version == MQTT_5 && props) {
        extra = extras_of(props);
        props->extra = (struct bytes){extra.data, extra.len};
    }
    if (version == MQTT_5 && p.type == MQTT_CONNECT && p.connect.has_will) {
        will_extra = extras_of(&p.connect.will.props);
        p.connect.will.props.extra = (struct bytes){will_extra.data, will_extra.len};
    }
    size_t size = mqtt_encoded_size(&p, version);
    if (size && mqtt_encode(buf_extend(&out, size), &p, version) != size)
        abort();
    buf_free(&extra);
    buf_free(&will_extra);
    return out;
}

#endif
