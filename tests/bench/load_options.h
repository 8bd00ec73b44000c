/* SPDX-License-Identifier: Apache-2.0 */
/* What the load generator was asked for. Set once, by take_options, which ends the process on a mistake. */
#ifndef SLUICE_BENCH_LOAD_OPTIONS_H
#define SLUICE_BENCH_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum { LEAST_SIZE = 20, MOST_SIZE = 1 << 19 /* of a payload */ };

extern struct options {
    int port, publishers, subscribers, qos, window, size, topics;
    uint64_t count, receive;
    double rate, seconds;
    bool pairs, persistent, retain, no_ack, tls, go;
    const char *prefix;
} opt;

void take_options(int argc, char **argv);

#endif
