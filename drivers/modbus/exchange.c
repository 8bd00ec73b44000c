/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/exchange.h"

#include <string.h>

#define BUSY_US        2000000 /* so long a line may go on talking before we give up */
#define NOISE_IS_REPLY 4       /* fewer bytes than the shortest frame are a glitch, not an answer */

void exchange_init(struct exchange *x, struct rtu_timing timing)
{
    *x = (struct exchange){.timing = timing};
    judge_init(&x->judge, timing);
}

void exchange_retime(struct exchange *x, struct rtu_timing timing, uint64_t now_us)
{
    x->timing = timing;
    exchange_reset(x, now_us);
}

void exchange_reset(struct exchange *x, uint64_t now_us)
{
    judge_init(&x->judge, x->timing);
    x->echo_known = false;
    x->state = STATE_IDLE;
    x->quiet_from_us = now_us;
}

static void see(const struct exchange *x, enum tap_kind kind, struct bytes frame, uint64_t last_us)
{
    uint64_t wire_us = rtu_wire_us(&x->timing, frame.len);

    if (x->tap)
        tap_put(x->tap, kind, frame, last_us > wire_us ? last_us - wire_us : 0, last_us);
}

void exchange_begin(struct exchange *x, const struct exchange_request *request, uint64_t now_us)
{
    memcpy(x->frame, request->frame.data, request->frame.len);
    x->frame_len = request->frame.len;
    x->reply_len = request->reply_len;
    x->response_us = request->response_us;
    x->holdoff_us = request->holdoff_us;
    x->asked_us = now_us;
    x->answered = false;
    x->reply_got = 0;
    x->state = STATE_SILENCE;
}

bool exchange_withdraw(struct exchange *x)
{
    if (x->state != STATE_SILENCE)
        return false;
    x->state = STATE_IDLE;
    return true;
}

void exchange_sent(struct exchange *x, uint64_t now_us)
{
    x->sent_us = now_us + rtu_wire_us(&x->timing, x->frame_len);
    if (x->sent_us > x->quiet_from_us)
        x->quiet_from_us = x->sent_us;
    see(x, TAP_REQUEST, (struct bytes){x->frame, x->frame_len}, x->sent_us);
    x->deadline_us = x->sent_us + x->response_us;
    x->noise = 0;
    x->echoes_before = x->counts.echoes;
    judge_expect(&x->judge, (struct bytes){x->frame, x->frame_len}, x->reply_len);
    x->judge.echo_unknown = !x->echo_known;
    x->state = STATE_REPLY;
}

static void sniff_all(struct exchange *x, uint64_t now_us)
{
    for (;;) {
        struct sniff_piece p = sniff_next(x->sniff, now_us);
        if (!p.data.len)
            break;
        if (x->tap)
            tap_put(x->tap, p.frame ? TAP_FOREIGN : TAP_NOISE, p.data, p.first_us, p.last_us);
    }
}

static void sniff_bytes(struct exchange *x, const uint8_t *data, size_t len, uint64_t now_us)
{
    while (len) {
        size_t room = sniff_room(x->sniff), part = len < room ? len : room;
        sniff_feed(x->sniff, data, part, now_us);
        sniff_all(x, 0);
        data += part;
        len -= part;
    }
}

void exchange_bytes(struct exchange *x, const uint8_t *data, size_t len, uint64_t now_us)
{
    if (x->sniff)
        sniff_bytes(x, data, len, now_us);
    else
        judge_feed(&x->judge, data, len, now_us);
    if (now_us > x->quiet_from_us)
        x->quiet_from_us = now_us;
}

void exchange_sniff(struct exchange *x, struct sniff *s, uint64_t now_us)
{
    exchange_reset(x, now_us);
    x->sniff = s;
    if (s)
        sniff_init(s, x->timing);
}

static struct late *late_of(struct exchange *x)
{
    return &x->late[x->frame[0]];
}

static void count_late(struct exchange *x, struct late *l, uint64_t sent_us, uint64_t now_us)
{
    uint64_t took = now_us > sent_us ? now_us - sent_us : 0;

    l->frames++;
    l->took_us = (uint32_t)took;
    x->counts.frames_late++;
    x->counts.late_us_last = took;
    if (took > x->counts.late_us_most)
        x->counts.late_us_most = took;
}

static void finish(struct exchange *x, enum exchange_verdict verdict, uint64_t now_us)
{
    judge_expect_none(&x->judge);
    x->verdict = verdict;
    x->done_us = now_us;
    x->state = STATE_DONE;
}

/* No accepted answer: whatever still comes must not be taken for the answer to the next request. */
static void give_up(struct exchange *x, enum exchange_verdict verdict, uint64_t now_us)
{
    late_add(late_of(x), x->frame[1], x->reply_len, x->sent_us);
    finish(x, verdict, now_us);
}

static void listen_on(struct exchange *x, enum exchange_verdict verdict, uint64_t now_us)
{
    x->verdict = verdict;
    x->done_us = now_us;
    x->deadline_us = now_us + x->holdoff_us;
    x->state = STATE_HOLDOFF;
}

static void take_reply(struct exchange *x, const struct judge_event *e)
{
    memcpy(x->reply, e->frame.data, e->frame.len);
    x->reply_got = e->frame.len;
}

/* The answer to a read never looks like its request. An adapter that has echoed once always does. */
static void learn_echo(struct exchange *x)
{
    if (x->frame[1] > 4)
        return;
    x->echo_known = true;
    x->judge.echoing = x->judge.echoing || x->counts.echoes > x->echoes_before;
}

