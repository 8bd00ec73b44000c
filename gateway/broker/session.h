/* SPDX-License-Identifier: Apache-2.0 */
/* Everyone who receives is a session: an MQTT client, a mote, an upstream, a driver's inbox. It has
 * subscriptions, a queue, a window of what is in flight, and a reader that takes messages while it has room.
 * A durable session (number > 0) keeps its queue on disk, the head of it in memory. Identifiers: the packet
 * identifier of an outbound message is 1 + sequence mod 65,535, so nothing needs to be recorded and it is the
 * same after a restart; sessions that share a connection have lanes, each with identifiers of its own. Loop
 * thread only. */
#ifndef SLUICE_BROKER_SESSION_H
#define SLUICE_BROKER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "base/timer.h"
#include "broker/deliveries.h"
#include "broker/message.h"
#include "store/store.h"

struct broker;
struct replays;
struct session;
struct subscription;

/* What a kind of receiver does. */
struct session_ops {
    const char *kind; /* "client", "upstream", "inbox" …, for status */
    /* Writes one message to the peer: QoS 0 at once (dropping it is allowed, then return false), QoS 1 and 2
     * from session_pump only while on_room says yes. Held at d->ticket. It may acknowledge d itself
     * (session_on_puback, session_skip …), but must neither publish nor close its connection. */
    bool (*on_deliver)(struct session *s, const struct delivery *d);
    /* Writes PUBREL (again): held at ticket. */
    void (*on_release)(struct session *s, uint16_t id, store_ticket ticket);
    /* True while the reader takes more. When it says no, the reader calls session_wake later. */
    bool (*on_room)(struct session *s);
    /* Another reader takes the session over: end the old one; detaches before it returns. */
    void (*on_displaced)(struct session *s);
    /* Of who publishes by this session: its user's name (NULL: none), and whether it may publish to a topic.
     * NULL: there are no users; it may. */
    const char *(*user)(const struct session *s);
    bool (*may_publish)(struct session *s, struct bytes topic);
    /* What could be sent has been; NULL: of no interest. */
    void (*on_pumped)(struct session *s);
};

enum queue_full { QUEUE_DROP_OLDEST, QUEUE_DROP_NEWEST, QUEUE_REFUSE };

/* Bounds of a queue. 0: no bound of that kind. */
struct queue_limits {
    uint64_t messages, bytes;
    uint64_t keep_s; /* age; judged when a message is read */
    enum queue_full full;
};

/* Which packet identifiers a session's messages have. Who has no lane has them all; the lanes of one
 * connection have none in common, and leave those from LANE_FREE_ID on to packets of the connection's own. */
enum session_lane { LANE_ALONE, LANE_NORMAL, LANE_URGENT };
enum { LANE_FREE_ID = 65501 };

/* Of what its subscriptions bring, a session may leave some to another one. Owned by its queue. */
struct choice {
    bool (*takes)(const struct choice *c, const struct message *m);
    void (*free)(struct choice *c);
};

struct queue_counts {
    uint64_t dropped_oldest, dropped_newest, refused, expired, dropped_qos0, too_large;
};

/* flight holds what was sent and is not done, ready what comes next, as far as it is in memory. Rows from
 * loaded up to tail are on disk alone. */
struct queue {
    struct deliveries flight, ready;
    uint64_t loaded, tail;
    uint64_t may_be_sent; /* rows before this sequence may have been sent before a restart: DUP */
    uint64_t queued;      /* messages: in ready and on disk */
    uint64_t bytes;       /* of all that is not acknowledged */
    size_t ready_bytes;
    struct queue_read *read; /* a read of the disk under way, or NULL */
    struct replays *replays; /* of subscriptions whose retained messages have not all gone out, or NULL */
    struct choice *choice;   /* NULL: takes all that is offered */
    struct queue_limits limits;
    struct queue_counts counts;
    uint64_t delivered;   /* QoS 1 and 2 acknowledged by the peer */
    uint64_t last_ack_us; /* CLOCK_BOOTTIME of the peer's last acknowledgement */
    store_ticket saved;   /* of the session's last record */
    uint16_t *inbound;    /* QoS 2 identifiers received and not released: sorted */
    uint32_t inbound_count, inbound_cap;
    uint16_t in_flight; /* of flight, without those that are done */
};

