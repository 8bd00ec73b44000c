/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/mqtt_plain.h"
#include "codec/mqtt_wire.h"

/* CONNECT flags (MQTT 5.0 §3.1.2.3). */
enum {
    RESERVED = 0x01,
    CLEAN = 0x02,
    WILL = 0x04,
    WILL_QOS = 0x18,
    WILL_RETAIN = 0x20,
    PASSWORD = 0x40,
    USER = 0x80
};

/* at: where the properties would stand. */
static inline void no_props(struct mqtt_props *p, const uint8_t *at)
{
    p->present = 0;
    p->raw = (struct bytes){at, 0};
    p->extra = (struct bytes){0};
}

/* The properties at the start of rest; raw ends where they end. Kept out of the way of packets that have
 * none. */
__attribute__((noinline)) static uint8_t long_props(struct bytes rest, unsigned packet,
                                                    struct mqtt_props *out)
{
    struct cursor c = cursor_of(rest.data, rest.len);
    struct bytes raw = cursor_bytes(&c, mqtt_take_varint(&c));

    return c.failed ? MQTT_MALFORMED : mqtt_props_decode(raw, packet, out);
}

static inline uint8_t read_props(struct bytes rest, uint8_t version, unsigned packet, struct mqtt_props *out)
{
    bool some = version == MQTT_5;

    if (some && (!rest.len || rest.data[0]))
        return long_props(rest, packet, out);
    no_props(out, rest.data + some);
    return 0;
}

static uint8_t take_props(struct cursor *c, uint8_t version, unsigned packet, struct mqtt_props *out)
{
    if (c->failed)
        return MQTT_MALFORMED;
    uint8_t why = read_props((struct bytes){c->at, cursor_left(c)}, version, packet, out);
    if (!why)
        c->at = out->raw.data + out->raw.len;
    return why;
}

static struct bytes take_string(struct cursor *c)
{
    struct bytes text = mqtt_take_binary(c);

    if (!mqtt_utf8_ok(text))
        c->failed = true;
    return text;
}

static uint8_t end_of(const struct cursor *c)
{
    return c->failed || cursor_left(c) ? MQTT_MALFORMED : 0;
}

/* Sets the version. A name and a version that do not belong together are nothing that we could answer in. */
static uint8_t take_version(struct cursor *c, struct mqtt_connect *p)
{
    struct bytes name = mqtt_take_binary(c);
    uint8_t level = cursor_u8(c);
    bool old = bytes_equal(name, bytes_of("MQIsdp"));

    if (c->failed)
        return MQTT_MALFORMED;
    if (!old && !bytes_equal(name, bytes_of("MQTT")))
        return MQTT_BAD_VERSION;
    p->bridge = level == (0x80 | MQTT_3_1) || level == (0x80 | MQTT_3_1_1);
    p->version = p->bridge ? level & 0x7f : level;
    return p->version >= MQTT_3_1 && p->version <= MQTT_5 && old != (p->version == MQTT_3_1)
               ? MQTT_BAD_VERSION
               : 0;
}

/* 3.1 leaves bits open that later versions fix, and nothing of a missing will is looked at there. 5.0 alone
 * takes a password without a user name. */
static bool connect_flags_ok(uint8_t flags, uint8_t version)
{
    bool without_will = !(flags & WILL) && flags & (WILL_QOS | WILL_RETAIN);

    if ((flags & WILL_QOS) == WILL_QOS)
        return false;
    if (version != MQTT_5 && flags & PASSWORD && !(flags & USER))
        return false;
    return version == MQTT_3_1 || !(flags & RESERVED || without_will);
}

static uint8_t take_will(struct cursor *c, uint8_t flags, struct mqtt_connect *p)
{
    struct mqtt_will *will = &p->will;

    p->has_will = true;
    will->qos = (flags & WILL_QOS) >> 3;
    will->retain = flags & WILL_RETAIN;
    uint8_t why = take_props(c, p->version, MQTT_WILL, &will->props);
    will->topic = mqtt_take_binary(c);
    will->payload = mqtt_take_binary(c);
    return why ? why : c->failed ? MQTT_MALFORMED : mqtt_topic_error(will->topic);
}

/* 3.1 §3.1: the remaining length takes precedence over the flags; a flagged field may be missing. */
static bool flagged(const struct cursor *c, uint8_t flags, uint8_t bit, uint8_t version)
{
    return flags & bit && !(version == MQTT_3_1 && !cursor_left(c));
}

static uint8_t take_payload(struct cursor *c, uint8_t flags, struct mqtt_connect *p)
{
    uint8_t why = 0;

    p->client_id = take_string(c);
    if (flags & WILL)
        why = take_will(c, flags, p);
    if (why)
        return why;
    p->has_user = flagged(c, flags, USER, p->version);
    if (p->has_user)
        p->user = take_string(c);
    p->has_password = flagged(c, flags, PASSWORD, p->version);
    if (p->has_password)
        p->password = mqtt_take_binary(c);
    return end_of(c);
}

