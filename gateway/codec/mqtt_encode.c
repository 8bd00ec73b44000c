/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/mqtt_wire.h"

/* For each packet type how long its body will be and the body itself; the two must agree in every condition.
 */

static uint64_t props_size(const struct mqtt_props *p, uint8_t version)
{
    return version == MQTT_5 ? mqtt_props_total(p) : 0;
}

static uint8_t *put_props(uint8_t *at, const struct mqtt_props *p, uint8_t version)
{
    return version == MQTT_5 ? mqtt_props_put(at, p) : at;
}

static struct bytes protocol_name(uint8_t version)
{
    return bytes_of(version == MQTT_3_1 ? "MQIsdp" : "MQTT");
}

static bool connect_ok(const struct mqtt_connect *p)
{
    if (p->version < MQTT_3_1 || p->version > MQTT_5)
        return false;
    return p->version == MQTT_5 || p->has_user || !p->has_password;
}

uint64_t mqtt_size_connect(const struct mqtt_packet *packet, uint8_t version)
{
    const struct mqtt_connect *p = &packet->connect;

    (void)version;
    if (!connect_ok(p))
        return MQTT_TOO_LONG;
    uint64_t size = mqtt_binary_size(protocol_name(p->version)) + 4 + props_size(&p->props, p->version) +
                    mqtt_binary_size(p->client_id);
    if (p->has_will)
        size += props_size(&p->will.props, p->version) + mqtt_binary_size(p->will.topic) +
                mqtt_binary_size(p->will.payload);
    if (p->has_user)
        size += mqtt_binary_size(p->user);
    if (p->has_password)
        size += mqtt_binary_size(p->password);
    return size;
}

static uint8_t connect_flags(const struct mqtt_connect *p)
{
    unsigned flags = (unsigned)p->clean << 1 | (unsigned)p->has_password << 6 | (unsigned)p->has_user << 7;

    if (p->has_will)
        flags |= 4 | (unsigned)p->will.qos << 3 | (unsigned)p->will.retain << 5;
    return (uint8_t)flags;
}

uint8_t *mqtt_put_connect(uint8_t *at, const struct mqtt_packet *packet, uint8_t version)
{
    const struct mqtt_connect *p = &packet->connect;

    version = p->version;
    at = mqtt_put_binary(at, protocol_name(version));
    *at++ = p->bridge && version != MQTT_5 ? version | 0x80 : version;
    *at++ = connect_flags(p);
    at = mqtt_put_u16(at, p->keep_alive);
    at = put_props(at, &p->props, version);
    at = mqtt_put_binary(at, p->client_id);
    if (p->has_will) {
        at = put_props(at, &p->will.props, version);
        at = mqtt_put_binary(at, p->will.topic);
        at = mqtt_put_binary(at, p->will.payload);
    }
    if (p->has_user)
        at = mqtt_put_binary(at, p->user);
    return p->has_password ? mqtt_put_binary(at, p->password) : at;
}

uint64_t mqtt_size_connack(const struct mqtt_packet *p, uint8_t version)
{
    return 2 + props_size(&p->connack.props, version);
}

uint8_t *mqtt_put_connack(uint8_t *at, const struct mqtt_packet *p, uint8_t version)
{
    *at++ = p->connack.session_present && version != MQTT_3_1;
    *at++ = version == MQTT_5 ? p->connack.reason : mqtt_connack_3(p->connack.reason);
    return put_props(at, &p->connack.props, version);
}

uint64_t mqtt_size_publish(const struct mqtt_packet *packet, uint8_t version)
{
    const struct mqtt_publish *p = &packet->publish;

    return mqtt_binary_size(p->topic) + (p->qos ? 2 : 0) + props_size(&p->props, version) + p->payload.len;
}

uint8_t *mqtt_put_publish(uint8_t *at, const struct mqtt_packet *packet, uint8_t version)
{
    const struct mqtt_publish *p = &packet->publish;

    at = mqtt_put_binary(at, p->topic);
    if (p->qos)
        at = mqtt_put_u16(at, p->id);
    at = put_props(at, &p->props, version);
    return mqtt_put_bytes(at, p->payload);
}

/* What need not be written is left out: no properties, and then no reason code 0. */
enum tail { NOTHING, REASON, REASON_AND_PROPS };

