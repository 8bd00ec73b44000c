/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/auth_service.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

#include "base/users.h"
#include "broker/auth_private.h"
#include "broker/users.h"
#include "service.h"

static const struct conf_row login_rows[] = {
    {"waiting", CONF_INT, .def = "200", .min = 1, .max = 10000,
     .help = "clients whose password waits to be checked; more are told that the server is busy"},
    {"failures", CONF_INT, .def = "20", .min = 0, .max = 100000,
     .help = "failed logins of one address in a minute before its passwords are no longer looked at; 0: no "
             "limit"},
    {0},
};
static const struct conf_row rows[] = {
    USERS_ROW,
    USERS_FILE_ROW,
    {"acl", CONF_LIST, .rows = acl_rule_rows,
     .help = "who may do what: the first rule that matches decides, what none matches is denied"},
    {"logins", CONF_GROUP, .def = "", .rows = login_rows, .help = "what bounds the checking of passwords"},
    {0},
};

bool auth_conf_asks(const struct conf_node *root)
{
    for (size_t i = 0; auth_backends[i]; i++)
        if (auth_backends[i]->asks && auth_backends[i]->asks(root))
            return true;
    return false;
}

/* ---- check ---- */

struct reporter {
    struct conf *into;
    const struct conf_node *at;
};

static void pass_on(void *arg, bool is_error, const char *text)
{
    struct reporter *r = arg;

    if (is_error)
        conf_error(r->into, r->at, "users file: %s", text);
    else
        conf_warn(r->into, r->at, "users file: %s", text);
}

static void check_file(struct conf *c)
{
    const struct conf_node *root = conf_root(c);
    struct reporter r = {c, conf_get(root, "users_file")};
    char *path = users_file_path(root);
    struct conf *file = users_file_load(path);

    users_check(file);
    conf_each_report(file, pass_on, &r);
    users_check_apart(c, conf_root(file));
    conf_free(file);
    free(path);
}

static void check(struct conf *c, FILE *report)
{
    const struct conf_node *root = conf_root(c);

    (void)report;
    users_check(c);
    acl_check(c);
    if (users_file_wanted(root))
        check_file(c);
    if (auth_conf_asks(root) && !conf_get(root, "acl"))
        conf_warn(
            c, conf_get(root, "users"),
            "there are users but no acl: a user may do nothing until a rule allows it, such as acl = ( { "
            "allow = \"all\"; topic = \"#\"; } )");
}

/* ---- life ---- */

static int start(struct gateway *gw)
{
    gw->auth = auth_new(gw->loop);
    return auth_load(gw->auth, conf_root(gw->conf));
}

static int reload(struct gateway *gw, const struct conf *next)
{
    return auth_load(gw->auth, conf_root(next));
}

static void stop(struct gateway *gw)
{
    auth_stop(gw->auth);
}

static bool stopped(struct gateway *gw)
{
    if (!auth_idle(gw->auth))
        return false;
    auth_free(gw->auth);
    gw->auth = NULL;
    return true;
}

static void status(struct gateway *gw, cJSON *into)
{
    if (!gw->auth)
        return;
    const struct auth_counts *n = auth_counts(gw->auth);
    const char *guesser = auth_guesser(gw->auth);
    cJSON *o = cJSON_AddObjectToObject(into, "auth");
    cJSON_AddStringToObject(o, "state", guesser ? "guessing" : "ok");
    if (guesser)
        cJSON_AddStringToObject(o, "error", guesser);
    cJSON_AddNumberToObject(o, "admitted", (double)n->admitted);
    cJSON_AddNumberToObject(o, "cached", (double)n->cached);
    cJSON_AddNumberToObject(o, "refused", (double)n->refused);
    cJSON_AddNumberToObject(o, "busy", (double)n->busy);
    cJSON_AddNumberToObject(o, "limited", (double)n->limited);
    cJSON_AddNumberToObject(o, "waiting", (double)n->waiting);
    cJSON_AddNumberToObject(o, "denied_connects", (double)n->denied_connect);
    cJSON_AddNumberToObject(o, "denied_publishes", (double)n->denied_publish);
    cJSON_AddNumberToObject(o, "denied_subscriptions", (double)n->denied_subscribe);
    cJSON_AddNumberToObject(o, "denied_deliveries", (double)n->denied_receive);
}

const struct service service_auth = {"auth", rows, check, start, reload, stop, stopped, status, NULL};
