/* SPDX-License-Identifier: Apache-2.0 */
/* The rules in force, from the configuration and the users file. */
#include <stdlib.h>

#include "base/log.h"
#include "base/users.h"
#include "broker/auth_private.h"
#include "broker/auth_service.h"

static void log_report(void *arg, bool is_error, const char *text)
{
    (void)arg;
    log_line(is_error ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "%s", text);
}

static void load_rows(struct realm *r, const struct conf_node *root)
{
    size_t count = 0;

    while (auth_backends[count])
        count++;
    r->own = mem_alloc(count * sizeof(*r->own));
    for (size_t i = 0; i < count; i++)
        if (auth_backends[i]->load)
            r->own[i] = auth_backends[i]->load(auth_backends[i], r, root);
}

struct realm *realm_new(const struct conf_node *root)
{
    bool wanted = users_file_wanted(root);
    char *path = users_file_path(root);
    struct conf *file = wanted ? users_file_load(path) : NULL;
    struct realm *r = NULL;

    free(path);
    if (file)
        users_check(file);
    if (file && conf_errors(file)) {
        conf_each_report(file, log_report, NULL);
        goto out;
    }
    const struct conf_node *roots[] = {root, file ? conf_root(file) : NULL};
    r = mem_alloc(sizeof(*r));
    r->refs = 1;
    r->users = users_new(roots, file ? 2 : 1);
    r->acl = acl_new();
    acl_add_all(r->acl, root);
    r->with_users = file || conf_get(root, "users");
    r->with_acl = conf_get(root, "acl") != NULL;
    r->asks = auth_conf_asks(root);
    load_rows(r, root);
out:
    conf_free(file);
    return r;
}

void realm_drop(struct realm *r)
{
    if (!r || --r->refs)
        return;
    for (size_t i = 0; auth_backends[i]; i++)
        if (r->own[i])
            auth_backends[i]->unload(r->own[i]);
    free(r->own);
    users_free(r->users);
    acl_drop(r->acl);
    free(r);
}

bool realm_has_secret(const struct identity *who, const struct realm *realm, const void *own)
{
    const struct user *u = users_find(realm->users, bytes_of(who->user));

    (void)own;
    return u && user_has_secret(u, who->secret);
}
