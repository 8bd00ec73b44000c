/* SPDX-License-Identifier: Apache-2.0 */
/* Modbus frames in words, for people: "read holding:100 x2", "holding:100 = 215 (0x00D7), 8", "exception 2:
 * illegal data address". Knows what the last request asked, so that an answer can be told with its
 * addresses. The bytes may be anything. Pure. */
#ifndef SLUICE_DRIVERS_MODBUS_DECODE_H
#define SLUICE_DRIVERS_MODBUS_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* The request that answers are understood by. */
struct decode_request {
    bool known;
    uint8_t unit, function;
    uint16_t address, count; /* what is read; of a read and write both: what is read */
};

/* pdu: function and what follows it. Appends the words to out. */
void decode_request(struct bytes pdu, struct buf *out);
/* "illegal data address"; "unknown" for a code that the standard does not have. */
const char *decode_exception(uint8_t code);

/* What an answer will be understood by. */
struct decode_request decode_remember(uint8_t unit, struct bytes pdu);
/* asked: may be unknown, or another's. */
void decode_reply(const struct decode_request *asked, uint8_t unit, struct bytes pdu, struct buf *out);

#endif
