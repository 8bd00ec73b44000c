/* SPDX-License-Identifier: Apache-2.0 */
/* Writing one point: which requests, one after the other, and what is true in the end. A write counts only
 * when the unit itself has answered, and where there is doubt, or it is asked for, when a read gives what was
 * written. Bits of a register are written by code 22, or read, changed, written and read again. Pure: whoever
 * carries the requests calls order_next, sends that, and tells order_took what came. */
#ifndef SLUICE_DRIVERS_MODBUS_ORDER_H
#define SLUICE_DRIVERS_MODBUS_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "drivers/modbus/exchange.h"
#include "drivers/modbus/point.h"
#include "drivers/modbus/result.h"

enum order_verdict {
    ORDER_OK,
    ORDER_EXCEPTION, /* the unit refuses */
    ORDER_TIMEOUT,
    ORDER_CRC,
    ORDER_BUSY,        /* the line never fell silent: nothing was sent */
    ORDER_UNVERIFIED,  /* written, and a read gives something else, or nothing */
    ORDER_EXPIRED,     /* nothing was sent */
    ORDER_DOWN,        /* the port is not there: nothing was sent */
    ORDER_INTERRUPTED, /* the line ended, perhaps after the write was sent */
};

struct modbus_raw;

/* What is to be written; from the loop to the line and back. */
struct modbus_order {
    struct list link;
    void *command;          /* of the loop */
    struct modbus_raw *raw; /* not NULL: this is to be sent, and no point is written; verdict is its result */
    unsigned device, group, point; /* of raw: device alone, ORDER_NO_DEVICE where none has the unit */
    uint8_t data[VALUE_BYTES_MAX]; /* as value_write makes it */
    uint64_t expires_us;           /* CLOCK_BOOTTIME: not sent after this; 0: never */
    /* The result: */
    enum order_verdict verdict;
    uint8_t exception;
    bool have_read; /* a read after the write answered: */
    uint8_t read[VALUE_BYTES_MAX];
    uint32_t took_us; /* from taking it up to the end */
};

enum { ORDER_NO_DEVICE = UINT16_MAX };

struct order_run {
    struct modbus_order *order;
    const struct modbus_point *point;
    bool no_mask; /* in, out: the unit does not know code 22 */
    bool doubt;   /* the write must be read back */
    bool again;   /* and has been, in vain; one more try */
    enum { ORDER_READ_FIRST, ORDER_WRITE, ORDER_READ_BACK, ORDER_DONE } step;
    uint8_t before[2], written[2]; /* of a bit's register */
};

/* read_first: the line must be known before the write is sent. doubt: an earlier write of this kind may still
 * be answered, which would look like the answer to this one. */
void order_begin(struct order_run *r, struct modbus_order *order, const struct modbus_point *point,
                 bool no_mask, bool read_first, bool doubt);

enum order_step { ORDER_SEND_READ, ORDER_SEND_WRITE, ORDER_ENDED };

struct order_request {
    struct plan_block read; /* SEND_READ: may be read in a wider shape */
    uint8_t pdu[253];       /* SEND_WRITE: function and what follows it */
    size_t len, reply_len;  /* reply_len: of the whole frame on a serial line */
};

enum order_step order_next(struct order_run *r, struct order_request *out);
void order_took(struct order_run *r, const struct modbus_result *result);

enum order_verdict order_verdict_of(enum exchange_verdict verdict);

/* "ok", "exception 2", "timeout", … */
void order_print(struct buf *out, enum order_verdict verdict, uint8_t exception);

/* The function code that a point is written with when its configuration names none; 0: it cannot be written.
 */
uint8_t order_function(const struct modbus_point *p);
/* True when the code can write such a point. */
bool order_fits(const struct modbus_point *p, int function);

#endif
