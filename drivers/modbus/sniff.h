/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the frames of others in the bytes of a line, where nobody can say what comes next: by the lengths
 * that function codes and byte counts tell, by CRC, and where those do not help, by gaps. May begin in the
 * middle of a frame. Bytes and times go in, frames and noise come out; no I/O, no clock, no allocation. */
#ifndef SLUICE_DRIVERS_MODBUS_SNIFF_H
#define SLUICE_DRIVERS_MODBUS_SNIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "drivers/modbus/judge.h"

struct sniff {
    struct rtu_timing timing;
    uint8_t rx[2 * RTU_FRAME_MAX];
    uint64_t at_us[2 * RTU_FRAME_MAX]; /* when each byte had come */
    size_t len, used;                  /* used: of the last piece, dropped at the next call */
    size_t noise;                      /* bytes at the front that are no frame */
};

struct sniff_piece {
    struct bytes data;          /* until the next call; none: nothing (yet) */
    bool frame;                 /* else noise */
    uint64_t first_us, last_us; /* when its first byte began, when its last one had come */
};

void sniff_init(struct sniff *s, struct rtu_timing timing);

/* Room for so many bytes; call sniff_next until it gives nothing, then there is more. */
size_t sniff_room(const struct sniff *s);
/* At most that many. now_us: the last of them has come. */
void sniff_feed(struct sniff *s, const uint8_t *data, size_t len, uint64_t now_us);

struct sniff_piece sniff_next(struct sniff *s, uint64_t now_us);

/* When sniff_next should be asked again although no byte came; 0: no need. */
uint64_t sniff_wake_us(const struct sniff *s);

#endif
