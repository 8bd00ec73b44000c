/* SPDX-License-Identifier: Apache-2.0 */
/* A batch as one transaction. When an operation is refused, the batch is applied again with a savepoint
 * around each one, so that the others go through. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "store/ballast.h"
#include "store/store_sqlite.h"

enum { ROOM_MARGIN = 65536 };

static const char *const kind_names[OP_KINDS] = {
    [OP_VALUE_PUT] = "value",
    [OP_SESSION_PUT] = "session",
    [OP_SESSION_PURGE] = "purge of session",
    [OP_SUBSCRIPTION_PUT] = "subscription",
    [OP_SUBSCRIPTION_REMOVE] = "end of subscription",
    [OP_IDENTIFIER_PUT] = "identifier",
    [OP_IDENTIFIER_REMOVE] = "end of identifier",
    [OP_LEDGER_PUT] = "retained message",
    [OP_LEDGER_TRIM] = "removal of old retained messages",
    [OP_QUEUE_PUT] = "queued message",
    [OP_QUEUE_RELEASE] = "release of queued message",
    [OP_QUEUE_REMOVE] = "removal of queued messages",
};

/* --- operations --- */

static int put_value(struct sqlite_db *db, const struct op *op)
{
    enum statement which = op->value_len ? ST_VALUE_PUT : ST_VALUE_REMOVE;

    db_bind_text(db->st[which], 1, op_name(op));
    if (op->value_len)
        db_bind(db->st[which], 2, op_value(op));
    return db_run(db, which);
}

static int put_session(struct sqlite_db *db, const struct op *op)
{
    sqlite3_bind_int64(db->st[ST_SESSION_PUT], 1, op->no);
    db_bind(db->st[ST_SESSION_PUT], 2, op_value(op));
    return db_run(db, ST_SESSION_PUT);
}

static int change_subscription(struct sqlite_db *db, const struct op *op)
{
    enum statement which = op->kind == OP_SUBSCRIPTION_PUT ? ST_SUBSCRIPTION_PUT : ST_SUBSCRIPTION_REMOVE;

    sqlite3_bind_int64(db->st[which], 1, op->no);
    db_bind_text(db->st[which], 2, op_name(op));
    if (op->kind == OP_SUBSCRIPTION_PUT)
        db_bind(db->st[which], 3, op_value(op));
    return db_run(db, which);
}

static int change_identifier(struct sqlite_db *db, const struct op *op)
{
    enum statement which = op->kind == OP_IDENTIFIER_PUT ? ST_IDENTIFIER_PUT : ST_IDENTIFIER_REMOVE;

    sqlite3_bind_int64(db->st[which], 1, (int64_t)((uint64_t)op->no << 16 | op->seq));
    return db_run(db, which);
}

static int apply_op(struct sqlite_db *db, const struct batch *b, const struct op *op)
{
    switch (op->kind) {
    case OP_VALUE_PUT:
        return put_value(db, op);
    case OP_SESSION_PUT:
        return put_session(db, op);
    case OP_SESSION_PURGE:
        return session_purge(db, op->no);
    case OP_SUBSCRIPTION_PUT:
    case OP_SUBSCRIPTION_REMOVE:
        return change_subscription(db, op);
    case OP_IDENTIFIER_PUT:
    case OP_IDENTIFIER_REMOVE:
        return change_identifier(db, op);
    case OP_LEDGER_PUT:
        return ledger_put(db, b, op);
    case OP_LEDGER_TRIM:
        return ledger_trim(db, op->seq);
    case OP_QUEUE_PUT:
        return queue_put(db, b, op);
    case OP_QUEUE_RELEASE:
        return queue_release(db, op->no, op->seq);
    case OP_QUEUE_REMOVE:
        return queue_remove(db, op->no, op->seq, op->end);
    case OP_KINDS:
        break;
    }
    return SQLITE_MISUSE;
}

/* --- one at a time --- */

/* True for what is wrong with the operation, not with the disk. A row that cannot be read may stay
 * where it is, but what is to be kept is never given up because a page is damaged. */
static bool refused(const struct op *op, int rc)
{
    bool takes_away = op->kind == OP_QUEUE_REMOVE || op->kind == OP_QUEUE_RELEASE ||
                      op->kind == OP_SESSION_PURGE || op->kind == OP_LEDGER_TRIM ||
                      op->kind == OP_SUBSCRIPTION_REMOVE || op->kind == OP_IDENTIFIER_REMOVE;

    switch (rc & 0xff) {
    case SQLITE_TOOBIG:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
        return true;
    case SQLITE_CORRUPT:
        return takes_away;
    default:
        return false;
    }
}

static void report_refused(struct sqlite_db *db, const struct op *op)
{
    /* A damaged page may refuse thousands. */
    if (db->out->refused++ < 3)
        log_error("store: %s of session %u, sequence %llu, was refused: %s", kind_names[op->kind],
                  (unsigned)op->no, (unsigned long long)op->seq, sqlite3_errmsg(db->handle));
}

static int apply_alone(struct sqlite_db *db, const struct batch *b, const struct op *op)
{
    struct queue *q = op->no ? queue_of(db, op->no) : NULL;
    struct queue_state before = q ? q->now : (struct queue_state){0};
    size_t gone = db->out->gone.len;
    unsigned budget = db->budget;
    int rc = db_run(db, ST_SAVEPOINT);

    if (rc)
        return rc;
    rc = apply_op(db, b, op);
    if (!rc)
        return db_run(db, ST_KEEP);
    if (!refused(op, rc))
        return rc;
    report_refused(db, op);
    if (q)
        q->now = before;
    db->out->gone.len = gone;
    db->budget = budget;
    rc = db_run(db, ST_UNDO);
    if (!rc)
        rc = db_run(db, ST_KEEP);
    return rc ? rc : removals_read(db);
}

