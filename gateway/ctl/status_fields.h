/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a status answer, in which any field may be absent, and judging the states in it. */
#ifndef SLUICE_CTL_STATUS_FIELDS_H
#define SLUICE_CTL_STATUS_FIELDS_H

#include <stdbool.h>

#include "base/buf.h"
#include "ctl/table.h"

struct cJSON;

const struct cJSON *field(const struct cJSON *of, const char *name);
const char *field_text(const struct cJSON *of, const char *name); /* "" when absent */
double field_number(const struct cJSON *of, const char *name);    /* NaN when absent */

/* How long a thing has been in its state, in seconds: its "since_s", or its "since"; NaN when it has none.
 * status: the whole answer, whose clock counts. */
double field_age(const struct cJSON *status, const struct cJSON *of);

/* PAINT_GOOD, PAINT_WARN or PAINT_BAD for a state's word; PAINT_NONE for one that says neither. */
enum paint state_paint(const char *state);

/* What somebody should look at, worst first: calls tell once for each. Returns how many. */
size_t status_problems(const struct cJSON *status,
                       void (*tell)(void *arg, enum paint paint, const char *what, const char *text),
                       void *arg);

#endif
