/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/crc.h"

/* One nibble at a time: 32 bytes of table instead of 512, and a frame has at most 256 bytes. */
static const uint16_t nibbles[16] = {0x0000, 0xcc01, 0xd801, 0x1400, 0xf001, 0x3c00, 0x2800, 0xe401,
                                     0xa001, 0x6c00, 0x7800, 0xb401, 0x5000, 0x9c01, 0x8801, 0x4400};

uint16_t crc_of(const uint8_t *data, size_t len)
{
    uint16_t crc = 0xffff;

    for (size_t i = 0; i < len; i++) {
        crc = (uint16_t)(crc >> 4 ^ nibbles[(crc ^ data[i]) & 15]);
        crc = (uint16_t)(crc >> 4 ^ nibbles[(crc ^ data[i] >> 4) & 15]);
    }
    return crc;
}

size_t crc_append(uint8_t *data, size_t len)
{
    uint16_t crc = crc_of(data, len);

    data[len] = (uint8_t)crc;
    data[len + 1] = (uint8_t)(crc >> 8);
    return len + 2;
}

bool crc_good(const uint8_t *frame, size_t len)
{
    return len > 2 && crc_of(frame, len - 2) == (frame[len - 2] | frame[len - 1] << 8);
}
