/* SPDX-License-Identifier: Apache-2.0 */
/* A Modbus line as it runs on its thread (schedule, plans, exchanges, values, orders), on the simulator's
 * wire and a virtual clock: hours of a line in seconds. */
#ifndef SLUICE_TESTS_FIELD_WORLD_H
#define SLUICE_TESTS_FIELD_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/modbus/device.h"
#include "drivers/modbus/poller.h"
#include "drivers/sim/sim.h"

enum { FIELD_EXCHANGES = 64 };

struct field_world {
    struct sim *sim;
    struct modbus_line *m;
    struct poller *poller;
    struct mailbox mail;
    struct list orders;       /* of struct modbus_order: given at the next step */
    uint64_t now_us, lump_us; /* lump: how long an adapter may keep bytes back */
    uint64_t exchanges;
    struct {
        uint64_t sent_us, done_us;
    } last[FIELD_EXCHANGES]; /* exchange n at n mod FIELD_EXCHANGES */
    void (*post)(struct field_world *w, struct modbus_post *post);
    void (*tick)(struct field_world *w); /* while an exchange runs; NULL: nothing happens then */
    void *arg;
};

/* sim: what the simulator's file says; line: the members of the line's configuration, without its name,
 * protocol and port; devices: the elements of their list, on line "l". */
void field_world_open(struct field_world *w, const char *sim, const char *line, const char *devices,
                      uint64_t seed);
void field_world_close(struct field_world *w);

/* Steps until then; w->post gets what comes (and does not free it). */
void field_world_run(struct field_world *w, uint64_t until_us);

#endif