uint8_t mqtt_decode_connect(struct bytes body, uint8_t first, uint8_t version, struct mqtt_packet *out)
{
    struct mqtt_connect *p = &out->connect;
    struct cursor c = cursor_of(body.data, body.len);

    (void)first, (void)version;
    *p = (struct mqtt_connect){0};
    uint8_t why = take_version(&c, p);
    if (why || p->version < MQTT_3_1 || p->version > MQTT_5)
        return why;
    uint8_t flags = cursor_u8(&c);
    p->clean = flags & CLEAN;
    p->keep_alive = cursor_u16(&c);
    if (c.failed || !connect_flags_ok(flags, p->version))
        return MQTT_MALFORMED;
    why = take_props(&c, p->version, MQTT_CONNECT, &p->props);
    return why ? why : take_payload(&c, flags, p);
}

/* A server that does not know 5.0 refuses in the form of 3.1.1. */
static bool is_old(struct bytes body, uint8_t version)
{
    return version != MQTT_5 || (body.len == 2 && !body.data[0] && body.data[1] == 1);
}

uint8_t mqtt_decode_connack(struct bytes body, uint8_t first, uint8_t version, struct mqtt_packet *out)
{
    struct mqtt_connack *p = &out->connack;
    struct cursor c = cursor_of(body.data, body.len);
    bool old = is_old(body, version);

    (void)first;
    uint8_t flags = cursor_u8(&c);
    if (version == MQTT_3_1)
        flags = 0; /* not used there */
    p->session_present = flags;
    p->reason = cursor_u8(&c);
    if (c.failed || flags > 1 || (old && p->reason > 5))
        return MQTT_MALFORMED;
    if (old)
        p->reason = mqtt_connack_5(p->reason);
    if (!mqtt_reason_fits(p->reason, MQTT_CONNACK) || (p->session_present && p->reason))
        return MQTT_PROTOCOL_ERROR;
    uint8_t why = take_props(&c, old ? MQTT_3_1_1 : version, MQTT_CONNACK, &p->props);
    return why ? why : end_of(&c);
}

static inline uint16_t read_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* The hot path: no cursor, one check for all that has a fixed length. */
uint8_t mqtt_decode_publish(struct bytes body, uint8_t first, uint8_t version, struct mqtt_packet *out)
{
    struct mqtt_publish *p = &out->publish;
    uint8_t qos = first >> 1 & 3, why;
    size_t id_len = qos ? 2 : 0;

    if (qos == 3 || (first & 0x0e) == 8 || body.len < 2 + id_len)
        return MQTT_MALFORMED;
    p->dup = first & 8;
    p->retain = first & 1;
    p->qos = qos;
    p->topic = (struct bytes){body.data + 2, read_u16(body.data)};
    const uint8_t *id = p->topic.data + p->topic.len, *rest = id + id_len;
    if (body.len < 2 + p->topic.len + id_len)
        return MQTT_MALFORMED;
    p->id = qos ? read_u16(id) : 0;
    if (qos && !p->id)
        return MQTT_PROTOCOL_ERROR;
    const uint8_t *end = body.data + body.len;
    why = read_props((struct bytes){rest, (size_t)(end - rest)}, version, MQTT_PUBLISH, &p->props);
    if (why)
        return why;
    p->payload.data = p->props.raw.data + p->props.raw.len;
    p->payload.len = (size_t)(end - p->payload.data);
    if (p->topic.len)
        return mqtt_plain(p->topic, false) ? 0 : mqtt_topic_error(p->topic);
    return mqtt_has(&p->props, MQTT_TOPIC_ALIAS) ? 0 : MQTT_PROTOCOL_ERROR;
}

/* What stands behind the identifier of an acknowledgement, in DISCONNECT and in AUTH. */
static uint8_t take_reason(struct cursor *c, unsigned packet, struct mqtt_ack *p)
{
    uint8_t why = 0;

    p->reason = cursor_u8(c);
    if (!mqtt_reason_fits(p->reason, packet))
        return MQTT_PROTOCOL_ERROR;
    if (cursor_left(c) || packet == MQTT_AUTH)
        why = take_props(c, MQTT_5, packet, &p->props);
    return why ? why : end_of(c);
}

static inline void no_reason(struct mqtt_ack *p, const uint8_t *at)
{
    p->id = 0;
    p->reason = 0;
    p->codes = (struct bytes){0};
    no_props(&p->props, at);
}

__attribute__((noinline)) static uint8_t ack_reason(struct bytes rest, unsigned packet, uint8_t version,
                                                    struct mqtt_ack *p)
{
    struct cursor c = cursor_of(rest.data, rest.len);

    return version == MQTT_5 ? take_reason(&c, packet, p) : MQTT_MALFORMED;
}

uint8_t mqtt_decode_ack(struct bytes body, uint8_t first, uint8_t version, struct mqtt_packet *out)
{
    struct mqtt_ack *p = &out->ack;

    if (body.len < 2)
        return MQTT_MALFORMED;
    no_reason(p, body.data + 2);
    p->id = read_u16(body.data);
    if (!p->id)
        return MQTT_PROTOCOL_ERROR;
    if (body.len == 2)
        return 0;
    return ack_reason((struct bytes){body.data + 2, body.len - 2}, first >> 4, version, p);
}

