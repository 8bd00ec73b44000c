/* SPDX-License-Identifier: Apache-2.0 */
/* Field tools while the service runs, asked for over the control socket: to watch what goes over a line's
 * wire (trace), to listen to another master on it (sniff). Polling goes on but while somebody has a line to
 * himself, which is said, has an end, and ends with whoever asked. Nobody who watches can slow a line: what
 * he does not take is counted and told. Loop thread. */
#ifndef SLUICE_DRIVERS_TOOLS_H
#define SLUICE_DRIVERS_TOOLS_H

#include "base/asker.h"
#include "drivers/lines.h"

extern const struct request tools_requests[]; /* ends with a row without a name */

/* The line that is asked for by "line"; NULL: answer says which there are. */
struct running *tools_line(const struct cJSON *asked, struct cJSON *answer);

void tools_begin(struct running *r);
/* Hands what was seen to those who watch. */
void tools_take(struct running *r);
/* The line is about to end: all who watch are told. */
void tools_end(struct running *r);
/* "sniff by root, 42 s left", or NULL. */
void tools_status(const struct running *r, struct cJSON *line);

#endif
