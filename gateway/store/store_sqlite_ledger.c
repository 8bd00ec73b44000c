/* SPDX-License-Identifier: Apache-2.0 */
/* The records of a transaction go into few rows: to insert a row costs as much as to copy a hundred. */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "store/ledger.h"
#include "store/store_sqlite.h"

enum { ROW_BYTES = 60000, KEPT_BYTES = 65536 };

/* --- writing --- */

static int write_row(struct sqlite_db *db, int64_t key, struct bytes data)
{
    sqlite3_bind_int64(db->st[ST_LEDGER_PUT], 1, key);
    db_bind(db->st[ST_LEDGER_PUT], 2, data);
    return db_run(db, ST_LEDGER_PUT);
}

int ledger_flush(struct sqlite_db *db)
{
    struct buf *row = &db->ledger.row;
    int rc =
        row->len ? write_row(db, (int64_t)db->ledger.key, (struct bytes){row->data, row->len}) : SQLITE_OK;

    row->len = 0;
    if (row->cap > KEPT_BYTES)
        buf_free(row);
    return rc;
}

int ledger_put(struct sqlite_db *db, const struct batch *b, const struct op *op)
{
    const struct store_body *body = op_body(b, op);
    const struct ledger_record record = {body ? body->id : 0, op_value(op)};
    struct buf *row = &db->ledger.row;
    int rc = SQLITE_OK;

    if (op->seq < db->ledger.there)
        return SQLITE_OK;
    /* The new one first: when both are the same it must not go in between. */
    if (body)
        rc = body_add(db, body);
    if (!rc && op->end)
        rc = body_drop(db, (int64_t)op->end);
    if (rc)
        return rc;
    if (!row->len)
        db->ledger.key = op->seq;
    ledger_write(row, &record);
    return db->ledger.alone || row->len >= ROW_BYTES ? ledger_flush(db) : SQLITE_OK;
}

int ledger_trim(struct sqlite_db *db, uint64_t before)
{
    int rc = ledger_flush(db);

    if (rc)
        return rc;
    sqlite3_bind_int64(db->st[ST_LEDGER_TRIM], 1, (int64_t)before);
    return db_run(db, ST_LEDGER_TRIM);
}

int ledger_begin(struct sqlite_db *db, bool again, bool alone)
{
    int rc = SQLITE_OK;

    db->ledger.row.len = 0;
    db->ledger.alone = alone;
    /* What an earlier try did although it was told to have failed. */
    db->ledger.there = again ? (uint64_t)db_number(db, LEDGER_END, &rc) : 0;
    return rc;
}

/* --- reading --- */

struct reading {
    const struct store_visitor *visitor;
    struct store_loaded *into;
};

/* Offsets rise: what a damaged key or length puts below the end of what has been read is none. */
static void read_row(const struct reading *r, uint64_t key, struct bytes row)
{
    struct cursor c = cursor_of(row.data, row.len);
    struct ledger_record record;
    uint64_t at = key;

    while (ledger_read(&c, &record)) {
        bool good = at >= r->into->ledger_end &&
                    r->visitor->on_ledger(r->visitor->arg, at, record.data, record.body_id);
        at += ledger_size(&record);
        r->into->damaged += !good;
    }
    r->into->damaged += c.failed;
    if (key + row.len > r->into->ledger_end)
        r->into->ledger_end = key + row.len;
}

static int load_row(struct sqlite_db *db, const struct reading *r, int64_t key)
{
    sqlite3_stmt *st = db->st[ST_LEDGER_READ];

    sqlite3_bind_int64(st, 1, key);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        read_row(r, (uint64_t)key, db_bytes(st, 0));
        rc = SQLITE_DONE;
    }
    sqlite3_reset(st);
    if ((rc & 0xff) == SQLITE_CORRUPT) {
        r->into->damaged++;
        db_note_damage(db);
        return SQLITE_OK;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The key of the first row behind *key; SQLITE_DONE when there is none. */
static int next_row(struct sqlite_db *db, int64_t *key)
{
    sqlite3_stmt *st = db->st[ST_LEDGER_NEXT];
    int64_t last = *key;

    sqlite3_bind_int64(st, 1, last);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *key = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    if (rc != SQLITE_ROW)
        return rc;
    return *key > last ? SQLITE_OK : SQLITE_CORRUPT;
}

/* What is put from now on must not lie where a row is that could not be read. */
static int skip_unread(struct sqlite_db *db, struct store_loaded *into)
{
    int rc;
    uint64_t end = (uint64_t)db_number(db, LEDGER_END, &rc);

    if (end > into->ledger_end)
        into->ledger_end = end;
    return rc;
}

int ledger_load(struct sqlite_db *db, const struct store_visitor *visitor, struct store_loaded *into)
{
    const struct reading r = {visitor, into};
    int64_t key = 0;
    int rc;

    into->ledger_end = 1;
    while (!(rc = next_row(db, &key)) && !(rc = load_row(db, &r, key)))
        ;
    if (rc == SQLITE_DONE)
        rc = skip_unread(db, into);
    if (into->damaged)
        log_error("store: %llu records of retained messages are damaged; they are left out",
                  (unsigned long long)into->damaged);
    return rc;
}

/* --- what schema 1 had --- */

/* Each topic had a row of its own. */
int ledger_from_retained(struct sqlite_db *db)
{
    sqlite3_stmt *from = NULL, *to = NULL;
    struct buf row = {0};
    int64_t key = 1;
    int rc = sqlite3_prepare_v2(db->handle, "SELECT record, ifnull(body, 0) FROM retained", -1, &from, NULL);

    if (!rc)
        rc = sqlite3_prepare_v2(db->handle, "INSERT INTO ledger VALUES(?, ?)", -1, &to, NULL);
    for (int step = SQLITE_ROW; !rc && step == SQLITE_ROW;) {
        step = sqlite3_step(from);
        if (step == SQLITE_ROW)
            ledger_write(&row,
                         &(struct ledger_record){(uint64_t)sqlite3_column_int64(from, 1), db_bytes(from, 0)});
        else if (step != SQLITE_DONE)
            rc = step;
        if (rc || !row.len || (step == SQLITE_ROW && row.len < ROW_BYTES))
            continue;
        sqlite3_bind_int64(to, 1, key);
        db_bind(to, 2, (struct bytes){row.data, row.len});
        rc = sqlite3_step(to) == SQLITE_DONE ? SQLITE_OK : sqlite3_errcode(db->handle);
        sqlite3_reset(to);
        key += (int64_t)row.len;
        row.len = 0;
    }
    sqlite3_finalize(from);
    sqlite3_finalize(to);
    buf_free(&row);
    return rc ? rc : sqlite3_exec(db->handle, "DROP TABLE retained", NULL, NULL, NULL);
}
