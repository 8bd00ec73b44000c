/* SPDX-License-Identifier: Apache-2.0 */
/* What one exchange with a unit brought, whatever carried it. */
#ifndef SLUICE_DRIVERS_MODBUS_RESULT_H
#define SLUICE_DRIVERS_MODBUS_RESULT_H

#include <stdbool.h>
#include <stdint.h>

#include "drivers/modbus/exchange.h"

struct modbus_result {
    enum exchange_verdict verdict;
    uint8_t exception;
    const uint8_t *data; /* OK of a read: what follows the byte count */
    uint64_t ended_us;   /* OK, EXCEPTION: when the answer's last byte came; else when we gave up */
    uint32_t took_us;    /* OK, EXCEPTION: from our last bit to then */
    uint32_t begun_us;   /* the same, to its first; as far as one knows */
    bool doubtful;       /* EXCEPTION: it may answer an earlier request */
};

#endif
