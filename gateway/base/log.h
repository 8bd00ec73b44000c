/* SPDX-License-Identifier: Apache-2.0 */
/* Lines to stderr, by level; with syslog priorities in front when systemd's journal reads them
 * (JOURNAL_STREAM names our stderr), with a time otherwise. A line begins with what it is about: "bridge
 * cloud: connected". Something is logged once, where it is handled; a state that lasts is logged when it
 * changes. Any thread. */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level are not written. The first call also finds out who reads stderr. */
void log_open(enum log_level most);

/* error: something that was promised cannot be kept. warn: somebody should look. info: a state changed. */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Lines that a peer can cause without end: so many a minute; what is left out is counted, and told when the
 * minute is over and there is something to say again. One thread. */
struct log_quota {
    uint64_t minute_us; /* when it began */
    unsigned most, used, left_out;
};
/* Whether one more line may be written now. about: begins the line that tells how many were left out. */
bool log_may(struct log_quota *q, const char *about);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
