/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to see of the running box, as one JSON object: "gateway" from here, the rest from the
 * services' own status functions. The control socket sends it, health shortens it; nothing is kept between
 * calls. Loop thread. */
#ifndef SLUICE_OPS_STATUS_H
#define SLUICE_OPS_STATUS_H

struct cJSON;
struct gateway;

/* Adds "gateway" (version, site, boot, uptime, memory, clock, configuration) and one member or more for each
 * service. */
void status_collect(struct gateway *gw, struct cJSON *into);

#endif
