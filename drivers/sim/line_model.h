/* SPDX-License-Identifier: Apache-2.0 */
/* A serial line as a pure model: the master's bytes with their times go in, the stations' bytes with their
 * times come out; no I/O and no clock of its own. Each byte arrives one character time after the line is
 * free. A frame ends for the stations after 3.5 characters of silence (fixed 1.75 ms above 19200) [Modbus
 * over serial line 1.02, 2.5.1.1]. The model also judges: short silences, pauses within a frame, two talkers
 * at once. Times are nanoseconds since the start and never go back from call to call. One thread. */
#ifndef SLUICE_DRIVERS_SIM_LINE_MODEL_H
#define SLUICE_DRIVERS_SIM_LINE_MODEL_H

#include "drivers/sim/fault.h"

/* What was on the line, for the log. */
struct sim_frame {
    uint64_t start_ns, end_ns;
    const char *who; /* "master", or the station's name */
    struct bytes bytes;
    const char *notes; /* each begins with a blank */
};

struct sim_timing {
    unsigned baud, char_bits;
    uint64_t char_ns, silence_ns, gap_ns; /* gap: 1.5 characters */
    uint64_t grain_ns;                    /* what a receiver cannot tell apart: a sixteenth of a bit */
};

void sim_timing_set(struct sim_timing *t, unsigned baud, unsigned char_bits);

struct sim_line_options {
    unsigned baud, char_bits;
    uint64_t seed;
    bool strict; /* a request after too short a silence is not understood */
    bool echo;   /* the master hears itself, as with a two-wire adapter whose receiver stays on */
    void (*log)(void *arg, const struct sim_frame *frame);
    void *log_arg;
};

struct sim_line;

struct sim_line *sim_line_new(const struct sim_line_options *options);
void sim_line_free(struct sim_line *l);

/* The line takes both. */
void sim_line_add(struct sim_line *l, struct sim_station *s);
void sim_line_fault(struct sim_line *l, struct sim_faults *f);

const struct sim_timing *sim_line_timing(const struct sim_line *l);
struct sim_counts *sim_line_counts(struct sim_line *l);
struct sim_station *sim_line_station(struct sim_line *l, size_t index); /* NULL beyond the last */

/* The master begins to send these bytes now, or when it has sent what it gave before. */
void sim_line_send(struct sim_line *l, uint64_t now_ns, const uint8_t *data, size_t len);

/* When something happens next: a frame ends, a byte arrives, a station speaks up. UINT64_MAX: nothing will.
 */
uint64_t sim_line_next(const struct sim_line *l);

struct sim_arrival {
    uint64_t at_ns;
    uint8_t value;
};

/* Plays on until now_ns and gives what has reached the master by then, in order. Returns how many; when that
 * is room, there may be more. */
size_t sim_line_take(struct sim_line *l, uint64_t now_ns, struct sim_arrival *out, size_t room);

#endif
