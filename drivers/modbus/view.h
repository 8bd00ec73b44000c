/* SPDX-License-Identifier: Apache-2.0 */
/* What was seen on a Modbus line, for people and programs: unit and device, function, what is asked or
 * answered in words, whether the CRC is right. Remembers requests, so that answers are told with their
 * addresses, also those of another master. One struct a line; loop thread. */
#ifndef SLUICE_DRIVERS_MODBUS_VIEW_H
#define SLUICE_DRIVERS_MODBUS_VIEW_H

#include "drivers/modbus/decode.h"
#include "drivers/modbus/device.h"
#include "drivers/tap.h"

enum { VIEW_ASKED_MAX = 64 };

struct modbus_view {
    const struct modbus_line *m;
    bool tcp;
    struct decode_request asked[VIEW_ASKED_MAX]; /* by transaction number; a serial line has one */
    struct decode_request foreign;
    struct bytes foreign_pdu; /* in foreign_room */
    uint8_t foreign_room[TAP_BYTES_MAX];
};

/* Adds what the frame says to an object. */
void modbus_view(struct modbus_view *v, const struct tap_frame *f, struct cJSON *into);

/* What is needed to read the line's frames elsewhere: {"units":{"boiler":2}, "dissector":"mbrtu"}. */
void modbus_view_head(const struct modbus_view *v, struct cJSON *into);

#endif
