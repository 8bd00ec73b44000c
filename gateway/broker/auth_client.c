/* SPDX-License-Identifier: Apache-2.0 */
/* What a client may do: asked where it publishes, subscribes and receives, and again when the rules change.
 */
#include <stdlib.h>
#include <string.h>

#include "broker/auth.h"
#include "broker/client_private.h"
#include "broker/router.h"

static void note(struct client *c, const char *what, struct bytes topic)
{
    char name[160];

    client_name(c, name);
    auth_note(c->port->auth, "%s%s%.64s may not %s %.*s", name, c->who->user ? ", user " : "",
              c->who->user ? c->who->user : "", what, (int)(topic.len < 200 ? topic.len : 200), topic.data);
}

bool client_may_publish(struct client *c, struct bytes topic, uint8_t qos, bool retain)
{
    if (!c->who || !c->who->view)
        return true;
    struct acl_verdict v = acl_topic(c->who->view, ACL_PUBLISH, topic);
    if (v.allow && qos <= v.max_qos && (!retain || v.retain))
        return true;
    auth_counts(c->port->auth)->denied_publish++;
    note(c, "publish", topic);
    return false;
}

uint8_t client_may_subscribe(struct client *c, struct bytes filter, uint8_t *qos)
{
    if (!c->who || !c->who->view)
        return MQTT_OK;
    struct acl_verdict v = acl_filter(c->who->view, filter);
    if (v.allow) {
        *qos = *qos < v.max_qos ? *qos : v.max_qos;
        return MQTT_OK;
    }
    auth_counts(c->port->auth)->denied_subscribe++;
    note(c, "subscribe to", filter);
    return c->version == MQTT_5 ? MQTT_NOT_AUTHORIZED : MQTT_UNSPECIFIED; /* 3.1.1 §3.9.3 knows 0x80 alone */
}

bool client_may_receive(struct client *c, struct bytes topic)
{
    if (!c->who || !c->who->view || acl_topic(c->who->view, ACL_RECEIVE, topic).allow)
        return true;
    auth_counts(c->port->auth)->denied_receive++;
    return false;
}

/* ---- the rules have changed ---- */

/* Subscriptions that are not allowed any more go, others get no more than is allowed. True when some went. */
static bool review_subscriptions(struct client *c)
{
    struct session *s = c->session;
    bool lost = false;

    list_for_safe(it, &s->subscriptions)
    {
        const struct subscription *sub = list_entry(it, struct subscription, in_session);
        struct bytes filter = {(const uint8_t *)sub->filter, sub->filter_len};
        struct subscription_options o = sub->options;
        o.retain_handling = 2; /* what was retained is no news */
        if (client_may_subscribe(c, filter, &o.qos)) {
            session_unsubscribe(s, filter);
            lost = true;
        } else if (o.qos != sub->options.qos) {
            session_subscribe(s, filter, &o);
        }
    }
    return lost;
}

static void review_will(struct client *c)
{
    const struct message *will = c->session->will ? c->session->will->message : NULL;

    if (!will || client_may_publish(c, will->topic, will->qos, will->retain))
        return;
    session_set_will(c->session, NULL, 0);
    session_save(c->session);
}

bool client_review(struct client *c)
{
    bool lost = c->who && c->who->view && review_subscriptions(c);

    if (c->who && c->who->view)
        review_will(c);
    return lost;
}

static bool may_stay(struct client *c)
{
    const char *why = "";

    if (!auth_still_valid(c->port->auth, c->who) || (!(c->who && c->who->user) && !c->port->anonymous))
        return false;
    struct bytes id = {(const uint8_t *)c->session->name, c->session->name_len};
    return !auth_bind(c->port->auth, &c->who, id, c->port->loopback, &why);
}

/* There is no packet that takes a subscription away, so a client of MQTT 5 that lost one is disconnected and
 * told; one of 3.1.1 could not be told and simply gets no more of it. */
void client_port_review(struct client_port *p)
{
    list_for_safe(it, &p->all)
    {
        struct client *c = list_entry(it, struct client, in_port);
        if (c->state != CLIENT_CONNECTED)
            continue;
        if (!may_stay(c))
            client_refuse(c, MQTT_NOT_AUTHORIZED, "it may not be here any more");
        else if (client_review(c) && c->version == MQTT_5)
            client_refuse(c, MQTT_NOT_AUTHORIZED, "it lost subscriptions to changed rules");
    }
}
