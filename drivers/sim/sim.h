/* SPDX-License-Identifier: Apache-2.0 */
/* The field simulator: a serial line with stations on it (Modbus slaves …), as described by a file, at the
 * pace of the wire and with faults on demand. It plays on a pty with a thread of its own (sim_open,
 * sim_start), or on a virtual clock without a tty, as fast as the processor can (sim_open_virtual,
 * sim_exchange). It logs every frame and judges the master's silences. It is the judge of the drivers and
 * therefore shares no code with them. The caller owns the struct sim; sim_counts and sim_station may be
 * called by any thread at any time in between. */
#ifndef SLUICE_DRIVERS_SIM_SIM_H
#define SLUICE_DRIVERS_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct sim;

/* Of the whole line, or of one station. Those marked (line) stay 0 in a station's. */
struct sim_counts {
    uint64_t requests;       /* frames that were meant for a station (line: all whole frames of the master) */
    uint64_t replies;        /* frames that a station sent, exceptions included */
    uint64_t exceptions;     /* replies that are Modbus exceptions */
    uint64_t unanswered;     /* requests that a fault made silent */
    uint64_t faults;         /* faults injected */
    uint64_t undetectable;   /* damaged replies that still look right in unit, function, length and CRC */
    uint64_t unknown;        /* (line) whole requests that nobody answers to */
    uint64_t broken;         /* (line) frames of the master with a wrong CRC */
    uint64_t short_silences; /* (line) frames of the master after less than 3.5 characters of silence */
    uint64_t long_gaps;      /* (line) pauses of more than 1.5 characters inside a frame of the master */
    uint64_t collisions;     /* (line) two talkers at once */
    uint64_t wrong_speed;    /* (line) pieces that the master sent at another baud rate than the line's */
    uint64_t bytes_heard;    /* (line) from the master */
    uint64_t bytes_sent;     /* (line) to the master */
    uint64_t overruns;       /* (line) bytes that the master's tty had no room for */
};

struct sim_options {
    uint64_t seed;   /* of all chance; 0: the file's, and if it names none, a fresh one */
    const char *log; /* file of the frame log; NULL: the file's, if it names one */
    const char
        *text; /* the description itself, in place of a file, whose name is then only said; NULL: the file */
};

/* A byte as it reaches the master: at the end of its last stop bit. */
struct sim_byte {
    uint64_t at_us;
    uint8_t value;
};

/* Reads file, makes the line and its pty. options may be NULL. 0, or -E… with what is wrong in error, one
 * line a mistake ("file:line: …"). */
int sim_open(struct sim **out, const char *file, const struct sim_options *options, char *error, size_t size);

/* The same without a pty: time is what sim_exchange says. */
int sim_open_virtual(struct sim **out, const char *file, const struct sim_options *options, char *error,
                     size_t size);

/* Only looks for mistakes in file, or in text in its place; no effects. Results as of sim_open. */
int sim_check(const char *file, const char *text, char *error, size_t size);

/* Prints what such a file may hold. */
void sim_manual(FILE *out);

/* The path that the master opens. */
const char *sim_tty(const struct sim *s);
uint64_t sim_seed(const struct sim *s);

/* The line's character time and its silence of 3.5 characters. */
uint64_t sim_char_ns(const struct sim *s);
uint64_t sim_silence_ns(const struct sim *s);

/* Plays on the pty in a thread of its own. 0 or -E…. */
int sim_start(struct sim *s);

/* Ends the thread, writes out the log. The counters stay readable. */
void sim_stop(struct sim *s);

/* Also stops. NULL is fine. */
void sim_close(struct sim *s);

/* Virtual time: the master writes len bytes at now_us and listens until until_us (microseconds since the
 * start, both never earlier than in the call before). Up to room bytes of reply with their times; returns how
 * many. What arrives later is there in the next exchange, as a late reply is. len may be 0: listen only. */
size_t sim_exchange(struct sim *s, uint64_t now_us, const uint8_t *request, size_t len, uint64_t until_us,
                    struct sim_byte *reply, size_t room);

void sim_counts(struct sim *s, struct sim_counts *line);

/* The station number index: its name and counters; false when there are not so many. */
bool sim_station(struct sim *s, size_t index, const char **name, struct sim_counts *counts);

/* All counters as text. */
void sim_summary(struct sim *s, FILE *out);

#endif
