/* SPDX-License-Identifier: Apache-2.0 */
/* A listener's clients as a whole: who may come, and how all of them go. */
#include <stdlib.h>

#include "base/mem.h"
#include "broker/client_private.h"
#include "broker/places.h"

enum {
    PLACES_MOST = 4096, /* addresses that are remembered for one listener, 100 bytes each */
    SECOND_MS = 1000,
    TELLING_MOST = 64, /* who is refused may stay for its CONNECT, to be told: so many at a time, */
    TOLD_MOST = 10,    /* and so many more a second, for each costs a handshake */
    LINES_A_MINUTE = 100,
};

static const struct {
    uint8_t reason;
    const char *why;
} turned_away[] = {
    [REFUSED_CLIENTS] = {MQTT_SERVER_BUSY, "as many clients as limits.clients allows"},
    [REFUSED_CONNECTIONS] = {MQTT_QUOTA_EXCEEDED, "as many connections as this listener allows"},
    [REFUSED_RATE] = {MQTT_CONNECTION_RATE,
                      "more connections a second from this address than this listener allows"},
};

const char *const client_refusal_names[REFUSALS] = {"clients",         "connections", "rate",
                                                    "connect_timeout", "packet",      "handshake"};

struct client_port *client_port_new(const char *name, struct broker *b)
{
    struct client_port *p = mem_alloc(sizeof(*p));

    p->name = mem_strdup(name);
    p->broker = b;
    p->refs = 1;
    p->lines.most = LINES_A_MINUTE;
    list_init(&p->all);
    return p;
}

void client_port_drop(struct client_port *p)
{
    if (!p || --p->refs)
        return;
    places_free(p->places);
    free(p->redirect);
    free(p->name);
    free(p);
}

void client_port_limit(struct client_port *p, const struct client_limits *limits)
{
    p->limits = *limits;
    if (limits->rate && !p->places)
        p->places = places_new(broker_loop(p->broker), PLACES_MOST, SECOND_MS, sizeof(struct place));
    if (p->places)
        places_limit(p->places, limits->rate);
}

uint32_t client_port_packet(const struct client_port *p)
{
    uint32_t all = broker_limits(p->broker)->packet;

    return p->limits.packet && p->limits.packet < all ? p->limits.packet : all;
}

uint32_t client_port_connect_s(const struct client_port *p)
{
    return (p->limits.connect_ms ? p->limits.connect_ms : broker_limits(p->broker)->connect_ms) / 1000;
}

/* ---- who comes ---- */

static void count(struct client_port *p, int more)
{
    p->clients += (uint32_t)more;
    broker_stats(p->broker)->clients += (uint64_t)(int64_t)more;
}

static bool may_tell(struct client_port *p)
{
    uint64_t now = uv_now(broker_loop(p->broker));

    if (now - p->told_ms >= SECOND_MS) {
        p->told_ms = now;
        p->told = 0;
    }
    return p->telling < TELLING_MOST && p->told < TOLD_MOST;
}

static void turn_away(struct client *c, enum client_refusal what)
{
    struct client_port *p = c->port;
    char peer[64];

    conn_peer(&c->conn, peer);
    p->refused[what]++;
    auth_note(p->auth, "listener %s: %s turned away: %s", p->name, peer, turned_away[what].why);
    if (!may_tell(p)) {
        broker_stats(p->broker)->refused_connects++;
        conn_abort(&c->conn);
        return;
    }
    p->telling++;
    p->told++;
    c->refusal = (what + 1) & 31;
    count(p, -1); /* it takes nobody's place */
}

uint8_t client_port_refusal(const struct client *c, const char **why)
{
    if (!c->refusal)
        return MQTT_OK;
    *why = turned_away[c->refusal - 1].why;
    return turned_away[c->refusal - 1].reason;
}

static bool over_rate(const struct client *c)
{
    struct client_port *p = c->port;
    char peer[64];

    if (!p->limits.rate)
        return false;
    conn_peer(&c->conn, peer);
    struct place *place = place_enter(p->places, peer);
    bool may = place_may(place);
    if (may)
        place_spend(place);
    place_leave(place);
    return !may;
}

