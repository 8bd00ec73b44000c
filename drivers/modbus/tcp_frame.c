/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/tcp_frame.h"

#include <errno.h>
#include <string.h>

enum { FIXED = 6 /* of the header: what its length does not count */ };

void tcp_frame_put(struct buf *out, uint16_t id, uint8_t unit, struct bytes pdu)
{
    buf_u16(out, id);
    buf_u16(out, 0);
    buf_u16(out, (uint16_t)(1 + pdu.len));
    buf_u8(out, unit);
    buf_append(out, pdu.data, pdu.len);
}

int tcp_frame_next(const uint8_t *data, size_t len, struct tcp_frame *out)
{
    struct cursor c = cursor_of(data, len);

    if (len < TCP_HEADER + 1)
        return 0;
    out->id = cursor_u16(&c);
    uint16_t protocol = cursor_u16(&c), size = cursor_u16(&c);
    if (protocol || size < 2 || size > 1 + TCP_PDU_MAX)
        return -EBADMSG;
    if (len < (size_t)FIXED + size)
        return 0;
    out->unit = cursor_u8(&c);
    out->pdu = cursor_bytes(&c, size - 1u);
    return FIXED + size;
}

/* Bytes behind the function that the answer to a write repeats. Modbus Application Protocol 1.1b3, 6.5
 * to 6.16. */
static size_t repeated(uint8_t function)
{
    return function == 22 ? 6 : 4;
}

enum exchange_verdict tcp_frame_judge_open(const struct tcp_frame *answer, uint8_t unit, uint8_t function,
                                           uint8_t *exception)
{
    const uint8_t *p = answer->pdu.data;

    if (answer->unit != unit)
        return EXCHANGE_CRC;
    if (p[0] == (function | 0x80) && answer->pdu.len == 2) {
        *exception = p[1];
        return EXCHANGE_EXCEPTION;
    }
    return p[0] == function ? EXCHANGE_OK : EXCHANGE_CRC;
}

enum exchange_verdict tcp_frame_judge(const struct tcp_frame *answer, uint8_t unit, struct bytes request,
                                      size_t data_len, uint8_t *exception)
{
    enum exchange_verdict verdict = tcp_frame_judge_open(answer, unit, request.data[0], exception);
    const uint8_t *p = answer->pdu.data;
    size_t len = answer->pdu.len, head = repeated(request.data[0]);

    if (verdict != EXCHANGE_OK)
        return verdict;
    bool right = data_len ? len == 2 + data_len && p[1] == data_len
                          : len == 1 + head && !memcmp(p + 1, request.data + 1, head);
    return right ? EXCHANGE_OK : EXCHANGE_CRC;
}
