/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "store/front.h"
#include "store/ledger.h"

static const struct bytes nothing;

static bool lane_is(const struct map_node *node, const void *key)
{
    return container_of(node, struct lane, node)->no == *(const uint32_t *)key;
}

struct lane *store_lane(struct store *s, uint32_t no)
{
    if (s->last_lane && s->last_lane->no == no)
        return s->last_lane;
    struct map_node *node = map_find(&s->lanes, map_hash_u64(no), lane_is, &no);
    if (node)
        s->last_lane = container_of(node, struct lane, node);
    return node ? s->last_lane : NULL;
}

static struct lane *make_lane(struct store *s, uint32_t no)
{
    struct lane *lane = mem_alloc(sizeof(*lane));

    lane->no = no;
    map_insert(&s->lanes, &lane->node, map_hash_u64(no));
    s->last_lane = lane;
    return lane;
}

void store_lane_drop(struct store *s, uint32_t no)
{
    struct lane *lane = store_lane(s, no);

    if (!lane)
        return;
    s->last_lane = NULL;
    map_remove(&s->lanes, &lane->node);
    free(lane);
}

static bool on_queue(enum op_kind kind)
{
    return kind >= OP_QUEUE_PUT || kind == OP_SESSION_PURGE;
}

static size_t last_op(const struct lane *lane, const struct store *s, const struct batch *b)
{
    size_t slot = (size_t)(b - s->batches);

    return lane->serial[slot] == b->serial ? lane->last[slot] : 0;
}

void store_append(struct store *s, struct batch *b, const struct op *like, struct bytes name,
                  struct bytes value, const struct store_body *body)
{
    size_t offset = b->arena.len;
    struct op *op = batch_add(b, like, name, value, body);

    op->before = 0;
    if (!on_queue(op->kind))
        return;
    struct lane *lane = store_lane(s, op->no);
    size_t slot = (size_t)(b - s->batches);
    if (!lane)
        lane = make_lane(s, op->no);
    op->before = last_op(lane, s, b);
    lane->last[slot] = offset + 1;
    lane->serial[slot] = b->serial;
}

static void append(struct store *s, const struct op *like, struct bytes name, struct bytes value,
                   const struct store_body *body)
{
    if (!s->open->count)
        store_begin_linger(s);
    store_append(s, s->open, like, name, value, body);
}

void store_value_put(struct store *s, const char *name, struct bytes value)
{
    append(s, &(struct op){.kind = OP_VALUE_PUT}, bytes_of(name), value, NULL);
}

void store_session_put(struct store *s, uint32_t no, struct bytes record)
{
    append(s, &(struct op){.kind = OP_SESSION_PUT, .no = no}, nothing, record, NULL);
}

void store_session_purge(struct store *s, uint32_t no)
{
    append(s, &(struct op){.kind = OP_SESSION_PURGE, .no = no}, nothing, nothing, NULL);
}

void store_on_session_gone(struct store *s, void (*gone)(void *arg, uint32_t no), void *arg)
{
    s->gone = gone;
    s->gone_arg = arg;
}

void store_subscription_put(struct store *s, uint32_t no, struct bytes filter, struct bytes record)
{
    append(s, &(struct op){.kind = OP_SUBSCRIPTION_PUT, .no = no}, filter, record, NULL);
}

void store_subscription_remove(struct store *s, uint32_t no, struct bytes filter)
{
    append(s, &(struct op){.kind = OP_SUBSCRIPTION_REMOVE, .no = no}, filter, nothing, NULL);
}

void store_identifier_put(struct store *s, uint32_t no, uint16_t id)
{
    append(s, &(struct op){.kind = OP_IDENTIFIER_PUT, .no = no, .seq = id}, nothing, nothing, NULL);
}

void store_identifier_remove(struct store *s, uint32_t no, uint16_t id)
{
    append(s, &(struct op){.kind = OP_IDENTIFIER_REMOVE, .no = no, .seq = id}, nothing, nothing, NULL);
}

uint64_t store_ledger_put(struct store *s, struct bytes record, const struct store_body *body,
                          uint64_t dropped)
{
    uint64_t offset = s->ledger_end;

    append(s, &(struct op){.kind = OP_LEDGER_PUT, .seq = offset, .end = dropped}, nothing, record, body);
    s->ledger_end += ledger_size(&(struct ledger_record){body ? body->id : 0, record});
    return offset;
}

uint64_t store_ledger_end(const struct store *s)
{
    return s->ledger_end;
}

void store_ledger_trim(struct store *s, uint64_t offset)
{
    append(s, &(struct op){.kind = OP_LEDGER_TRIM, .seq = offset}, nothing, nothing, NULL);
}

void store_queue_put(struct store *s, uint32_t no, uint64_t seq, struct bytes record,
                     const struct store_body *body)
{
    append(s, &(struct op){.kind = OP_QUEUE_PUT, .no = no, .seq = seq}, nothing, record, body);
}

void store_queue_release(struct store *s, uint32_t no, uint64_t seq)
{
    append(s, &(struct op){.kind = OP_QUEUE_RELEASE, .no = no, .seq = seq}, nothing, nothing, NULL);
}

/* Acknowledgements come one by one and in order: most removals make the one before them longer. */
static bool lengthen(struct store *s, uint32_t no, uint64_t first, uint64_t end)
{
    const struct lane *lane = store_lane(s, no);
    size_t last = lane ? last_op(lane, s, s->open) : 0;
    struct op *op = last ? batch_at(s->open, last - 1) : NULL;

    if (!op || op->kind != OP_QUEUE_REMOVE || op->end != first)
        return false;
    op->end = end;
    return true;
}

void store_queue_remove(struct store *s, uint32_t no, uint64_t first, uint64_t end)
{
    if (first < end && !lengthen(s, no, first, end))
        append(s, &(struct op){.kind = OP_QUEUE_REMOVE, .no = no, .seq = first, .end = end}, nothing, nothing,
               NULL);
}
