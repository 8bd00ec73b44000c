/* SPDX-License-Identifier: Apache-2.0 */
/* The MQTT-SN gateway of one line: what its files share. A line (struct sn_line) has a link and its motes. A
 * mote that is connected or asleep is the reader of a session of the broker, which has its subscriptions, its
 * queue, its will and its topic ids; what a restart must find again is in the session's notes. Packets go out
 * at tickets like those of MQTT clients: nothing here knows about disks. Loop thread only. */
#ifndef SLUICE_DRIVERS_MQTTSN_GATEWAY_H
#define SLUICE_DRIVERS_MQTTSN_GATEWAY_H

#include "base/timer.h"
#include "broker/actor.h"
#include "broker/broker.h"
#include "broker/places.h"
#include "codec/mqttsn.h"
#include "drivers/mqttsn/config.h"
#include "drivers/tap.h"
#include "net/conn.h"

struct field;
struct sn_line;

/* Where a mote is: a place on the link, and its node behind a forwarder. */
struct sn_peer {
    struct link_place place;
    bool wrapped; /* by a forwarder */
    uint8_t control, node_len, node[SN_NODE_MOST];
};

struct sn_counts {
    uint64_t packets_in, packets_out, bytes_in, bytes_out;
    uint64_t malformed, unknown_types, misplaced, limited;
    uint64_t strangers; /* packets of motes that are not connected */
    uint64_t connects, refused, lost, moved, wakes;
    uint64_t publishes, minus_one, minus_one_refused, bad_ids;
    uint64_t deliveries, retries, given_up, topic_refused, too_large, dropped_qos0;
    uint64_t airtime_us;
};

/* A packet on its way to the link. In this order they leave. */
enum out_rank { OUT_ACK, OUT_PING, OUT_REGISTER, OUT_PUBLISH, OUT_RANKS };
struct sn_out {
    struct list link;
    store_ticket ticket;
    struct link_place to;
    struct mote *mote; /* whose flight it is, or NULL */
    uint8_t rank;
    bool to_all, ready; /* ready: its ticket is done */
    size_t len;
    uint8_t data[];
};

struct sn_line {
    struct field *field;
    struct broker *b;
    struct auth *auth;
    const char *root;
    struct sn_settings *settings;
    struct link *link; /* NULL: closed */
    struct net_flusher flusher;
    struct map by_peer; /* motes */
    struct list motes;
    uint32_t mote_count;
    struct list awake;            /* motes that get PINGRESP when all is delivered */
    struct list held;             /* struct sn_out in the order of their tickets */
    struct list ready[OUT_RANKS]; /* struct sn_out that may leave */
    size_t ready_bytes;
    bool no_room; /* the link said so */
    bool closing;
    struct places *rates, *answers; /* by address: packets that came; DISCONNECTs to strangers */
    struct identity *stranger;      /* who publishes at QoS -1 */
    struct timer advertise;
    struct sn_counts counts;
    struct tap tap;
    uint64_t since_us, stop_by_us;
};

enum mote_state { MOTE_CONNECTING, MOTE_ACTIVE, MOTE_ASLEEP };
enum flight_kind { FLIGHT_NONE, FLIGHT_REGISTER, FLIGHT_PUBLISH, FLIGHT_RELEASE };

/* A message of QoS 0 that waits until the mote wakes or knows its topic. */
struct sn_waiting {
    struct list link;
    struct message *message;
    bool retain;
};

/* A CONNECT under way. */
struct sn_handshake {
    struct buf id, topic;
    struct message *will; /* NULL: none */
    bool clean, assigned, asks_message, will_retain;
    uint8_t will_qos, tries;
    uint16_t keep_alive;
};

struct mote {
    struct sn_line *line;
    struct session *session; /* NULL until it is connected for the first time */
    struct map_node by_peer;
    struct list in_line, awake, waiting;
    struct sn_peer peer;
    struct place *rate; /* of its address; NULL: not limited */
    struct identity *who;
    struct sn_handshake *handshake; /* NULL: none */
    struct timer life, retry;
    uint64_t seen_us, since_us;
    store_ticket fence; /* nothing overtakes CONNACK, nor the SUBACK that names a topic id */
    uint16_t keep_alive, sleep_s;
    uint8_t state;
    bool placed;   /* by_peer is in the map */
    bool heard;    /* after CONNECT something else has come */
    bool assigned; /* its id was given by us */
    bool deaf;     /* it does not answer: nothing goes out until it is heard */
    uint32_t waiting_count, wake_left, retries, last_id;
    struct {
        uint8_t kind, tries, unknown;
        bool qos0; /* REGISTER for the first that waits */
        uint16_t id, topic_id;
        struct buf packet;  /* as it was sent: repeats are the same bytes but for DUP */
        struct sn_out *out; /* not sent yet */
        struct delivery of; /* the message of QoS 1 or 2; message NULL: none */
    } flight;
};

/* line_in.c: a packet has come; a mote that nobody knows is told so. */
extern const struct link_events sn_link_events;
void line_tell_stranger(struct sn_line *l, const struct sn_peer *to);
struct place *line_rate_place(struct sn_line *l, const struct sn_peer *from);
void line_advertise(struct sn_line *l);

/* line_out.c: packets leave at a ticket, in the order of ranks. */
void line_send(struct sn_line *l, const struct sn_peer *to, const struct mqttsn_packet *p,
               store_ticket ticket);
void line_shout(struct sn_line *l, const struct mqttsn_packet *p);
struct sn_out *line_send_bytes(struct sn_line *l, const struct sn_peer *to, enum out_rank rank,
                               struct bytes packet, store_ticket ticket);
