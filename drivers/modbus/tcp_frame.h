/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of Modbus TCP (Messaging on TCP/IP 1.0b, 3.1.3): a header with a transaction number, then unit,
 * function and data. Pure. */
#ifndef SLUICE_DRIVERS_MODBUS_TCP_FRAME_H
#define SLUICE_DRIVERS_MODBUS_TCP_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "drivers/modbus/exchange.h"

enum { TCP_HEADER = 7, TCP_PDU_MAX = 253 };

struct tcp_frame {
    uint16_t id;
    uint8_t unit;
    struct bytes pdu; /* function and what follows it */
};

void tcp_frame_put(struct buf *out, uint16_t id, uint8_t unit, struct bytes pdu);

/* The first frame of data: its length in all; 0: more bytes are needed; -EBADMSG: this is no Modbus. */
int tcp_frame_next(const uint8_t *data, size_t len, struct tcp_frame *out);

/* What an answer with the request's transaction number is. data_len: bytes that follow the byte count in the
 * answer to a read; 0: the answer repeats the head of the request. OK, EXCEPTION (*exception), or CRC: it is
 * not right. */
enum exchange_verdict tcp_frame_judge(const struct tcp_frame *answer, uint8_t unit, struct bytes request,
                                      size_t data_len, uint8_t *exception);
/* The same where nobody knows what follows the function. */
enum exchange_verdict tcp_frame_judge_open(const struct tcp_frame *answer, uint8_t unit, uint8_t function,
                                           uint8_t *exception);

#endif