static enum tail tail_of(const struct mqtt_ack *p, uint8_t version)
{
    if (version != MQTT_5)
        return NOTHING;
    if (mqtt_props_size(&p->props))
        return REASON_AND_PROPS;
    return p->reason ? REASON : NOTHING;
}

static uint64_t tail_size(const struct mqtt_ack *p, enum tail tail)
{
    return tail == NOTHING ? 0 : tail == REASON ? 1 : 1 + mqtt_props_total(&p->props);
}

static uint8_t *put_tail(uint8_t *at, const struct mqtt_ack *p, enum tail tail)
{
    if (tail == NOTHING)
        return at;
    *at++ = p->reason;
    return tail == REASON ? at : mqtt_props_put(at, &p->props);
}

uint64_t mqtt_size_ack(const struct mqtt_packet *p, uint8_t version)
{
    return 2 + tail_size(&p->ack, tail_of(&p->ack, version));
}

uint8_t *mqtt_put_ack(uint8_t *at, const struct mqtt_packet *p, uint8_t version)
{
    return put_tail(mqtt_put_u16(at, p->ack.id), &p->ack, tail_of(&p->ack, version));
}

uint64_t mqtt_size_disconnect(const struct mqtt_packet *p, uint8_t version)
{
    return tail_size(&p->ack, tail_of(&p->ack, version));
}

uint8_t *mqtt_put_disconnect(uint8_t *at, const struct mqtt_packet *p, uint8_t version)
{
    return put_tail(at, &p->ack, tail_of(&p->ack, version));
}

/* AUTH has no form with a reason code alone. */
static enum tail auth_tail(const struct mqtt_ack *p, uint8_t version)
{
    return tail_of(p, version) ? REASON_AND_PROPS : NOTHING;
}

uint64_t mqtt_size_auth(const struct mqtt_packet *p, uint8_t version)
{
    return tail_size(&p->ack, auth_tail(&p->ack, version));
}

uint8_t *mqtt_put_auth(uint8_t *at, const struct mqtt_packet *p, uint8_t version)
{
    return put_tail(at, &p->ack, auth_tail(&p->ack, version));
}

static struct bytes codes_of(const struct mqtt_packet *p, uint8_t version)
{
    return p->type == MQTT_UNSUBACK && version != MQTT_5 ? (struct bytes){0} : p->ack.codes;
}

uint64_t mqtt_size_codes(const struct mqtt_packet *p, uint8_t version)
{
    return 2 + props_size(&p->ack.props, version) + codes_of(p, version).len;
}

uint8_t *mqtt_put_codes(uint8_t *at, const struct mqtt_packet *p, uint8_t version)
{
    struct bytes codes = codes_of(p, version);

    at = put_props(mqtt_put_u16(at, p->ack.id), &p->ack.props, version);
    mqtt_put_bytes(at, codes);
    for (size_t i = 0; version != MQTT_5 && i < codes.len; i++)
        if (at[i] > MQTT_UNSPECIFIED)
            at[i] = MQTT_UNSPECIFIED;
    return at + codes.len;
}

uint64_t mqtt_size_subscribe(const struct mqtt_packet *p, uint8_t version)
{
    return 2 + props_size(&p->subscribe.props, version) + p->subscribe.filters.len;
}

uint8_t *mqtt_put_subscribe(uint8_t *at, const struct mqtt_packet *p, uint8_t version)
{
    at = put_props(mqtt_put_u16(at, p->subscribe.id), &p->subscribe.props, version);
    return mqtt_put_bytes(at, p->subscribe.filters);
}

size_t mqtt_filter_put(uint8_t *out, enum mqtt_type type, const struct mqtt_filter *f)
{
    if (f->filter.len > UINT16_MAX)
        return 0;
    uint8_t *at = mqtt_put_binary(out, f->filter);
    if (type == MQTT_SUBSCRIBE)
        *at++ = (uint8_t)(f->qos | f->no_local << 2 | f->retain_as_published << 3 | f->retain_handling << 4);
    return (size_t)(at - out);
}

uint64_t mqtt_size_empty(const struct mqtt_packet *p, uint8_t version)
{
    (void)p, (void)version;
    return 0;
}

uint8_t *mqtt_put_empty(uint8_t *at, const struct mqtt_packet *p, uint8_t version)
{
    (void)p, (void)version;
    return at;
}
