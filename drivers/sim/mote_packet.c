/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/mote_packet.h"

enum { LONG = 3, SHORT = 1, SHORT_MOST = 255 };

void sim_sn_begin(struct buf *b, uint8_t type)
{
    b->len = 0;
    memset(buf_extend(b, LONG), 0, LONG);
    buf_u8(b, type);
}

void sim_sn_end(struct buf *b)
{
    size_t len = b->len - LONG + SHORT;

    if (len <= SHORT_MOST) {
        buf_consume(b, LONG - SHORT);
        b->data[0] = (uint8_t)len;
    } else {
        b->data[0] = 1;
        b->data[1] = (uint8_t)(b->len >> 8);
        b->data[2] = (uint8_t)b->len;
    }
}

void sim_sn_repeat(struct buf *b)
{
    size_t head = b->data[0] == 1 ? LONG : SHORT;

    if (b->data[head] == SIM_SN_PUBLISH || b->data[head] == SIM_SN_SUBSCRIBE)
        b->data[head + 1] |= SIM_SN_DUP;
}

bool sim_sn_open(const uint8_t *data, size_t len, uint8_t *type, struct cursor *body)
{
    *body = cursor_of(data, len);
    size_t said = cursor_u8(body);

    if (said == 1)
        said = cursor_u16(body);
    *type = cursor_u8(body);
    return !body->failed && said == len;
}
