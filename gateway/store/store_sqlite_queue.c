/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "store/store_sqlite.h"

/* --- what is known of queues --- */

static bool queue_is(const struct map_node *node, const void *key)
{
    return container_of(node, struct queue, node)->no == *(const uint32_t *)key;
}

struct queue *queue_of(struct sqlite_db *db, uint32_t no)
{
    if (db->last && db->last->no == no)
        return db->last;
    struct map_node *node = map_find(&db->queues, map_hash_u64(no), queue_is, &no);
    struct queue *q = node ? container_of(node, struct queue, node) : NULL;
    if (!q) {
        q = mem_alloc(sizeof(*q));
        q->no = no;
        q->now.tail_segment = NO_SEGMENT;
        list_init(&q->touched);
        map_insert(&db->queues, &q->node, map_hash_u64(no));
    }
    db->last = q;
    return q;
}

static void touch(struct sqlite_db *db, struct queue *q)
{
    if (!list_empty(&q->touched))
        return;
    q->before = q->now;
    list_add_tail(&db->touched, &q->touched);
}

/* --- bodies --- */

static int put_pieces(struct sqlite_db *db, const struct store_body *body)
{
    sqlite3_stmt *st = db->st[ST_BODY_PUT];
    int rc = SQLITE_OK;

    for (uint64_t at = 0, piece = 0; at < body->data.len && !rc; at += PIECE_BYTES, piece++) {
        size_t left = body->data.len - at;
        sqlite3_bind_int64(st, 1, (int64_t)(body->id << PIECE_BITS | piece));
        db_bind(st, 2, (struct bytes){body->data.data + at, left < PIECE_BYTES ? left : PIECE_BYTES});
        rc = db_run(db, ST_BODY_PUT);
    }
    return rc;
}

int body_add(struct sqlite_db *db, const struct store_body *body)
{
    sqlite3_bind_int64(db->st[ST_BODY_MORE], 1, (int64_t)body->id);
    int rc = db_run(db, ST_BODY_MORE);
    if (rc || sqlite3_changes(db->handle))
        return rc;
    sqlite3_bind_int64(db->st[ST_BODY_FIRST], 1, (int64_t)body->id);
    sqlite3_bind_int64(db->st[ST_BODY_FIRST], 2, (int64_t)body->data.len);
    rc = db_run(db, ST_BODY_FIRST);
    return rc ? rc : put_pieces(db, body);
}

static int remove_body(struct sqlite_db *db, int64_t id, int64_t size)
{
    unsigned pieces = (unsigned)((size + PIECE_BYTES - 1) / PIECE_BYTES);

    db->budget -= pieces < db->budget ? pieces : db->budget;
    sqlite3_bind_int64(db->st[ST_BODY_GONE], 1, id);
    int rc = db_run(db, ST_BODY_GONE);
    if (rc)
        return rc;
    sqlite3_bind_int64(db->st[ST_BODY_REMOVE], 1, id << PIECE_BITS);
    sqlite3_bind_int64(db->st[ST_BODY_REMOVE], 2, (id + 1) << PIECE_BITS);
    return db_run(db, ST_BODY_REMOVE);
}

int body_drop(struct sqlite_db *db, int64_t id)
{
    sqlite3_stmt *st = db->st[ST_BODY_USE];
    int64_t uses = 0, size = 0;

    sqlite3_bind_int64(st, 1, id);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        uses = sqlite3_column_int64(st, 0);
        size = sqlite3_column_int64(st, 1);
        rc = SQLITE_DONE;
    }
    sqlite3_reset(st);
    if (rc != SQLITE_DONE)
        return rc;
    if (uses <= 1)
        return remove_body(db, id, size);
    sqlite3_bind_int64(db->st[ST_BODY_LESS], 1, id);
    return db_run(db, ST_BODY_LESS);
}

/* --- putting --- */

/* A queue that is kept short stays within its oldest segment and never has a record. */
static int begin_segment(struct sqlite_db *db, struct queue *q, uint64_t segment)
{
    bool empty = q->now.head == q->now.tail;
    int rc = SQLITE_OK;

    if (q->now.tail_segment != NO_SEGMENT && !empty && q->now.tail_segment != segment_of(q->now.head)) {
        sqlite3_bind_int64(db->st[ST_SEGMENT_PUT], 1, segment_key(q->no, q->now.tail_segment));
        sqlite3_bind_int64(db->st[ST_SEGMENT_PUT], 2, (int64_t)q->now.tail_bytes);
        rc = db_run(db, ST_SEGMENT_PUT);
    }
    q->now.tail_segment = segment;
    q->now.tail_bytes = 0;
    return rc;
}

