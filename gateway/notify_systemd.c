/* SPDX-License-Identifier: Apache-2.0 */
#include "notify.h"

#include <inttypes.h>
#include <systemd/sd-daemon.h>
#include <time.h>

void notify_ready(void)
{
    sd_notify(0, "READY=1");
}

void notify_reloading(void)
{
    struct timespec now;

    /* The manager compares this with its own CLOCK_MONOTONIC: no other clock will do. */
    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
               (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

void notify_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

uint64_t notify_watchdog_interval_us(void)
{
    uint64_t allowed_us = 0;

    return sd_watchdog_enabled(0, &allowed_us) > 0 ? allowed_us / 2 : 0;
}

void notify_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
}
