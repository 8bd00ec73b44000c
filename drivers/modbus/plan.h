/* SPDX-License-Identifier: Apache-2.0 */
/* From points to requests: which registers are read together. A request has a price (frames, silences, the
 * unit's turnaround) and so has each register that nobody wants; the plan is the cheapest for this line's
 * speed. Pure. */
#ifndef SLUICE_DRIVERS_MODBUS_PLAN_H
#define SLUICE_DRIVERS_MODBUS_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/modbus/judge.h"

/* Modbus Application Protocol 1.1b3, 6.1 to 6.4; the value is the function code that reads the table. */
enum modbus_table { TABLE_COIL = 1, TABLE_DISCRETE = 2, TABLE_HOLDING = 3, TABLE_INPUT = 4 };

enum { PLAN_REGISTERS_MAX = 125, PLAN_BITS_MAX = 2000 };

/* Coils and discrete inputs have bits, the others registers of two bytes. */
bool table_is_bits(enum modbus_table t);
/* Bytes of data in the reply to a read of count items. */
size_t table_bytes(enum modbus_table t, unsigned count);

struct plan_item {
    enum modbus_table table;
    uint16_t address, count;
    uint16_t block; /* out: index of the block that reads it */
};

struct plan_block {
    enum modbus_table table;
    uint16_t address, count;
};

/* Addresses that no request may touch; last is one of them. */
struct plan_range {
    enum modbus_table table;
    uint16_t first, last;
};

/* No request goes from before this address to it or beyond: what was learnt from refusals. */
struct plan_cut {
    enum modbus_table table;
    uint16_t address;
};

enum { PLAN_GAP_BY_COST = -1 };

struct plan_limits {
    uint16_t registers, bits; /* most in one request */
    int gap;                  /* most registers (or 16 bits) that nobody wants, side by side */
    const struct plan_range *forbidden;
    size_t forbidden_count;
    const struct plan_cut *cuts;
    size_t cut_count;
};

struct plan_cost {
    struct rtu_timing timing;
    uint32_t turnaround_us; /* of a unit */
};

/* Time on the line of one read: request, turnaround, reply, and the silence after each. */
uint64_t plan_read_us(const struct plan_cost *c, enum modbus_table table, unsigned count);

unsigned plan_most(const struct plan_limits *l, enum modbus_table table);

/* True when the device may be asked for these addresses in one request. */
bool plan_allows(const struct plan_limits *l, const struct plan_block *b);

/* Blocks in the order of table and address; *blocks is one allocation of the caller's. Returns how many. An
 * item alone is read even where the limits do not allow it. */
size_t plan_make(const struct plan_cost *c, const struct plan_limits *l, struct plan_item *items,
                 size_t count, struct plan_block **blocks);

#endif
