/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the running daemon, over its control socket: connects, sends a line, waits for the line that
 * answers, or for one after the other. What goes wrong is told in words that say what to do. */
#ifndef SLUICE_CTL_ASK_H
#define SLUICE_CTL_ASK_H

#include <stdbool.h>
#include <stdint.h>

struct cJSON;

/* The answer, or NULL (stderr says why). Takes question over. */
struct cJSON *ask(const char *socket_path, struct cJSON *question);

/* A question that is answered by many lines, until the daemon or we end it. SIGINT and SIGTERM end it, and
 * are no more than that from then on. */
struct talk;

/* NULL when the daemon cannot be asked (stderr says why). Takes question over. */
struct talk *talk_open(const char *socket_path, struct cJSON *question);
/* The next line; NULL: that was the last one. */
struct cJSON *talk_next(struct talk *t);
/* The same, but waits no longer than until then (clock_boot_us). */
struct cJSON *talk_next_until(struct talk *t, uint64_t until_us);
/* True when we were told to end, not the daemon. */
bool talk_interrupted(void);
void talk_close(struct talk *t);

#endif
