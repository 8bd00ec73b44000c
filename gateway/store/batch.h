/* SPDX-License-Identifier: Apache-2.0 */
/* A batch: the operations of one transaction, one behind the other in an arena that is used again, so that an
 * operation costs a copy and no allocation. The front appends on the loop's thread; once handed over a batch
 * is not changed until it comes back, so that both threads may read it. Bodies are referenced, not copied. */
#ifndef SLUICE_STORE_BATCH_H
#define SLUICE_STORE_BATCH_H

#include "store/store.h"

enum op_kind {
    OP_VALUE_PUT,
    OP_SESSION_PUT,
    OP_SESSION_PURGE,
    OP_SUBSCRIPTION_PUT,
    OP_SUBSCRIPTION_REMOVE,
    OP_IDENTIFIER_PUT,
    OP_IDENTIFIER_REMOVE,
    OP_LEDGER_PUT,
    OP_LEDGER_TRIM,
    OP_QUEUE_PUT,
    OP_QUEUE_RELEASE,
    OP_QUEUE_REMOVE,
    OP_KINDS
};

/* Name and value stand behind it. */
struct op {
    enum op_kind kind;
    uint32_t no;
    uint64_t seq,
        end; /* seq: also an identifier, an offset; end: of a removal, or the body that is dropped */
    uint32_t name_len, value_len;
    uint32_t body; /* 1 + index of its body in the batch; 0: none */
    uint32_t size; /* with all that stands behind it */
    size_t before; /* 1 + offset of the operation before it on the same queue; 0: none */
};

struct batch {
    store_ticket ticket;
    uint64_t serial; /* no other filling of this batch has it */
    struct buf arena;
    size_t count;
    struct store_body *bodies;
    size_t body_count, body_room;
    size_t body_bytes;
    bool wanted;
    unsigned tries; /* that failed */
};

static inline struct bytes op_name(const struct op *op)
{
    return (struct bytes){(const uint8_t *)(op + 1), op->name_len};
}

static inline struct bytes op_value(const struct op *op)
{
    return (struct bytes){(const uint8_t *)(op + 1) + op->name_len, op->value_len};
}

static inline const struct store_body *op_body(const struct batch *b, const struct op *op)
{
    return op->body ? &b->bodies[op->body - 1] : NULL;
}

static inline struct op *batch_at(const struct batch *b, size_t offset)
{
    return (struct op *)(void *)(b->arena.data + offset);
}

static inline const struct op *batch_first(const struct batch *b)
{
    return b->count ? batch_at(b, 0) : NULL;
}

static inline const struct op *batch_next(const struct batch *b, const struct op *op)
{
    const uint8_t *at = (const uint8_t *)op + op->size;

    return at < b->arena.data + b->arena.len ? (const struct op *)(const void *)at : NULL;
}

static inline size_t batch_bytes(const struct batch *b)
{
    return b->arena.len + b->body_bytes;
}

/* Appends an operation like `like` (kind, no, seq, end); body may be NULL. Lives until the next one is
 * appended. */
struct op *batch_add(struct batch *b, const struct op *like, struct bytes name, struct bytes value,
                     const struct store_body *body);
/* Calls release for each body that was named. */
void batch_release_bodies(struct batch *b);
/* Forgets everything and keeps memory of an ordinary size for the next filling. */
void batch_reset(struct batch *b, store_ticket ticket);
void batch_free(struct batch *b);

#endif
