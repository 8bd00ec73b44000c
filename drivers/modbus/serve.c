/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/serve.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "drivers/modbus/serve_framing.h"
#include "net/listener.h"
#include "net/tls.h"
#include "service.h"

enum {
    BACKLOG_MOST = 65536,     /* of answers that a master has not read; beyond it is not read either */
    OPEN_US = 10000000,       /* for a handshake */
    HALF_US = 10000000,       /* for the rest of a frame that has begun */
    SLOW_US = 30000000,       /* for reading answers */
    NOTE_EVERY_US = 10000000, /* refusals are logged so often at most */
};

struct master {
    struct conn conn;
    struct list link;
    struct server *server; /* NULL: it has ended */
    struct list requests;
    size_t in_flight;
    uint64_t requests_all, since_us, last_us, half_us, full_us; /* half, full: since then; 0: it is not */
    bool open, paused, taking;                                  /* taking: its requests are just being read */
    char peer[64];
};

static const char *const refusal_names[SERVE_REFUSALS] = {"connections", "address", "unit", "function",
                                                          "range",       "frame",   "idle", "slow"};

void serve_count(struct server *s, enum serve_refusal why)
{
    s->refused[why]++;
}

/* Counts and, now and then, says so. */
static void note(struct server *s, enum serve_refusal why, const char *peer, const char *what)
{
    uint64_t now = clock_boot_us();

    serve_count(s, why);
    if (s->noted_us && now < s->noted_us + NOTE_EVERY_US)
        return;
    s->noted_us = now;
    log_warn("modbus server %s: %s: %s", s->bind, peer, what);
}

/* ---- answers ---- */

struct server *serve_server(const struct serve_request *q)
{
    return q->master ? q->master->server : NULL;
}

const char *serve_peer(const struct serve_request *q)
{
    return q->master ? q->master->peer : "";
}

static bool may_take(const struct master *m)
{
    return m->server && !m->full_us && m->in_flight < m->server->in_flight_most;
}

/* Reads from the master while it may take something. */
static void turn_tap(struct master *m)
{
    bool pause = !may_take(m);

    if (pause == m->paused)
        return;
    m->paused = pause;
    if (pause)
        conn_pause(&m->conn);
    else
        conn_resume(&m->conn);
}

void serve_answer(struct serve_request *q, struct bytes pdu)
{
    struct master *m = q->master;

    if (m) {
        m->server->framing->put(conn_free_lane(&m->conn), q->id, q->unit, pdu);
        m->last_us = clock_boot_us();
        m->server->exceptions += pdu.data[0] >> 7;
        list_remove(&q->link);
        m->in_flight--;
        if (!m->full_us && conn_backlog(&m->conn) > BACKLOG_MOST)
            m->full_us = clock_boot_us();
        if (!m->taking)
            turn_tap(m);
    }
    free(q->line);
    free(q->client);
    free(q);
}

void serve_refuse(struct serve_request *q, uint8_t exception)
{
    const uint8_t pdu[] = {(uint8_t)(q->pdu[0] | 0x80), exception};

    serve_answer(q, (struct bytes){pdu, sizeof pdu});
}

/* ---- requests ---- */

static void take_frame(struct master *m, const struct tcp_frame *f)
{
    struct server *s = m->server;
    struct serve_request *q = mem_alloc(sizeof *q);

    *q = (struct serve_request){.master = m, .id = f->id, .unit = f->unit, .len = f->pdu.len};
    memcpy(q->pdu, f->pdu.data, f->pdu.len);
    q->began_us = m->last_us = clock_boot_us();
    list_add_tail(&m->requests, &q->link);
    m->in_flight++;
    m->requests_all++;
    s->requests++;
    if (s->units[f->unit].map) {
        serve_map_request(q, s->units[f->unit].map);
    } else if (s->units[f->unit].gateway) {
        serve_gateway_request(q, s->units[f->unit].gateway);
    } else {
        serve_count(s, SERVE_REFUSED_UNIT);
        serve_refuse(q, MODBUS_PATH_UNAVAILABLE);
    }
}

static size_t on_data(struct conn *c, const uint8_t *data, size_t len)
{
    struct master *m = container_of(c, struct master, conn);
    struct tcp_frame frame;
    char text[64];
    size_t used = 0;
    int got = 0;

    m->taking = true;
    while (may_take(m) && used < len &&
           (got = m->server->framing->next(data + used, len - used, &frame)) > 0) {
        take_frame(m, &frame);
        used += (size_t)got;
    }
    m->taking = false;
    if (!m->server)
        return len;
    if (got < 0) {
        snprintf(text, sizeof text, "does not speak %s", m->server->framing->name);
        note(m->server, SERVE_REFUSED_FRAME, m->peer, text);
        conn_close(c);
        return len;
    }
    bool half = used < len && may_take(m);
    m->half_us = !half ? 0 : m->half_us && !used ? m->half_us : clock_boot_us();
    turn_tap(m);
    return used;
}

