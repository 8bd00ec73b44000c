/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/auth.h"
#include "ops/control.h"
#include "ops/status.h"
#include "service.h"
#include "store/store.h"

static const char *text_of(const cJSON *asked, const char *member)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(asked, member));
}

static enum asked run_status(struct gateway *gw, struct asker *client, const cJSON *asked, cJSON *answer)
{
    (void)client, (void)asked;
    status_collect(gw, answer);
    return ASKED_NOW;
}

struct reports {
    cJSON *mistakes, *warnings;
};

static void add_report(void *arg, bool is_error, const char *text)
{
    struct reports *r = arg;

    cJSON_AddItemToArray(is_error ? r->mistakes : r->warnings, cJSON_CreateString(text));
}

static enum asked run_reload(struct gateway *gw, struct asker *client, const cJSON *asked, cJSON *answer)
{
    struct reports r = {cJSON_AddArrayToObject(answer, "mistakes"),
                        cJSON_AddArrayToObject(answer, "warnings")};

    (void)client, (void)asked;
    log_info("control: reload was asked for");
    int err = gw->reload(gw, add_report, &r);
    if (cJSON_GetArraySize(r.mistakes))
        asker_refuse(answer, "the configuration is wrong; what ran goes on unchanged");
    else if (err)
        asker_refuse(answer, "not all of the new configuration could be had (%s): see the log",
                     strerror(-err));
    return ASKED_NOW;
}

/* One at a time: a copy takes the store's thread. waiting is NULL when its client has gone meanwhile. */
static struct {
    struct asker *waiting;
    cJSON *answer;
} backup;

static void forget_client(void *arg)
{
    (void)arg;
    backup.waiting = NULL;
}

static void on_backup(void *arg, int err)
{
    char *path = arg;
    struct asker *client = backup.waiting;
    cJSON *answer = backup.answer;

    if (err) {
        log_warn("control: no backup to %s: %s", path, strerror(-err));
        asker_refuse(answer, "%s: %s", path, strerror(-err));
    } else {
        log_info("control: backup to %s", path);
    }
    free(path);
    backup.waiting = NULL;
    backup.answer = NULL;
    if (client)
        asker_answer(client, answer);
    else
        cJSON_Delete(answer);
}

static enum asked run_backup(struct gateway *gw, struct asker *client, const cJSON *asked, cJSON *answer)
{
    const char *path = text_of(asked, "path");

    if (!path || path[0] != '/')
        asker_refuse(answer,
                     "backup needs \"path\": where to write, from the root: \"/var/lib/sluice/copy.db\"");
    else if (backup.answer)
        asker_refuse(answer, "another backup is under way");
    else if (!access(path, F_OK))
        asker_refuse(answer, "%s is there already: nothing is overwritten", path);
    else {
        backup.waiting = client;
        client->gone = forget_client;
        backup.answer = answer;
        cJSON_AddStringToObject(answer, "path", path);
        store_backup(gw->store, path, on_backup, mem_strdup(path));
        return ASKED_LATER;
    }
    return ASKED_NOW;
}

static enum asked run_log(struct gateway *gw, struct asker *client, const cJSON *asked, cJSON *answer)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    const char *level = text_of(asked, "level");

    (void)gw, (void)client;
    for (size_t i = 0; level && i < ARRAY_SIZE(levels); i++) {
        if (!strcmp(level, levels[i])) {
            log_info("control: the log goes up to %s", level);
            log_open((enum log_level)i);
            return ASKED_NOW;
        }
    }
    asker_refuse(answer, "log needs \"level\": error, warning, info or debug");
    return ASKED_NOW;
}

static void say_verdict(cJSON *answer, const struct acl_verdict *v, bool everything)
{
    bool allow = everything || v->allow;

    cJSON_AddStringToObject(answer, "verdict", allow ? "allowed" : "denied");
    cJSON_AddStringToObject(answer, "by",
                            everything ? "there are no rules for it"
                            : v->rule  ? v->rule->where
                                       : "no rule allows it");
    if (allow && !everything) {
        cJSON_AddNumberToObject(answer, "max_qos", v->max_qos);
        cJSON_AddBoolToObject(answer, "retain", v->retain);
    }
}

static enum asked run_acl_test(struct gateway *gw, struct asker *client, const cJSON *asked, cJSON *answer)
{
    const char *user = text_of(asked, "user"), *id = text_of(asked, "client"),
               *topic = text_of(asked, "topic"), *name = text_of(asked, "action"), *why;
    enum acl_action action = name ? acl_action(name) : 0;
    struct acl_verdict v = {0};
    bool everything;

    (void)client;
    if (!id || !topic || !action)
        asker_refuse(answer,
                     "acl_test needs \"client\", \"topic\", and \"action\": publish, subscribe or receive");
    else if (!auth_test(gw->auth, user, bytes_of(id), action, bytes_of(topic), &v, &everything, &why))
        asker_refuse(answer, "%s", why);
    else
        say_verdict(answer, &v, everything);
    return ASKED_NOW;
}

const struct request control_requests[] = {
    {"status", run_status}, {"reload", run_reload},     {"backup", run_backup},
    {"log", run_log},       {"acl_test", run_acl_test}, {0},
};
