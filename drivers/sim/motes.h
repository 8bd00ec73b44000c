/* SPDX-License-Identifier: Apache-2.0 */
/* Thousands of motes at play, as a file describes them, on UDP or behind one serial line (a pty). They judge
 * a gateway: each message is followed until it is acknowledged or lost, and what the gateway does wrong is
 * counted. Shares no code with the drivers. Owned by the caller; one thread, which sim_motes_run() keeps. */
#ifndef SLUICE_DRIVERS_SIM_MOTES_H
#define SLUICE_DRIVERS_SIM_MOTES_H

#include <signal.h>
#include <stdio.h>

#include "drivers/sim/sim.h"

struct sim_motes;

/* As sim_open(). The log has a line for each message that was acknowledged, lost or received. */
int sim_motes_open(struct sim_motes **out, const char *file, const struct sim_options *options, char *error,
                   size_t size);
int sim_motes_check(const char *file, char *error, size_t size);
void sim_motes_manual(FILE *out);

/* Where they speak: the gateway's address, or the tty that it opens. */
const char *sim_motes_place(const struct sim_motes *s);
uint64_t sim_motes_seed(const struct sim_motes *s);

/* Plays for so many seconds (0: without end) or until one of signals comes, which the caller has blocked;
 * SIGUSR1 prints the counts. 0 or -E…. */
int sim_motes_run(struct sim_motes *s, uint64_t seconds, const sigset_t *signals);

void sim_motes_summary(const struct sim_motes *s, FILE *out);

/* NULL is fine. */
void sim_motes_close(struct sim_motes *s);

#endif
