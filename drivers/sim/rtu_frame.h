/* SPDX-License-Identifier: Apache-2.0 */
/* What the simulator itself knows of a Modbus RTU frame: unit, function, data, CRC with its low byte first
 * [Modbus over serial line 1.02, 2.5.1]. Written apart from the drivers' code, which it judges. Pure. */
#ifndef SLUICE_DRIVERS_SIM_RTU_FRAME_H
#define SLUICE_DRIVERS_SIM_RTU_FRAME_H

#include <stdbool.h>

#include "base/buf.h"

enum { SIM_RTU_LEAST = 4, SIM_RTU_MOST = 256 };

uint16_t sim_rtu_crc(const uint8_t *data, size_t len);

/* True when the last two bytes are the CRC of those before. */
bool sim_rtu_whole(struct bytes frame);

/* Appends the CRC of all that b holds from byte start on. */
void sim_rtu_seal(struct buf *b, size_t start);

/* How many bytes at the front are a whole request with a right CRC; 0 when none. */
size_t sim_rtu_request(struct bytes stream);

#endif