/* To be published when the reader goes without DISCONNECT. */
struct will {
    struct session *session;
    struct message *message;
    uint32_t delay_s;
    struct timer timer;
};

struct expiry {
    struct session *session;
    struct timer timer;
};

/* Most of thousands wait for QoS 0: what they do not use costs a pointer. */
struct session {
    struct map_node by_name;
    struct broker *broker;
    const struct session_ops *ops; /* NULL: nobody is attached */
    void *reader;                  /* of ops */
    struct queue *queue;           /* to be written to only by way of session_queue() */
    struct will *will;             /* or NULL */
    struct expiry *expiry;         /* runs while there is no reader; or NULL */
    uint64_t key;                  /* unique in this run; message.publisher */
    struct list subscriptions;
    struct list wake;  /* in broker->waking */
    uint32_t no;       /* in the store; 0: not durable */
    uint32_t expiry_s; /* MQTT 5 session expiry interval; UINT32_MAX: never */
    uint16_t window;   /* most in flight */
    uint16_t name_len;
    bool leaving;    /* it has ended; what it got by shared subscriptions goes to their other members */
    bool nameless;   /* because of that, and nobody can find it */
    bool noted;      /* its record says when it ends */
    uint8_t lane;    /* enum session_lane; its owner sets it before anything is sent */
    uint32_t left_s; /* of expiry_s when the timer fires */
    struct session_ids *ids; /* topic ids and notes, or NULL; see session_ids.h */
    char name[]; /* client identifier; ids that a client cannot have ("bridge:cloud") begin with '\1' */
};

/* Finds by name; NULL when there is none. */
struct session *session_find(struct broker *b, struct bytes name);
/* Makes one. durable: takes a number and is on disk by the open ticket. -EMFILE when there are too many. */
int session_new(struct session **out, struct broker *b, struct bytes name, bool durable);
/* Ends it with its queue, subscriptions and what is on disk of it. The reader must be detached. */
void session_end(struct session *s);

/* A reader begins: what is in flight is sent again from the head (DUP), in the order of the first time. */
void session_attach(struct session *s, const struct session_ops *ops, void *reader, uint16_t window);
/* The reader is gone. The session stays; a non-durable one without expiry is the caller's to end. */
void session_detach(struct session *s);
/* Writes its record (name, expiry, will) to the store, when durable. */
void session_save(struct session *s);
/* The ticket at which the last record is on disk. */
store_ticket session_saved(const struct session *s);
/* The ticket at which all that was done to it until now is on disk; 0 when it is not durable. */
store_ticket session_written(const struct session *s);
/* The ticket at which a session of this name that has ended is gone from the disk; perhaps that of another
 * one.
 */
store_ticket session_gone(const struct broker *b, struct bytes name);
/* Without a reader: ends when its expiry interval has passed, also over a restart. */
void session_expire_later(struct session *s);
void session_expire_in(struct session *s, uint32_t seconds);
void session_stop_expiry(struct session *s);

/* The will (a reference is taken over; NULL: none), without saving. session_will_due: the reader went without
 * a DISCONNECT; it is published now or after its delay, unless the session is attached again (MQTT 5.0
 * §3.1.3.2.2). */
void session_set_will(struct session *s, struct message *will, uint32_t delay_s);
void session_will_due(struct session *s);
void session_fire_will(struct session *s);
/* The same for whoever publishes it in this very turn: it is not saved any more. NULL: none. */
struct message *session_take_will(struct session *s);

/* The reader has room again, or something was queued: session_pump at the end of this turn. */
void session_wake(struct session *s);
/* Delivers what window and reader have room for; called by broker_wake. */
void session_pump(struct session *s);
/* Reads the head of the queue from disk, so that its age is known and the oldest can be dropped. */
void session_read_ahead(struct session *s);