static int put_row(struct sqlite_db *db, const struct op *op, const struct store_body *body, bool again)
{
    enum statement which = again ? ST_QUEUE_PUT_AGAIN : ST_QUEUE_PUT;
    sqlite3_stmt *st = db->st[which];

    sqlite3_bind_int64(st, 1, row_key(op->no, op->seq));
    db_bind(st, 2, op_value(op));
    if (body) {
        sqlite3_bind_int64(st, 3, (int64_t)body->id);
        sqlite3_bind_int64(st, 4, (int64_t)body->data.len);
    } else {
        sqlite3_bind_null(st, 3);
        sqlite3_bind_null(st, 4);
    }
    return db_run(db, which);
}

int queue_put(struct sqlite_db *db, const struct batch *b, const struct op *op)
{
    struct queue *q = queue_of(db, op->no);
    const struct store_body *body = op_body(b, op);
    int rc = put_row(db, op, body, b->tries > 0);

    /* The row may be there already when an earlier try did more than it said; its body is then counted. */
    if (!rc && body && sqlite3_changes(db->handle))
        rc = body_add(db, body);
    if (rc)
        return rc;
    touch(db, q);
    if (q->now.tail_segment != segment_of(op->seq))
        rc = begin_segment(db, q, segment_of(op->seq));
    if (q->now.head == q->now.tail)
        q->now.head = op->seq;
    q->now.tail = op->seq + 1;
    q->now.tail_bytes += op->value_len + (body ? body->data.len : 0);
    return rc;
}

/* --- removing --- */

/* A segment's rows lost bytes. The oldest segment is counted at each start and needs no record. */
static int segment_less(struct sqlite_db *db, struct queue *q, uint64_t segment, uint64_t bytes)
{
    if (segment == q->now.tail_segment) {
        q->now.tail_bytes -= bytes < q->now.tail_bytes ? bytes : q->now.tail_bytes;
        return SQLITE_OK;
    }
    if (!bytes || segment == segment_of(q->now.head))
        return SQLITE_OK;
    sqlite3_bind_int64(db->st[ST_SEGMENT_LESS], 1, segment_key(q->no, segment));
    sqlite3_bind_int64(db->st[ST_SEGMENT_LESS], 2, (int64_t)bytes);
    return db_run(db, ST_SEGMENT_LESS);
}

int queue_release(struct sqlite_db *db, uint32_t no, uint64_t seq)
{
    sqlite3_stmt *st = db->st[ST_QUEUE_ROW];
    struct queue *q = queue_of(db, no);
    int64_t body = 0, bytes = 0;

    sqlite3_bind_int64(st, 1, row_key(no, seq));
    int rc = sqlite3_step(st);
    bool found = rc == SQLITE_ROW;
    if (found) {
        bytes = sqlite3_column_int64(st, 0);
        body = sqlite3_column_int64(st, 1);
        rc = SQLITE_DONE;
    }
    sqlite3_reset(st);
    if (rc != SQLITE_DONE)
        return rc;
    if (!found)
        return SQLITE_OK;
    touch(db, q);
    sqlite3_bind_int64(db->st[ST_QUEUE_RELEASE], 1, row_key(no, seq));
    rc = db_run(db, ST_QUEUE_RELEASE);
    if (!rc)
        rc = segment_less(db, q, segment_of(seq), (uint64_t)bytes);
    return rc || !body ? rc : body_drop(db, body);
}

/* What a walk over rows that are to be removed finds out. */
struct walk {
    uint64_t first, last; /* rows that were found */
    unsigned count;
    uint64_t segment, bytes; /* of the segment that it is in */
};

static int walk_row(struct sqlite_db *db, struct queue *q, struct walk *w, sqlite3_stmt *st)
{
    uint64_t seq = row_seq(sqlite3_column_int64(st, 0));
    int64_t bytes = sqlite3_column_int64(st, 1), body = sqlite3_column_int64(st, 2);
    int rc = SQLITE_OK;

    if (!w->count++)
        w->first = seq;
    else if (segment_of(seq) != w->segment) {
        rc = segment_less(db, q, w->segment, w->bytes);
        w->bytes = 0;
    }
    w->last = seq;
    w->segment = segment_of(seq);
    w->bytes += (uint64_t)bytes;
    db->budget--;
    return rc || !body ? rc : body_drop(db, body);
}

