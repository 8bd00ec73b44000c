/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/acl.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/mqtt.h"

static const char *const action_names[] = {"publish", "subscribe", "receive", "read", "write", "all", NULL};
static const uint8_t action_bits[] = {ACL_PUBLISH, ACL_SUBSCRIBE,
                                      ACL_RECEIVE, ACL_SUBSCRIBE | ACL_RECEIVE,
                                      ACL_PUBLISH, ACL_PUBLISH | ACL_SUBSCRIBE | ACL_RECEIVE};

const struct conf_row acl_rule_rows[] = {
    {"user", CONF_STRING, .min = 1, .max = 256, .help = "only this user"},
    {"role", CONF_STRING, .min = 1, .max = 64, .help = "only users with this role"},
    {"client", CONF_STRING, .min = 1, .max = 65535, .help = "only this client identifier"},
    {"anonymous", CONF_BOOL, .def = "false", .help = "only clients without a name"},
    {"allow", CONF_CHOICE, .choices = action_names,
     .help = "what this rule allows; read: subscribe and receive; write: publish"},
    {"deny", CONF_CHOICE, .choices = action_names, .help = "what it denies"},
    {"topic", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 65535,
     .help = "a topic filter; %u in it is the user's name, %c the client identifier"},
    {"max_qos", CONF_INT, .def = "2", .max = 2, .min = 0,
     .help = "largest QoS: a PUBLISH above it is refused, a subscription gets no more"},
    {"retain", CONF_BOOL, .def = "true", .help = "false: a PUBLISH with the retain flag is refused"},
    {0},
};

static void check_rule(struct conf *c, const struct conf_node *r)
{
    const struct conf_node *allow = conf_get(r, "allow"), *deny = conf_get(r, "deny");
    const char *topic = conf_string(r, "topic");

    if (!allow == !deny)
        conf_error(c, r, "a rule has either allow or deny, such as allow = \"read\"");
    if (deny && (conf_get(r, "max_qos")->given || conf_get(r, "retain")->given))
        conf_error(c, r, "max_qos and retain limit what a rule allows; this one denies");
    if (*topic && (!mqtt_filter_ok(bytes_of(topic)) || !mqtt_utf8_ok(bytes_of(topic))))
        conf_error(c, conf_get(r, "topic"),
                   "\"%s\" is no topic filter: + and # stand alone between slashes, # last", topic);
    if (conf_bool(r, "anonymous") && (conf_string(r, "user") || conf_string(r, "role")))
        conf_error(c, r, "a client without a name is no user and has no role");
    if (deny && deny->s && !strcmp(deny->s, "subscribe"))
        conf_warn(
            c, deny,
            "a client may still subscribe to more than %s and receive it so; deny = \"read\" denies both",
            topic);
}

void acl_check(struct conf *c)
{
    const struct conf_node *root = conf_root(c);

    for (size_t i = 0; i < conf_count(root, "acl"); i++)
        check_rule(c, conf_at(root, "acl", i));
}

/* The bits of "publish", "read", …; 0 when it is none. */
static uint8_t actions_of(const char *name)
{
    for (size_t i = 0; action_names[i]; i++)
        if (!strcmp(action_names[i], name))
            return action_bits[i];
    return 0;
}

enum acl_action acl_action(const char *name)
{
    uint8_t bits = strcmp(name, "write") != 0 ? actions_of(name) : 0;

    return bits & (bits - 1) ? 0 : (enum acl_action)bits;
}

struct acl *acl_new(void)
{
    struct acl *a = mem_alloc(sizeof(*a));

    a->refs = 1;
    return a;
}

void acl_drop(struct acl *a)
{
    if (!a || --a->refs)
        return;
    for (size_t i = 0; i < a->count; i++) {
        free(a->rules[i].user);
        free(a->rules[i].role);
        free(a->rules[i].client);
        free(a->rules[i].topic);
        free(a->rules[i].where);
    }
    free(a->rules);
    map_free(&a->views);
    free(a);
}

