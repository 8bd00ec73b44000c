/* SPDX-License-Identifier: Apache-2.0 */
/* A Modbus TCP server: other masters read and write our points (serve_map.h) and reach the units of our lines
 * (serve_gateway.c). A connection may have several requests in flight; beyond that it is not read, nor while
 * it does not read its answers. Everything about a connection is bounded, in number and in time, and counted.
 * Loop thread only. */
#ifndef SLUICE_DRIVERS_MODBUS_SERVE_H
#define SLUICE_DRIVERS_MODBUS_SERVE_H

#include "base/list.h"
#include "drivers/modbus/raw.h"
#include "drivers/modbus/serve_map.h"
#include "net/address.h"
#include "net/conn.h"

struct cJSON;
struct gateway;
struct listener;
struct serve_framing;

enum serve_refusal {
    SERVE_REFUSED_CONNECTIONS, /* as many masters as max_connections */
    SERVE_REFUSED_ADDRESS,     /* not in allow */
    SERVE_REFUSED_UNIT,
    SERVE_REFUSED_FUNCTION,
    SERVE_REFUSED_RANGE,
    SERVE_REFUSED_FRAME, /* no Modbus TCP, or half of it for too long */
    SERVE_REFUSED_IDLE,
    SERVE_REFUSED_SLOW, /* does not read its answers */
    SERVE_REFUSALS,
};

/* Units of a line, for other masters. */
struct serve_gateway {
    char *line;
    uint8_t first, last, to; /* to: of the line, in place of first */
    unsigned classes;        /* of functions, as bits */
    struct plan_range *writes;
    size_t write_count;
    uint64_t expire_us;
};

struct server {
    struct list link;
    struct gateway *gw;
    char *bind;
    struct listener *listener;
    struct tls_context *tls; /* NULL: plain */
    const struct serve_framing *framing;
    struct network *allow;
    size_t allow_count; /* 0: whoever reaches it */
    size_t connections_most, in_flight_most;
    uint64_t idle_us;
    struct serve_map **maps;
    size_t map_count;
    struct serve_gateway *gateways;
    size_t gateway_count;
    struct {
        const struct serve_map *map;
        const struct serve_gateway *gateway;
    } units[256]; /* one of the two, or none */
    struct list masters;
    size_t master_count;
    uint64_t accepted, requests, exceptions, writes, refused[SERVE_REFUSALS], noted_us;
};

struct master;

/* A request that is not answered yet; lives until then, even without its master. */
struct serve_request {
    struct list link;      /* of the master's */
    struct master *master; /* NULL: it has gone, and the answer goes nowhere */
    uint16_t id;
    uint8_t unit;
    uint8_t pdu[RAW_PDU_MAX];
    size_t len;
    struct modbus_raw raw; /* of a gateway */
    char *line, *client;   /* of a write through a gateway: for the event */
    unsigned next;         /* of a write: the address that is to be written next */
    uint64_t began_us;
};

/* 0 or -E… (logged). n: a checked element of modbus_servers; root: of the whole configuration. */
int server_open(struct server **out, struct gateway *gw, const struct conf_node *n,
                const struct conf_node *root);
/* Lets go of its masters and its address; what it shows stays known until server_free. */
void server_close(struct server *s);
void server_free(struct server *s);
/* Once a second: ends what has lasted too long. */
void server_tick(struct server *s);
void server_status(const struct server *s, struct cJSON *into);

/* ---- between its parts ---- */

/* NULL: its master has gone. */
struct server *serve_server(const struct serve_request *q);
/* Who asks: "192.0.2.7:51234". */
const char *serve_peer(const struct serve_request *q);
/* Ends the request. pdu: function and what follows it. */
void serve_answer(struct serve_request *q, struct bytes pdu);
void serve_refuse(struct serve_request *q, uint8_t exception);
void serve_count(struct server *s, enum serve_refusal why);

/* Both end the request, now or later. */
void serve_map_request(struct serve_request *q, const struct serve_map *m);
void serve_gateway_request(struct serve_request *q, const struct serve_gateway *g);

/* The rows of modbus_servers, and its mistakes. */
extern const struct conf_row serve_rows[];
/* running: the servers; NULL: this process serves nothing. */
void serve_check(struct conf *c, const struct list *running);
/* *g: to be released by serve_gateway_clear. */
void serve_gateway_set(struct serve_gateway *g, const struct conf_node *n);
void serve_gateway_clear(struct serve_gateway *g);
bool serve_is_class(const char *word);
bool serve_units_read(const char *text, uint8_t *first, uint8_t *last);

#endif
