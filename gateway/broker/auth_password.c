/* SPDX-License-Identifier: Apache-2.0 */
/* A user name and a password. The password's hash takes long by design, so it is made on the pool; one that
 * was right a short time ago is remembered. A name that nobody has takes as long as one that somebody has. */
#include <string.h>

#include "base/users.h"
#include "broker/auth_private.h"
#include "codec/mqtt.h"

enum { PASSWORD_MOST = 1024 };

static bool asks(const struct conf_node *root)
{
    return conf_get(root, "users") || users_file_wanted(root);
}

static bool takes(const struct auth_request *r, const struct realm *realm, const void *own)
{
    (void)own;
    return r->has_user && r->has_password && realm->with_users;
}

static enum auth_step begin(struct auth_login *l, const struct auth_request *r)
{
    const struct user *user = users_find(l->realm->users, r->user);
    const struct user *stand_in = user && user->secret ? user : users_stand_in(l->realm->users, r->user);

    if (!stand_in || r->user.len > USER_NAME_MOST || r->password.len > PASSWORD_MOST) {
        auth_place_failed(l->place);
        return auth_refuse(l, MQTT_BAD_CREDENTIALS, "wrong user name or password");
    }
    l->entry = stand_in->password;
    if (stand_in == user) {
        l->secret = mem_strdup(user->secret);
        l->has_key = true;
        auth_cache_key(l->auth->cache, user->name, user->secret, r->password, l->key);
        if (auth_cache_has(l->auth->cache, l->key)) {
            l->auth->counts.cached++;
            return AUTH_ADMIT;
        }
    }
    if (!auth_place_may_try(l->place))
        return auth_refuse_guesses(l);
    l->password_len = r->password.len;
    l->password = mem_alloc(r->password.len + 1);
    if (r->password.len)
        memcpy(l->password, r->password.data, r->password.len);
    return AUTH_WORK;
}

static void work(struct auth_login *l)
{
    l->is_right = password_matches(&l->entry, (struct bytes){l->password, l->password_len}) && l->secret;
}

/* Meanwhile another login may have shown that the password is right. */
static enum auth_step finish(struct auth_login *l)
{
    if (!l->is_right) {
        auth_place_failed(l->place);
        return auth_refuse(l, MQTT_BAD_CREDENTIALS, "wrong user name or password");
    }
    auth_cache_put(l->auth->cache, l->key);
    return AUTH_ADMIT;
}

const struct auth_backend auth_password = {.name = "password",
                                           .asks = asks,
                                           .takes = takes,
                                           .begin = begin,
                                           .work = work,
                                           .finish = finish,
                                           .still_valid = realm_has_secret};
