/* SPDX-License-Identifier: Apache-2.0 */
/* How masters frame their requests on a connection: as Modbus TCP, or as on a serial line (RTU over TCP),
 * which device servers and some old masters speak. Pure. */
#ifndef SLUICE_DRIVERS_MODBUS_SERVE_FRAMING_H
#define SLUICE_DRIVERS_MODBUS_SERVE_FRAMING_H

#include <stdbool.h>

#include "drivers/modbus/tcp_frame.h"

struct serve_framing {
    const char *name; /* for messages */
    /* As tcp_frame_next. */
    int (*next)(const uint8_t *data, size_t len, struct tcp_frame *out);
    void (*put)(struct buf *out, uint16_t id, uint8_t unit, struct bytes pdu);
    bool one_at_a_time; /* nothing says which request an answer belongs to */
};

extern const struct serve_framing serve_framings[];
extern const char *const serve_framing_names[]; /* in the same order; ends with NULL */

#endif
