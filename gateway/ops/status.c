/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/status.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "service.h"
#include "version.h"

static void add_memory(cJSON *into)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[128];
    unsigned long long kb;

    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmRSS: %llu kB", &kb) == 1)
            cJSON_AddNumberToObject(into, "memory_bytes", (double)kb * 1024);
        else if (sscanf(line, "VmHWM: %llu kB", &kb) == 1)
            cJSON_AddNumberToObject(into, "memory_most_bytes", (double)kb * 1024);
    }
    fclose(f);
}

static void add_configuration(struct gateway *gw, cJSON *into, uint64_t now_us)
{
    char when[32];

    if (gw->conf_path)
        cJSON_AddStringToObject(into, "configuration", gw->conf_path);
    cJSON_AddNumberToObject(into, "loaded_s", (double)((now_us - gw->loaded_us) / 1000000));
    if (clock_is_set()) {
        clock_format(clock_offset_us() + (int64_t)gw->loaded_us, when);
        cJSON_AddStringToObject(into, "loaded", when);
    }
}

static void add_gateway(struct gateway *gw, cJSON *into)
{
    uint64_t now_us = clock_boot_us();
    char now[32];

    cJSON_AddStringToObject(into, "version", SLUICE_VERSION);
    cJSON_AddStringToObject(into, "site", conf_string(conf_root(gw->conf), "site"));
    cJSON_AddStringToObject(into, "root", gw->root);
    cJSON_AddNumberToObject(into, "pid", getpid());
    cJSON_AddNumberToObject(into, "boot", gw->boot);
    cJSON_AddNumberToObject(into, "uptime_s", (double)((now_us - gw->started_us) / 1000000));
    clock_format(clock_wall_us(), now);
    cJSON_AddStringToObject(into, "time", now);
    cJSON_AddBoolToObject(into, "clock_set", clock_is_set());
    add_memory(into);
    add_configuration(gw, into, now_us);
}

void status_collect(struct gateway *gw, cJSON *into)
{
    add_gateway(gw, cJSON_AddObjectToObject(into, "gateway"));
    for (const struct service *const *s = services; *s; s++)
        if ((*s)->status)
            (*s)->status(gw, into);
}