static void on_answer(struct exchange *x, const struct judge_event *e)
{
    bool exception = e->kind == JUDGE_EXCEPTION;

    if (x->state == STATE_HOLDOFF) {
        count_late(x, late_of(x), x->sent_us, e->last_us);
        x->answered = true;
        return;
    }
    take_reply(x, e);
    /* A refusal has no shape: while requests are open it may belong to one of them, and ours is still to
     * come. */
    late_expire(late_of(x), e->last_us);
    if (exception && late_of(x)->count) {
        listen_on(x, EXCHANGE_EXCEPTION, e->last_us);
        return;
    }
    learn_echo(x);
    finish(x, exception ? EXCHANGE_EXCEPTION : EXCHANGE_OK, e->last_us);
}

static void on_foreign(struct exchange *x, const struct judge_event *e)
{
    struct late *l = &x->late[e->frame.data[0]];
    uint64_t sent_us;

    bool late = late_match(l, e->frame.data[1], e->frame.len, &sent_us);
    see(x, late ? TAP_LATE : TAP_FOREIGN, e->frame, e->last_us);
    if (late)
        count_late(x, l, sent_us, e->last_us);
    else
        x->counts.frames_foreign++;
}

static void on_event(struct exchange *x, const struct judge_event *e, uint64_t now_us)
{
    switch (e->kind) {
    case JUDGE_REPLY:
    case JUDGE_EXCEPTION:
        see(x, x->state == STATE_HOLDOFF ? TAP_LATE : TAP_REPLY, e->frame, e->last_us);
        on_answer(x, e);
        break;
    case JUDGE_ECHO:
        see(x, TAP_ECHO, e->frame, e->last_us);
        x->counts.echoes++;
        break;
    case JUDGE_FRAME:
        on_foreign(x, e);
        break;
    case JUDGE_BROKEN:
        see(x, TAP_BROKEN, e->frame, e->last_us);
        x->noise += e->frame.len;
        if (x->state == STATE_REPLY)
            give_up(x, EXCHANGE_CRC, now_us);
        break;
    case JUDGE_NOISE:
        see(x, TAP_NOISE, e->frame, e->last_us);
        x->noise += e->frame.len;
        x->counts.bytes_stray += e->frame.len;
        break;
    case JUDGE_NOTHING:
        break;
    }
}

static void judge_all(struct exchange *x, uint64_t now_us)
{
    for (;;) {
        struct judge_event e = judge_next(&x->judge, now_us);
        if (e.kind == JUDGE_NOTHING)
            break;
        on_event(x, &e, now_us);
    }
    x->counts.bytes_stray += x->judge.dropped;
    x->noise += x->judge.dropped;
    x->judge.dropped = 0;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return !a || (b && b < a) ? b : a;
}

static enum exchange_what step_silence(struct exchange *x, uint64_t now_us, uint64_t *until_us)
{
    uint64_t quiet = x->quiet_from_us + x->timing.silence_us;

    if (now_us >= quiet) {
        /* Any frame has ended by now: what is left of one was not an answer to what is only asked now. */
        judge_all(x, UINT64_MAX);
        return EXCHANGE_SEND;
    }
    if (now_us >= x->asked_us + BUSY_US) {
        finish(x, EXCHANGE_BUSY, now_us);
        return EXCHANGE_DONE;
    }
    *until_us = quiet;
    return EXCHANGE_WAIT;
}

/* A frame that has begun in time may end; it cannot take longer than the longest frame does. */
static uint64_t reply_deadline(const struct exchange *x)
{
    size_t most = x->reply_len ? x->reply_len : RTU_FRAME_MAX;
    uint64_t latest = x->deadline_us + rtu_wire_us(&x->timing, most) + x->timing.gap_us;
    uint64_t wake = judge_wake_us(&x->judge);

    if (wake <= x->deadline_us)
        return x->deadline_us;
    return wake < latest ? wake : latest;
}

static enum exchange_what step_reply(struct exchange *x, uint64_t now_us, uint64_t *until_us)
{
    uint64_t deadline = reply_deadline(x);

    if (now_us >= deadline) {
        if (x->tap)
            tap_put(x->tap, TAP_TIMEOUT, (struct bytes){x->frame, x->frame_len}, x->sent_us, now_us);
        listen_on(x, x->noise >= NOISE_IS_REPLY ? EXCHANGE_CRC : EXCHANGE_TIMEOUT, now_us);
        *until_us = x->deadline_us;
        return EXCHANGE_WAIT;
    }
    *until_us = sooner(judge_wake_us(&x->judge), deadline);
    return EXCHANGE_WAIT;
}

static enum exchange_what step_holdoff(struct exchange *x, uint64_t now_us, uint64_t *until_us)
{
    if (now_us < x->deadline_us && !x->answered) {
        *until_us = x->deadline_us;
        return EXCHANGE_WAIT;
    }
    if (!x->answered && x->verdict != EXCHANGE_EXCEPTION)
        late_add(late_of(x), x->frame[1], x->reply_len, x->sent_us);
    finish(x, x->verdict, x->done_us);
    return EXCHANGE_DONE;
}

enum exchange_what exchange_step(struct exchange *x, uint64_t now_us, uint64_t *until_us)
{
    *until_us = 0;
    if (x->state == STATE_DONE)
        x->state = STATE_IDLE;
    if (x->sniff) {
        sniff_all(x, now_us);
        *until_us = sniff_wake_us(x->sniff);
        return EXCHANGE_IDLE;
    }
    judge_all(x, now_us);
    switch (x->state) {
    case STATE_SILENCE:
        return step_silence(x, now_us, until_us);
    case STATE_REPLY:
        return step_reply(x, now_us, until_us);
    case STATE_HOLDOFF:
        return step_holdoff(x, now_us, until_us);
    case STATE_DONE:
        return EXCHANGE_DONE;
    case STATE_IDLE:
        *until_us = judge_wake_us(&x->judge);
        break;
    }
    return EXCHANGE_IDLE;
}
