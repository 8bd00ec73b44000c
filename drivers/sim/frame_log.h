/* SPDX-License-Identifier: Apache-2.0 */
/* The frame log: comma-separated, one line a frame, times in microseconds since the start; a first line tells
 * the wall clock of the start, the seed and the line's timing. Flushed line by line, so that it can be
 * followed. */
#ifndef SLUICE_DRIVERS_SIM_FRAME_LOG_H
#define SLUICE_DRIVERS_SIM_FRAME_LOG_H

#include "drivers/sim/line_model.h"

struct sim_frame_log;

/* 0 or -E…. */
int sim_frame_log_open(struct sim_frame_log **out, const char *path);
/* Tells what the log is about: once, before the first frame. */
void sim_frame_log_start(struct sim_frame_log *log, const struct sim_timing *timing, uint64_t seed);
void sim_frame_log_write(void *log, const struct sim_frame *frame); /* log may be NULL */
void sim_frame_log_close(struct sim_frame_log *log);

#endif
