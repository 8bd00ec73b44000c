/* SPDX-License-Identifier: Apache-2.0 */
/* One request and what becomes of it, on a serial line: waits for silence, says when to send, judges what
 * comes, listens on after a timeout, and knows which late replies may still come. The caller owns clock and
 * tty:
 *
 *     exchange_begin(x, &request);
 *     while ((what = exchange_step(x, now, &until)) != EXCHANGE_DONE)
 *         EXCHANGE_SEND: write the request, then exchange_sent();
 *         EXCHANGE_WAIT: read until `until`, exchange_bytes() for what comes
 *
 * Between exchanges the same calls listen to the line (EXCHANGE_IDLE). Pure: any clock will do, so the tests
 * run the very code on a virtual one. One struct a line; times in microseconds of one steady clock. */
#ifndef SLUICE_DRIVERS_MODBUS_EXCHANGE_H
#define SLUICE_DRIVERS_MODBUS_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "drivers/modbus/judge.h"
#include "drivers/modbus/late.h"
#include "drivers/modbus/sniff.h"
#include "drivers/tap.h"

enum exchange_what { EXCHANGE_IDLE, EXCHANGE_WAIT, EXCHANGE_SEND, EXCHANGE_DONE };

enum exchange_verdict {
    EXCHANGE_OK,
    EXCHANGE_EXCEPTION,
    EXCHANGE_TIMEOUT,
    EXCHANGE_CRC,  /* something answered, but not as it should */
    EXCHANGE_BUSY, /* the line never fell silent, nothing was sent */
};

struct exchange_request {
    struct bytes frame; /* with CRC; copied */
    size_t reply_len;   /* of a data reply, with unit and CRC; 0: nobody knows (judge.h) */
    uint32_t response_us, holdoff_us;
};

struct exchange_counts {
    uint64_t frames_foreign, frames_late, echoes, bytes_stray;
    uint64_t late_us_last, late_us_most; /* from the request's last bit to the late reply's */
};

struct exchange {
    struct rtu_timing timing;
    struct judge judge;
    struct late late[256]; /* by unit */
    struct exchange_counts counts;
    struct tap *tap;     /* what is seen goes there; NULL: nowhere. Set by the owner */
    struct sniff *sniff; /* NULL, or who gets all bytes while no exchange runs: see exchange_sniff */
    enum { STATE_IDLE, STATE_SILENCE, STATE_REPLY, STATE_HOLDOFF, STATE_DONE } state;
    uint64_t quiet_from_us; /* the last byte on the line, ours or another's */
    uint64_t asked_us, sent_us, deadline_us;
    uint8_t frame[RTU_FRAME_MAX];
    size_t frame_len, reply_len;
    uint32_t response_us, holdoff_us;
    size_t noise;    /* bytes since the request that nobody can explain */
    bool answered;   /* in hold-off: the answer came after all */
    bool echo_known; /* a read has shown whether this line echoes: judge.echoing */
    uint64_t echoes_before;
    /* The result, once done: */
    enum exchange_verdict verdict;
    uint8_t reply[RTU_FRAME_MAX];
    size_t reply_got;
    uint64_t done_us; /* OK, EXCEPTION: when the reply's last byte came; else when we gave up */
};

void exchange_init(struct exchange *x, struct rtu_timing timing);

/* The tty was opened (anew): what was on the way is lost, but late replies may still come. */
void exchange_reset(struct exchange *x, uint64_t now_us);

void exchange_begin(struct exchange *x, const struct exchange_request *request, uint64_t now_us);

/* *until_us: when to ask again at the latest (IDLE: 0 when there is no need). */
enum exchange_what exchange_step(struct exchange *x, uint64_t now_us, uint64_t *until_us);

/* Takes the request back while it waits for silence, as something more urgent has come; false once it was
 * sent.
 */
bool exchange_withdraw(struct exchange *x);

/* The request has been handed to the tty at now_us. */
void exchange_sent(struct exchange *x, uint64_t now_us);

void exchange_bytes(struct exchange *x, const uint8_t *data, size_t len, uint64_t now_us);

/* The wire is another master's for a while: from now on its frames are found and told to the tap; nothing is
 * judged or counted, and no exchange may begin. NULL: it is ours again. */
void exchange_sniff(struct exchange *x, struct sniff *s, uint64_t now_us);

/* The line runs at another speed from now on. */
void exchange_retime(struct exchange *x, struct rtu_timing timing, uint64_t now_us);

#endif
