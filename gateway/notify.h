/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon tells the service manager that started it: that it is ready, reads its configuration anew,
 * ends, and that it still turns. Without a manager every call does nothing. The loop's thread. */
#ifndef SLUICE_NOTIFY_H
#define SLUICE_NOTIFY_H

#include <stdint.h>

/* Every service has started. Also ends what notify_reloading() began. */
void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);

/* How often notify_alive() is due, in microseconds; 0: nobody watches. Half of what the manager allows, so
 * that one late turn does not cost a restart. */
uint64_t notify_watchdog_interval_us(void);
void notify_alive(void);

#endif
