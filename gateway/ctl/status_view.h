/* SPDX-License-Identifier: Apache-2.0 */
/* A status answer as people read it: what is wrong first, then a section for the gateway, store, broker,
 * lines, devices and bridges. Fields and sections that the daemon does not send are left out, those that are
 * not known here are ignored: a newer or smaller daemon is shown as far as it goes. */
#ifndef SLUICE_CTL_STATUS_VIEW_H
#define SLUICE_CTL_STATUS_VIEW_H

#include <stdbool.h>
#include <stdio.h>

struct cJSON;

/* only: one section ("lines", "bridges" …), in full; NULL: all. False when there is no such section. */
bool status_view(const struct cJSON *status, const char *only, FILE *out, bool colours);

#endif
