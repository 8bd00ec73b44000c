/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { MINUTE_US = 60 * 1000000 };

/* Set by the loop at a reload, read by all threads. */
static atomic_int most_shown = LOG_LEVEL_INFO;
static atomic_bool journal;

static const struct {
    int priority;
    const char *name;
} levels[] = {
    [LOG_LEVEL_ERROR] = {3, "error"},
    [LOG_LEVEL_WARN] = {4, "warning"},
    [LOG_LEVEL_INFO] = {6, "info"},
    [LOG_LEVEL_DEBUG] = {7, "debug"},
};

/* JOURNAL_STREAM is "device:inode" of the stream that the journal gave us; stderr may have been redirected
 * since. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;

    if (!stream || sscanf(stream, "%llu:%llu", &dev, &ino) != 2 || fstat(STDERR_FILENO, &st) != 0)
        return false;
    return st.st_dev == dev && st.st_ino == ino;
}

void log_open(enum log_level most)
{
    atomic_store(&most_shown, (int)most);
    atomic_store(&journal, stderr_is_journal());
}

static int prefix(char *out, size_t size, enum log_level level)
{
    if (atomic_load_explicit(&journal, memory_order_relaxed))
        return snprintf(out, size, "<%d>", levels[level].priority);

    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t len = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &tm);
    return (int)len +
           snprintf(out + len, size - len, ".%03ldZ %-7s ", now.tv_nsec / 1000000, levels[level].name);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    char line[1024];
    va_list args;

    if ((int)level > atomic_load_explicit(&most_shown, memory_order_relaxed))
        return;
    int len = prefix(line, sizeof(line), level);
    va_start(args, fmt);
    int more = vsnprintf(line + len, sizeof(line) - (size_t)len - 1, fmt, args);
    va_end(args);
    if (more < 0)
        return;
    len += more;
    if (len > (int)sizeof(line) - 2)
        len = (int)sizeof(line) - 2;
    /* A name that came from outside must not forge a line of its own. */
    for (char *p = line; p < line + len; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    line[len] = '\n';
    fwrite(line, 1, (size_t)len + 1, stderr); /* one call, so that threads' lines do not mix */
}

bool log_may(struct log_quota *q, const char *about)
{
    uint64_t now = clock_boot_us();

    if (now - q->minute_us >= MINUTE_US) {
        if (q->left_out)
            log_warn("%s: %u further lines in the minute before were left out", about, q->left_out);
        q->used = q->left_out = 0;
        q->minute_us = now;
    }
    bool may = q->used < q->most;
    q->used += may;
    q->left_out += !may;
    return may;
}
