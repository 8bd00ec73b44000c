/* SPDX-License-Identifier: Apache-2.0 */
/* The engine that forgets: it keeps the rows of queues, since they are read back, and nothing else, since
 * nothing of it is ever loaded. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "store/engine.h"

struct kept_row {
    uint64_t seq;
    bool released;
    uint64_t body_id;
    struct buf record, body;
};

struct kept_queue {
    struct map_node node;
    uint32_t no;
    struct kept_row *rows; /* by rising seq */
    size_t count, room;
};

struct memory {
    struct map queues;
};

static bool queue_is(const struct map_node *node, const void *key)
{
    return container_of(node, struct kept_queue, node)->no == *(const uint32_t *)key;
}

static struct kept_queue *find_queue(struct memory *m, uint32_t no)
{
    struct map_node *node = map_find(&m->queues, map_hash_u64(no), queue_is, &no);

    return node ? container_of(node, struct kept_queue, node) : NULL;
}

/* The index of the first row that is not below seq. */
static size_t find_row(const struct kept_queue *q, uint64_t seq)
{
    size_t low = 0, high = q->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (q->rows[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void clear_row(struct kept_row *row)
{
    buf_free(&row->record);
    buf_free(&row->body);
    row->body_id = 0;
}

static bool put_row(struct memory *m, const struct batch *b, const struct op *op)
{
    struct kept_queue *q = find_queue(m, op->no);
    const struct store_body *body = op_body(b, op);

    if (!q) {
        q = mem_alloc(sizeof(*q));
        q->no = op->no;
        map_insert(&m->queues, &q->node, map_hash_u64(op->no));
    }
    if (q->count && q->rows[q->count - 1].seq >= op->seq)
        return false;
    if (q->count == q->room) {
        q->room = q->room ? q->room * 2 : 16;
        q->rows = mem_resize(q->rows, q->room * sizeof(*q->rows));
    }
    struct kept_row *row = &q->rows[q->count++];
    *row = (struct kept_row){.seq = op->seq, .body_id = body ? body->id : 0};
    buf_append(&row->record, op_value(op).data, op->value_len);
    if (body)
        buf_append(&row->body, body->data.data, body->data.len);
    return true;
}

static void remove_rows(struct kept_queue *q, uint64_t first, uint64_t end)
{
    size_t from = find_row(q, first), to = find_row(q, end);

    for (size_t i = from; i < to; i++)
        clear_row(&q->rows[i]);
    if (to > from)
        memmove(&q->rows[from], &q->rows[to], (q->count - to) * sizeof(*q->rows));
    q->count -= to - from;
}

static void release_row(struct kept_queue *q, uint64_t seq)
{
    size_t i = find_row(q, seq);

    if (i == q->count || q->rows[i].seq != seq)
        return;
    clear_row(&q->rows[i]);
    q->rows[i].released = true;
}

static void drop_queue(struct memory *m, struct kept_queue *q)
{
    remove_rows(q, 0, UINT64_MAX);
    map_remove(&m->queues, &q->node);
    free(q->rows);
    free(q);
}

static void purge(struct memory *m, uint32_t no, struct buf *gone)
{
    struct kept_queue *q = find_queue(m, no);

    if (q)
        drop_queue(m, q);
    buf_append(gone, &no, sizeof(no));
}

static void apply_op(struct memory *m, const struct batch *b, const struct op *op, struct store_outcome *out)
{
    struct kept_queue *q = find_queue(m, op->no);

    if (op->kind == OP_QUEUE_PUT)
        out->refused += !put_row(m, b, op);
    else if (op->kind == OP_SESSION_PURGE)
        purge(m, op->no, &out->gone);
    else if (op->kind == OP_QUEUE_REMOVE && q)
        remove_rows(q, op->seq, op->end);
    else if (op->kind == OP_QUEUE_RELEASE && q)
        release_row(q, op->seq);
}

static void memory_apply(void *db, const struct batch *b, struct store_outcome *out)
{
    out->err = 0;
    out->refused = 0;
    out->more = false;
    for (const struct op *op = batch_first(b); op; op = batch_next(b, op))
        apply_op(db, b, op, out);
}

static int memory_read(void *db, uint32_t no, uint64_t first,
                       bool (*on_row)(void *arg, const struct store_row *row), void *arg)
{
    const struct kept_queue *q = find_queue(db, no);
    bool go_on = true;

    for (size_t i = q ? find_row(q, first) : 0; q && go_on && i < q->count; i++) {
        const struct kept_row *kept = &q->rows[i];
        struct store_row row = {.seq = kept->seq, .released = kept->released, .body_id = kept->body_id};
        row.record = (struct bytes){kept->record.data, kept->record.len};
        if (kept->body_id) {
            uint8_t *copy = mem_alloc(kept->body.len);
            memcpy(copy, kept->body.data, kept->body.len);
            row.body = (struct bytes){copy, kept->body.len};
        }
        go_on = on_row(arg, &row);
    }
    return 0;
}

static int memory_open(void **out, const struct store_config *config)
{
    (void)config;
    *out = mem_alloc(sizeof(struct memory));
    return 0;
}

static int memory_load(void *db, const struct store_visitor *visitor, struct store_loaded *into)
{
    (void)db;
    (void)visitor;
    into->ledger_end = 1;
    return 0;
}

static int memory_body(void *db, uint64_t id, struct bytes *out)
{
    (void)db;
    (void)id;
    (void)out;
    return -ENOENT;
}

static uint64_t memory_next_body(void *db)
{
    (void)db;
    return 1;
}

static void memory_after(void *db)
{
    (void)db;
}

static int memory_backup(void *db, const char *path, bool cancel)
{
    (void)db;
    (void)path;
    return cancel ? -ECANCELED : -ENOTSUP;
}

static void memory_close(void *db)
{
    struct memory *m = db;

    for (struct map_node *node; (node = map_next(&m->queues, NULL));)
        drop_queue(m, container_of(node, struct kept_queue, node));
    map_free(&m->queues);
    free(m);
}

const struct engine engine_memory = {
    .name = "memory",
    .threaded = false,
    .open = memory_open,
    .load = memory_load,
    .body = memory_body,
    .next_body = memory_next_body,
    .apply = memory_apply,
    .after = memory_after,
    .read = memory_read,
    .backup = memory_backup,
    .close = memory_close,
};
