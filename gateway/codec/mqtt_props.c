/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "codec/mqtt_wire.h"

enum kind { ABSENT, BYTE, TWO, FOUR, VARINT, STRING, TOPIC, BINARY, PAIR };

struct row {
    uint8_t kind, slot;
    uint8_t why;      /* the reason code when a number is out of range */
    uint16_t packets; /* that may carry it */
    uint16_t repeats; /* that may carry it more than once */
    uint32_t least, most;
};

#define IN(type) (1u << MQTT_##type)
#define MESSAGE  (IN(PUBLISH) | IN(WILL))
#define OPENING  (IN(CONNECT) | IN(CONNACK))
#define ACKS     (IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) | IN(SUBACK) | IN(UNSUBACK))
#define ALL      (MESSAGE | OPENING | ACKS | IN(SUBSCRIBE) | IN(UNSUBSCRIBE) | IN(DISCONNECT) | IN(AUTH))

#define NUMBER(kind, slot, packets, least, most)                                                             \
    {                                                                                                        \
        kind, slot, MQTT_PROTOCOL_ERROR, packets, 0, least, most                                             \
    }
#define TEXT(kind, slot, packets)                                                                            \
    {                                                                                                        \
        kind, slot, 0, packets, 0, 0, 0                                                                      \
    }

/* MQTT 5.0 §2.2.2.2, as long as struct mqtt_props.present is wide. */
static const struct row rows[64] = {
    [MQTT_PAYLOAD_FORMAT] = NUMBER(BYTE, 0, MESSAGE, 0, 1),
    [MQTT_MESSAGE_EXPIRY] = NUMBER(FOUR, 1, MESSAGE, 0, UINT32_MAX),
    [MQTT_CONTENT_TYPE] = TEXT(STRING, 0, MESSAGE),
    [MQTT_RESPONSE_TOPIC] = TEXT(TOPIC, 1, MESSAGE),
    [MQTT_CORRELATION_DATA] = TEXT(BINARY, 2, MESSAGE),
    [MQTT_SUBSCRIPTION_ID] = {VARINT, 2, MQTT_PROTOCOL_ERROR, IN(PUBLISH) | IN(SUBSCRIBE), IN(PUBLISH), 1,
                              MQTT_MAX_REMAINING},
    [MQTT_SESSION_EXPIRY] = NUMBER(FOUR, 3, OPENING | IN(DISCONNECT), 0, UINT32_MAX),
    [MQTT_ASSIGNED_CLIENT_ID] = TEXT(STRING, 3, IN(CONNACK)),
    [MQTT_SERVER_KEEP_ALIVE] = NUMBER(TWO, 4, IN(CONNACK), 0, UINT16_MAX),
    [MQTT_AUTH_METHOD] = TEXT(STRING, 4, OPENING | IN(AUTH)),
    [MQTT_AUTH_DATA] = TEXT(BINARY, 5, OPENING | IN(AUTH)),
    [MQTT_REQUEST_PROBLEM_INFO] = NUMBER(BYTE, 5, IN(CONNECT), 0, 1),
    [MQTT_WILL_DELAY] = NUMBER(FOUR, 6, IN(WILL), 0, UINT32_MAX),
    [MQTT_REQUEST_RESPONSE_INFO] = NUMBER(BYTE, 7, IN(CONNECT), 0, 1),
    [MQTT_RESPONSE_INFO] = TEXT(STRING, 6, IN(CONNACK)),
    [MQTT_SERVER_REFERENCE] = TEXT(STRING, 7, IN(CONNACK) | IN(DISCONNECT)),
    [MQTT_REASON_STRING] = TEXT(STRING, 8, ACKS | IN(CONNACK) | IN(DISCONNECT) | IN(AUTH)),
    [MQTT_RECEIVE_MAXIMUM] = NUMBER(TWO, 8, OPENING, 1, UINT16_MAX),
    [MQTT_TOPIC_ALIAS_MAXIMUM] = NUMBER(TWO, 9, OPENING, 0, UINT16_MAX),
    [MQTT_TOPIC_ALIAS] = {TWO, 10, MQTT_BAD_ALIAS, IN(PUBLISH), 0, 1, UINT16_MAX},
    [MQTT_MAXIMUM_QOS] = NUMBER(BYTE, 11, IN(CONNACK), 0, 1),
    [MQTT_RETAIN_AVAILABLE] = NUMBER(BYTE, 12, IN(CONNACK), 0, 1),
    [MQTT_USER_PROPERTY] = {PAIR, 0, 0, ALL, ALL, 0, 0},
    [MQTT_MAXIMUM_PACKET_SIZE] = NUMBER(FOUR, 13, OPENING, 1, UINT32_MAX),
    [MQTT_WILDCARD_AVAILABLE] = NUMBER(BYTE, 14, IN(CONNACK), 0, 1),
    [MQTT_SUBSCRIPTION_ID_AVAILABLE] = NUMBER(BYTE, 15, IN(CONNACK), 0, 1),
    [MQTT_SHARED_AVAILABLE] = NUMBER(BYTE, 16, IN(CONNACK), 0, 1),
};

uint32_t mqtt_number(const struct mqtt_props *p, enum mqtt_prop id, uint32_t fallback)
{
    return mqtt_has(p, id) ? p->number[rows[id].slot] : fallback;
}

struct bytes mqtt_text(const struct mqtt_props *p, enum mqtt_prop id)
{
    return mqtt_has(p, id) ? p->text[rows[id].slot] : (struct bytes){0};
}

