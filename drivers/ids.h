/* SPDX-License-Identifier: Apache-2.0 */
/* Which commands were carried out, by the id that their sender gave them: the newest IDS_MAX, on disk before
 * they are begun and again when they have ended, so that none is carried out twice, whatever comes in
 * between. Loop thread only. */
#ifndef SLUICE_DRIVERS_IDS_H
#define SLUICE_DRIVERS_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/notes.h"

enum { IDS_MAX = 256 };

struct id_entry {
    char *key;     /* NULL: empty. "device/point/id" */
    char *verdict; /* NULL: it has begun and not ended */
    uint64_t number;
    bool earlier; /* begun in an earlier start */
};

struct ids {
    struct notes *notes;
    struct id_entry ring[IDS_MAX]; /* number n at n mod IDS_MAX */
    uint64_t next;
};

/* Reads what is on disk. */
void ids_open(struct ids *i, struct notes *notes);
void ids_close(struct ids *i);

/* NULL when it is new. */
const struct id_entry *ids_find(const struct ids *i, const char *key);
/* It is about to be carried out; returns the ticket at which that is on disk. */
store_ticket ids_begin(struct ids *i, const char *key);
/* Returns the ticket at which that is on disk. */
store_ticket ids_end(struct ids *i, const char *key, const char *verdict);

#endif
