/* SPDX-License-Identifier: Apache-2.0 */
/* A request that somebody else has made, to any unit of a Modbus line: a field tool, or a master behind our
 * own server. The line carries it out between two exchanges of its polls. Whose turn it is: a command always
 * goes first; raw requests go when no poll is due, and while polls are, they get at most half of the line's
 * time: one waits until the polls have had as long as those before it took. So a flood of them, or a unit
 * that does not answer them, halves the rate of our polls at worst; who polls as well sets `spare`, so that a
 * silent unit takes next to nothing. At most RAW_MAX wait on a line.
 * Functions whose answer has no known length end by silence. Given by lines_raw (drivers/lines.h) on the
 * loop's thread. */
#ifndef SLUICE_DRIVERS_MODBUS_RAW_H
#define SLUICE_DRIVERS_MODBUS_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "drivers/modbus/order.h"

enum { RAW_PDU_MAX = 253, RAW_MAX = 64 };

struct modbus_raw {
    struct list link; /* of the line's, while it has it */
    /* Set by the caller; 0 where nothing is said: */
    uint8_t unit;             /* 1 to 247 on a serial line, any over TCP */
    uint8_t pdu[RAW_PDU_MAX]; /* function and what follows it */
    size_t len;
    uint32_t response_us; /* for the unit to begin its answer; 0: as its device or line has it */
    uint64_t expires_us;  /* CLOCK_BOOTTIME: not sent after this (ORDER_EXPIRED); 0: never */
    bool spare; /* a unit that has been silent of late is not asked again at once: TIMEOUT, not sent */
    /* Once, on the loop, from a later turn than the giving: the result is there, and raw is the caller's
     * again, to be freed. Also when the line ends (ORDER_INTERRUPTED: perhaps it was sent). */
    void (*done)(struct modbus_raw *raw);
    void *arg;
    bool numbered; /* the answer says itself which request it answers: no late one or echo is mistaken for it
                    */
    bool visitor;  /* set by who has the line to himself (drivers/visit.h) */
    bool writes;   /* set by the line: it may change a register or coil */
    /* The result. OK and EXCEPTION: the unit's own answer is in answer. TIMEOUT, CRC: it may have been
     * carried out all the same. BUSY: the line never fell silent, or a late answer to an earlier request of
     * this kind may still come and would look like this one's; like EXPIRED and DOWN: nothing was sent. */
    enum order_verdict verdict;
    uint8_t exception;
    uint8_t answer[RAW_PDU_MAX];
    size_t answer_len;
    uint64_t ended_us; /* CLOCK_BOOTTIME: when its last byte came, or when we gave up; 0: nothing was sent */
    uint32_t took_us;  /* OK, EXCEPTION: from our last bit to then */
    uint32_t line_us;  /* that it took of the line's time, on a serial one */
};

/* ---- what a request is ---- */

struct raw_range {
    enum modbus_table table;
    uint16_t first;
    uint16_t count;
    bool write;
};

struct raw_shape {
    size_t reply_len; /* of the answer's whole frame on a serial line; 0: nobody knows */
    unsigned range_count;
    struct raw_range ranges[2]; /* what it reads or writes, where the function says so */
};

/* 0, or -EINVAL when it is not as its function must be (Modbus Application Protocol 1.1b3, 6). */
int raw_shape(struct bytes pdu, struct raw_shape *out);

/* ---- for those who carry it out ---- */

struct raw_turns {
    struct list waiting; /* of struct modbus_order */
    uint64_t owed_us;    /* the polls' time, while they are due */
    struct {
        uint8_t misses;    /* reads in a row without an answer */
        uint64_t until_us; /* it is spared until then */
    } units[256];
};

static inline bool raw_is_due(const struct raw_turns *t, bool poll_is_due)
{
    return !list_empty(&t->waiting) && (!poll_is_due || !t->owed_us);
}

static inline void raw_repay(struct raw_turns *t, uint64_t us)
{
    t->owed_us -= us < t->owed_us ? us : t->owed_us;
}

/* Another request without an answer would only cost time. */
bool raw_is_spared(const struct raw_turns *t, const struct modbus_raw *raw, uint64_t now_us);
/* What the exchange came to. Only silence to a read says something: a unit that is there answers any, if only
 * by refusing it. */
void raw_note(struct raw_turns *t, const struct modbus_raw *raw, enum exchange_verdict verdict,
              uint64_t now_us);

/* Fills in what an exchange brought; answer: function and what follows it. */
void raw_took(struct modbus_raw *raw, const struct modbus_result *r, struct bytes answer);

#endif
