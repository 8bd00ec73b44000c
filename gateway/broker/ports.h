/* SPDX-License-Identifier: Apache-2.0 */
/* The listeners that a configuration names, and the clients of each: their rows and checks, how they open,
 * change on a reload and close. A part of the broker's service, which alone uses it. Loop thread only. */
#ifndef SLUICE_BROKER_PORTS_H
#define SLUICE_BROKER_PORTS_H

#include "service.h"

extern const struct conf_row port_rows[];
/* struct service's check, for the rows "listeners". */
void ports_check(struct conf *c, FILE *report);

/* Before all others. */
void ports_begin(struct gateway *gw);
/* Opens them all: 0 or -E… of the first that cannot be had (logged). */
int ports_open(const struct conf_node *root);
/* Opens, changes and closes what differs. 0, or -E… of one that could not be had; the others are in force. */
int ports_reload(const struct conf_node *root);
/* Packets of their clients have waited for the disk too long. */
void ports_disconnect_held(void);
void ports_close(void);
/* After ports_close, when no connection is left. */
void ports_free(void);
void ports_status(struct cJSON *into);

#endif
