/* SPDX-License-Identifier: Apache-2.0 */
/* Retained messages: the last of each topic that was published with RETAIN (MQTT 3.1.1 §3.3.1.3). In memory
 * whole, bounded by a count; on disk by topic. Loop thread only. */
#ifndef SLUICE_BROKER_RETAIN_H
#define SLUICE_BROKER_RETAIN_H

#include "broker/message.h"
#include "store/store.h"

struct retain;
struct retain *retain_new(struct store *store, uint32_t most);
void retain_free(struct retain *r);

/* Keeps m as its topic's message, on disk too unless the topic begins with $; an empty payload removes it
 * ([MQTT-3.3.1-6], [MQTT-3.3.1-7]). Returns the ticket at which it is on disk; 0 when nothing had to be
 * written. */
store_ticket retain_set(struct retain *r, struct message *m);
/* One from disk: m's reference is taken over. */
void retain_restore(struct retain *r, struct message *m);

size_t retain_count(const struct retain *r);
uint64_t retain_refused(const struct retain *r);

/* Calls found for each message whose topic matches. It must not change retained messages. */
void retain_each(struct retain *r, struct bytes filter, void (*found)(void *arg, struct message *m),
                 void *arg);

#endif