/* --- the transaction --- */

static int apply_all(struct sqlite_db *db, const struct batch *b, bool alone, bool *was_refused)
{
    int rc = db_run(db, ST_BEGIN);

    *was_refused = false;
    if (!rc)
        rc = ledger_begin(db, b->tries > 0, alone);
    for (const struct op *op = batch_first(b); op && !rc; op = batch_next(b, op)) {
        rc = alone ? apply_alone(db, b, op) : apply_op(db, b, op);
        *was_refused = rc && refused(op, rc);
    }
    if (!rc)
        rc = ledger_flush(db);
    if (!rc)
        rc = removals_go_on(db);
    return rc ? rc : db_run(db, ST_COMMIT);
}

static void settle(struct sqlite_db *db)
{
    while (list_pop(&db->touched))
        ;
}

static void roll_back(struct sqlite_db *db)
{
    struct list *link;

    while ((link = list_pop(&db->touched))) {
        struct queue *q = list_entry(link, struct queue, touched);
        q->now = q->before;
    }
    db->out->gone.len = 0;
    db->out->refused = 0;
    if (!sqlite3_get_autocommit(db->handle))
        db_run(db, ST_ROLLBACK);
    if (removals_read(db))
        db_drop_handle(db);
}

static void say(struct sqlite_db *db, int rc)
{
    struct store_outcome *out = db->out;

    out->err = db_error(rc, db->handle);
    snprintf(out->text, sizeof(out->text), "%s: %s", db->path,
             db->handle ? sqlite3_errmsg(db->handle) : "not open");
}

/* SQLite's code. */
static int try_once(struct sqlite_db *db, const struct batch *b, bool alone, bool *was_refused)
{
    db->budget = SLICE_ROWS;
    int rc = apply_all(db, b, alone, was_refused);
    if (rc) {
        say(db, rc);
        roll_back(db);
        return rc;
    }
    settle(db);
    db->out->err = 0;
    return SQLITE_OK;
}

static void commit_ahead(struct sqlite_db *db, const struct batch *b)
{
    int rc = db_run(db, ST_BEGIN);

    db->budget = SLICE_ROWS;
    for (const struct op *op = batch_first(b); op && !rc; op = batch_next(b, op))
        if (op->kind == OP_QUEUE_REMOVE)
            rc = apply_op(db, b, op);
    if (!rc)
        rc = removals_go_on(db);
    if (!rc)
        rc = db_run(db, ST_COMMIT);
    if (rc)
        roll_back(db);
    else
        settle(db);
}

/* On a full disk: what is in the log goes to the database, so that the log is written in place, and rows that
 * are to be removed make room in the file. The batch comes again as a whole, and to remove what is gone does
 * nothing. */
static void remove_ahead(struct sqlite_db *db, const struct batch *b)
{
    sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    commit_ahead(db, b);
    if (db->handle)
        sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

/* Without ballast, what is added must find room in the file: else the room that the ballast gave would be
 * used up for it, and none be left to delete. */
static bool has_room(struct sqlite_db *db, const struct batch *b)
{
    int rc;

    if (!db->ballast_there)
        db->ballast_there = ballast_make(db->dir_fd, db->ballast);
    if (db->ballast_there)
        return true;
    int64_t free_pages = db_number(db, "PRAGMA freelist_count", &rc);
    return !rc && (uint64_t)free_pages * PAGE_BYTES > 2 * batch_bytes(b) + ROOM_MARGIN;
}

static void say_full(struct sqlite_db *db)
{
    db->out->err = -ENOSPC;
    snprintf(db->out->text, sizeof(db->out->text), "%s: the disk is full", db->dir);
}

static int disk_is_full(struct sqlite_db *db, const struct batch *b)
{
    bool was_refused;

    if (ballast_release(db->dir_fd))
        log_warn("store: the disk is full; the ballast file was deleted to make room for deleting");
    db->ballast_there = false;
    remove_ahead(db, b);
    if (db->handle && has_room(db, b))
        return try_once(db, b, b->tries > 0, &was_refused);
    say_full(db);
    return SQLITE_FULL;
}

static void try_hard(struct sqlite_db *db, const struct batch *b)
{
    bool was_refused = false;
    int rc = has_room(db, b) ? try_once(db, b, false, &was_refused) : SQLITE_FULL;

    if (was_refused && db->handle)
        rc = try_once(db, b, true, &was_refused);
    if ((rc & 0xff) == SQLITE_FULL && db->handle)
        rc = disk_is_full(db, b);
    if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB)
        db_note_damage(db);
    if (rc && (rc & 0xff) != SQLITE_FULL)
        db_drop_handle(db);
}

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void db_apply(void *arg, const struct batch *b, struct store_outcome *out)
{
    struct sqlite_db *db = arg;
    uint64_t begin = now_us();

    db->out = out;
    out->refused = 0;
    int rc = db_ensure_open(db);
    if (rc)
        say(db, rc);
    else
        try_hard(db, b);
    out->more = db->removal_count > 0;
    out->commit_us = now_us() - begin;
    out->bytes_written = db->written;
    out->file_bytes = db->file_bytes;
    out->wal_bytes = db->wal_bytes;
    out->free_bytes = db->free_bytes;
}
