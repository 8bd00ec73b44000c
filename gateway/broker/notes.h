/* SPDX-License-Identifier: Apache-2.0 */
/* Notes: small things that drivers remember across restarts, by name. Kept as named values of the store,
 * whole in memory. Names begin with "note/" on disk, so that they are never those of somebody else. Loop
 * thread only. */
#ifndef SLUICE_BROKER_NOTES_H
#define SLUICE_BROKER_NOTES_H

#include "base/buf.h"
#include "store/store.h"

struct notes;
struct notes *notes_new(struct store *store);
void notes_free(struct notes *n);

/* A named value from disk (broker_load); those that are no notes are ignored. */
void notes_value(struct notes *n, const char *name, struct bytes value);

/* Empty when there is none. Valid until the note is put again. */
struct bytes notes_get(const struct notes *n, const char *name);

/* Empty: removes it. Returns the ticket at which it is on disk. */
store_ticket notes_put(struct notes *n, const char *name, struct bytes value);

#endif
