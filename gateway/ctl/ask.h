/* SPDX-License-Identifier: Apache-2.0 */
/* One question to the running daemon, over its control socket: connects, sends a line, waits for the line
 * that answers. What goes wrong is told in words that say what to do. */
#ifndef SLUICE_CTL_ASK_H
#define SLUICE_CTL_ASK_H

struct cJSON;

/* The answer, or NULL (stderr says why). Takes question over. */
struct cJSON *ask(const char *socket_path, struct cJSON *question);

#endif
