/* SPDX-License-Identifier: Apache-2.0 */
/* What is seen of the frames on a line: whoever reads and writes its wire puts each one in, on any thread,
 * and the loop takes them out for those who watch. Costs one look at a flag while nobody does. Never makes
 * the wire wait: what finds no room is counted and gone. */
#ifndef SLUICE_DRIVERS_TAP_H
#define SLUICE_DRIVERS_TAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mailbox.h"

enum { TAP_FRAMES_MAX = 1024, TAP_BYTES_MAX = 512 };

enum tap_kind {
    TAP_REQUEST, /* ours, on its way out */
    TAP_REPLY,   /* the answer to it, data or refusal */
    TAP_ECHO,    /* our own bytes come back */
    TAP_LATE,    /* an answer that nobody waits for any more */
    TAP_FOREIGN, /* whole, but neither */
    TAP_BROKEN,  /* begins like the answer, but is not right */
    TAP_NOISE,
    TAP_IN,      /* where there are no requests and replies: to us … */
    TAP_OUT,     /* … and from us */
    TAP_TIMEOUT, /* no answer to this request of ours: from its end to when we gave up */
};

struct tap_frame {
    struct list link;
    enum tap_kind kind;
    uint64_t first_us, last_us; /* CLOCK_BOOTTIME: when its first byte began and its last one ended */
    uint64_t who;               /* a number of the driver's for whom it is of; 0: nobody */
    size_t len;
    uint8_t data[];
};

struct tap {
    atomic_uint watchers; /* changed on the loop */
    atomic_ullong lost;   /* frames, since the start */
    struct mailbox mail;  /* of struct tap_frame */
};

/* wake: as of a mailbox. */
void tap_init(struct tap *t, void (*wake)(void *arg), void *wake_arg);
void tap_destroy(struct tap *t);

void tap_put_of(struct tap *t, enum tap_kind kind, struct bytes data, uint64_t first_us, uint64_t last_us,
                uint64_t who);

static inline bool tap_watched(struct tap *t)
{
    return atomic_load_explicit(&t->watchers, memory_order_relaxed);
}

static inline void tap_put(struct tap *t, enum tap_kind kind, struct bytes data, uint64_t first_us,
                           uint64_t last_us)
{
    if (tap_watched(t))
        tap_put_of(t, kind, data, first_us, last_us, 0);
}

/* "request", "reply", … */
const char *tap_kind_name(enum tap_kind kind);

#endif
