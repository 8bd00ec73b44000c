/* SPDX-License-Identifier: Apache-2.0 */
/* Retained messages: the last of each topic that was published with RETAIN (MQTT 3.1.1 §3.3.1.3). In memory
 * whole, bounded by a count; on disk as records of the store's ledger, where the last word on a topic counts.
 * What it said before is garbage; when that outweighs the rest, the oldest records that still count are put
 * anew at the end, a few with each message that comes, and what is older than all that count goes. Loop
 * thread only. */
#ifndef SLUICE_BROKER_RETAIN_H
#define SLUICE_BROKER_RETAIN_H

#include "broker/message.h"
#include "store/store.h"

struct retain;
struct retain *retain_new(struct store *store, uint32_t most);
void retain_free(struct retain *r);
void retain_limit(struct retain *r, uint32_t most);

/* Keeps m as its topic's message, lasting: on disk too; an empty payload removes it ([MQTT-3.3.1-6],
 * [MQTT-3.3.1-7]). Returns the ticket at which it is on disk; 0 when nothing had to be written. */
store_ticket retain_set(struct retain *r, struct message *m, bool lasting);
/* A record from disk, in the order in which they were put. False: it cannot be read. */
bool retain_restore(struct retain *r, uint64_t offset, struct bytes record, uint64_t body_id);
/* All came: reads the payloads that stand apart. */
void retain_restored(struct retain *r);

size_t retain_count(const struct retain *r);
uint64_t retain_bytes(const struct retain *r);
uint64_t retain_refused(const struct retain *r);

/* The next message whose topic matches, in an order of its own; messages may come and go in between. *place:
 * 0 at first, RETAIN_END when all were there. *steps: topics that may be looked at; at 0 it returns NULL
 * before the end. */
#define RETAIN_END UINT64_MAX
struct message *retain_next(const struct retain *r, struct bytes filter, uint64_t *place, uint32_t *steps);

#endif
