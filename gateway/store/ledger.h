/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's form on disk: a row holds records one behind the other, each with its length and, when it
 * names a body, the body's id in front. A record's offset is the key of its row and its place in it, so that
 * rows need no index and offsets go on rising. Pure; what a record means is its writer's business. */
#ifndef SLUICE_STORE_LEDGER_H
#define SLUICE_STORE_LEDGER_H

#include "base/buf.h"

struct ledger_record {
    uint64_t body_id; /* 0: none */
    struct bytes data;
};

/* Bytes that a record takes; data of at most 2^31 - 1 bytes. */
static inline size_t ledger_size(const struct ledger_record *r)
{
    return (r->body_id ? 12U : 4U) + r->data.len;
}

void ledger_write(struct buf *out, const struct ledger_record *r);

/* The next record of a row. False at its end, and with c->failed where it is damaged. */
bool ledger_read(struct cursor *c, struct ledger_record *out);

#endif
