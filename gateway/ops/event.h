/* SPDX-License-Identifier: Apache-2.0 */
/* {root}/event/{kind}: what happened to the box, for those who watch it from afar. QoS 1, not retained, with
 * the time; a durable subscriber (a bridge) gets it however long the link was away. Loop thread. */
#ifndef SLUICE_OPS_EVENT_H
#define SLUICE_OPS_EVENT_H

struct cJSON;
struct gateway;

/* kind: "bridge", "bus", "store", "system" …. Adds "t" ("clk":"unset" while the time is not known) to what
 * and takes it over. */
void event_publish(struct gateway *gw, const char *kind, struct cJSON *what);

/* {root}/{path} with an object's text at a QoS; not retained. Borrows what. */
void event_publish_json(struct gateway *gw, const char *path, const struct cJSON *what, unsigned char qos);

/* Adds "t", and "clk":"unset" while the time is not known. */
void event_stamp(struct cJSON *what);

#endif
