/* SPDX-License-Identifier: Apache-2.0 */
/* Starts of the daemon: each has a number that was never used before, and the offset from its CLOCK_BOOTTIME
 * to the wall clock as soon as that is known. So a reading that was taken before the clock was set gets its
 * true time later, even after a restart. Kept as named values of the store. Loop thread only. */
#ifndef SLUICE_BROKER_STARTS_H
#define SLUICE_BROKER_STARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

struct starts;
struct starts *starts_new(struct store *store);
void starts_free(struct starts *s);

/* A named value from disk (broker_load); those that are not of starts are ignored. */
void starts_value(struct starts *s, const char *name, struct bytes value);
/* After all values: this start's number. */
uint32_t starts_begin(struct starts *s);
/* Now and then, and at the end: records the offset when it has moved. */
void starts_note_clock(struct starts *s);
/* For message_offset_source(); arg: the starts. */
bool starts_offset(void *arg, uint32_t number, int64_t *offset_us);

#endif
