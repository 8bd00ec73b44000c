/* SPDX-License-Identifier: Apache-2.0 */
/* What a client may do: asked where it publishes, subscribes and receives, and again when the rules change.
 */
#include "broker/actor.h"
#include "broker/client_private.h"

static void name_of(const void *of, char out[160])
{
    client_name(of, out);
}

static struct actor actor_of(const struct client *c)
{
    return (struct actor){c->port->auth, c->who, name_of, c};
}

bool client_may_publish(struct client *c, struct bytes topic, uint8_t qos, bool retain)
{
    if (!c->who || !c->who->view)
        return true;
    struct actor a = actor_of(c);
    return actor_may_publish(&a, topic, qos, retain);
}

uint8_t client_may_subscribe(struct client *c, struct bytes filter, uint8_t *qos)
{
    struct actor a = actor_of(c);

    if (actor_may_subscribe(&a, filter, qos))
        return MQTT_OK;
    return c->version == MQTT_5 ? MQTT_NOT_AUTHORIZED : MQTT_UNSPECIFIED; /* 3.1.1 §3.9.3 knows 0x80 alone */
}

bool client_may_receive(struct client *c, struct bytes topic)
{
    struct actor a = actor_of(c);

    return actor_may_receive(&a, topic);
}

bool client_review(struct client *c)
{
    struct actor a = actor_of(c);

    return actor_review(&a, c->session);
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
