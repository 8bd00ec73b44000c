/* SPDX-License-Identifier: Apache-2.0 */
/* The box about itself, for those far away: {root}/health at an interval, in the short form that fits a
 * metered link, and {root}/event/… when a bridge, a line or the store changes its state. It knows them only
 * by what their services put into the status answer, so a new kind of line or upstream needs nothing here.
 * Loop thread. */
#ifndef SLUICE_OPS_HEALTH_H
#define SLUICE_OPS_HEALTH_H

struct cJSON;

/* Builds the short form of a status answer into an object. */
void health_shorten(const struct cJSON *status, struct cJSON *into);

/* Calls changed(arg, kind, what) for each thing whose state or since differs between two status answers; what
 * is the callee's. Things that are only in one of them are no change: they came or went by configuration. */
void health_compare(const struct cJSON *before, const struct cJSON *after,
                    void (*changed)(void *arg, const char *kind, struct cJSON *what), void *arg);

#endif