static void judge(struct client *c)
{
    const struct client_port *p = c->port;
    struct broker_stats *stats = broker_stats(p->broker);

    if (stats->clients > broker_limits(p->broker)->clients)
        turn_away(c, REFUSED_CLIENTS);
    else if (p->limits.connections && p->clients > p->limits.connections)
        turn_away(c, REFUSED_CONNECTIONS);
    else if (!p->layers.proxy && over_rate(c))
        turn_away(c, REFUSED_RATE);
    else if (stats->clients > stats->clients_most)
        stats->clients_most = stats->clients;
}

static void on_timer(struct timer *t)
{
    client_keep_alive(container_of(t, struct client, timer));
}

void client_accept(struct client_port *p, const struct accepted *a)
{
    struct broker *b = p->broker;
    struct client *c = mem_alloc(sizeof(*c));

    c->port = p;
    c->version = MQTT_3_1_1;
    list_init(&c->in_port);
    timer_init(&c->timer, on_timer);
    c->conn.high = broker_limits(b)->reader_backlog;
    if (conn_accept(&c->conn, broker_net(b), a, &p->layers, &client_events) != 0) {
        free(c);
        return;
    }
    p->refs++;
    count(p, 1);
    list_add_tail(&p->all, &c->in_port);
    timer_start(broker_timers(b), &c->timer, client_port_connect_s(p));
    broker_stats(b)->accepted++;
    judge(c);
}

/* A proxy has told by now where the peer is. */
void client_port_opened(struct client *c)
{
    c->open = true;
    if (c->port->layers.proxy && !c->refusal && over_rate(c))
        turn_away(c, REFUSED_RATE);
}

/* ---- who goes ---- */

void client_port_left(struct client *c, const char *why)
{
    struct client_port *p = c->port;
    char peer[64];

    list_remove(&c->in_port);
    if (c->refusal)
        p->telling--;
    else
        count(p, -1);
    if (!why || c->open || conn_left(&c->conn)) /* who only looks whether we listen is nobody refused */
        return;
    p->refused[REFUSED_HANDSHAKE]++;
    conn_peer(&c->conn, peer);
    auth_note(p->auth, "listener %s: %s: %s", p->name, peer, why);
}

static void disconnect(struct client *c, uint8_t reason)
{
    struct mqtt_packet p = {.type = MQTT_DISCONNECT};

    p.ack.reason = reason;
    client_port_refer(c->port, reason, &p.ack.props);
    client_send_last(c, &p);
    conn_close(&c->conn);
}

uint8_t client_port_elsewhere(const struct client_port *p)
{
    if (!p->redirect)
        return MQTT_OK;
    return p->redirect_for_good ? MQTT_SERVER_MOVED : MQTT_USE_ANOTHER_SERVER;
}

void client_port_refer(const struct client_port *p, uint8_t reason, struct mqtt_props *props)
{
    if (reason == MQTT_SERVER_MOVED || reason == MQTT_USE_ANOTHER_SERVER)
        mqtt_set_text(props, MQTT_SERVER_REFERENCE, bytes_of(p->redirect));
}

void client_port_redirect(struct client_port *p, const char *to, bool for_good)
{
    free(p->redirect);
    p->redirect = to ? mem_strdup(to) : NULL;
    p->redirect_for_good = for_good;
    if (to)
        client_port_disconnect(p, client_port_elsewhere(p));
}

void client_port_disconnect(struct client_port *p, uint8_t reason)
{
    list_for_safe(it, &p->all) disconnect(list_entry(it, struct client, in_port), reason);
}

void client_port_disconnect_held(struct client_port *p, uint8_t reason)
{
    list_for_safe(it, &p->all)
    {
        struct client *c = list_entry(it, struct client, in_port);
        if (conn_holds(&c->conn))
            disconnect(c, reason);
    }
}
