/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/rtu_frame.h"

uint16_t sim_rtu_crc(const uint8_t *data, size_t len)
{
    uint16_t crc = 0xFFFF;

    for (size_t i = 0; i < len; i++) {
        crc = (uint16_t)(crc ^ data[i]);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 1 ? crc >> 1 ^ 0xA001 : crc >> 1);
    }
    return crc;
}

bool sim_rtu_whole(struct bytes frame)
{
    if (frame.len < SIM_RTU_LEAST || frame.len > SIM_RTU_MOST)
        return false;
    uint16_t crc = sim_rtu_crc(frame.data, frame.len - 2);

    return frame.data[frame.len - 2] == (crc & 0xFF) && frame.data[frame.len - 1] == crc >> 8;
}

void sim_rtu_seal(struct buf *b, size_t start)
{
    uint16_t crc = sim_rtu_crc(b->data + start, b->len - start);

    buf_u8(b, (uint8_t)crc);
    buf_u8(b, (uint8_t)(crc >> 8));
}

/* Without its data a request of a byte count cannot be measured: 0. */
static size_t request_length(struct bytes s)
{
    switch (s.len > 1 ? s.data[1] : 0) {
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
        return 8;
    case 15:
    case 16:
        return s.len > 6 ? 9u + s.data[6] : 0;
    case 17:
        return 4;
    case 22:
        return 10;
    case 23:
        return s.len > 10 ? 13u + s.data[10] : 0;
    case 43:
        return 7;
    default:
        return 0;
    }
}

size_t sim_rtu_request(struct bytes stream)
{
    size_t len = request_length(stream);

    return len && len <= stream.len && sim_rtu_whole((struct bytes){stream.data, len}) ? len : 0;
}
