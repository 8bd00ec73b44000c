/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of who may publish, subscribe to and receive what: ordered, the first that matches decides, and what
 * none matches is denied. This is the list itself and how a rule is matched; acl_view.h asks it for one
 * client. Never changed once made; counted by those who look at it. Loop thread only. */
#ifndef SLUICE_BROKER_ACL_H
#define SLUICE_BROKER_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/conf.h"
#include "base/map.h"

enum acl_action { ACL_PUBLISH = 1, ACL_SUBSCRIBE = 2, ACL_RECEIVE = 4 };

struct acl_rule {
    char *user, *role, *client; /* NULL: any */
    char *topic;                /* a filter, with %u and %c */
    char *where;                /* file:line, or what else it is from */
    bool anonymous;             /* only those without a name */
    bool allow, retain;
    uint8_t actions, max_qos;
};

struct acl {
    struct acl_rule *rules;
    size_t count;
    uint32_t refs;
    struct map views; /* acl_view.c: those that several clients share, by user */
};

struct acl_who {
    const char *user; /* NULL: anonymous */
    struct bytes client;
    const char *const *roles; /* ends with NULL; may be NULL */
};

extern const struct conf_row acl_rule_rows[]; /* of one rule of acl = ( … ) */
void acl_check(struct conf *c);

/* An empty one. */
struct acl *acl_new(void);
void acl_drop(struct acl *a);
/* The rules of a checked configuration. */
void acl_add_all(struct acl *a, const struct conf_node *root);

/* One that allows actions (of enum acl_action) on topic. */
void acl_allow(struct acl *a, uint8_t actions, const char *topic, const char *where);

/* The action of one of its three names; 0 when it is none. */
enum acl_action acl_action(const char *name);
bool acl_rule_is_for(const struct acl_rule *r, const struct acl_who *who);
bool acl_rule_uses(const struct acl_rule *r, char letter);
/* True when filter can match no topic that rule does not match. */
bool acl_covers(struct bytes rule, struct bytes filter);

#endif
