/* SPDX-License-Identifier: Apache-2.0 */
/* What a client's session sends it. */
#include <string.h>

#include "broker/client_private.h"

static struct broker *broker_of(const struct client *c)
{
    return c->port->broker;
}

static bool is_forwarded(enum mqtt_prop id)
{
    return id == MQTT_PAYLOAD_FORMAT || id == MQTT_CONTENT_TYPE || id == MQTT_RESPONSE_TOPIC ||
           id == MQTT_CORRELATION_DATA || id == MQTT_USER_PROPERTY;
}

struct bytes client_forwarded(const struct mqtt_props *p, struct buf *scratch)
{
    const uint64_t forwarded = 1ull << MQTT_PAYLOAD_FORMAT | 1ull << MQTT_CONTENT_TYPE |
                               1ull << MQTT_RESPONSE_TOPIC | 1ull << MQTT_CORRELATION_DATA |
                               1ull << MQTT_USER_PROPERTY;
    struct cursor at = cursor_of(p->raw.data, p->raw.len);
    struct mqtt_property one;

    if (!(p->present & ~forwarded))
        return p->raw;
    while (mqtt_props_next(&at, &one))
        if (is_forwarded(one.id))
            buf_append(scratch, one.whole.data, one.whole.len);
    return (struct bytes){scratch->data, scratch->len};
}

/* Nothing overtakes CONNACK ([MQTT-3.2.0-1]). */
static struct buf *free_lane(struct client *c)
{
    if (c->connack && store_done_ticket(broker_store(broker_of(c))) < c->connack)
        return conn_held_lane(&c->conn, c->connack);
    c->connack = 0;
    return conn_free_lane(&c->conn);
}

/* The properties of a PUBLISH to an MQTT 5 client: sizes first, then bytes, in one order. */
struct out_props {
    uint32_t expiry;
    const uint32_t *ids;
    struct bytes forwarded;
    uint32_t size;
};

static struct out_props props_of(const struct delivery *d)
{
    struct out_props p = {message_left_s(d->message), d->sub_ids, d->message->props, 0};
    uint32_t size = (uint32_t)p.forwarded.len;

    if (p.expiry != UINT32_MAX)
        size += 5;
    for (uint32_t i = 0; p.ids && i < p.ids[0]; i++)
        size += 1 + (uint32_t)mqtt_varint_size(p.ids[i + 1]);
    p.size = size;
    return p;
}

static uint8_t *put_props(uint8_t *at, const struct out_props *p)
{
    at += mqtt_put_varint(at, p->size);
    if (p->expiry != UINT32_MAX) {
        *at++ = MQTT_MESSAGE_EXPIRY;
        for (int shift = 24; shift >= 0; shift -= 8)
            *at++ = (uint8_t)(p->expiry >> shift);
    }
    for (uint32_t i = 0; p->ids && i < p->ids[0]; i++) {
        *at++ = MQTT_SUBSCRIPTION_ID;
        at += mqtt_put_varint(at, p->ids[i + 1]);
    }
    if (p->forwarded.len)
        memcpy(at, p->forwarded.data, p->forwarded.len);
    return at + p->forwarded.len;
}

static uint8_t *put_bytes(uint8_t *at, struct bytes b)
{
    if (b.len)
        memcpy(at, b.data, b.len);
    return at + b.len;
}

static void put_publish(struct buf *lane, const struct client *c, const struct delivery *d, size_t remaining,
                        const struct out_props *props, struct bytes payload)
{
    const struct message *m = d->message;
    uint8_t first = (uint8_t)(MQTT_PUBLISH << 4 | d->dup << 3 | d->qos << 1 | d->retain);
    uint8_t *at = buf_extend(lane, 1 + mqtt_varint_size((uint32_t)remaining) + remaining);

    at += mqtt_put_header(at, first, remaining);
    *at++ = (uint8_t)(m->topic.len >> 8);
    *at++ = (uint8_t)m->topic.len;
    at = put_bytes(at, m->topic);
    if (d->qos) {
        *at++ = (uint8_t)(d->id >> 8);
        *at++ = (uint8_t)d->id;
    }
    if (c->version == MQTT_5)
        at = put_props(at, props);
    put_bytes(at, payload);
}

static bool deliver(struct session *s, const struct delivery *d)
{
    struct client *c = s->reader;
    struct message *m = d->message;
    struct broker_stats *stats = broker_stats(broker_of(c));
    uint8_t version = c->version == MQTT_3_1 ? MQTT_3_1_1 : c->version;

    if (!d->qos && conn_backlog(&c->conn) > broker_limits(broker_of(c))->reader_backlog)
        return false;
    if (m->wire.len && !d->qos && !d->retain && !d->sub_ids && m->wire_version == version &&
        !c->most_packet) {
        buf_append(free_lane(c), m->wire.data, m->wire.len);
        stats->messages_out++;
        stats->bytes_out += m->payload.len;
        return true;
    }
    struct bytes payload = message_payload(m);
    struct out_props props = {0};
    size_t remaining = 2 + m->topic.len + (d->qos ? 2 : 0) + payload.len;
    if (version == MQTT_5) {
        props = props_of(d);
        remaining += mqtt_varint_size(props.size) + props.size;
    }
    if (c->most_packet && 1 + mqtt_varint_size((uint32_t)remaining) + remaining > c->most_packet) {
        if (d->qos) /* [MQTT-3.1.2-25]: as if it had been sent */
            session_skip(s, d->id);
        return d->qos != 0;
    }
    put_publish(d->qos ? conn_held_lane(&c->conn, d->ticket) : free_lane(c), c, d, remaining, &props,
                payload);
    stats->messages_out++;
    stats->bytes_out += payload.len;
    return true;
}

static void release(struct session *s, uint16_t id, store_ticket ticket)
{
    client_send_ack(s->reader, MQTT_PUBREL, id, MQTT_OK, ticket);
}

static bool room(struct session *s)
{
    const struct client *c = s->reader;

    return conn_backlog(&c->conn) < broker_limits(broker_of(c))->reader_backlog;
}

/* [MQTT-3.1.4-2], 5.0 [MQTT-3.1.4-3] */
static void displaced(struct session *s)
{
    struct client *c = s->reader;

    if (c->version == MQTT_5) {
        struct mqtt_packet p = {.type = MQTT_DISCONNECT};
        p.ack.reason = MQTT_TAKEN_OVER;
        client_send_free(c, &p);
    }
    conn_close(&c->conn);
}

const struct session_ops client_session_ops = {"client", deliver, release, room, displaced};
