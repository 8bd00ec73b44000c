/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a line, from two status answers and what was heard on its wire in between: each finding
 * with what to do about it. Says what it guesses as a guess. Pure. */
#ifndef SLUICE_CTL_DOCTOR_RULES_H
#define SLUICE_CTL_DOCTOR_RULES_H

#include <stdbool.h>

struct cJSON;

enum doctor_level { DOCTOR_NOTE, DOCTOR_WARN, DOCTOR_BAD };

/* Frames that were seen on the wire. */
struct doctor_heard {
    unsigned long foreign_requests, foreign_answers;
    unsigned long answers_of[256]; /* foreign ones, by unit */
    unsigned long noises, noise_bytes;
};

struct doctor_case {
    const struct cJSON *before, *after; /* status answers */
    const char *line;
    double seconds; /* between them */
    const struct doctor_heard *heard;
    void (*tell)(void *arg, enum doctor_level level, const char *what, const char *advice);
    void *arg;
};

/* The worst that was told; -1: nothing. */
int doctor_judge(const struct doctor_case *c);

/* Counts a frame as trace gives it. */
void doctor_hear(struct doctor_heard *h, const struct cJSON *frame);

#endif
