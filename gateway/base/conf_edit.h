/* SPDX-License-Identifier: Apache-2.0 */
/* Putting together a part of a configuration from elsewhere, for the `expand` of a row: say, what a device
 * leaves to a file of its kind. Only between the reading of the files and the filling in of defaults; whoever
 * loads a file of its own to take from may also edit that. On the thread that builds the tree. */
#ifndef SLUICE_BASE_CONF_EDIT_H
#define SLUICE_BASE_CONF_EDIT_H

#include "base/conf.h"

/* The same node, to be edited. */
struct conf_node *conf_edit(const struct conf_node *n);

/* The member as the files have given it; NULL when they have not. Unlike conf_get it does not mind a name
 * that no row has, and gives no defaults. */
struct conf_node *conf_given(const struct conf_node *group, const char *name);

/* What `to` lacks of what `from` has been given, member by member: own values stand; groups are merged,
 * elements of lists by their names, those of `from` first. What no row of `to` knows is left out. Messages
 * about what comes from there end with via in brackets; the texts become c's. */
void conf_merge(struct conf *c, struct conf_node *to, const struct conf_node *from, const char *via);

/* The mistakes and warnings of another configuration, via as above. */
void conf_adopt_reports(struct conf *c, const struct conf *from, const char *via);

/* Frees the element. */
void conf_remove(struct conf_node *parent, size_t index);

/* Gives a member a value, as if it had been written; adds it when it is not there. */
void conf_put_float(struct conf_node *group, const char *name, double value);
void conf_put_string(struct conf_node *group, const char *name, const char *text);
/* One of the member's NUMBERS. given: it was written, not a default. */
void conf_put_number(struct conf_node *group, const char *name, const char *number, double value, bool given);

/* What is missing there, or wrong in it, has been told. */
void conf_put_blank(struct conf_node *group, const char *name);

#endif