/* Queues (QoS 1, 2) or delivers at once (QoS 0). m may be borrowed. Returns the ticket to hold the
 * publisher's acknowledgement at: 0 when nothing was stored; STORE_REFUSED when the queue is full and its
 * policy is to refuse. */
#define SESSION_REFUSED UINT64_MAX
struct offer {
    uint8_t qos;
    bool retain, shared;
    const uint32_t *sub_ids; /* as in struct delivery; copied */
};
store_ticket session_offer(struct session *s, struct message *m, const struct offer *o);

/* The peer's acknowledgements of what we sent. 0, or -ENOENT when nothing in flight has this identifier (for
 * PUBREC and PUBCOMP of what is already further: 0, the answer is simply given again).
 * session_on_pubrec sets *release: PUBREL is due, held at *ticket (ops->on_release is not called). refused:
 * reason >= 0x80. */
int session_on_puback(struct session *s, uint16_t id);
int session_on_pubrec(struct session *s, uint16_t id, bool refused, bool *release, store_ticket *ticket);
int session_on_pubcomp(struct session *s, uint16_t id);
/* What is in flight under id will never be sent (it is too large for the peer, or not for it): as if it had
 * been acknowledged. */
void session_skip(struct session *s, uint16_t id);

/* Inbound QoS 2. session_inbound: true when id is new (publish it), false for a repeat; *ticket: hold PUBREC
 * there. session_inbound_done: PUBREL came; false when id was not there; *ticket: hold PUBCOMP there. */
bool session_inbound(struct session *s, uint16_t id, store_ticket *ticket);
bool session_inbound_done(struct session *s, uint16_t id, store_ticket *ticket);

/* What came to s by a shared subscription and is not begun, or is QoS 1 and not acknowledged (§4.8.2): pass()
 * is called for each message that is in memory. */
void session_each_shared(struct session *s, void (*pass)(struct session *s, struct message *m, uint8_t qos));

/* The session's own queue, made when it has none yet. */
struct queue *session_queue(struct session *s);
/* Of a session that has not queued anything. */
struct queue *queue_none(void);
/* The limits of clients' queues have changed; those of the box's own sessions are their owners'. */
void session_limit_queue(struct session *s);
/* In the place of the one before; NULL: none. */
void session_choose(struct session *s, struct choice *choice);
/* Gives up the queue; the disk keeps its rows. */
void session_free_queue(struct session *s);

/* True when one more is certainly queued and would not wait long: nothing is dropped for it. */
bool session_queue_room(const struct session *s);

/* An identifier for a packet of its own that nothing in flight has nor soon will; of a session that is in no
 * lane. last: the one given before, 0 at first. */
uint16_t session_free_id(const struct session *s, uint16_t last);

/* The first that waits would be sent now if the reader had room, or is being fetched from the disk. */
bool session_presses(const struct session *s);
/* The next in line is a PUBLISH, not a PUBREL again. */
bool session_publishes_next(const struct session *s);
/* Whether an identifier is of the session's lane. */
bool session_has_id(const struct session *s, uint16_t id);

/* Queued and in flight; bytes of them; age in seconds of the oldest (0: none). */
uint64_t session_backlog(const struct session *s);
uint64_t session_oldest_s(const struct session *s);

/* Subscribing; retained messages follow as retain_handling says. */
struct subscription_options {
    uint8_t qos;
    uint8_t retain_handling;
    bool no_local : 1, retain_as_published : 1;
    bool raise : 1; /* deliver at qos whatever the publisher's was */
    uint32_t id;    /* MQTT 5 subscription identifier; 0: none */
};
void session_subscribe(struct session *s, struct bytes filter, const struct subscription_options *o);
/* Whether it has this very filter. */
bool session_subscribes(const struct session *s, struct bytes filter);
bool session_unsubscribe(struct session *s, struct bytes filter);

#endif
