/* SPDX-License-Identifier: Apache-2.0 */
/* Says what the bytes on a serial Modbus line are: the reply that we wait for, our own request come back,
 * somebody else's frame, or nothing that anybody should believe. Bytes and times go in, events come out; no
 * I/O, no clock, no allocation. What it calls a reply has the right CRC, unit, function and byte count;
 * whether it is a late reply to an earlier request of the same shape is the exchange's business. */
#ifndef SLUICE_DRIVERS_MODBUS_JUDGE_H
#define SLUICE_DRIVERS_MODBUS_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { RTU_FRAME_MAX = 256, JUDGE_GLITCH_MAX = 4 };

/* What the wire's speed makes of characters (Modbus over Serial Line 1.02, 2.5.1.1). */
struct rtu_timing {
    uint32_t char_ns;    /* one character on the wire */
    uint32_t silence_us; /* 3.5 characters; 1750 above 19200 baud */
    uint32_t gap_us;     /* no byte for so long: the frame has ended. Longer than the silence, for adapters
                            that hand bytes over in lumps */
};

struct rtu_timing rtu_timing(uint32_t baud, unsigned bits_per_char);

/* Microseconds that chars take on the wire, rounded up. */
uint64_t rtu_wire_us(const struct rtu_timing *t, size_t chars);

enum judge_kind {
    JUDGE_NOTHING,   /* not yet */
    JUDGE_REPLY,     /* the data asked for */
    JUDGE_EXCEPTION, /* the unit refuses; the code is the frame's third byte */
    JUDGE_ECHO,      /* our own request */
    JUDGE_FRAME,     /* whole and with a good CRC, but not the answer */
    JUDGE_BROKEN,    /* begins like the answer, but is not right */
    JUDGE_NOISE,
};

struct judge_event {
    enum judge_kind kind;
    struct bytes frame; /* until the next call */
    uint64_t last_us;   /* when its last byte came */
};

struct judge {
    struct rtu_timing timing;
    uint8_t request[RTU_FRAME_MAX];
    size_t request_len; /* 0: no answer is awaited */
    size_t reply_len;   /* of a data reply, in all; 0: not known, its end is silence */
    bool echoing;       /* set by the owner: our own bytes come back on this line */
    bool echo_unknown;  /* set by the owner: perhaps they do; matters where reply_len is 0 */
    bool echoed;        /* this request has */
    uint8_t rx[2 * RTU_FRAME_MAX];
    size_t len, used; /* used: bytes of the last event, dropped at the next call */
    uint64_t last_us;
    uint64_t dropped; /* bytes that found no room: a line that babbles without a pause */
};

void judge_init(struct judge *j, struct rtu_timing timing);

/* From now on the answer to this request is awaited: a frame with CRC, reply_len bytes long if all goes well,
 * or 0 when nobody knows: then it is whatever of this unit and function comes before the line falls silent.
 * The answer to a write repeats its head, and that to codes 5, 6 and 22 all of it: then only `echoing` tells
 * the echo from the answer. */
void judge_expect(struct judge *j, struct bytes request, size_t reply_len);
void judge_expect_none(struct judge *j);

void judge_feed(struct judge *j, const uint8_t *data, size_t len, uint64_t now_us);

/* The next event; call until it is JUDGE_NOTHING. */
struct judge_event judge_next(struct judge *j, uint64_t now_us);

/* When judge_next should be asked again although no byte came; 0: no need. */
uint64_t judge_wake_us(const struct judge *j);

/* While the answer comes in: before then the wire cannot have brought its last two characters, and nobody
 * need look. 0: look at each byte. */
uint64_t judge_rest_us(const struct judge *j);

#endif
