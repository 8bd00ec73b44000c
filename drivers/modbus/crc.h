/* SPDX-License-Identifier: Apache-2.0 */
/* The CRC of a serial Modbus frame (Modbus over Serial Line 1.02, 6.2.2). Ours is apart from the library's,
 * so that a frame is accepted only when two checks agree. Pure. */
#ifndef SLUICE_DRIVERS_MODBUS_CRC_H
#define SLUICE_DRIVERS_MODBUS_CRC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint16_t crc_of(const uint8_t *data, size_t len);

/* Puts the CRC of the first len bytes behind them, low byte first. Returns len + 2. */
size_t crc_append(uint8_t *data, size_t len);

/* True when the last two of len bytes are the CRC of the others. */
bool crc_good(const uint8_t *frame, size_t len);

#endif
