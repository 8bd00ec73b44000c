/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "codec/mqtt_wire.h"

/* MQTT 5.0 §2.1: one row for each packet type. */
struct packet_type {
    const char *name;
    uint8_t since; /* the first version that has it */
    uint8_t flags; /* the low four bits of the first byte … */
    uint8_t fixed; /* … and which of them must be so */
    mqtt_decode_fn *decode;
    mqtt_size_fn *size;
    mqtt_put_fn *put;
};

#define FLAGS(name, since, flags, fixed, body)                                                               \
    {                                                                                                        \
        name, since, flags, fixed, mqtt_decode_##body, mqtt_size_##body, mqtt_put_##body                     \
    }
#define ROW(name, body) FLAGS(name, MQTT_3_1, 0, 15, body)

static const struct packet_type types[16] = {
    [0] = {"unknown", UINT8_MAX, 0, 0, NULL, NULL, NULL},
    [MQTT_CONNECT] = FLAGS("CONNECT", 0, 0, 15, connect),
    [MQTT_CONNACK] = ROW("CONNACK", connack),
    [MQTT_PUBLISH] = FLAGS("PUBLISH", MQTT_3_1, 0, 0, publish),
    [MQTT_PUBACK] = ROW("PUBACK", ack),
    [MQTT_PUBREC] = ROW("PUBREC", ack),
    [MQTT_PUBREL] = FLAGS("PUBREL", MQTT_3_1, 2, 15, ack),
    [MQTT_PUBCOMP] = ROW("PUBCOMP", ack),
    [MQTT_SUBSCRIBE] = FLAGS("SUBSCRIBE", MQTT_3_1, 2, 15, subscribe),
    [MQTT_SUBACK] = ROW("SUBACK", codes),
    [MQTT_UNSUBSCRIBE] = FLAGS("UNSUBSCRIBE", MQTT_3_1, 2, 15, subscribe),
    [MQTT_UNSUBACK] = ROW("UNSUBACK", codes),
    [MQTT_PINGREQ] = ROW("PINGREQ", empty),
    [MQTT_PINGRESP] = ROW("PINGRESP", empty),
    [MQTT_DISCONNECT] = ROW("DISCONNECT", disconnect),
    [MQTT_AUTH] = FLAGS("AUTH", MQTT_5, 0, 15, auth),
};

const char *mqtt_type_name(uint8_t type)
{
    return types[type < 16 ? type : 0].name;
}

struct varint {
    uint32_t value;
    int size; /* in bytes; 0 when it goes on; -EBADMSG */
};

__attribute__((noinline)) static struct varint read_varint(const uint8_t *data, size_t left)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 4 && i < left; i++) {
        value |= (uint32_t)(data[i] & 0x7f) << 7 * i;
        if (data[i] < 0x80)
            return (struct varint){value, i && !data[i] ? -EBADMSG : (int)i + 1};
    }
    return (struct varint){0, left < 4 ? 0 : -EBADMSG};
}

uint32_t mqtt_take_varint(struct cursor *c)
{
    struct varint v = read_varint(c->at, cursor_left(c));

    if (c->failed || v.size <= 0) {
        c->failed = true;
        return 0;
    }
    c->at += v.size;
    return v.value;
}

/* One byte of length is what the hot path sees. */
static inline struct varint read_length(const uint8_t *data, size_t len)
{
    if (len > 1 && data[1] < 0x80)
        return (struct varint){data[1], 1};
    return len > 1 ? read_varint(data + 1, len - 1) : (struct varint){0, 0};
}

int mqtt_frame(const uint8_t *data, size_t len, size_t max, size_t *header, size_t *total)
{
    struct varint v = read_length(data, len);

    if (v.size <= 0)
        return v.size;
    *header = 1 + (size_t)v.size;
    *total = *header + v.value;
    return *total > max ? -EMSGSIZE : 1;
}

/* 3.1 sets the DUP bit on whatever it sends again (3.1 §2.1). */
static bool sent_again(const struct packet_type *type, unsigned wrong, uint8_t version)
{
    return version == MQTT_3_1 && type->flags && wrong == 8;
}

static inline uint8_t decode(const uint8_t *data, size_t len, uint8_t version, struct mqtt_packet *out)
{
    struct varint v = read_length(data, len);
    size_t header = 1 + (size_t)v.size;

    if (v.size <= 0 || len - header != v.value)
        return MQTT_MALFORMED;
    uint8_t first = data[0];
    const struct packet_type *type = &types[first >> 4];
    unsigned wrong = (first ^ type->flags) & type->fixed;
    if (version < type->since || (wrong && !sent_again(type, wrong, version)))
        return MQTT_MALFORMED;
    out->type = first >> 4;
    return type->decode((struct bytes){data + header, len - header}, first, version, out);
}

int mqtt_decode(const uint8_t *data, size_t len, uint8_t version, struct mqtt_packet *out, uint8_t *why)
{
    *why = decode(data, len, version, out);
    return *why ? -EBADMSG : 0;
}

/* The remaining length, MQTT_TOO_LONG when the packet cannot be encoded. */
static uint64_t body_size(const struct mqtt_packet *p, uint8_t version)
{
    if (p->type > MQTT_AUTH || version < types[p->type].since)
        return MQTT_TOO_LONG;
    return types[p->type].size(p, version);
}

size_t mqtt_encoded_size(const struct mqtt_packet *p, uint8_t version)
{
    uint64_t body = body_size(p, version);

    return body > MQTT_MAX_REMAINING ? 0 : 1 + mqtt_varint_size((uint32_t)body) + (size_t)body;
}

static uint8_t first_byte(const struct mqtt_packet *p)
{
    const struct mqtt_publish *m = &p->publish;
    int flags = types[p->type].flags;

    if (p->type == MQTT_PUBLISH)
        flags = (m->dup && m->qos) << 3 | m->qos << 1 | m->retain;
    return (uint8_t)(p->type << 4 | flags);
}

size_t mqtt_encode(uint8_t *out, const struct mqtt_packet *p, uint8_t version)
{
    uint64_t body = body_size(p, version);

    if (body > MQTT_MAX_REMAINING)
        return 0;
    uint8_t *at = out + mqtt_put_header(out, first_byte(p), (size_t)body);
    return (size_t)(types[p->type].put(at, p, version) - out);
}

size_t mqtt_put_header(uint8_t *out, uint8_t first, size_t remaining)
{
    out[0] = first;
    return 1 + mqtt_put_varint(out + 1, (uint32_t)remaining);
}

size_t mqtt_put_varint(uint8_t *out, uint32_t value)
{
    size_t len = 0;

    for (; value >= 0x80; value >>= 7)
        out[len++] = (uint8_t)(value | 0x80);
    out[len++] = (uint8_t)value;
    return len;
}

size_t mqtt_varint_size(uint32_t value)
{
    return value < 1u << 7 ? 1 : value < 1u << 14 ? 2 : value < 1u << 21 ? 3 : 4;
}
