/* SPDX-License-Identifier: Apache-2.0 */
/* One upstream: an MQTT client that keeps connecting, and the durable sessions whose queues are the backlog
 * (lanes.h). They have the `out` rules as subscriptions; nobody reads them while the upstream is away.
 * What leaves them on disk is the broker's business, which topics pass is remap's. An uplink owns its
 * settings and frees itself some turns after it was stopped. Loop thread only. */
#ifndef SLUICE_BRIDGE_UPLINK_H
#define SLUICE_BRIDGE_UPLINK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "bridge/settings.h"

struct cJSON;
struct gateway;
struct uplink;

/* What is not freed yet, of all uplinks together. */
struct uplink_ends {
    size_t alive;        /* uplinks and connections */
    struct list leaving; /* connections that said goodbye */
};

/* Takes settings over and begins to connect. NULL (logged, settings freed) when the broker has no room for
 * the session. */
struct uplink *uplink_start(struct gateway *gw, struct settings *settings, struct uplink_ends *ends);

/* New settings of the same name. anew: they differ in more than the contents of files: the connection is
 * ended in order and made again. Else it stays, and the next one uses the new certificates. The queue stays
 * in any case. */
void uplink_change(struct uplink *u, struct settings *settings, bool anew);

/* Says offline and goodbye, then frees itself. The queue stays. */
void uplink_stop(struct uplink *u, const char *reason);
/* Waits no longer for upstreams that do not answer the goodbye. */
void uplink_hurry(struct uplink_ends *ends);
/* Stops, and the sessions end with their queues. */
void uplink_remove(struct uplink *u);

const struct settings *uplink_settings(const struct uplink *u);
/* Adds what people watch. */
void uplink_status(const struct uplink *u, struct cJSON *into);

#endif