uint8_t mqtt_decode_disconnect(struct bytes body, uint8_t first, uint8_t version, struct mqtt_packet *out)
{
    no_reason(&out->ack, body.data);
    return body.len ? ack_reason(body, first >> 4, version, &out->ack) : 0;
}

uint8_t mqtt_decode_auth(struct bytes body, uint8_t first, uint8_t version, struct mqtt_packet *out)
{
    uint8_t why = mqtt_decode_disconnect(body, first, version, out);

    if (!why && body.len && !mqtt_has(&out->ack.props, MQTT_AUTH_METHOD))
        why = MQTT_PROTOCOL_ERROR;
    return why;
}

static uint8_t codes_error(struct bytes codes, unsigned packet, uint8_t version)
{
    if (!codes.len)
        return MQTT_PROTOCOL_ERROR;
    for (size_t i = 0; i < codes.len; i++) {
        if (!mqtt_reason_fits(codes.data[i], packet))
            return MQTT_PROTOCOL_ERROR;
        if (version != MQTT_5 && codes.data[i] > MQTT_GRANTED_2 && codes.data[i] != MQTT_UNSPECIFIED)
            return MQTT_PROTOCOL_ERROR;
    }
    return 0;
}

uint8_t mqtt_decode_codes(struct bytes body, uint8_t first, uint8_t version, struct mqtt_packet *out)
{
    struct mqtt_ack *p = &out->ack;
    struct cursor c = cursor_of(body.data, body.len);
    unsigned packet = first >> 4;

    no_reason(p, body.data);
    p->id = cursor_u16(&c);
    uint8_t why = take_props(&c, version, packet, &p->props);
    if (why || c.failed)
        return why ? why : MQTT_MALFORMED;
    if (!p->id)
        return MQTT_PROTOCOL_ERROR;
    if (packet == MQTT_UNSUBACK && version != MQTT_5)
        return end_of(&c);
    p->codes = mqtt_take_rest(&c);
    return codes_error(p->codes, packet, version);
}

/* Subscription options (5.0 §3.8.3.1). */
enum { QOS = 0x03, NO_LOCAL = 0x04, AS_PUBLISHED = 0x08, RETAIN_HANDLING = 0x30, UNUSED = 0xc0 };

static uint8_t options_error(uint8_t options, uint8_t version, bool shared)
{
    if (options & (version == MQTT_5 ? UNUSED : 0xfc))
        return MQTT_MALFORMED;
    if ((options & QOS) == QOS || (options & RETAIN_HANDLING) == RETAIN_HANDLING)
        return MQTT_PROTOCOL_ERROR;
    return shared && options & NO_LOCAL ? MQTT_PROTOCOL_ERROR : 0;
}

static uint8_t filters_error(struct bytes filters, unsigned packet, uint8_t version)
{
    struct cursor c = cursor_of(filters.data, filters.len);
    uint8_t why = filters.len ? 0 : MQTT_PROTOCOL_ERROR;

    while (!why && cursor_left(&c)) {
        struct bytes filter = mqtt_take_binary(&c);
        uint8_t options = packet == MQTT_SUBSCRIBE ? cursor_u8(&c) : 0;
        bool shared = false;
        why = c.failed ? MQTT_MALFORMED : mqtt_filter_error(filter);
        if (!why && version == MQTT_5)
            shared = mqtt_shared(filter, &why);
        if (!why)
            why = options_error(options, version, shared);
    }
    return why;
}

uint8_t mqtt_decode_subscribe(struct bytes body, uint8_t first, uint8_t version, struct mqtt_packet *out)
{
    struct mqtt_subscribe *p = &out->subscribe;
    struct cursor c = cursor_of(body.data, body.len);

    p->id = cursor_u16(&c);
    uint8_t why = take_props(&c, version, first >> 4, &p->props);
    p->filters = mqtt_take_rest(&c);
    if (why || c.failed)
        return why ? why : MQTT_MALFORMED;
    return p->id ? filters_error(p->filters, first >> 4, version) : MQTT_PROTOCOL_ERROR;
}

bool mqtt_filter_next(struct cursor *at, enum mqtt_type type, struct mqtt_filter *out)
{
    struct bytes filter = mqtt_take_binary(at);
    uint8_t options = type == MQTT_SUBSCRIBE ? cursor_u8(at) : 0;

    out->filter = filter;
    out->qos = options & QOS;
    out->no_local = options & NO_LOCAL;
    out->retain_as_published = options & AS_PUBLISHED;
    out->retain_handling = (options & RETAIN_HANDLING) >> 4;
    return !at->failed;
}

uint8_t mqtt_decode_empty(struct bytes body, uint8_t first, uint8_t version, struct mqtt_packet *out)
{
    (void)first, (void)version, (void)out;
    return body.len ? MQTT_MALFORMED : 0;
}
