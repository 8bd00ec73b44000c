/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#define WRITTEN_AT_S 1767225600 /* 2026-01-01 */

static int64_t read_us(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

uint64_t clock_boot_us(void)
{
    return (uint64_t)read_us(CLOCK_BOOTTIME);
}

int64_t clock_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

bool clock_is_set(void)
{
    return clock_wall_us() >= (int64_t)WRITTEN_AT_S * 1000000;
}

int64_t clock_offset_us(void)
{
    return clock_wall_us() - (int64_t)clock_boot_us();
}

void clock_be_punctual(void)
{
    const struct sched_param first = {.sched_priority = 1};

    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    pthread_setschedparam(pthread_self(), SCHED_FIFO, &first);
}

void clock_boot_id(char out[37])
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

    out[0] = 0;
    if (!f)
        return;
    if (fread(out, 1, 36, f) != 36)
        out[0] = 0;
    else
        out[36] = 0;
    fclose(f);
}

void clock_format(int64_t wall_us, char out[32])
{
    time_t s = (time_t)(wall_us / 1000000);
    struct tm tm;

    gmtime_r(&s, &tm);
    size_t len = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + len, 32 - len, ".%03dZ", (int)(wall_us / 1000 % 1000));
}
