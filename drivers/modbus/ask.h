/* SPDX-License-Identifier: Apache-2.0 */
/* What somebody at the control socket means by a device and an address or a point's name, and what became of
 * his request, in words. For the tools read, write and scan. Loop thread. */
#ifndef SLUICE_DRIVERS_MODBUS_ASK_H
#define SLUICE_DRIVERS_MODBUS_ASK_H

#include "base/asker.h"
#include "drivers/lines.h"
#include "drivers/modbus/front.h"
#include "drivers/modbus/raw.h"

struct ask_place {
    struct running *line;
    struct modbus_device *device;
    const struct modbus_point *point; /* NULL: it was given by address */
    enum modbus_table table;
    uint16_t address;
    int bit;                /* of a register; -1: none */
    struct value_spec spec; /* of one value */
    unsigned each;          /* registers or bits of one value */
};

/* "device", "at" (an address or a point's name), "type" and "order". False: answer says what is wrong. */
bool ask_place(const struct cJSON *asked, struct ask_place *out, struct cJSON *answer);

/* The device's own way to say an address: "holding:101" where it counts from 1. */
void ask_print_place(const struct ask_place *p, unsigned offset, struct buf *out);

/* Gives it to the line; false: answer says why not. who: "boiler". */
bool ask_give(const char *line, struct modbus_raw *raw, const char *who, struct cJSON *answer);

/* False: the unit did not do it, and answer says what became of it. */
bool ask_took(const struct modbus_raw *raw, const char *who, struct cJSON *answer);

/* Of an asked object: NULL when it is not there or no text. */
const char *ask_text(const struct cJSON *asked, const char *member);

#endif
