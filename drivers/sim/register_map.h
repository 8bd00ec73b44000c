/* SPDX-License-Identifier: Apache-2.0 */
/* One of a slave's four tables: ranges of registers or coils with scripted values. What no range covers does
 * not exist. A value that the master wrote stays. No I/O; owned by the slave. */
#ifndef SLUICE_DRIVERS_SIM_REGISTER_MAP_H
#define SLUICE_DRIVERS_SIM_REGISTER_MAP_H

#include "drivers/sim/script.h"

enum { SIM_MODBUS_ADDRESS = 2, SIM_MODBUS_VALUE = 3 };

struct sim_range {
    char *name;
    uint32_t at, end; /* addresses, end excluded */
    enum sim_type type;
    enum sim_order order;
    struct sim_script script;
    double spread;
    bool writable;
    uint8_t exception; /* answer to whoever touches it; 0: none */
    uint64_t reads;
    uint16_t *words; /* as last read or written */
    bool written;    /* the master's value has replaced the script's */
};

struct sim_map {
    bool bits;                /* coils rather than registers */
    struct sim_range *ranges; /* by address */
    size_t count;
};

extern const struct conf_row sim_register_rows[];
extern const struct conf_row sim_bit_rows[];

/* Reads the member `table` of node. Mistakes go to conf. */
void sim_map_load(struct sim_map *m, struct conf *conf, const struct conf_node *node, const char *table,
                  bool bits);
void sim_map_free(struct sim_map *m);

/* 0, or the exception with which a slave answers to an access of count addresses. */
int sim_map_check(const struct sim_map *m, uint32_t at, uint32_t count, bool write);

struct buf;

/* After sim_map_check: a read of the scripts at now_ns. notes: what was read, "name#read=value". */
void sim_map_read(struct sim_map *m, uint32_t at, uint32_t count, uint64_t now_ns, uint16_t *out,
                  struct buf *notes);

/* The present values, without counting as a read. */
void sim_map_peek(struct sim_map *m, uint32_t at, uint32_t count, uint64_t now_ns, uint16_t *out);
void sim_map_write(struct sim_map *m, uint32_t at, uint32_t count, uint64_t now_ns, const uint16_t *in);

#endif
