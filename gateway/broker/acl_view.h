/* SPDX-License-Identifier: Apache-2.0 */
/* The rules as they are for one client: those that can concern it, with %u and %c replaced, and a memory of
 * what was decided. Clients of one user share a view unless a rule depends on the client identifier. NULL is
 * the view of whoever may do everything: nothing is asked then. Loop thread only. */
#ifndef SLUICE_BROKER_ACL_VIEW_H
#define SLUICE_BROKER_ACL_VIEW_H

#include "broker/acl.h"

struct acl_view;

struct acl_verdict {
    const struct acl_rule *rule; /* that decided; NULL: none did */
    bool allow, retain;
    uint8_t max_qos;
};

/* NULL, or what of the client a rule that is for it cannot take in the place of %u or %c: "user name",
 * "client identifier". */
const char *acl_who_wrong(const struct acl *a, const struct acl_who *who);

/* who must not be wrong. own: rules that this client brought with it (a token's), or NULL; then only the
 * denials of a count, and come first. */
struct acl_view *acl_view_get(struct acl *a, const struct acl_who *who, struct acl *own);
void acl_view_drop(struct acl_view *v); /* NULL is fine */

/* May it publish or receive a message of this topic? Remembered. */
struct acl_verdict acl_topic(struct acl_view *v, enum acl_action action, struct bytes topic);
/* May it subscribe to this filter ($share/… too)? */
struct acl_verdict acl_filter(struct acl_view *v, struct bytes filter);

#endif
