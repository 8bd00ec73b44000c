/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that the daemon has seen on a line, shown one a line: when, after which gap, what. For `trace` and
 * `sniff`. */
#ifndef SLUICE_CTL_WATCH_H
#define SLUICE_CTL_WATCH_H

#include <stdbool.h>
#include <stdio.h>

struct cJSON;
struct options;

struct watch {
    const struct cJSON *head; /* the daemon's first answer */
    bool colours, hex, begun;
    double first_us, last_us; /* of the first frame; when the last one ended */
};

void watch_titles(const struct watch *w, FILE *out);
void watch_show(struct watch *w, const struct cJSON *frame, FILE *out);

/* Bytes of the frame, at most size; returns how many. */
size_t watch_bytes(const struct cJSON *frame, unsigned char *out, size_t size);

#endif