static void on_drain(struct conn *c)
{
    struct master *m = container_of(c, struct master, conn);

    m->full_us = 0;
    if (m->server)
        turn_tap(m);
}

/* ---- masters ---- */

static void on_open(struct conn *c)
{
    struct master *m = container_of(c, struct master, conn);

    m->open = true;
    m->last_us = clock_boot_us();
    if (m->server)
        log_info("modbus server %s: %s connected", m->server->bind, m->peer);
}

static void on_close(struct conn *c, const char *why)
{
    struct master *m = container_of(c, struct master, conn);
    struct server *s = m->server;

    if (!s)
        return;
    if (m->open)
        log_info("modbus server %s: %s gone%s%s", s->bind, m->peer, why ? ": " : "", why ? why : "");
    for (struct list *it; (it = list_pop(&m->requests));)
        list_entry(it, struct serve_request, link)->master = NULL;
    m->server = NULL;
    list_remove(&m->link);
    s->master_count--;
}

static void on_gone(struct conn *c)
{
    free(container_of(c, struct master, conn));
}

static const struct conn_events events = {
    .on_open = on_open, .on_data = on_data, .on_drain = on_drain, .on_close = on_close, .on_gone = on_gone};

static bool is_allowed(const struct server *s, const struct address *peer)
{
    for (size_t i = 0; i < s->allow_count; i++)
        if (network_has(&s->allow[i], peer))
            return true;
    return !s->allow_count;
}

static void judge(struct server *s, struct master *m, const struct address *peer)
{
    if (!is_allowed(s, peer))
        note(s, SERVE_REFUSED_ADDRESS, m->peer, "is not in allow");
    else if (s->master_count > s->connections_most)
        note(s, SERVE_REFUSED_CONNECTIONS, m->peer, "one more than max_connections");
    else
        return;
    conn_abort(&m->conn);
}

static void on_stream(void *arg, const struct accepted *a)
{
    struct server *s = arg;
    struct conn_layers layers = {.tls = s->tls};
    struct master *m = mem_alloc(sizeof *m);

    *m = (struct master){.server = s, .conn.high = BACKLOG_MOST};
    list_init(&m->requests);
    if (conn_accept(&m->conn, s->gw->net, a, &layers, &events)) {
        free(m);
        return;
    }
    m->since_us = m->last_us = clock_boot_us();
    conn_peer(&m->conn, m->peer);
    list_add_tail(&s->masters, &m->link);
    s->master_count++;
    s->accepted++;
    judge(s, m, &a->peer);
}

static void end_late(struct server *s, struct master *m, uint64_t now)
{
    if (!m->open && now > m->since_us + OPEN_US)
        note(s, SERVE_REFUSED_FRAME, m->peer, "no handshake in time");
    else if (m->full_us && now > m->full_us + SLOW_US)
        note(s, SERVE_REFUSED_SLOW, m->peer, "does not read its answers");
    else if (m->half_us && now > m->half_us + HALF_US)
        note(s, SERVE_REFUSED_FRAME, m->peer, "half a frame and no more");
    else if (!m->in_flight && now > m->last_us + s->idle_us)
        serve_count(s, SERVE_REFUSED_IDLE);
    else
        return;
    conn_abort(&m->conn);
}

void server_tick(struct server *s)
{
    uint64_t now = clock_boot_us();

    list_for_safe(it, &s->masters) end_late(s, list_entry(it, struct master, link), now);
}

/* ---- start and end ---- */

static void set_units(struct server *s, const struct conf_node *n, const struct conf_node *root)
{
    s->map_count = conf_count(n, "units");
    s->gateway_count = conf_count(n, "gateways");
    s->maps = mem_alloc((s->map_count + 1) * sizeof(struct serve_map *));
    s->gateways = mem_alloc((s->gateway_count + 1) * sizeof *s->gateways);
    for (size_t i = 0; i < s->map_count; i++) {
        const struct conf_node *u = conf_at(n, "units", i);
        s->maps[i] = serve_map_new(u, root);
        s->units[conf_int(u, "unit")].map = s->maps[i];
    }
    for (size_t i = 0; i < s->gateway_count; i++) {
        serve_gateway_set(&s->gateways[i], conf_at(n, "gateways", i));
        for (unsigned u = s->gateways[i].first; u <= s->gateways[i].last; u++)
            s->units[u].gateway = &s->gateways[i];
    }
}

