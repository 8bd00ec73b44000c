/* SPDX-License-Identifier: Apache-2.0 */
/* Shared subscriptions (MQTT 5.0 §4.8.2): sessions that subscribe to $share/NAME/FILTER take turns at what
 * FILTER matches. Each message goes to one member: in turn among those that have room now, else to who has
 * least waiting, connected before away. Taken from every version of MQTT. Loop thread only. */
#ifndef SLUICE_BROKER_SHARE_H
#define SLUICE_BROKER_SHARE_H

#include "broker/router.h"

struct share {
    struct router_node *node; /* its filter in the router */
    struct list in_node;
    struct list members; /* subscriptions; who is next comes first */
    size_t name_len;
    char name[];
};

/* Splits "$share/NAME/FILTER". False when filter is not of that form. */
bool share_split(struct bytes filter, struct bytes *name, struct bytes *inner);

/* Adds sub to the share of this name among those of node (made when it is not there); takes it out (freed
 * with its last member). */
void share_join(struct router_node *node, struct list **shares, struct bytes name, struct subscription *sub);
void share_leave(struct list **shares, struct subscription *sub);

/* The member for the next message, or NULL when none could take it (QoS 0 and nobody is connected). It goes
 * to the end of the turn. */
struct subscription *share_pick(struct share *share, uint8_t qos);

/* s ends: what it got by shared subscriptions and has not begun, or not acknowledged at QoS 1, goes to their
 * other members. True when that takes time: s has given up its name and ends by itself, by session_end, once
 * its queue has been read to the end. */
bool share_hands_over(struct session *s);

#endif
