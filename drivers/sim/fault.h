/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong on a simulated line: faults that damage, delay, replace or swallow what a station says.
 * Each has a window of time that may repeat, a chance and a count. A kind of fault is a row in fault.c. Owned
 * by the station (its own replies) or the line (everybody's, and the master's frames). Pure but for its
 * chance. */
#ifndef SLUICE_DRIVERS_SIM_FAULT_H
#define SLUICE_DRIVERS_SIM_FAULT_H

#include "drivers/sim/station.h"

struct sim_fault_kind;

enum sim_fault_on { SIM_ON_REPLY, SIM_ON_REQUEST, SIM_ON_BOTH };

struct sim_fault {
    const struct sim_fault_kind *kind;
    uint64_t from_ns, until_ns, every_ns; /* until: 0 for never; every: 0 for once */
    uint64_t chance_ppm, ppm, count, skip;
    uint64_t delay_ns;
    uint8_t code;
    enum sim_fault_on on;
};

struct sim_faults {
    struct sim_fault *list;
    size_t count;
};

/* The rows of one fault, and of the list of them that stations and lines have. */
extern const struct conf_row sim_fault_rows[];

struct sim_faults *sim_faults_load(struct conf *conf, const struct conf_node *node);
void sim_faults_free(struct sim_faults *f);

/* Lets the faults that are due at now_ns act on the reply to request (empty: nobody asked). Returns how many
 * did. */
unsigned sim_faults_reply(struct sim_faults *f, struct sim_chance *chance, uint64_t now_ns,
                          struct bytes request, struct sim_speech *speech);

/* The same on what a station hears of the master's frame. */
unsigned sim_faults_request(struct sim_faults *f, struct sim_chance *chance, uint64_t now_ns,
                            struct sim_speech *heard);

#endif