static int walk_rows(struct sqlite_db *db, struct queue *q, uint64_t first, uint64_t end, struct walk *w)
{
    sqlite3_stmt *st = db->st[ST_QUEUE_RANGE];
    int rc = SQLITE_ROW, step = SQLITE_OK;

    sqlite3_bind_int64(st, 1, row_key(q->no, first));
    sqlite3_bind_int64(st, 2, row_key(q->no, end));
    while (!step && db->budget && (rc = sqlite3_step(st)) == SQLITE_ROW)
        step = walk_row(db, q, w, st);
    sqlite3_reset(st);
    if (step || (rc != SQLITE_ROW && rc != SQLITE_DONE))
        return step ? step : rc;
    return w->count ? segment_less(db, q, w->segment, w->bytes) : SQLITE_OK;
}

static int advance_head(struct sqlite_db *db, struct queue *q, uint64_t to)
{
    uint64_t from = segment_of(q->now.head);

    q->now.head = to;
    if (segment_of(to) == from)
        return SQLITE_OK;
    sqlite3_bind_int64(db->st[ST_SEGMENTS_REMOVE], 1, segment_key(q->no, from));
    sqlite3_bind_int64(db->st[ST_SEGMENTS_REMOVE], 2, segment_key(q->no, segment_of(to)));
    return db_run(db, ST_SEGMENTS_REMOVE);
}

/* Removes rows of [*first, end) while the budget lasts and moves *first to where it came: to end, when all
 * are gone. */
static int remove_slice(struct sqlite_db *db, struct queue *q, uint64_t *first, uint64_t end)
{
    struct walk w = {.count = 0};
    uint64_t from = *first;

    if (end > q->now.tail)
        end = q->now.tail;
    if (!db->budget || from >= end) {
        *first = from < end ? from : UINT64_MAX;
        return SQLITE_OK;
    }
    touch(db, q);
    int rc = walk_rows(db, q, from, end, &w);
    if (!rc && w.count) {
        sqlite3_bind_int64(db->st[ST_QUEUE_REMOVE], 1, row_key(q->no, w.first));
        sqlite3_bind_int64(db->st[ST_QUEUE_REMOVE], 2, row_key(q->no, w.last));
        rc = db_run(db, ST_QUEUE_REMOVE);
    }
    uint64_t reached = db->budget ? end : w.last + 1;
    if (!rc && from <= q->now.head && reached > q->now.head)
        rc = advance_head(db, q, reached);
    *first = reached >= end ? UINT64_MAX : reached;
    return rc;
}

static int remember_removal(struct sqlite_db *db, uint32_t no, uint64_t first, uint64_t end)
{
    sqlite3_stmt *st = db->st[ST_REMOVAL_PUT];

    if (db->removal_count == db->removal_room) {
        db->removal_room = db->removal_room ? db->removal_room * 2 : 8;
        db->removals = mem_resize(db->removals, db->removal_room * sizeof(*db->removals));
    }
    struct removal *r = &db->removals[db->removal_count++];
    *r = (struct removal){db->next_removal++, no, first, end};
    sqlite3_bind_int64(st, 1, r->id);
    sqlite3_bind_int64(st, 2, no);
    sqlite3_bind_int64(st, 3, (int64_t)first);
    sqlite3_bind_int64(st, 4, (int64_t)end);
    return db_run(db, ST_REMOVAL_PUT);
}

int queue_remove(struct sqlite_db *db, uint32_t no, uint64_t first, uint64_t end)
{
    struct queue *q = queue_of(db, no);
    int rc = remove_slice(db, q, &first, end);

    /* Numbers that a later row may get must not stay condemned. */
    if (end > q->now.tail)
        end = q->now.tail;
    return rc || first >= end ? rc : remember_removal(db, no, first, end);
}

/* --- removals that take more than one transaction --- */

int removals_read(struct sqlite_db *db)
{
    sqlite3_stmt *st = db->st[ST_REMOVALS];
    int rc;

    db->removal_count = 0;
    db->next_removal = 1;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        if (db->removal_count == db->removal_room) {
            db->removal_room = db->removal_room ? db->removal_room * 2 : 8;
            db->removals = mem_resize(db->removals, db->removal_room * sizeof(*db->removals));
        }
        struct removal *r = &db->removals[db->removal_count++];
        r->id = sqlite3_column_int64(st, 0);
        r->no = (uint32_t)sqlite3_column_int64(st, 1);
        r->first = (uint64_t)sqlite3_column_int64(st, 2);
        r->end = (uint64_t)sqlite3_column_int64(st, 3);
        db->next_removal = r->id + 1;
    }
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