/* Takes the rule's strings over. */
static void add_rule(struct acl *a, const struct acl_rule *rule)
{
    a->rules = mem_resize(a->rules, (a->count + 1) * sizeof(*a->rules));
    a->rules[a->count++] = *rule;
}

static char *copy_of(const struct conf_node *node, const char *key)
{
    const char *text = conf_string(node, key);

    return text ? mem_strdup(text) : NULL;
}

void acl_add_all(struct acl *a, const struct conf_node *root)
{
    for (size_t i = 0; i < conf_count(root, "acl"); i++) {
        const struct conf_node *r = conf_at(root, "acl", i);
        const char *allow = conf_string(r, "allow"), *deny = conf_string(r, "deny");
        add_rule(a, &(struct acl_rule){.user = copy_of(r, "user"),
                                       .role = copy_of(r, "role"),
                                       .client = copy_of(r, "client"),
                                       .topic = copy_of(r, "topic"),
                                       .where = mem_format("%s:%d", r->file, r->line),
                                       .anonymous = conf_bool(r, "anonymous"),
                                       .allow = allow != NULL,
                                       .retain = conf_bool(r, "retain"),
                                       .actions = actions_of(allow ? allow : deny),
                                       .max_qos = (uint8_t)conf_int(r, "max_qos")});
    }
}

void acl_allow(struct acl *a, uint8_t actions, const char *topic, const char *where)
{
    add_rule(a, &(struct acl_rule){.topic = mem_strdup(topic),
                                   .where = mem_strdup(where),
                                   .allow = true,
                                   .retain = true,
                                   .actions = actions,
                                   .max_qos = 2});
}

static bool has_role(const struct acl_who *who, const char *role)
{
    for (const char *const *r = who->roles; r && *r; r++)
        if (!strcmp(*r, role))
            return true;
    return false;
}

bool acl_rule_uses(const struct acl_rule *r, char letter)
{
    const char sign[] = {'%', letter, 0};

    return strstr(r->topic, sign) != NULL;
}

bool acl_rule_is_for(const struct acl_rule *r, const struct acl_who *who)
{
    if (r->anonymous && who->user)
        return false;
    if (!who->user && (r->user || acl_rule_uses(r, 'u')))
        return false;
    if (r->user && strcmp(r->user, who->user) != 0)
        return false;
    if (r->role && !has_role(who, r->role))
        return false;
    return !r->client || bytes_equal(bytes_of(r->client), who->client);
}

/* The level at the start of *rest; false behind the last one. */
static bool next_level(struct bytes *rest, bool *more, struct bytes *level)
{
    if (!*more)
        return false;
    const uint8_t *slash = rest->len ? memchr(rest->data, '/', rest->len) : NULL;
    size_t len = slash ? (size_t)(slash - rest->data) : rest->len;
    *level = (struct bytes){rest->data, len};
    *more = slash != NULL;
    *rest = (struct bytes){rest->data + len + *more, rest->len - len - *more};
    return true;
}

static bool is(struct bytes level, char c)
{
    return level.len == 1 && level.data[0] == c;
}

bool acl_covers(struct bytes rule, struct bytes filter)
{
    struct bytes r, f;
    bool more_r = true, more_f = true, first = true;

    for (;; first = false) {
        bool has_r = next_level(&rule, &more_r, &r), has_f = next_level(&filter, &more_f, &f);
        if (first && has_f && f.len && f.data[0] == '$' && (is(r, '+') || is(r, '#')))
            return false; /* §4.7.2 */
        if (has_r && is(r, '#'))
            return true;
        if (has_r != has_f)
            return false;
        if (!has_r)
            return true;
        if (is(f, '#'))
            return false;
        if (!is(r, '+') && !bytes_equal(r, f))
            return false;
    }
}
