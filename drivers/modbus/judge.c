/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/judge.h"

#include "base/mem.h"
#include "drivers/modbus/crc.h"

#define GAP_LEAST_US  25000 /* a common USB adapter keeps bytes back for 16 ms */
#define REPLY_GAPS    4     /* of these an answer that has begun may stall before it counts as cut off */
#define EXCEPTION_LEN 5

struct rtu_timing rtu_timing(uint32_t baud, unsigned bits_per_char)
{
    struct rtu_timing t;

    t.char_ns = (uint32_t)((bits_per_char * 1000000000ull + baud - 1) / baud);
    t.silence_us = baud > 19200 ? 1750 : (uint32_t)((t.char_ns * 35ull + 9999) / 10000);
    t.gap_us = t.silence_us > GAP_LEAST_US ? t.silence_us : GAP_LEAST_US;
    return t;
}

uint64_t rtu_wire_us(const struct rtu_timing *t, size_t chars)
{
    return (chars * t->char_ns + 999) / 1000;
}

void judge_init(struct judge *j, struct rtu_timing timing)
{
    *j = (struct judge){.timing = timing};
}

void judge_expect(struct judge *j, struct bytes request, size_t reply_len)
{
    memcpy(j->request, request.data, request.len);
    j->request_len = request.len;
    j->reply_len = reply_len;
    j->echoed = false;
}

void judge_expect_none(struct judge *j)
{
    j->request_len = 0;
}

static void drop_used(struct judge *j)
{
    memmove(j->rx, j->rx + j->used, j->len - j->used);
    j->len -= j->used;
    j->used = 0;
}

void judge_feed(struct judge *j, const uint8_t *data, size_t len, uint64_t now_us)
{
    drop_used(j);
    while (len) {
        size_t room = sizeof j->rx - j->len;
        size_t part = len < room ? len : room;
        memcpy(j->rx + j->len, data, part);
        j->len += part;
        data += part;
        len -= part;
        if (len) {
            j->dropped += j->len;
            j->len = 0;
        }
    }
    j->last_us = now_us;
}

static bool head_is_ours(const struct judge *j, const uint8_t *p, size_t len)
{
    return j->request_len && len >= 1 && p[0] == j->request[0] && (len < 2 || (p[1] & 0x7f) == j->request[1]);
}

/* Bytes of the request that the answer begins with; 0: it has a byte count instead. Modbus Application
 * Protocol 1.1b3, 6.5, 6.6, 6.11, 6.12, 6.16. */
static size_t mirrored(const struct judge *j)
{
    switch (j->request[1]) {
    case 5:
    case 6:
    case 15:
    case 16:
        return 6;
    case 22:
        return 8;
    default:
        return 0;
    }
}

static bool answer_equals_request(const struct judge *j)
{
    return !j->reply_len || (mirrored(j) && j->reply_len == j->request_len);
}

/* True while what looks like such an answer is the echo, which comes first. */
static bool echo_is_due(const struct judge *j)
{
    bool echoing = j->echoing || (!j->reply_len && j->echo_unknown);

    return answer_equals_request(j) && echoing && !j->echoed;
}

/* True when the bytes behind unit and function, as far as they are there, are those of a data reply. */
static bool starts_right(const struct judge *j, const uint8_t *p, size_t len)
{
    size_t mirror = mirrored(j);

    if (!j->reply_len)
        return true;
    if (mirror)
        return !memcmp(p, j->request, len < mirror ? len : mirror);
    return len < 3 || p[2] == j->reply_len - 5;
}

/* Length of the answer that begins at p, 0 when there is none (yet). */
static size_t reply_at(const struct judge *j, const uint8_t *p, size_t len)
{
    if (len < EXCEPTION_LEN || !head_is_ours(j, p, len))
        return 0;
    if (p[1] & 0x80)
        return crc_good(p, EXCEPTION_LEN) ? EXCEPTION_LEN : 0;
    if (!j->reply_len || len < j->reply_len || !starts_right(j, p, len) || echo_is_due(j))
        return 0;
    return crc_good(p, j->reply_len) ? j->reply_len : 0;
}

/* All that is there behind the first bytes, when that is an answer of unknown length; 0: it is not (yet). */
static size_t open_reply(const struct judge *j, size_t skip)
{
    const uint8_t *p = j->rx + skip;
    size_t len = j->len - skip;

    if (j->reply_len || len < 4 || len > RTU_FRAME_MAX || !head_is_ours(j, p, len) || p[1] & 0x80)
        return 0;
    if (!crc_good(p, len))
        return 0;
    /* A zero behind a frame leaves its CRC good, and is what a transmitter that is switched off leaves too.
     */
    while (len > 4 && !p[len - 1] && crc_good(p, len - 1))
        len--;
    return len;
}

