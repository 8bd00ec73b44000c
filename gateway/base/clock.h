/* SPDX-License-Identifier: Apache-2.0 */
/* Two clocks. Intervals and deadlines come from CLOCK_BOOTTIME, which also counts while the box sleeps and
 * which nobody sets. The wall clock only stamps. A box without a battery clock wakes in 1970: until somebody
 * sets the clock, nothing may expire and readings say that their time is not known. Any thread. */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Microseconds since the box booted. */
uint64_t clock_boot_us(void);

/* Microseconds since 1970-01-01 UTC, whether set or not. */
int64_t clock_wall_us(void);

/* False while the wall clock shows a time before this program was written. */
bool clock_is_set(void);

/* What to add to a boot time to get wall time, in microseconds. */
int64_t clock_offset_us(void);

/* The kernel's random name of this boot, as 36 characters and a zero; "" when it is not to be had. */
void clock_boot_id(char out[37]);

/* "2026-11-22T08:12:00.123Z" (24 characters and a zero). */
void clock_format(int64_t wall_us, char out[32]);

/* The calling thread's timers from now on go off within microseconds, and where the system allows it the
 * thread comes before whoever computes: for who keeps silences on a wire. It must need very little of a
 * processor. */
void clock_be_punctual(void);

#endif
