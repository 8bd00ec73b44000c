/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the client share. */
#ifndef SLUICE_BROKER_CLIENT_PRIVATE_H
#define SLUICE_BROKER_CLIENT_PRIVATE_H

#include "base/timer.h"
#include "broker/client.h"
#include "codec/mqtt.h"

enum client_state { CLIENT_NEW, CLIENT_AUTHENTICATING, CLIENT_CONNECTED, CLIENT_CLOSED };

enum client_hold {
    HOLD_LOGIN = 1, /* who it is is being found out */
    HOLD_STORE = 2, /* the store is behind */
    HOLD_UNREAD = 4 /* it does not read what it is answered */
};

/* What a client needs when it publishes what is stored. */
struct durable_publisher {
    struct client *client;
    struct broker_waiter waiter;
    store_ticket unacked_at[2]; /* acknowledgements of QoS 1 that wait for the disk: two batches at most */
    uint32_t unacked[2];
};

struct client {
    struct conn conn;
    struct client_port *port;
    struct session *session; /* NULL before CONNECT and after the end */
    struct list in_port;
    struct timer timer;                /* to CONNECT, then keepalive */
    struct durable_publisher *durable; /* NULL: nothing of it has gone to the disk yet */
    uint64_t seen_ms;                  /* loop time of the last whole packet */
    store_ticket connack;              /* CONNACK is held at it: nothing may overtake */
    struct identity *who;              /* NULL: without a name, and may do everything */
    struct client_login *login; /* while it is being found out who it is, for the first time or again */
    struct aliases *aliases;    /* NULL: none used yet */
    uint32_t receiving;         /* QoS 2 messages of this connection that are not released */
    uint32_t most_packet;       /* largest that it takes; 0: no limit */
    uint16_t keep_alive;        /* s; 0: none */
    uint8_t version;
    uint8_t state;
    uint16_t most_aliases;    /* that it lets us use */
    uint8_t holds;            /* enum client_hold: why nothing is read from it */
    bool bridge : 1;          /* of a broker that speaks 3.1.1: what MQTT 5 has options for, it expects */
    bool no_problem_info : 1; /* it wants no reason strings */
    bool open : 1;            /* all layers stand */
    uint8_t refusal : 5;      /* 1 + enum client_refusal: what it is told at CONNECT */
};

/* A packet of so many bytes has been written to a lane. */
static inline void client_count_out(const struct client *c, size_t size)
{
    struct wire_counts *wire = &broker_stats(c->port->broker)->wire;

    wire->packets_out++;
    wire->bytes_out += size;
}

/* The lane of what waits for nothing. Still nothing overtakes CONNACK ([MQTT-3.2.0-1]). */
struct buf *client_free_lane(struct client *c);
/* Writes one packet to a lane: 0 is the free lane; otherwise held in order at ticket. */
void client_send_free(struct client *c, struct mqtt_packet *p);
/* False when it is larger than the client takes, also without its reason string: it is not sent. */
bool client_send_held(struct client *c, struct mqtt_packet *p, store_ticket ticket);
/* The last packet before conn_close: what is not on disk yet is given up. */
void client_send_last(struct client *c, struct mqtt_packet *p);
/* PUBACK, PUBREC, PUBREL, PUBCOMP; with why as the reason string. */
void client_send_ack(struct client *c, uint8_t type, uint16_t id, uint8_t reason, store_ticket ticket);
void client_send_nack(struct client *c, uint8_t type, uint16_t id, uint8_t reason, const char *why,
                      store_ticket ticket);

/* Nothing is read from it until the last reason is gone. */
void client_hold(struct client *c, enum client_hold why);
void client_unhold(struct client *c, enum client_hold why);
/* Protocol violations and refusals: DISCONNECT (MQTT 5) and close. why: for the log. */
void client_refuse(struct client *c, uint8_t reason, const char *why);
/* client_bad.c: refuse a packet that cannot be read, one that has no place here, one whose length cannot be
 * taken (as mqtt_frame said it; data: what is there of it). client_begins_well: the first bytes may be MQTT;
 * false: refused. */
void client_refuse_unreadable(struct client *c, struct bytes whole, uint8_t reason);
void client_refuse_misplaced(struct client *c, const struct mqtt_packet *p);
void client_refuse_length(struct client *c, int err, size_t total, size_t most, struct bytes data);
bool client_begins_well(struct client *c, struct bytes data);
/* A line about it, unless its listener's clients have caused too many in this minute. */
void client_note(const struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "client plant7-hmi (192.0.2.7:51234)". */
void client_name(const struct client *c, char out[160]);

/* client.c */
extern const struct conn_events client_events;

/* client_port.c. All layers stand; the connection is gone (why: NULL when we have closed it). */
void client_port_opened(struct client *c);
void client_port_left(struct client *c, const char *why);
/* What it is to be told in CONNACK, 0: nothing; *why for people. */
uint8_t client_port_refusal(const struct client *c, const char **why);
/* The reason for which its clients go to another server, 0: they stay; and the name of that server where such
 * a reason is given. */
uint8_t client_port_elsewhere(const struct client_port *p);
void client_port_refer(const struct client_port *p, uint8_t reason, struct mqtt_props *props);
/* In force: bytes; s. */
uint32_t client_port_packet(const struct client_port *p);
uint32_t client_port_connect_s(const struct client_port *p);

/* client_write.c: all above; client_connect.c: */
uint8_t client_judge_connect(const struct client *c, const struct mqtt_connect *p, const char **why);
void client_refuse_connect(struct client *c, uint8_t reason, const char *why);
/* The same without a line in the log. */
void client_turn_away(struct client *c, uint8_t reason, const char *why);
/* It is who it says it is. auth_data: for CONNACK. */
void client_admit(struct client *c, const struct mqtt_connect *p, struct bytes auth_data);
/* A CONNECT of MQTT 5 that cannot be read. */
void client_on_bad_connect(struct client *c, uint8_t reason);
/* Leaves the session: will says whether it is due. */
void client_leave(struct client *c, bool will);
void client_keep_alive(struct client *c);

/* client_login.c: who it is. */
void client_on_connect(struct client *c, const struct mqtt_connect *p, struct bytes whole);
/* A packet that comes before CONNACK. */
void client_on_early(struct client *c, const struct mqtt_packet *p);
/* AUTH of one that is connected. */
void client_on_auth(struct client *c, const struct mqtt_packet *packet, struct bytes whole);
/* It has begun to authenticate, and we wait for its next packet. */
bool client_owes_auth(const struct client *c);
/* The method and data in CONNACK or AUTH, of who authenticates by a method. */
void client_set_auth(const struct client *c, struct mqtt_props *props, struct bytes data);
/* The connection is gone. */
void client_cancel_login(struct client *c);

/* auth_client.c: what it may do. client_may_subscribe: 0, or the reason for SUBACK; *qos may become less.
 * client_review: takes subscriptions and a will that are not allowed any more; true when subscriptions went.
 */
bool client_topic_reserved(struct bytes topic, struct bytes client_id);
bool client_may_publish(struct client *c, struct bytes topic, uint8_t qos, bool retain);
uint8_t client_may_subscribe(struct client *c, struct bytes filter, uint8_t *qos);
bool client_may_receive(struct client *c, struct bytes topic);
bool client_review(struct client *c);

/* client_deliver.c: the ops of its session */
extern const struct session_ops client_session_ops;
/* Forwarded properties of a PUBLISH; filtered into scratch when others are among them. */
struct bytes client_forwarded(const struct mqtt_props *p, struct buf *scratch);

#endif