static int set_tls(struct server *s, const struct conf_node *tls)
{
    char error[256];

    if (!tls)
        return 0;
    const struct tls_server_config config = {conf_string(tls, "cert"), conf_string(tls, "key"),
                                             conf_string(tls, "client_ca")};
    int err = tls_server_new(&s->tls, &config, error, sizeof error);
    if (err)
        log_error("modbus server %s: %s", s->bind, error);
    return err;
}

int server_open(struct server **out, struct gateway *gw, const struct conf_node *n,
                const struct conf_node *root)
{
    struct server *s = mem_alloc(sizeof *s);

    *s = (struct server){.gw = gw, .bind = mem_strdup(conf_string(n, "bind"))};
    list_init(&s->masters);
    s->connections_most = (size_t)conf_int(n, "max_connections");
    s->framing = &serve_framings[conf_int(n, "framing")];
    s->in_flight_most = s->framing->one_at_a_time ? 1 : (size_t)conf_int(n, "in_flight");
    s->idle_us = (uint64_t)conf_int(n, "idle") * 1000;
    s->allow_count = conf_count(n, "allow");
    s->allow = mem_alloc((s->allow_count + 1) * sizeof *s->allow);
    for (size_t i = 0; i < s->allow_count; i++)
        network_parse(conf_at(n, "allow", i)->s, &s->allow[i]);
    set_units(s, n, root);
    int err = set_tls(s, conf_get(n, "tls"));
    if (!err)
        err = listener_open(&s->listener, gw->loop, s->bind, on_stream, s);
    if (err) {
        server_free(s);
        return err;
    }
    log_info("modbus server: listening on %s%s", s->bind, s->tls ? " with TLS" : "");
    *out = s;
    return 0;
}

void server_close(struct server *s)
{
    listener_close(s->listener);
    while (!list_empty(&s->masters))
        conn_close(&list_entry(s->masters.next, struct master, link)->conn);
    s->listener = NULL;
}

void server_free(struct server *s)
{
    for (size_t i = 0; i < s->map_count; i++)
        serve_map_free(s->maps[i]);
    for (size_t i = 0; i < s->gateway_count; i++)
        serve_gateway_clear(&s->gateways[i]);
    tls_context_free(s->tls);
    free(s->maps);
    free(s->gateways);
    free(s->allow);
    free(s->bind);
    free(s);
}

/* ---- status ---- */

static void add_master(const struct master *m, cJSON *to)
{
    cJSON *o = cJSON_CreateObject();
    char text[32];

    clock_format((int64_t)m->since_us + clock_offset_us(), text);
    cJSON_AddStringToObject(o, "peer", m->peer);
    cJSON_AddStringToObject(o, "since", text);
    cJSON_AddNumberToObject(o, "requests", (double)m->requests_all);
    cJSON_AddNumberToObject(o, "in_flight", (double)m->in_flight);
    cJSON_AddItemToArray(to, o);
}

void server_status(const struct server *s, cJSON *into)
{
    cJSON *o = cJSON_CreateObject(), *by = cJSON_CreateObject(), *masters = cJSON_CreateArray();
    uint64_t refused = 0;

    cJSON_AddStringToObject(o, "bind", s->bind);
    cJSON_AddNumberToObject(o, "port", listener_port(s->listener));
    cJSON_AddStringToObject(o, "framing", s->framing->name);
    cJSON_AddBoolToObject(o, "tls", s->tls != NULL);
    cJSON_AddNumberToObject(o, "masters", (double)s->master_count);
    cJSON_AddNumberToObject(o, "accepted", (double)s->accepted);
    cJSON_AddNumberToObject(o, "requests", (double)s->requests);
    cJSON_AddNumberToObject(o, "exceptions", (double)s->exceptions);
    cJSON_AddNumberToObject(o, "writes", (double)s->writes);
    for (size_t i = 0; i < SERVE_REFUSALS; i++) {
        refused += s->refused[i];
        cJSON_AddNumberToObject(by, refusal_names[i], (double)s->refused[i]);
    }
    cJSON_AddNumberToObject(o, "refused", (double)refused);
    cJSON_AddItemToObject(o, "refused_by", by);
    list_for(it, &s->masters) add_master(list_entry(it, struct master, link), masters);
    cJSON_AddItemToObject(o, "connections", masters);
    cJSON_AddItemToArray(into, o);
}