void line_flush(struct net_flusher *f, uint64_t committed);
void line_drop_output(struct sn_line *l);
bool line_holds(const struct sn_line *l);

/* mote.c */
enum mote_leaving {
    LEAVE_ORDERLY,   /* DISCONNECT */
    LEAVE_LOST,      /* silence: its will is due */
    LEAVE_DISPLACED, /* it is at another place now */
    LEAVE_STOP       /* the line ends, the mote does not know */
};
struct mote *mote_new(struct sn_line *l, const struct sn_peer *at);
struct mote *mote_at(const struct sn_line *l, const struct sn_peer *at);
/* Of the session's name; NULL: it is not connected. */
struct mote *mote_named(struct sn_line *l, struct bytes id);
bool mote_is_at(const struct mote *m, const struct sn_peer *at);
void mote_move(struct mote *m, const struct sn_peer *to);
void mote_unplace(struct mote *m);
void mote_leave(struct mote *m, enum mote_leaving how);
void mote_free(struct mote *m);
void mote_heard(struct mote *m);
void mote_watch(struct mote *m);
void mote_note_owner(struct mote *m);
struct bytes mote_id(const struct mote *m);
void mote_send(struct mote *m, const struct mqttsn_packet *p, store_ticket ticket);
void mote_answer(struct mote *m, uint8_t type, uint16_t topic_id, uint16_t id, uint8_t code,
                 store_ticket ticket);
struct actor mote_actor(const struct mote *m);
/* Its session's name; free buf. */
struct buf mote_session_name(struct bytes id);
/* What is configured lets id be at that place; *user: whose rules are its own. */
bool line_allows(const struct sn_line *l, struct bytes id, const struct sn_peer *at, const char **user);
/* After a start: motes of this line that the last run knew. */
void line_restore(struct sn_line *l);

/* connect.c */
void on_connect(struct sn_line *l, const struct sn_peer *from, struct mote *m, const struct mqttsn_packet *p);
void connect_go_on(struct mote *m);
void connect_answer_again(struct mote *m, const struct mqttsn_packet *p);
void connect_refuse(struct mote *m, uint8_t code, const char *why);
void handshake_free(struct sn_handshake *h);

/* will.c */
void will_ask(struct mote *m);
void will_ask_again(struct mote *m);
void on_will_topic(struct mote *m, const struct mqttsn_packet *p);
void on_will_message(struct mote *m, const struct mqttsn_packet *p);
void on_will_topic_update(struct mote *m, const struct mqttsn_packet *p);
void on_will_message_update(struct mote *m, const struct mqttsn_packet *p);
/* The will of a mote that is away is a note, so that nobody publishes it. */
void will_rest(struct session *s);
void will_arm(struct session *s);

/* topics.c */
/* The topic of what came, prefix included; false: there is no such id. m NULL: a stranger. */
bool topic_of(const struct sn_line *l, const struct mote *m, const struct mqttsn_packet *p, struct buf *out);
bool topic_with_prefix(const struct sn_line *l, struct bytes name, struct buf *out);
/* How the mote knows a topic. False: it must be registered; *name is what to register, empty: not to be had.
 */
bool topic_for(const struct mote *m, struct bytes topic, uint8_t *kind, uint16_t *id, struct bytes *name);
uint16_t topic_first_id(const struct sn_settings *s);

/* publish.c, subscribe.c, sleep.c: what motes send. */
void on_publish(struct mote *m, const struct mqttsn_packet *p);
void on_publish_minus_one(struct sn_line *l, struct mote *m, const struct mqttsn_packet *p);
void on_pubrel(struct mote *m, const struct mqttsn_packet *p);
void on_register(struct mote *m, const struct mqttsn_packet *p);
void on_subscribe(struct mote *m, const struct mqttsn_packet *p);
void on_unsubscribe(struct mote *m, const struct mqttsn_packet *p);
void on_pingreq(struct sn_line *l, const struct sn_peer *from, struct mote *m, const struct mqttsn_packet *p);
void on_disconnect(struct mote *m, const struct mqttsn_packet *p);
/* The mote has what there is, or does not answer: it sleeps on. */
void sleep_settle(struct mote *m);
void sleep_again(struct mote *m);

/* deliver.c: what goes to motes. */
extern const struct session_ops mote_session_ops;
void on_regack(struct mote *m, const struct mqttsn_packet *p);
void on_puback(struct mote *m, const struct mqttsn_packet *p);
void on_pubrec(struct mote *m, const struct mqttsn_packet *p);
void on_pubcomp(struct mote *m, const struct mqttsn_packet *p);
void deliver_sent(struct mote *m);
void deliver_retry(struct mote *m);
void deliver_go_on(struct mote *m);
/* What was under way begins anew when there is somebody to take it. */
void deliver_rewind(struct mote *m);
void deliver_stop(struct mote *m);

/* view.c: for those who watch the line. */
void line_see(struct sn_line *l, enum tap_kind kind, const struct link_place *place, struct bytes packet);
void line_view(struct sn_line *l, const struct tap_frame *f, struct cJSON *into);
void line_view_head(const struct sn_line *l, struct cJSON *into);

/* status.c */
void mote_publish_state(const struct mote *m, const char *state, const char *reason);
void line_status(const struct sn_line *l, struct cJSON *into);
void line_motes(const struct sn_line *l, struct cJSON *into);
void peer_text(const struct sn_line *l, const struct sn_peer *p, char out[160]);

#endif
