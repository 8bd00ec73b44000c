/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/serve_framing.h"

#include <errno.h>

#include "base/mem.h"
#include "drivers/modbus/crc.h"

/* What the function says of a request's length, with unit and CRC; on a stream there is no silence to tell
 * it. Modbus Application Protocol 1.1b3, 6. */
static const struct {
    uint8_t function;
    uint8_t fixed;    /* bytes, without those that are counted */
    uint8_t count_at; /* where these are counted; 0: there are none */
} requests[] = {{1, 8, 0},  {2, 8, 0},   {3, 8, 0},    {4, 8, 0},  {5, 8, 0},  {6, 8, 0},  {7, 4, 0},
                {8, 8, 0},  {11, 4, 0},  {12, 4, 0},   {15, 9, 6}, {16, 9, 6}, {17, 4, 0}, {20, 5, 2},
                {21, 5, 2}, {22, 10, 0}, {23, 13, 10}, {24, 6, 0}, {43, 7, 0}};

/* 0: more bytes are needed to know; -EBADMSG: nobody knows. */
static int length_of(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        if (len > 1 && data[1] != requests[i].function)
            continue;
        if (len < 2 || len <= requests[i].count_at)
            return 0;
        return requests[i].fixed + (requests[i].count_at ? data[requests[i].count_at] : 0);
    }
    return -EBADMSG;
}

static int rtu_next(const uint8_t *data, size_t len, struct tcp_frame *out)
{
    int size = length_of(data, len);

    if (size > RTU_FRAME_MAX)
        return -EBADMSG;
    if (size <= 0 || len < (size_t)size)
        return size < 0 ? size : 0;
    if (!crc_good(data, (size_t)size))
        return -EBADMSG;
    *out = (struct tcp_frame){.unit = data[0], .pdu = {data + 1, (size_t)size - 3}};
    return size;
}

static void rtu_put(struct buf *out, uint16_t id, uint8_t unit, struct bytes pdu)
{
    uint8_t *frame = buf_extend(out, pdu.len + 3);

    (void)id;
    frame[0] = unit;
    memcpy(frame + 1, pdu.data, pdu.len);
    crc_append(frame, 1 + pdu.len);
}

const struct serve_framing serve_framings[] = {
    {"Modbus TCP", tcp_frame_next, tcp_frame_put, false},
    {"Modbus RTU over TCP", rtu_next, rtu_put, true},
};
const char *const serve_framing_names[] = {"tcp", "rtu", NULL};
