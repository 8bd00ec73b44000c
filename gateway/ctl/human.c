/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/human.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct text human_age(double seconds)
{
    static const struct {
        const char *name;
        unsigned long long s;
    } units[] = {{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}};
    struct text t;

    if (!(seconds >= 0 && seconds < 1e15)) {
        snprintf(t.s, sizeof t.s, "-");
        return t;
    }
    unsigned long long left = (unsigned long long)seconds;
    size_t u = 0;
    while (u + 1 < ARRAY_SIZE(units) && left < units[u].s)
        u++;
    unsigned long long first = left / units[u].s, rest = left % units[u].s;
    unsigned long long second = u + 1 < ARRAY_SIZE(units) ? rest / units[u + 1].s : 0;
    /* "12 d" says enough; "1 d 20 h" does not round to a day. */
    if (second && first < 10 && u < 2)
        snprintf(t.s, sizeof t.s, "%llu %s %llu %s", first, units[u].name, second, units[u + 1].name);
    else
        snprintf(t.s, sizeof t.s, "%llu %s", first, units[u].name);
    return t;
}

struct text human_size(double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    struct text t;
    size_t u = 0;

    if (!(bytes >= 0 && bytes < 1e18)) {
        snprintf(t.s, sizeof t.s, "-");
        return t;
    }
    /* 999.6 kB would be printed as "1000 kB". */
    while (u + 1 < ARRAY_SIZE(units) && bytes >= (u ? 999.5 : 1000)) {
        bytes /= 1000;
        u++;
    }
    snprintf(t.s, sizeof t.s, "%.*f %s", u && bytes < 99.95 ? 1 : 0, bytes, units[u]);
    return t;
}

struct text human_count(double count)
{
    struct text t;
    char digits[24];

    if (!(fabs(count) < 1e18)) {
        snprintf(t.s, sizeof t.s, "-");
        return t;
    }
    size_t len = (size_t)snprintf(digits, sizeof digits, "%lld", (long long)count), out = 0;
    for (size_t i = 0; i < len; i++) {
        t.s[out++] = digits[i];
        if (digits[i] != '-' && i + 1 < len && (len - 1 - i) % 3 == 0)
            t.s[out++] = ',';
    }
    t.s[out] = 0;
    return t;
}

struct text human_share(double share)
{
    struct text t;

    if (isfinite(share) && fabs(share) < 1e6)
        snprintf(t.s, sizeof t.s, "%.0f %%", share * 100);
    else
        snprintf(t.s, sizeof t.s, "-");
    return t;
}