void mqtt_set_number(struct mqtt_props *p, enum mqtt_prop id, uint32_t value)
{
    p->present |= UINT64_C(1) << id;
    p->number[rows[id].slot] = value;
}

void mqtt_set_text(struct mqtt_props *p, enum mqtt_prop id, struct bytes value)
{
    p->present |= UINT64_C(1) << id;
    p->text[rows[id].slot] = value;
}

bool mqtt_props_next(struct cursor *at, struct mqtt_property *out)
{
    const uint8_t *start = at->at;
    uint8_t id = cursor_u8(at);

    switch (id < ARRAY_SIZE(rows) ? rows[id].kind : ABSENT) {
    case BYTE:
        out->number = cursor_u8(at);
        break;
    case TWO:
        out->number = cursor_u16(at);
        break;
    case FOUR:
        out->number = cursor_u32(at);
        break;
    case VARINT:
        out->number = mqtt_take_varint(at);
        break;
    case PAIR:
        out->name = mqtt_take_binary(at);
        /* fall through */
    case STRING:
    case TOPIC:
    case BINARY:
        out->text = mqtt_take_binary(at);
        break;
    default:
        at->failed = true;
    }
    if (at->failed)
        return false;
    out->id = id;
    out->whole = (struct bytes){start, (size_t)(at->at - start)};
    return true;
}

static uint8_t value_error(const struct row *row, const struct mqtt_property *one)
{
    switch (row->kind) {
    case BYTE:
    case TWO:
    case FOUR:
    case VARINT:
        return one->number < row->least || one->number > row->most ? row->why : 0;
    case BINARY:
        return 0;
    case TOPIC: {
        uint8_t why = mqtt_topic_error(one->text);
        return why == MQTT_BAD_TOPIC ? MQTT_PROTOCOL_ERROR : why;
    }
    case PAIR:
        if (!mqtt_utf8_ok(one->name))
            return MQTT_MALFORMED;
        /* fall through */
    default:
        return mqtt_utf8_ok(one->text) ? 0 : MQTT_MALFORMED;
    }
}

static void keep(struct mqtt_props *p, const struct row *row, const struct mqtt_property *one)
{
    if (row->kind <= VARINT)
        p->number[row->slot] = one->number;
    else if (row->kind != PAIR)
        p->text[row->slot] = one->text;
}

uint8_t mqtt_props_decode(struct bytes raw, unsigned packet, struct mqtt_props *out)
{
    struct cursor c = cursor_of(raw.data, raw.len);
    struct mqtt_property one;
    uint64_t present = 0;

    while (cursor_left(&c)) {
        if (!mqtt_props_next(&c, &one))
            return MQTT_MALFORMED;
        const struct row *row = &rows[one.id];
        bool again = present >> one.id & 1;
        if (!(row->packets >> packet & 1))
            return MQTT_MALFORMED;
        if (again && !(row->repeats >> packet & 1))
            return MQTT_PROTOCOL_ERROR;
        uint8_t why = value_error(row, &one);
        if (why)
            return why;
        if (!again)
            keep(out, row, &one);
        present |= UINT64_C(1) << one.id;
    }
    out->present = present;
    out->raw = raw;
    out->extra = (struct bytes){0};
    return mqtt_has(out, MQTT_AUTH_DATA) && !mqtt_has(out, MQTT_AUTH_METHOD) ? MQTT_PROTOCOL_ERROR : 0;
}

static uint64_t value_size(const struct row *row, const struct mqtt_props *p)
{
    switch (row->kind) {
    case BYTE:
        return 1;
    case TWO:
        return 2;
    case FOUR:
        return 4;
    case VARINT:
        return mqtt_varint_size(p->number[row->slot]);
    default:
        return mqtt_binary_size(p->text[row->slot]);
    }
}

static uint8_t *put_value(uint8_t *at, const struct row *row, const struct mqtt_props *p)
{
    uint32_t number = p->number[row->slot];

    switch (row->kind) {
    case BYTE:
        *at = (uint8_t)number;
        return at + 1;
    case TWO:
        return mqtt_put_u16(at, number);
    case FOUR:
        return mqtt_put_u16(mqtt_put_u16(at, number >> 16), number);
    case VARINT:
        return at + mqtt_put_varint(at, number);
    default:
        return mqtt_put_binary(at, p->text[row->slot]);
    }
}

/* The lowest property of the set that stands in a slot, taken out of the set; 0 when there is none left. */
static unsigned pop(uint64_t *present)
{
    while (*present) {
        unsigned id = (unsigned)__builtin_ctzll(*present);
        *present &= *present - 1;
        if (rows[id].kind != ABSENT && rows[id].kind != PAIR)
            return id;
    }
    return 0;
}

uint64_t mqtt_props_size(const struct mqtt_props *p)
{
    uint64_t size = p->extra.len, present = p->present;

    for (unsigned id = pop(&present); id; id = pop(&present))
        size += 1 + value_size(&rows[id], p);
    return size;
}

uint64_t mqtt_props_total(const struct mqtt_props *p)
{
    uint64_t size = mqtt_props_size(p);

    return size > MQTT_MAX_REMAINING ? MQTT_TOO_LONG : mqtt_varint_size((uint32_t)size) + size;
}

uint8_t *mqtt_props_put(uint8_t *at, const struct mqtt_props *p)
{
    uint64_t present = p->present;

    at += mqtt_put_varint(at, (uint32_t)mqtt_props_size(p));
    for (unsigned id = pop(&present); id; id = pop(&present)) {
        *at++ = (uint8_t)id;
        at = put_value(at, &rows[id], p);
    }
    return mqtt_put_bytes(at, p->extra);
}
