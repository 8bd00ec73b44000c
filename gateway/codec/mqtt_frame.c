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

/* A variable byte integer of up to left bytes: how many it takes, 0 when it goes on, -EBADMSG. */
static int read_varint(const uint8_t *data, size_t left, uint32_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < 4 && i < left; i++) {
        *value |= (uint32_t)(data[i] & 0x7f) << 7 * i;
        if (data[i] < 0x80)
            return i && !data[i] ? -EBADMSG : (int)i + 1;
    }
    return left < 4 ? 0 : -EBADMSG;
}

uint32_t mqtt_take_varint(struct cursor *c)
{
    uint32_t value;
    int len = read_varint(c->at, cursor_left(c), &value);

    if (len <= 0 || c->failed) {
        c->failed = true;
        return 0;
    }
    c->at += len;
    return value;
}

static inline int frame(const uint8_t *data, size_t len, size_t *header, size_t *total)
{
    uint32_t remaining;
    int size = 1;

    if (len < 2)
        return 0;
    remaining = data[1];
    if (remaining >= 0x80 && (size = read_varint(data + 1, len - 1, &remaining)) <= 0)
        return size;
    *header = 1 + (size_t)size;
    *total = *header + remaining;
    return 1;
}

int mqtt_frame(const uint8_t *data, size_t len, size_t max, size_t *header, size_t *total)
{
    int rc = frame(data, len, header, total);

    return rc == 1 && *total > max ? -EMSGSIZE : rc;
}

/* 3.1 sets the DUP bit on whatever it sends again (3.1 §2.1). */
static bool flags_ok(const struct packet_type *type, uint8_t first, uint8_t version)
{
    unsigned wrong = (first ^ type->flags) & type->fixed;

    return !wrong || (version == MQTT_3_1 && type->flags && wrong == 8);
}

static uint8_t decode(const uint8_t *data, size_t len, uint8_t version, struct mqtt_packet *out)
{
    const struct packet_type *type;
    size_t header, total;

    if (frame(data, len, &header, &total) != 1 || total != len)
        return MQTT_MALFORMED;
    type = &types[data[0] >> 4];
    if (version < type->since || !flags_ok(type, data[0], version))
        return MQTT_MALFORMED;
    out->type = data[0] >> 4;
    return type->decode((struct bytes){data + header, len - header}, data[0], version, out);
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
