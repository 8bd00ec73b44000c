/* SPDX-License-Identifier: Apache-2.0 */
/* What a client's session sends it. */
#include <string.h>

#include "broker/alias.h"
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

/* The properties of a PUBLISH to an MQTT 5 client: sizes first, then bytes, in one order. */
struct out_props {
    uint32_t expiry; /* when expires */
    bool expires;
    uint16_t alias; /* 0: none */
    const uint32_t *ids;
    struct bytes forwarded;
    uint32_t size;
};

static struct out_props props_of(const struct delivery *d, uint16_t alias)
{
    const struct message *m = d->message;
    struct out_props p = {m->expires ? message_left_s(m) : 0, m->expires, alias, d->sub_ids, m->props, 0};
    uint32_t size = (uint32_t)p.forwarded.len;

    if (p.expires)
        size += 5;
    if (alias)
        size += 3;
    for (uint32_t i = 0; p.ids && i < p.ids[0]; i++)
        size += 1 + (uint32_t)mqtt_varint_size(p.ids[i + 1]);
    p.size = size;
    return p;
}

static uint8_t *put_props(uint8_t *at, const struct out_props *p)
{
    at += mqtt_put_varint(at, p->size);
    if (p->expires) {
        *at++ = MQTT_MESSAGE_EXPIRY;
        for (int shift = 24; shift >= 0; shift -= 8)
            *at++ = (uint8_t)(p->expiry >> shift);
    }
    if (p->alias) {
        *at++ = MQTT_TOPIC_ALIAS;
        *at++ = (uint8_t)(p->alias >> 8);
        *at++ = (uint8_t)p->alias;
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

/* How a message goes to this client. */
struct form {
    struct bytes topic, payload;
    struct out_props props;
    size_t remaining;
};

/* True when the packet goes straight to what leaves first: whatever is written after it also leaves after it,
 * so it may give an alias its topic. */
static bool leaves_now(const struct client *c, const struct delivery *d)
{
    store_ticket done = store_done_ticket(broker_store(broker_of(c)));

    return c->connack <= done && (!d->qos || (d->ticket <= done && !conn_holds(&c->conn)));
}

static struct form form_of(struct client *c, const struct delivery *d)
{
    struct form f = {.topic = d->message->topic, .payload = message_payload(d->message)};
    uint16_t alias = 0;
    bool known = false;

    f.remaining = 2 + (d->qos ? 2u : 0u) + f.payload.len;
    if (c->version == MQTT_5) {
        f.props = props_of(d, 0);
        bool fits = !c->most_packet || f.remaining + f.topic.len + f.props.size + 16 < c->most_packet;
        if (c->most_aliases)
            alias = alias_out(&c->aliases, c->most_aliases, f.topic, fits && leaves_now(c, d), &known);
        if (known)
            f.topic.len = 0;
        if (alias)
            f.props = props_of(d, alias);
        f.remaining += mqtt_varint_size(f.props.size) + f.props.size;
    }
    f.remaining += f.topic.len;
    return f;
}

static void drop_message(void *owner)
{
    message_drop(owner);
}

static void put_publish(struct buf *lane, struct client *c, const struct delivery *d, const struct form *f)
{
    uint8_t first = (uint8_t)(MQTT_PUBLISH << 4 | d->dup << 3 | d->qos << 1 | d->retain);
    size_t apart = f->payload.len > MESSAGE_LARGE ? f->payload.len : 0;
    uint8_t *at = buf_extend(lane, 1 + mqtt_varint_size((uint32_t)f->remaining) + f->remaining - apart);

    at += mqtt_put_header(at, first, f->remaining);
    *at++ = (uint8_t)(f->topic.len >> 8);
    *at++ = (uint8_t)f->topic.len;
    at = put_bytes(at, f->topic);
    if (d->qos) {
        *at++ = (uint8_t)(d->id >> 8);
        *at++ = (uint8_t)d->id;
    }
    if (c->version == MQTT_5)
        at = put_props(at, &f->props);
    if (apart) {
        struct message *kept = message_keep(d->message);
        conn_append_large(&c->conn, lane, message_payload(kept), kept, drop_message);
    } else {
        put_bytes(at, f->payload);
    }
}

static void count_out(struct client *c, size_t size, size_t payload)
{
    struct broker_stats *stats = broker_stats(broker_of(c));

    client_count_out(c, size);
    stats->messages_out++;
    stats->bytes_out += payload;
}

/* The packet as its publisher sent it, when it would come out the same. */
static bool pass_whole(struct client *c, const struct delivery *d)
{
    const struct message *m = d->message;
    uint8_t version = c->version == MQTT_3_1 ? MQTT_3_1_1 : c->version;

    if (!m->wire.len || d->qos || d->retain || d->sub_ids || m->wire_version != version || c->most_packet ||
        c->most_aliases)
        return false;
    buf_append(client_free_lane(c), m->wire.data, m->wire.len);
    count_out(c, m->wire.len, m->payload.len);
    return true;
}

/* [MQTT-3.1.2-25]: what is not sent is as if it had been. */
static bool leave_out(struct session *s, const struct delivery *d)
{
    if (d->qos)
        session_skip(s, d->id);
    return true;
}

static bool deliver(struct session *s, const struct delivery *d)
{
    struct client *c = s->reader;

    if (c->who && !client_may_receive(c, d->message->topic))
        return leave_out(s, d);
    if (!d->qos && conn_backlog(&c->conn) > c->conn.high)
        return false;
    if (pass_whole(c, d))
        return true;
    struct form f = form_of(c, d);
    size_t size = 1 + mqtt_varint_size((uint32_t)f.remaining) + f.remaining;
    if (c->most_packet && size > c->most_packet) {
        session_queue(s)->counts.too_large++;
        broker_stats(broker_of(c))->too_large++;
        broker_stats(broker_of(c))->dropped++;
        return leave_out(s, d);
    }
    put_publish(d->qos ? conn_held_lane(&c->conn, d->ticket) : client_free_lane(c), c, d, &f);
    count_out(c, size, f.payload.len);
    return true;
}

static void release(struct session *s, uint16_t id, store_ticket ticket)
{
    client_send_ack(s->reader, MQTT_PUBREL, id, MQTT_OK, ticket);
}

static bool room(struct session *s)
{
    const struct client *c = s->reader;

    return conn_backlog(&c->conn) <= c->conn.high;
}

/* [MQTT-3.1.4-2], 5.0 [MQTT-3.1.4-3] */
static void displaced(struct session *s)
{
    struct client *c = s->reader;

    struct mqtt_packet p = {.type = MQTT_DISCONNECT};
    p.ack.reason = MQTT_TAKEN_OVER;
    client_send_last(c, &p);
    conn_close(&c->conn);
}

static const char *user(const struct session *s)
{
    const struct client *c = s->reader;

    return c->who ? c->who->user : NULL;
}

static bool may_publish(struct session *s, struct bytes topic)
{
    return client_may_publish(s->reader, topic, 1, false);
}

const struct session_ops client_session_ops = {.kind = "client",
                                               .on_deliver = deliver,
                                               .on_release = release,
                                               .on_room = room,
                                               .on_displaced = displaced,
                                               .user = user,
                                               .may_publish = may_publish};
