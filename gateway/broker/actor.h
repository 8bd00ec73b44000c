/* SPDX-License-Identifier: Apache-2.0 */
/* Whoever acts on topics, and what the rules let it do: an MQTT client, a mote. Asked where it publishes,
 * subscribes and receives, and again when the rules change; what is denied is counted and told. Made on the
 * stack by its owner for each question. Loop thread only. */
#ifndef SLUICE_BROKER_ACTOR_H
#define SLUICE_BROKER_ACTOR_H

#include "broker/auth.h"
#include "broker/session.h"

struct actor {
    struct auth *auth;
    const struct identity *who; /* NULL: may do everything */
    void (*name)(const void *of, char out[160]);
    const void *of;
};

bool actor_may_publish(const struct actor *a, struct bytes topic, uint8_t qos, bool retain);
/* *qos may become less. */
bool actor_may_subscribe(const struct actor *a, struct bytes filter, uint8_t *qos);
bool actor_may_receive(const struct actor *a, struct bytes topic);
/* Takes subscriptions and a will of s that are not allowed any more; true when subscriptions went. */
bool actor_review(const struct actor *a, struct session *s);

#endif
