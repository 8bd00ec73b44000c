/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "ops/health.h"

/* A section of the status answer, what of it goes into health, and the kind of event that a change is. */
struct section {
    const char *name, *kind;
    const char *members[12];
};

static const struct section sections[] = {
    {"gateway", NULL, {"version", "boot", "uptime_s", "memory_bytes", "memory_most_bytes", "clock_set"}},
    {"store",
     "store",
     {"state", "error", "commits", "failures", "refused", "bytes_written", "file_bytes", "free_bytes",
      "commit_us_most"}},
    {"wear", NULL, {"bytes_per_day", "over_s"}},
    {"broker", NULL, {"clients", "sessions", "messages_in", "messages_out", "dropped"}},
    {"auth",
     "security",
     {"state", "error", "admitted", "refused", "limited", "busy", "denied_connects", "denied_publishes",
      "denied_subscriptions", "denied_deliveries"}},
    {"lines", "bus", {"name", "state", "load", "timeouts", "crc", "late", "foreign"}},
    {"bridges",
     "bridge",
     {"name", "state", "backlog", "urgent", "bytes", "oldest_s", "acked", "dropped", "expired"}},
};

static cJSON *pick(const cJSON *from, const struct section *s)
{
    cJSON *into = cJSON_CreateObject();

    for (const char *const *m = s->members; *m; m++) {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(from, *m);

        if (value)
            cJSON_AddItemToObject(into, *m, cJSON_Duplicate(value, true));
    }
    return into;
}

/* Of a thousand devices the numbers by state are enough: each has a retained state of its own. */
static void count_devices(const cJSON *devices, cJSON *into)
{
    cJSON *counts = cJSON_AddObjectToObject(into, "devices");
    const cJSON *d;

    cJSON_ArrayForEach(d, devices)
    {
        const char *state = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(d, "state"));
        cJSON *count = state ? cJSON_GetObjectItemCaseSensitive(counts, state) : NULL;

        if (count)
            cJSON_SetNumberValue(count, count->valuedouble + 1);
        else if (state)
            cJSON_AddNumberToObject(counts, state, 1);
    }
}

void health_shorten(const cJSON *status, cJSON *into)
{
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        const cJSON *from = cJSON_GetObjectItemCaseSensitive(status, sections[i].name), *item;

        if (cJSON_IsArray(from)) {
            cJSON *list = cJSON_AddArrayToObject(into, sections[i].name);
            cJSON_ArrayForEach(item, from) cJSON_AddItemToArray(list, pick(item, &sections[i]));
        } else if (cJSON_IsObject(from)) {
            cJSON_AddItemToObject(into, sections[i].name, pick(from, &sections[i]));
        }
    }
    if (cJSON_GetObjectItemCaseSensitive(status, "devices"))
        count_devices(cJSON_GetObjectItemCaseSensitive(status, "devices"), into);
}

static bool differs(const cJSON *a, const cJSON *b, const char *member)
{
    return !cJSON_Compare(cJSON_GetObjectItemCaseSensitive(a, member),
                          cJSON_GetObjectItemCaseSensitive(b, member), true) &&
           cJSON_GetObjectItemCaseSensitive(b, member);
}

static const cJSON *named_like(const cJSON *list, const cJSON *like)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(like, "name"));
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        const char *n = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "name"));
        if (name && n && !strcmp(n, name))
            return item;
    }
    return NULL;
}

static cJSON *change(const cJSON *after)
{
    static const struct section told = {.members = {"name", "state", "since", "error"}};

    return pick(after, &told);
}

static bool changed_between(const cJSON *before, const cJSON *after)
{
    return before && (differs(before, after, "state") || differs(before, after, "since"));
}

void health_compare(const cJSON *before, const cJSON *after,
                    void (*changed)(void *arg, const char *kind, cJSON *what), void *arg)
{
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        const struct section *s = &sections[i];
        const cJSON *was = cJSON_GetObjectItemCaseSensitive(before, s->name);
        const cJSON *is = cJSON_GetObjectItemCaseSensitive(after, s->name), *item;

        if (!s->kind)
            continue;
        if (cJSON_IsObject(is) && changed_between(was, is))
            changed(arg, s->kind, change(is));
        if (!cJSON_IsArray(is))
            continue;
        cJSON_ArrayForEach(item, is)
        {
            if (changed_between(named_like(was, item), item))
                changed(arg, s->kind, change(item));
        }
    }
}
