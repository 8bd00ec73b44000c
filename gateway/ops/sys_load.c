/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/sys_load.h"

#include <math.h>

const char *const load_tails[LOAD_WINDOWS] = {"/1min", "/5min", "/15min"};
static const double lengths_s[LOAD_WINDOWS] = {60, 300, 900};

void load_update(struct load *l, uint64_t count, double seconds)
{
    double now = (double)(count - l->last) * 60 / seconds;

    for (int i = 0; i < LOAD_WINDOWS; i++)
        l->a_minute[i] = now + exp(-seconds / lengths_s[i]) * (l->a_minute[i] - now);
    l->last = count;
}
