/* SPDX-License-Identifier: Apache-2.0 */
/* What a client is told: packets into its lanes, within what it takes. */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/client_private.h"

static struct broker *broker_of(const struct client *c)
{
    return c->port->broker;
}

/* Where the reason string of a packet that we send stands; NULL: it has none. */
static struct mqtt_props *reason_props(struct mqtt_packet *p)
{
    if (p->type == MQTT_CONNACK)
        return &p->connack.props;
    return p->type == MQTT_PINGRESP ? NULL : &p->ack.props;
}

static void leave_out(struct mqtt_props *p, enum mqtt_prop id)
{
    p->present &= ~(UINT64_C(1) << id);
}

static bool too_large(const struct client *c, size_t size)
{
    return c->most_packet && size > c->most_packet;
}

/* The size of p without what the client does not want ([MQTT-3.1.2-29]) or has no room for ([MQTT-3.1.2-24],
 * and the statements of each packet that only its reason string may not make it too large). 0: it cannot be
 * sent. */
static size_t fit(const struct client *c, struct mqtt_packet *p)
{
    static const enum mqtt_prop spare[] = {MQTT_REASON_STRING, MQTT_RESPONSE_INFO, MQTT_SERVER_REFERENCE};
    struct mqtt_props *props = c->version == MQTT_5 ? reason_props(p) : NULL;

    if (props && c->no_problem_info && p->type != MQTT_CONNACK && p->type != MQTT_DISCONNECT)
        leave_out(props, MQTT_REASON_STRING);
    size_t size = mqtt_encoded_size(p, c->version);
    for (size_t i = 0; props && i < ARRAY_SIZE(spare) && too_large(c, size); i++) {
        leave_out(props, spare[i]);
        size = mqtt_encoded_size(p, c->version);
    }
    return too_large(c, size) ? 0 : size;
}

struct buf *client_free_lane(struct client *c)
{
    if (c->connack && store_done_ticket(broker_store(broker_of(c))) < c->connack)
        return conn_held_lane(&c->conn, c->connack);
    c->connack = 0;
    return conn_free_lane(&c->conn);
}

static void put(struct client *c, struct buf *lane, const struct mqtt_packet *p, size_t size)
{
    mqtt_encode(buf_extend(lane, size), p, c->version);
    client_count_out(c, size);
}

void client_send_free(struct client *c, struct mqtt_packet *p)
{
    size_t size = fit(c, p);

    if (size)
        put(c, client_free_lane(c), p, size);
}

bool client_send_held(struct client *c, struct mqtt_packet *p, store_ticket ticket)
{
    size_t size = fit(c, p);

    broker_want(broker_of(c), ticket);
    if (size)
        put(c, conn_held_lane(&c->conn, ticket), p, size);
    return size;
}

void client_send_ack(struct client *c, uint8_t type, uint16_t id, uint8_t reason, store_ticket ticket)
{
    broker_want(broker_of(c), ticket);
    uint8_t first = (uint8_t)(type << 4 | (type == MQTT_PUBREL ? 2 : 0));
    bool with_reason = c->version == MQTT_5 && reason;
    uint8_t bytes[5] = {first, with_reason ? 3 : 2, (uint8_t)(id >> 8), (uint8_t)id, reason};
    buf_append(conn_held_lane(&c->conn, ticket), bytes, with_reason ? 5 : 4);
    client_count_out(c, with_reason ? 5 : 4);
}

void client_send_nack(struct client *c, uint8_t type, uint16_t id, uint8_t reason, const char *why,
                      store_ticket ticket)
{
    struct mqtt_packet p = {.type = type};

    p.ack.id = id;
    p.ack.reason = reason;
    mqtt_set_text(&p.ack.props, MQTT_REASON_STRING, bytes_of(why));
    client_send_held(c, &p, ticket);
}

/* Nothing follows DISCONNECT ([MQTT-3.14.4-1]), and it does not come before CONNACK ([MQTT-3.14.0-1]). */
void client_send_last(struct client *c, struct mqtt_packet *p)
{
    struct buf *lane = conn_last_lane(&c->conn);
    bool welcomed = !c->connack || store_done_ticket(broker_store(broker_of(c))) >= c->connack;

    size_t size = fit(c, p);

    if (size && welcomed && c->state == CLIENT_CONNECTED && c->version == MQTT_5)
        put(c, lane, p, size);
}

void client_note(const struct client *c, const char *fmt, ...)
{
    char name[160];
    va_list args;

    if (!log_may(&c->port->lines, c->port->name))
        return;
    va_start(args, fmt);
    char *text = mem_vformat(fmt, args);
    va_end(args);
    client_name(c, name);
    log_info("%s: %s", name, text);
    free(text);
}

void client_refuse(struct client *c, uint8_t reason, const char *why)
{
    struct mqtt_packet p = {.type = MQTT_DISCONNECT};

    broker_stats(broker_of(c))->protocol_errors++;
    client_note(c, "closed: %s (%s)", why, mqtt_reason_text(reason));
    p.ack.reason = reason;
    mqtt_set_text(&p.ack.props, MQTT_REASON_STRING, bytes_of(why));
    client_send_last(c, &p);
    conn_close(&c->conn);
}
