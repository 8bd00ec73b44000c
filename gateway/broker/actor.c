/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/actor.h"

#include "broker/router.h"

static void note(const struct actor *a, const char *what, struct bytes topic)
{
    char name[160];

    a->name(a->of, name);
    auth_note(a->auth, "%s%s%.64s may not %s %.*s", name, a->who->user ? ", user " : "",
              a->who->user ? a->who->user : "", what, (int)(topic.len < 200 ? topic.len : 200), topic.data);
}

bool actor_may_publish(const struct actor *a, struct bytes topic, uint8_t qos, bool retain)
{
    if (!a->who || !a->who->view)
        return true;
    struct acl_verdict v = acl_topic(a->who->view, ACL_PUBLISH, topic);
    if (v.allow && qos <= v.max_qos && (!retain || v.retain))
        return true;
    auth_counts(a->auth)->denied_publish++;
    note(a, "publish", topic);
    return false;
}

bool actor_may_subscribe(const struct actor *a, struct bytes filter, uint8_t *qos)
{
    if (!a->who || !a->who->view)
        return true;
    struct acl_verdict v = acl_filter(a->who->view, filter);
    if (v.allow) {
        *qos = *qos < v.max_qos ? *qos : v.max_qos;
        return true;
    }
    auth_counts(a->auth)->denied_subscribe++;
    note(a, "subscribe to", filter);
    return false;
}

bool actor_may_receive(const struct actor *a, struct bytes topic)
{
    if (!a->who || !a->who->view || acl_topic(a->who->view, ACL_RECEIVE, topic).allow)
        return true;
    auth_counts(a->auth)->denied_receive++;
    return false;
}

/* ---- the rules have changed ---- */

/* Subscriptions that are not allowed any more go, others get no more than is allowed. True when some went. */
static bool review_subscriptions(const struct actor *a, struct session *s)
{
    bool lost = false;

    list_for_safe(it, &s->subscriptions)
    {
        const struct subscription *sub = list_entry(it, struct subscription, in_session);
        struct bytes filter = {(const uint8_t *)sub->filter, sub->filter_len};
        struct subscription_options o = sub->options;
        o.retain_handling = 2; /* what was retained is no news */
        if (!actor_may_subscribe(a, filter, &o.qos)) {
            session_unsubscribe(s, filter);
            lost = true;
        } else if (o.qos != sub->options.qos) {
            session_subscribe(s, filter, &o);
        }
    }
    return lost;
}

bool actor_review(const struct actor *a, struct session *s)
{
    if (!a->who || !a->who->view)
        return false;
    bool lost = review_subscriptions(a, s);
    const struct message *will = s->will ? s->will->message : NULL;
    if (will && !actor_may_publish(a, will->topic, will->qos, will->retain)) {
        session_set_will(s, NULL, 0);
        session_save(s);
    }
    return lost;
}
