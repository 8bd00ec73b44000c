/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/acl_view.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "broker/share.h"
#include "codec/mqtt.h"

enum { MEMO_SHARED_SLOTS = 64, MEMO_OWN_SLOTS = 8, MEMO_TOPIC_MOST = 256 };

struct bound_rule {
    const struct acl_rule *rule;
    struct bytes topic;
    char *replaced; /* what topic points to, when it is not the rule's own */
};

/* What was decided about a topic. */
struct memo {
    uint8_t action;
    struct acl_verdict verdict;
    size_t len;
    char topic[];
};

struct acl_view {
    struct map_node by_user; /* when shared */
    char *user;              /* "" is nobody's name: anonymous */
    bool shared;
    uint32_t refs;
    struct acl *acl, *own;
    size_t count;
    struct memo **memos;
    struct bound_rule rules[];
};

/* A view of one client alone must not cost much, however many clients there are. */
static size_t memo_slots(const struct acl_view *v)
{
    return v->shared ? MEMO_SHARED_SLOTS : MEMO_OWN_SLOTS;
}

/* ---- binding ---- */

/* %u and %c must stay what they are, one part of one level, and must not begin a topic of the system's. */
static bool is_plain(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++)
        if (memchr("+#/", text.data[i], 3) || !text.data[i])
            return false;
    return text.len && text.data[0] != '$';
}

const char *acl_who_wrong(const struct acl *a, const struct acl_who *who)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct acl_rule *r = &a->rules[i];
        if (!acl_rule_is_for(r, who))
            continue;
        if (acl_rule_uses(r, 'u') && !is_plain(bytes_of(who->user)))
            return "user name";
        if (acl_rule_uses(r, 'c') && !is_plain(who->client))
            return "client identifier";
    }
    return NULL;
}

static struct bound_rule bind_rule(const struct acl_rule *r, const struct acl_who *who)
{
    struct buf out = {0};

    if (!acl_rule_uses(r, 'u') && !acl_rule_uses(r, 'c'))
        return (struct bound_rule){r, bytes_of(r->topic), NULL};
    for (const char *at = r->topic; *at; at++) {
        if (at[0] == '%' && at[1] == 'u') {
            buf_append(&out, who->user, strlen(who->user));
            at++;
        } else if (at[0] == '%' && at[1] == 'c') {
            buf_append(&out, who->client.data, who->client.len);
            at++;
        } else {
            buf_u8(&out, (uint8_t)*at);
        }
    }
    return (struct bound_rule){r, {out.data, out.len}, (char *)out.data};
}

static void bind_all(struct acl_view *v, const struct acl *a, const struct acl_who *who, bool denials_only)
{
    for (size_t i = 0; i < a->count; i++)
        if (acl_rule_is_for(&a->rules[i], who) && !(denials_only && a->rules[i].allow))
            v->rules[v->count++] = bind_rule(&a->rules[i], who);
}

/* No rule that could be for this user looks at the client identifier. */
static bool is_shareable(const struct acl *a, const struct acl_who *who)
{
    for (size_t i = 0; i < a->count; i++) {
        struct acl_rule r = a->rules[i];
        bool uses = r.client || acl_rule_uses(&r, 'c');
        r.client = NULL;
        if (uses && acl_rule_is_for(&r, who))
            return false;
    }
    return true;
}

static bool user_equal(const struct map_node *n, const void *key)
{
    return !strcmp(container_of(n, const struct acl_view, by_user)->user, key);
}

struct acl_view *acl_view_get(struct acl *a, const struct acl_who *who, struct acl *own)
{
    const char *user = who->user ? who->user : "";
    uint64_t hash = map_hash(user, strlen(user));
    bool shared = !own && is_shareable(a, who);
    struct map_node *n = shared ? map_find(&a->views, hash, user_equal, user) : NULL;

    if (n) {
        struct acl_view *there = container_of(n, struct acl_view, by_user);
        there->refs++;
        return there;
    }
    size_t most = a->count + (own ? own->count : 0);
    struct acl_view *v = mem_alloc(sizeof(*v) + most * sizeof(v->rules[0]));
    v->refs = 1;
    v->user = mem_strdup(user);
    v->acl = a;
    v->own = own;
    a->refs++;
    bind_all(v, a, who, own != NULL);
    if (own) {
        own->refs++;
        bind_all(v, own, who, false);
    }
    v->shared = shared;
    if (shared)
        map_insert(&a->views, &v->by_user, hash);
    return v;
}

void acl_view_drop(struct acl_view *v)
{
    if (!v || --v->refs)
        return;
    if (v->shared)
        map_remove(&v->acl->views, &v->by_user);
    for (size_t i = 0; i < v->count; i++)
        free(v->rules[i].replaced);
    for (size_t i = 0; v->memos && i < memo_slots(v); i++)
        free(v->memos[i]);
    free(v->memos);
    acl_drop(v->acl);
    acl_drop(v->own);
    free(v->user);
    free(v);
}

/* ---- deciding ---- */

static struct acl_verdict verdict_of(const struct acl_rule *r)
{
    return r ? (struct acl_verdict){r, r->allow, r->allow && r->retain, r->max_qos} : (struct acl_verdict){0};
}

static struct acl_verdict decide(const struct acl_view *v, enum acl_action action, struct bytes topic)
{
    for (size_t i = 0; i < v->count; i++)
        if (v->rules[i].rule->actions & action && mqtt_topic_matches(v->rules[i].topic, topic))
            return verdict_of(v->rules[i].rule);
    return verdict_of(NULL);
}

struct acl_verdict acl_topic(struct acl_view *v, enum acl_action action, struct bytes topic)
{
    if (topic.len > MEMO_TOPIC_MOST)
        return decide(v, action, topic);
    if (!v->memos)
        v->memos = mem_alloc(memo_slots(v) * sizeof(*v->memos));
    struct memo **slot = &v->memos[(map_hash(topic.data, topic.len) + action) % memo_slots(v)];
    struct memo *m = *slot;
    if (m && m->action == action && bytes_equal((struct bytes){(const uint8_t *)m->topic, m->len}, topic))
        return m->verdict;
    free(m);
    m = *slot = mem_alloc(sizeof(*m) + topic.len);
    m->action = (uint8_t)action;
    m->len = topic.len;
    if (topic.len)
        memcpy(m->topic, topic.data, topic.len);
    return m->verdict = decide(v, action, topic);
}

struct acl_verdict acl_filter(struct acl_view *v, struct bytes filter)
{
    struct bytes name, plain;

    if (!share_split(filter, &name, &plain)) /* §4.8.2: one to the filter behind the name */
        plain = filter;

    for (size_t i = 0; i < v->count; i++)
        if (v->rules[i].rule->actions & ACL_SUBSCRIBE && acl_covers(v->rules[i].topic, plain))
            return verdict_of(v->rules[i].rule);
    return verdict_of(NULL);
}
