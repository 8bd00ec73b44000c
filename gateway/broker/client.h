/* SPDX-License-Identifier: Apache-2.0 */
/* An MQTT client's connection: reads its packets, answers them, writes what its session delivers
 * (MQTT 3.1, 3.1.1, 5.0). Acknowledgements leave when what they promise is on disk: they go to the held lane
 * at the ticket that the broker or the session named; nothing here knows about disks. Loop thread only. */
#ifndef SLUICE_BROKER_CLIENT_H
#define SLUICE_BROKER_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "broker/auth.h"
#include "broker/broker.h"
#include "net/conn.h"

struct client;

/* What bounds one listener; 0: what bounds all of them, of rate: nothing. */
struct client_limits {
    uint32_t packet;      /* bytes; largest packet taken */
    uint32_t connections; /* at a time */
    uint32_t rate;        /* connections a second of one address */
    uint32_t connect_ms;  /* from connecting to CONNECT */
};

enum client_refusal {
    REFUSED_CLIENTS,     /* as many as all listeners may have */
    REFUSED_CONNECTIONS, /* as many as this one may have */
    REFUSED_RATE,
    REFUSED_TIME,
    REFUSED_PACKET,
    REFUSED_HANDSHAKE, /* of TLS, WebSocket or PROXY */
    REFUSALS
};
extern const char *const client_refusal_names[REFUSALS];

/* What the clients of one listener have in common; outlives them (reference counted by them). */
struct client_port {
    char *name; /* its bind text, for logs and status */
    struct broker *broker;
    struct conn_layers layers;
    struct auth *auth; /* who gets in, and may do what */
    bool anonymous;    /* without user name or certificate */
    bool certificates; /* a client certificate was required; its common name is the user */
    bool loopback;     /* only this box can reach it */
    struct client_limits limits;
    char *redirect; /* another server, to which its clients are sent; NULL: none */
    bool redirect_for_good;
    uint32_t refs;
    uint32_t clients;
    uint64_t refused[REFUSALS];
    struct log_quota lines; /* of what its clients do wrong */

    /* private */
    struct list all;       /* its clients */
    struct places *places; /* that have connected lately; NULL: nobody counts them */
    uint32_t telling;      /* that will be refused at CONNECT; not among the clients */
    uint32_t told;         /* how many began so in the second from told_ms on */
    uint64_t told_ms;
};

struct client_port *client_port_new(const char *name, struct broker *b);
void client_port_drop(struct client_port *p);
void client_port_limit(struct client_port *p, const struct client_limits *limits);

/* Sends its clients to another server, those that are connected by DISCONNECT; NULL: no more. */
void client_port_redirect(struct client_port *p, const char *to, bool for_good);

/* Somebody has connected (listener_taker). */
void client_accept(struct client_port *p, const struct accepted *a);

/* Ends every client of the port: DISCONNECT with reason (MQTT 5), wills as for a lost connection unless
 * orderly. */
void client_port_disconnect(struct client_port *p, uint8_t reason);
/* The same for those whose packets have waited for the disk too long. */
void client_port_disconnect_held(struct client_port *p, uint8_t reason);
/* The rules have changed: who would not get in any more is disconnected, the others lose what they may not
 * have. */
void client_port_review(struct client_port *p);

#endif
