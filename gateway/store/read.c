/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a queue. The engine knows what is committed; what is under way or still open when the read is asked
 * for goes with it as a batch of its own and is laid over the rows. When that was committed in the meantime,
 * nothing changes: to put, release or remove a row twice is the same as once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/front.h"

struct reader {
    struct job job;
    struct list waiting; /* in store.reads, until the caller was told */
    uint32_t no;
    uint64_t first;
    uint32_t max_rows;
    size_t max_bytes;
    store_read_done *done;
    void *arg;
    struct batch overlay;
    uint32_t puts;          /* in the overlay */
    struct store_row *rows; /* records are offsets into text until all are there */
    size_t count, room, bytes;
    struct buf text;
    int err;
};

/* --- on the thread --- */

static bool overlay_removes(const struct reader *r, uint64_t seq)
{
    for (const struct op *op = batch_first(&r->overlay); op; op = batch_next(&r->overlay, op))
        if (op->kind == OP_QUEUE_REMOVE && seq >= op->seq && seq < op->end)
            return true;
    return false;
}

static bool overlay_releases(const struct reader *r, uint64_t seq)
{
    for (const struct op *op = batch_first(&r->overlay); op; op = batch_next(&r->overlay, op))
        if (op->kind == OP_QUEUE_RELEASE && seq == op->seq)
            return true;
    return false;
}

static bool room_left(const struct reader *r)
{
    return r->count < r->max_rows && (!r->count || r->bytes < r->max_bytes);
}

/* Owns row->body.data. */
static void keep_row(struct reader *r, const struct store_row *row)
{
    if (r->count == r->room) {
        r->room = r->room ? r->room * 2 : 16;
        r->rows = mem_resize(r->rows, r->room * sizeof(*r->rows));
    }
    struct store_row *kept = &r->rows[r->count++];
    *kept = *row;
    if (!row->released && overlay_releases(r, row->seq)) {
        free((void *)(uintptr_t)row->body.data);
        *kept = (struct store_row){.seq = row->seq, .released = true};
    }
    kept->record.data = NULL;
    buf_append(&r->text, row->record.data, kept->record.len);
    r->bytes += kept->record.len + kept->body.len;
}

static bool on_row(void *arg, const struct store_row *row)
{
    struct reader *r = arg;

    if (overlay_removes(r, row->seq))
        free((void *)(uintptr_t)row->body.data);
    else
        keep_row(r, row);
    return room_left(r);
}

static void add_put(struct reader *r, const struct op *op)
{
    const struct store_body *body = op_body(&r->overlay, op);
    struct store_row row = {.seq = op->seq, .record = op_value(op)};

    if (body) {
        uint8_t *copy = mem_alloc(body->data.len);
        memcpy(copy, body->data.data, body->data.len);
        row.body_id = body->id;
        row.body = (struct bytes){copy, body->data.len};
    }
    on_row(r, &row);
}

static bool run_read(struct store *s, struct job *job)
{
    struct reader *r = container_of(job, struct reader, job);
    uint64_t next = 0;

    r->err = s->engine->read(s->db, r->no, r->first, on_row, r);
    if (r->count)
        next = r->rows[r->count - 1].seq + 1;
    if (r->err)
        return true;
    for (const struct op *op = batch_first(&r->overlay); op && room_left(r); op = batch_next(&r->overlay, op))
        if (op->kind == OP_QUEUE_PUT && op->seq >= next)
            add_put(r, op);
    return true;
}

/* --- on the loop --- */

static void release_copy(void *owner)
{
    free(owner);
}

static void lay_over(struct reader *r, const struct batch *from, const struct op *op)
{
    const struct store_body *body = op_body(from, op);

    if (!body) {
        batch_add(&r->overlay, op, op_name(op), op_value(op), NULL);
        return;
    }
    uint8_t *copy = mem_alloc(body->data.len);
    memcpy(copy, body->data.data, body->data.len);
    struct store_body own = {body->id, {copy, body->data.len}, copy, release_copy};
    batch_add(&r->overlay, op, op_name(op), op_value(op), &own);
}

