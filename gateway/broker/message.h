/* SPDX-License-Identifier: Apache-2.0 */
/* A message: topic, forwarded properties, payload; immutable. It begins borrowed, on the stack over the bytes
 * of the packet it came in, and is copied (one allocation, reference counted) only when somebody keeps it. A
 * reading's payload is a record until an encoder makes its bytes at the first delivery; the record is what
 * the disk keeps. Loop thread only. */
#ifndef SLUICE_BROKER_MESSAGE_H
#define SLUICE_BROKER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Makes a payload from a record. boot: the start (struct gateway.boot) in which the message was born. Rows of
 * a table that is searched by name when a message comes back from disk. */
struct message_encoder {
    const char *name; /* on disk with the message: never change it */
    /* wall_offset_us: what to add to CLOCK_BOOTTIME of that start to get wall time; only when known. */
    void (*encode)(struct buf *out, struct bytes record, bool offset_known, int64_t wall_offset_us);
};

enum { MESSAGE_LARGE = 65536 /* larger payloads are referenced by what sends them */ };

struct message {
    struct bytes topic;
    struct bytes props;   /* forwarded MQTT 5 properties as encoded: payload format, content type, response
                             topic, correlation data, user properties */
    struct bytes payload; /* with an encoder: the record; use message_payload() */
    struct bytes wire; /* borrowed QoS 0: the whole packet as it came, to be passed on as it is; else empty */
    const struct message_encoder *encoder;
    struct message *kept; /* of a borrowed message: the copy, once made */
    uint8_t *made;        /* with an encoder: the payload, once made; else where a large one lies, or NULL */
    size_t made_len;      /* with an encoder */
    uint64_t publisher;   /* session id of whoever published it (struct session.id_hash), 0: the box itself */
    uint64_t body_id;     /* of its payload in the store; 0: none yet */
    int64_t born_us;      /* CLOCK_BOOTTIME at which it came; negative: before the box booted */
    uint32_t expiry_s;    /* message expiry interval at born_us, when expires */
    uint32_t boot;        /* start in which it was born */
    uint32_t refs;        /* 0: borrowed */
    uint8_t qos;
    uint8_t wire_version; /* of wire */
    bool retain;
    bool expires;
    bool expired; /* found so when it came back from disk */
};

/* A reference to m that lasts: m itself, or for a borrowed one its copy. */
struct message *message_keep(struct message *m);
void message_drop(struct message *m); /* NULL is fine */
/* Of a borrowed message: its payload lies in memory (malloc), which the copy takes over instead of copying.
 */
void message_adopt(struct message *borrowed, uint8_t *memory);
/* Ends a borrowed message: gives up its copy's reference. */
void message_done(struct message *borrowed);

/* The payload's bytes; made now when an encoder has not made them yet. They live as long as m. */
struct bytes message_payload(struct message *m);

/* Its time is over. Never while the clock is not set: what was waiting on disk may be younger than it seems.
 * An interval of 0 is for whoever can take the message at once; it lasts a second. */
bool message_expired(const struct message *m);
/* What is left of the interval of a message that expires, in seconds. */
uint32_t message_left_s(const struct message *m);

/* Memory that m takes, for limits. */
size_t message_cost(const struct message *m);

/* The form on disk, without the payload when it is stored as a body. */
void message_write(struct buf *out, const struct message *m, bool with_payload);
/* A kept message; body: NULL when the payload is in record. body's data is taken over (malloc). NULL when
 * record is not one. */
struct message *message_read(struct bytes record, const struct bytes *body);
/* m, which was read without its body, with it; both are taken over. */
struct message *message_complete(struct message *m, struct bytes body);

/* Encoders, by name. */
void message_encoder_add(const struct message_encoder *e);
/* How the encoder gets the offset of a start: false when it is not known. Set by the clock's owner. */
void message_offset_source(bool (*source)(void *arg, uint32_t boot, int64_t *offset_us), void *arg);

#endif
