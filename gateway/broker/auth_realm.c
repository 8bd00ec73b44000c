/* SPDX-License-Identifier: Apache-2.0 */
/* The rules in force, from the configuration and the users file. */
#include <stdlib.h>

#include "base/log.h"
#include "base/users.h"
#include "broker/auth_private.h"

static void log_report(void *arg, bool is_error, const char *text)
{
    (void)arg;
    log_line(is_error ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "%s", text);
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
out:
    conf_free(file);
    return r;
}

void realm_drop(struct realm *r)
{
    if (!r || --r->refs)
        return;
    users_free(r->users);
    acl_drop(r->acl);
    free(r);
}
