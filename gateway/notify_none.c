/* SPDX-License-Identifier: Apache-2.0 */
#include "notify.h"

void notify_ready(void)
{
}

void notify_reloading(void)
{
}

void notify_stopping(void)
{
}

uint64_t notify_watchdog_interval_us(void)
{
    return 0;
}

void notify_alive(void)
{
}