static void lay_over_one(struct reader *r, const struct batch *from, const struct op *op)
{
    switch (op->kind) {
    case OP_SESSION_PURGE:
        batch_add(&r->overlay, &(struct op){.kind = OP_QUEUE_REMOVE, .no = op->no, .end = UINT64_MAX},
                  (struct bytes){0}, (struct bytes){0}, NULL);
        break;
    case OP_QUEUE_PUT:
        if (op->seq < r->first || r->puts >= r->max_rows ||
            (r->puts && batch_bytes(&r->overlay) > r->max_bytes))
            break;
        r->puts++;
        lay_over(r, from, op);
        break;
    case OP_QUEUE_RELEASE:
        if (op->seq >= r->first)
            lay_over(r, from, op);
        break;
    case OP_QUEUE_REMOVE:
        if (op->end > r->first)
            lay_over(r, from, op);
        break;
    default:
        break;
    }
}

/* The operations of a queue are linked from the newest to the oldest; they are needed the other way round. */
static void lay_over_batch(struct store *s, struct reader *r, const struct batch *b)
{
    const struct lane *lane = store_lane(s, r->no);
    size_t slot = (size_t)(b - s->batches);
    const struct op **ops = NULL;
    size_t count = 0, room = 0;

    if (!lane || lane->serial[slot] != b->serial)
        return;
    for (size_t at = lane->last[slot]; at; at = batch_at(b, at - 1)->before) {
        if (count == room) {
            room = room ? room * 2 : 64;
            ops = mem_resize(ops, room * sizeof(const struct op *));
        }
        ops[count++] = batch_at(b, at - 1);
    }
    while (count)
        lay_over_one(r, b, ops[--count]);
    free(ops);
}

static void free_reader(struct reader *r, bool bodies)
{
    for (size_t i = 0; bodies && i < r->count; i++)
        free((void *)(uintptr_t)r->rows[i].body.data);
    batch_release_bodies(&r->overlay);
    batch_free(&r->overlay);
    buf_free(&r->text);
    free(r->rows);
    free(r);
}

static void read_done(struct store *s, struct job *job)
{
    struct reader *r = container_of(job, struct reader, job);
    const uint8_t *text = r->text.data;
    bool told = list_empty(&r->waiting);

    (void)s;
    list_remove(&r->waiting);
    for (size_t i = 0; i < r->count; i++) {
        r->rows[i].record.data = text;
        text += r->rows[i].record.len;
    }
    if (!told && r->err)
        r->done(r->arg, NULL, 0, r->err);
    else if (!told)
        r->done(r->arg, r->rows, r->count, 0);
    free_reader(r, told || r->err);
}

void store_queue_read(struct store *s, uint32_t no, uint64_t first, uint32_t max_rows, size_t max_bytes,
                      store_read_done *done, void *arg)
{
    struct reader *r = mem_alloc(sizeof(*r));

    r->job = (struct job){.run = run_read, .done = read_done};
    r->no = no;
    r->first = first;
    r->max_rows = max_rows;
    r->max_bytes = max_bytes;
    r->done = done;
    r->arg = arg;
    if (s->running)
        lay_over_batch(s, r, s->running);
    lay_over_batch(s, r, s->open);
    list_add_tail(&s->reads, &r->waiting);
    store_post(s, &r->job);
}

void store_cancel_reads(struct store *s)
{
    for (struct list *link; (link = list_pop(&s->reads));) {
        struct reader *r = list_entry(link, struct reader, waiting);
        r->done(r->arg, NULL, 0, -ECANCELED);
    }
}

/* --- backup --- */

struct backup {
    struct job job;
    char *path;
    int err;
    void (*done)(void *arg, int err);
    void *arg;
};

static bool run_backup(struct store *s, struct job *job)
{
    struct backup *b = container_of(job, struct backup, job);

    b->err = s->engine->backup(s->db, b->path, s->ending);
    return b->err != -EAGAIN;
}

static void backup_done(struct store *s, struct job *job)
{
    struct backup *b = container_of(job, struct backup, job);

    (void)s;
    b->done(b->arg, b->err);
    free(b->path);
    free(b);
}

void store_backup(struct store *s, const char *path, void (*done)(void *arg, int err), void *arg)
{
    struct backup *b = mem_alloc(sizeof(*b));

    *b = (struct backup){.job = {.run = run_backup, .done = backup_done}, .done = done, .arg = arg};
    b->path = mem_strdup(path);
    store_post(s, &b->job);
}