uint64_t removals_skip(const struct sqlite_db *db, uint32_t no, uint64_t seq)
{
    for (size_t i = 0; i < db->removal_count; i++) {
        const struct removal *r = &db->removals[i];
        if (r->no == no && seq >= r->first && seq < r->end) {
            seq = r->end;
            i = (size_t)-1;
        }
    }
    return seq;
}

static int finish_session(struct sqlite_db *db, uint32_t no)
{
    struct queue *q = queue_of(db, no);

    touch(db, q);
    q->now = (struct queue_state){.tail_segment = NO_SEGMENT};
    sqlite3_bind_int64(db->st[ST_SEGMENTS_REMOVE], 1, segment_key(no, 0));
    sqlite3_bind_int64(db->st[ST_SEGMENTS_REMOVE], 2, segment_key(no + 1, 0));
    int rc = db_run(db, ST_SEGMENTS_REMOVE);
    if (rc)
        return rc;
    sqlite3_bind_int64(db->st[ST_SESSION_REMOVE], 1, no);
    rc = db_run(db, ST_SESSION_REMOVE);
    buf_append(&db->out->gone, &no, sizeof(no));
    return rc;
}

static int bury_session(struct sqlite_db *db, uint32_t no, uint64_t first)
{
    sqlite3_bind_int64(db->st[ST_SESSION_DEAD], 1, no);
    int rc = db_run(db, ST_SESSION_DEAD);

    return rc ? rc : remember_removal(db, no, first, SEQ_END);
}

/* What was left of older removals is in this one. */
static int forget_removals(struct sqlite_db *db, uint32_t no)
{
    size_t kept = 0;

    for (size_t i = 0; i < db->removal_count; i++)
        if (db->removals[i].no != no)
            db->removals[kept++] = db->removals[i];
    if (kept == db->removal_count)
        return SQLITE_OK;
    db->removal_count = kept;
    sqlite3_bind_int64(db->st[ST_REMOVALS_PURGE], 1, no);
    return db_run(db, ST_REMOVALS_PURGE);
}

int session_purge(struct sqlite_db *db, uint32_t no)
{
    struct queue *q = queue_of(db, no);
    uint64_t first = 0;

    sqlite3_bind_int64(db->st[ST_SUBSCRIPTIONS_PURGE], 1, no);
    sqlite3_bind_int64(db->st[ST_IDENTIFIERS_PURGE], 1, (int64_t)((uint64_t)no << 16));
    sqlite3_bind_int64(db->st[ST_IDENTIFIERS_PURGE], 2, (int64_t)((uint64_t)(no + 1) << 16));
    int rc = db_run(db, ST_SUBSCRIPTIONS_PURGE);
    if (!rc)
        rc = db_run(db, ST_IDENTIFIERS_PURGE);
    if (!rc)
        rc = forget_removals(db, no);
    if (!rc)
        rc = remove_slice(db, q, &first, SEQ_END);
    if (rc)
        return rc;
    return first == UINT64_MAX ? finish_session(db, no) : bury_session(db, no, first);
}

/* A removal has ended; when it was a session's tombstone, the session ends with it. */
static int end_removal(struct sqlite_db *db, size_t at)
{
    struct removal r = db->removals[at];

    db->removal_count--;
    for (size_t i = at; i < db->removal_count; i++)
        db->removals[i] = db->removals[i + 1];
    sqlite3_bind_int64(db->st[ST_REMOVAL_DONE], 1, r.id);
    int rc = db_run(db, ST_REMOVAL_DONE);
    return rc || r.end < SEQ_END ? rc : finish_session(db, r.no);
}

static int move_removal(struct sqlite_db *db, struct removal *r, uint64_t to)
{
    r->first = to;
    sqlite3_bind_int64(db->st[ST_REMOVAL_MOVE], 1, r->id);
    sqlite3_bind_int64(db->st[ST_REMOVAL_MOVE], 2, (int64_t)to);
    return db_run(db, ST_REMOVAL_MOVE);
}

int removals_go_on(struct sqlite_db *db)
{
    int rc = SQLITE_OK;

    while (!rc && db->budget && db->removal_count) {
        struct removal *r = &db->removals[0];
        uint64_t first = r->first;
        rc = remove_slice(db, queue_of(db, r->no), &first, r->end);
        if (rc)
            break;
        rc = first == UINT64_MAX ? end_removal(db, 0) : move_removal(db, r, first);
    }
    return rc;
}
