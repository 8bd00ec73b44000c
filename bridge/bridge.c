/* SPDX-License-Identifier: Apache-2.0 */
/* The service `bridges`: one uplink for each element of the list. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bridge/lanes.h"
#include "bridge/uplink.h"
#include "broker/broker.h"
#include "service.h"

enum { GOODBYE_US = 600000 }; /* of the two seconds in which the daemon ends */

static struct {
    struct uplink **all;
    size_t count;
    struct uplink_ends ends;
    uint64_t stop_by; /* CLOCK_BOOTTIME, µs */
    bool unsure;      /* a reload failed: what runs is not what gw->conf says */
} bridges = {.ends.leaving = LIST_INIT(bridges.ends.leaving)};

static struct settings *read_settings(const struct gateway *gw, const struct conf *conf, size_t index)
{
    const struct conf_node *root = conf_root(conf), *bridge = conf_at(root, "bridges", index);
    char error[512] = "";
    struct settings *s = settings_new(bridge, conf_string(root, "site"), gw->root, error, sizeof(error));

    if (!s)
        log_error("bridge %s: %s", bridge->name, error);
    return s;
}

static const struct conf_node *find_node(const struct conf *conf, const char *name)
{
    const struct conf_node *root = conf_root(conf);

    for (size_t i = 0; i < conf_count(root, "bridges"); i++)
        if (!strcmp(conf_at(root, "bridges", i)->name, name))
            return conf_at(root, "bridges", i);
    return NULL;
}

static void add_uplink(struct gateway *gw, struct settings *s)
{
    struct uplink *u = uplink_start(gw, s, &bridges.ends);

    if (!u)
        return;
    bridges.all = mem_resize(bridges.all, (bridges.count + 1) * sizeof(struct uplink *));
    bridges.all[bridges.count++] = u;
}

/* ---- queues of bridges that are in no configuration any more ---- */

struct orphans {
    const struct conf *conf;
    struct session **sessions;
    size_t count;
};

static void note_orphan(void *arg, struct session *s)
{
    struct orphans *o = arg;
    const char *name = lanes_bridge(s);

    if (!name || find_node(o->conf, name))
        return;
    o->sessions = mem_resize(o->sessions, (o->count + 1) * sizeof(struct session *));
    o->sessions[o->count++] = s;
}

static void end_orphans(struct gateway *gw)
{
    struct orphans o = {.conf = gw->conf};

    broker_each_session(gw->broker, note_orphan, &o);
    for (size_t i = 0; i < o.count; i++) {
        log_warn("bridge %s: is not configured any more; %llu messages that waited are dropped",
                 lanes_bridge(o.sessions[i]), (unsigned long long)session_backlog(o.sessions[i]));
        session_end(o.sessions[i]);
    }
    free(o.sessions);
}

/* ---- struct service ---- */

static int start(struct gateway *gw)
{
    size_t count = conf_count(conf_root(gw->conf), "bridges");

    end_orphans(gw);
    for (size_t i = 0; i < count; i++) {
        struct settings *s = read_settings(gw, gw->conf, i);
        if (!s)
            return -EINVAL;
        add_uplink(gw, s);
    }
    return bridges.count == count ? 0 : -EMFILE;
}

static struct uplink *find_uplink(const char *name, size_t *at)
{
    for (size_t i = 0; i < bridges.count; i++) {
        if (!strcmp(uplink_settings(bridges.all[i])->name, name)) {
            *at = i;
            return bridges.all[i];
        }
    }
    return NULL;
}

/* Site and root, which names come from as well, cannot change while the daemon runs. */
static bool is_same(const struct gateway *gw, const struct conf_node *next)
{
    return !bridges.unsure && conf_same(find_node(gw->conf, next->name), next);
}

static void remove_missing(const struct conf *next)
{
    for (size_t i = 0; i < bridges.count;) {
        if (find_node(next, uplink_settings(bridges.all[i])->name)) {
            i++;
            continue;
        }
        uplink_remove(bridges.all[i]);
        bridges.all[i] = bridges.all[--bridges.count];
    }
}

static void apply(struct gateway *gw, const struct conf *next, struct settings **settings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t at;
        struct uplink *u = find_uplink(settings[i]->name, &at);
        const struct conf_node *node = conf_at(conf_root(next), "bridges", i);
        if (u)
            uplink_change(u, settings[i], !is_same(gw, node));
        else
            add_uplink(gw, settings[i]);
    }
    remove_missing(next);
}

/* All settings are read before the first is used: a certificate that went away leaves everything as it is. */
static int reload(struct gateway *gw, const struct conf *next)
{
    size_t count = conf_count(conf_root(next), "bridges"), read = 0;
    struct settings **settings = mem_alloc((count + 1) * sizeof(*settings));

    while (read < count && (settings[read] = read_settings(gw, next, read)))
        read++;
    bool complete = read == count;
    if (complete)
        apply(gw, next, settings, count);
    while (!complete && read)
        settings_free(settings[--read]);
    free(settings);
    bridges.unsure = !complete;
    return complete ? 0 : -EINVAL;
}

static void stop(struct gateway *gw)
{
    (void)gw;
    while (bridges.count)
        uplink_stop(bridges.all[--bridges.count], "stopped");
    free(bridges.all);
    bridges.all = NULL;
    bridges.stop_by = clock_boot_us() + GOODBYE_US;
}

static bool stopped(struct gateway *gw)
{
    (void)gw;
    if (clock_boot_us() > bridges.stop_by)
        uplink_hurry(&bridges.ends);
    return !bridges.ends.alive;
}

static void status(struct gateway *gw, struct cJSON *into)
{
    cJSON *list = cJSON_AddArrayToObject(into, "bridges");

    (void)gw;
    for (size_t i = 0; i < bridges.count; i++) {
        cJSON *o = cJSON_CreateObject();
        uplink_status(bridges.all[i], o);
        cJSON_AddItemToArray(list, o);
    }
}

const struct service service_bridges = {
    .name = "bridges",
    .rows = bridge_rows,
    .check = settings_check,
    .start = start,
    .reload = reload,
    .stop = stop,
    .stopped = stopped,
    .status = status,
};