static bool echo_begins(const struct judge *j)
{
    size_t len = j->len < j->request_len ? j->len : j->request_len;

    if (!j->request_len || (answer_equals_request(j) && !echo_is_due(j)))
        return false;
    return !memcmp(j->rx, j->request, len);
}

/* True when the bytes so far may become the answer, so that nobody should look for other frames in them. */
static bool reply_begins(const struct judge *j)
{
    if (!head_is_ours(j, j->rx, j->len))
        return false;
    if (j->len < 3)
        return true;
    if (j->rx[1] & 0x80)
        return j->len < EXCEPTION_LEN;
    return !j->reply_len || (j->len < j->reply_len && starts_right(j, j->rx, j->len));
}

/* Length of somebody else's frame at the front: a reply with a byte count, an exception, a request or the
 * repetition of one, a request that carries data. */
static size_t foreign_at_front(const struct judge *j)
{
    const uint8_t *p = j->rx;
    size_t try[4] = {0};

    if (j->len < 4)
        return 0;
    if (p[1] & 0x80) {
        try[0] = EXCEPTION_LEN;
    } else {
        try[0] = (size_t)p[2] + 5;
        try[1] = p[1] == 22 ? 10 : 8;
        try[2] = j->len > 6 && (p[1] == 15 || p[1] == 16) ? (size_t)p[6] + 9 : 0;
        try[3] = j->len > 10 && p[1] == 23 ? (size_t)p[10] + 13 : 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(try); i++)
        if (try[i] && try[i] <= j->len && try[i] <= RTU_FRAME_MAX && crc_good(p, try[i]))
            return try[i];
    return 0;
}

static struct judge_event event_of(struct judge *j, enum judge_kind kind, size_t len)
{
    j->used = len;
    return (struct judge_event){kind, {j->rx, len}, j->last_us};
}

/* A transceiver that is switched on often adds a byte or two in front of the frame. */
static size_t glitch_before_reply(const struct judge *j)
{
    for (size_t skip = 1; skip <= JUDGE_GLITCH_MAX && skip < j->len; skip++)
        if (reply_at(j, j->rx + skip, j->len - skip))
            return skip;
    return 0;
}

static size_t glitch_before_open_reply(const struct judge *j)
{
    for (size_t skip = 1; skip <= JUDGE_GLITCH_MAX && skip < j->len; skip++)
        if (open_reply(j, skip))
            return skip;
    return 0;
}

static struct judge_event answer_of(struct judge *j, size_t len)
{
    return event_of(j, j->rx[1] & 0x80 ? JUDGE_EXCEPTION : JUDGE_REPLY, len);
}

/* No more bytes will come: what is there is all. */
static struct judge_event judge_ended(struct judge *j)
{
    size_t len = reply_at(j, j->rx, j->len);

    if (len || (len = open_reply(j, 0)))
        return answer_of(j, len);
    if ((len = foreign_at_front(j)))
        return event_of(j, JUDGE_FRAME, len);
    if ((len = glitch_before_open_reply(j)))
        return event_of(j, JUDGE_NOISE, len);
    return event_of(j, j->len > 1 && head_is_ours(j, j->rx, j->len) ? JUDGE_BROKEN : JUDGE_NOISE, j->len);
}

static uint64_t ended_us(const struct judge *j)
{
    bool more = reply_begins(j) && !open_reply(j, 0);

    return j->last_us + (more ? REPLY_GAPS : 1) * (uint64_t)j->timing.gap_us;
}

struct judge_event judge_next(struct judge *j, uint64_t now_us)
{
    size_t len;

    drop_used(j);
    if (!j->len)
        return (struct judge_event){0};
    /* What equals the request is never taken for the reply, even where (a read of 17 to 24 coils at 0x300 to
     * 0x3ff) it could be one. */
    if (echo_begins(j)) {
        if (j->len >= j->request_len) {
            j->echoed = true;
            return event_of(j, JUDGE_ECHO, j->request_len);
        }
    } else if ((len = reply_at(j, j->rx, j->len))) {
        return answer_of(j, len);
    } else if (!reply_begins(j)) {
        if ((len = foreign_at_front(j)))
            return event_of(j, JUDGE_FRAME, len);
        if ((len = glitch_before_reply(j)))
            return event_of(j, JUDGE_NOISE, len);
    }
    if (now_us >= ended_us(j))
        return judge_ended(j);
    return (struct judge_event){0};
}

uint64_t judge_wake_us(const struct judge *j)
{
    return j->len > j->used ? ended_us(j) : 0;
}

uint64_t judge_rest_us(const struct judge *j)
{
    size_t len = j->len - j->used;

    if (j->used || len < 3 || !reply_begins(j) || j->rx[1] & 0x80 || echo_begins(j) ||
        len + 2 >= j->reply_len) /* so is any of unknown length */
        return 0;
    return j->last_us + rtu_wire_us(&j->timing, j->reply_len - len - 2);
}
