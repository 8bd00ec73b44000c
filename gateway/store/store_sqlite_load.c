/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/store_sqlite.h"

enum { BACKUP_PAGES = 256, BODY_MOST = 1 << 30 /* MQTT's largest packet is a quarter of it */ };

/* --- bodies and rows --- */

/* All pieces of a body in one piece of memory; SQLITE_CORRUPT when they are not size bytes. */
static int read_body(struct sqlite_db *db, uint64_t id, uint64_t size, struct bytes *out)
{
    sqlite3_stmt *st = db->st[ST_BODY_READ];
    uint64_t at = 0;
    int rc;

    if (size > BODY_MOST)
        return SQLITE_CORRUPT;
    uint8_t *data = mem_alloc(size);
    sqlite3_bind_int64(st, 1, (int64_t)(id << PIECE_BITS));
    sqlite3_bind_int64(st, 2, (int64_t)((id + 1) << PIECE_BITS));
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct bytes piece = db_bytes(st, 0);
        if (piece.len > size - at)
            break;
        memcpy(data + at, piece.data, piece.len);
        at += piece.len;
    }
    sqlite3_reset(st);
    if (rc == SQLITE_DONE && at == size) {
        *out = (struct bytes){data, size};
        return SQLITE_OK;
    }
    free(data);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_CORRUPT : rc;
}

int db_body(void *arg, uint64_t id, struct bytes *out)
{
    struct sqlite_db *db = arg;
    sqlite3_stmt *st = db->st[ST_BODY_USE];
    int64_t size = 0;
    int rc = db_ensure_open(db);

    if (rc)
        return db_error(rc, db->handle);
    sqlite3_bind_int64(st, 1, (int64_t)id);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        size = sqlite3_column_int64(st, 1);
    sqlite3_reset(st);
    if (rc == SQLITE_ROW)
        rc = read_body(db, id, (uint64_t)size, out);
    else if (rc == SQLITE_DONE)
        return -ENOENT;
    if ((rc & 0xff) == SQLITE_CORRUPT)
        db_note_damage(db);
    return rc ? db_error(rc, db->handle) : 0;
}

/* Columns: key, record, body, size. */
static int take_row(struct sqlite_db *db, sqlite3_stmt *st, struct store_row *row)
{
    *row = (struct store_row){.seq = row_seq(sqlite3_column_int64(st, 0))};
    row->released = sqlite3_column_type(st, 1) == SQLITE_NULL;
    row->record = db_bytes(st, 1);
    row->body_id = (uint64_t)sqlite3_column_int64(st, 2);
    if (!row->body_id)
        return SQLITE_OK;
    int rc = read_body(db, row->body_id, (uint64_t)sqlite3_column_int64(st, 3), &row->body);
    if (rc == SQLITE_CORRUPT)
        log_error("store: the payload of sequence %llu is damaged; it is left out",
                  (unsigned long long)row->seq);
    return rc;
}

/* Gives the rows from key least on. SQLITE_DONE, SQLITE_OK when on_row has had enough, or what went
 * wrong. In a damaged tree keys may go round in a circle. */
static int read_rows(struct sqlite_db *db, uint32_t no, int64_t least,
                     bool (*on_row)(void *arg, const struct store_row *row), void *arg)
{
    sqlite3_stmt *st = db->st[ST_QUEUE_READ];
    struct store_row row;
    bool go_on = true;
    int rc = SQLITE_OK;

    sqlite3_bind_int64(st, 1, least);
    sqlite3_bind_int64(st, 2, row_key(no + 1, 0));
    while (go_on && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        int64_t key = sqlite3_column_int64(st, 0);
        uint64_t seq = row_seq(key), next = removals_skip(db, no, seq);
        if (key < least)
            return SQLITE_CORRUPT;
        least = key + 1;
        if (next != seq) {
            sqlite3_reset(st);
            sqlite3_bind_int64(st, 1, row_key(no, next));
            continue;
        }
        rc = take_row(db, st, &row);
        if (!rc)
            go_on = on_row(arg, &row);
        else if (rc != SQLITE_CORRUPT)
            return rc;
    }
    return go_on ? rc : SQLITE_OK;
}

int db_read(void *arg, uint32_t no, uint64_t first, bool (*on_row)(void *arg, const struct store_row *row),
            void *row_arg)
{
    struct sqlite_db *db = arg;
    int rc = db_ensure_open(db);

    if (rc)
        return db_error(rc, db->handle);
    if (first >= SEQ_END)
        return 0;
    rc = read_rows(db, no, row_key(no, removals_skip(db, no, first)), on_row, row_arg);
    sqlite3_reset(db->st[ST_QUEUE_READ]);
    if ((rc & 0xff) == SQLITE_CORRUPT)
        db_note_damage(db);
    return rc == SQLITE_DONE ? 0 : db_error(rc, db->handle);
}

/* --- counting a queue --- */

static int row_at(struct sqlite_db *db, enum statement which, int64_t from, int64_t to, bool *found,
                  uint64_t *seq)
{
    sqlite3_stmt *st = db->st[which];

    sqlite3_bind_int64(st, 1, from);
    sqlite3_bind_int64(st, 2, to);
    int rc = sqlite3_step(st);
    *found = rc == SQLITE_ROW;
    if (*found) {
        *seq = row_seq(sqlite3_column_int64(st, 0));
        rc = SQLITE_DONE;
    }
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

struct count {
    uint64_t live, all; /* bytes: of rows that stay; also of those that are to be removed */
    uint64_t visited;
};

/* jump: over what is to be removed. */
static int count_rows(struct sqlite_db *db, uint32_t no, uint64_t from, uint64_t to, bool jump,
                      struct count *c)
{
    sqlite3_stmt *st = db->st[ST_QUEUE_RANGE];
    int rc;

    sqlite3_bind_int64(st, 1, row_key(no, from));
    sqlite3_bind_int64(st, 2, row_key(no, to));
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        uint64_t seq = row_seq(sqlite3_column_int64(st, 0)), next = removals_skip(db, no, seq);
        uint64_t bytes = (uint64_t)sqlite3_column_int64(st, 1);
        if (seq < from || seq >= to)
            break;
        from = seq + 1;
        c->visited++;
        c->all += bytes;
        if (next == seq)
            c->live += bytes;
        if (next == seq || !jump)
            continue;
        sqlite3_reset(st);
        sqlite3_bind_int64(st, 1, row_key(no, next < to ? next : to));
    }
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc == SQLITE_ROW ? SQLITE_CORRUPT : rc;
}

/* A record counts rows of which some are about to go. */
static bool touched_by_removal(const struct sqlite_db *db, uint32_t no, uint64_t segment)
{
    uint64_t first = segment << SEGMENT_BITS, end = first + SEGMENT_ROWS;

    for (size_t i = 0; i < db->removal_count; i++)
        if (db->removals[i].no == no && db->removals[i].first < end && db->removals[i].end > first)
            return true;
    return false;
}

/* The bytes of a queue from its head on: of whole segments by their records, of the others row by row. */
static int count_queue(struct sqlite_db *db, uint32_t no, uint64_t head, uint64_t tail, struct count *c,
                       uint64_t *tail_bytes)
{
    uint64_t last = segment_of(tail - 1), at = head, recorded = 0;
    sqlite3_stmt *st = db->st[ST_SEGMENTS];
    int rc = SQLITE_OK, step = SQLITE_DONE;

    sqlite3_bind_int64(st, 1, segment_key(no, segment_of(head) + 1));
    sqlite3_bind_int64(st, 2, segment_key(no, last));
    while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW) {
        uint64_t segment = (uint64_t)sqlite3_column_int64(st, 0) & (SEQ_END / SEGMENT_ROWS - 1);
        if (touched_by_removal(db, no, segment))
            continue;
        rc = count_rows(db, no, at, segment << SEGMENT_BITS, true, c);
        recorded += (uint64_t)sqlite3_column_int64(st, 1);
        at = (segment + 1) << SEGMENT_BITS;
    }
    sqlite3_reset(st);
    if (!rc && step != SQLITE_DONE)
        rc = step;
    if (!rc && at < last << SEGMENT_BITS) {
        rc = count_rows(db, no, at, last << SEGMENT_BITS, true, c);
        at = last << SEGMENT_BITS;
    }
    uint64_t before = c->all;
    if (!rc)
        rc = count_rows(db, no, at, tail, false, c);
    *tail_bytes = c->all - before;
    c->live += recorded;
    return rc;
}

/* The first row that stays; *found false when there is none. */
static int find_head(struct sqlite_db *db, uint32_t no, bool *found, uint64_t *head)
{
    uint64_t from = removals_skip(db, no, 0);
    int rc;

    for (;;) {
        if (from >= SEQ_END) {
            *found = false;
            return SQLITE_OK;
        }
        rc = row_at(db, ST_QUEUE_FIRST, row_key(no, from), row_key(no + 1, 0), found, head);
        if (rc || !*found || removals_skip(db, no, *head) == *head)
            return rc;
        from = removals_skip(db, no, *head);
    }
}

/* Above every sequence that a row has or that a removal may still take away. */
static int find_tail(struct sqlite_db *db, uint32_t no, uint64_t *tail)
{
    bool found;
    int rc = row_at(db, ST_QUEUE_LAST, row_key(no, 0), row_key(no + 1, 0), &found, tail);

    *tail = !rc && found ? *tail + 1 : 0;
    for (size_t i = 0; i < db->removal_count; i++)
        if (db->removals[i].no == no && db->removals[i].end < SEQ_END && db->removals[i].end > *tail)
            *tail = db->removals[i].end;
    return rc;
}

struct queue_ends {
    uint64_t head, tail, bytes;
};

static int load_queue(struct sqlite_db *db, uint32_t no, bool dead, struct queue_ends *ends,
                      uint64_t *visited)
{
    struct queue *q = queue_of(db, no);
    struct count c = {.visited = 0};
    bool found, any;
    uint64_t lowest = 0;
    int rc = find_tail(db, no, &ends->tail);

    if (!rc)
        rc = row_at(db, ST_QUEUE_FIRST, row_key(no, 0), row_key(no + 1, 0), &any, &lowest);
    if (rc)
        return rc;
    q->now = (struct queue_state){any ? lowest : ends->tail, ends->tail, NO_SEGMENT, 0};
    rc = dead ? SQLITE_OK : find_head(db, no, &found, &ends->head);
    if (dead || rc || !found) {
        ends->head = ends->tail;
        return rc;
    }
    rc = count_queue(db, no, ends->head, ends->tail, &c, &q->now.tail_bytes);
    q->now.tail_segment = segment_of(ends->tail - 1);
    ends->bytes = c.live;
    *visited += c.visited;
    return rc;
}

/* --- tables --- */

static int load_values(struct sqlite_db *db, sqlite3_stmt *st, const struct store_visitor *v,
                       uint64_t *visited)
{
    (void)db;
    (void)visited;
    v->on_value(v->arg, (const char *)sqlite3_column_text(st, 0), db_bytes(st, 1));
    return SQLITE_OK;
}

static int load_session(struct sqlite_db *db, sqlite3_stmt *st, const struct store_visitor *v,
                        uint64_t *visited)
{
    uint32_t no = (uint32_t)sqlite3_column_int64(st, 0);
    bool dead = sqlite3_column_int(st, 2);
    struct queue_ends ends = {0};
    int rc = load_queue(db, no, dead, &ends, visited);

    /* What the queue holds can be read or not; the session is there in either case. */
    if (rc == SQLITE_CORRUPT)
        log_error("store: the queue of session %u is damaged; it may hold more than can be counted",
                  (unsigned)no);
    if (rc == SQLITE_CORRUPT)
        db_note_damage(db);
    if (rc && rc != SQLITE_CORRUPT)
        return rc;
    v->on_session(v->arg, no, db_bytes(st, 1), ends.head, ends.tail, ends.bytes, dead);
    return SQLITE_OK;
}

static int load_subscription(struct sqlite_db *db, sqlite3_stmt *st, const struct store_visitor *v,
                             uint64_t *visited)
{
    (void)db;
    (void)visited;
    v->on_subscription(v->arg, (uint32_t)sqlite3_column_int64(st, 0), db_bytes(st, 1), db_bytes(st, 2));
    return SQLITE_OK;
}

static int load_identifier(struct sqlite_db *db, sqlite3_stmt *st, const struct store_visitor *v,
                           uint64_t *visited)
{
    uint64_t key = (uint64_t)sqlite3_column_int64(st, 0);

    (void)db;
    (void)visited;
    v->on_identifier(v->arg, (uint32_t)(key >> 16), (uint16_t)key);
    return SQLITE_OK;
}

typedef int load_row(struct sqlite_db *db, sqlite3_stmt *st, const struct store_visitor *v,
                     uint64_t *visited);

static const struct {
    const char *sql;
    load_row *load;
} tables[] = {
    {"SELECT name, value FROM value", load_values},
    {"SELECT no, record, dead FROM session", load_session},
    {"SELECT no, filter, record FROM subscription", load_subscription},
    {"SELECT id FROM identifier", load_identifier},
};

/* visitor NULL: only reads. */
static int each_row(struct sqlite_db *db, size_t table, const struct store_visitor *visitor,
                    uint64_t *visited)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db->handle, tables[table].sql, -1, &st, NULL), bad = SQLITE_OK;

    if (rc)
        return rc;
    while (!bad && (rc = sqlite3_step(st)) == SQLITE_ROW)
        if (visitor)
            bad = tables[table].load(db, st, visitor, visited);
    sqlite3_finalize(st);
    if (bad)
        return bad;
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int db_check(struct sqlite_db *db)
{
    int rc = SQLITE_OK;

    for (size_t i = 0; i < ARRAY_SIZE(tables) && !rc; i++)
        rc = each_row(db, i, NULL, NULL);
    if (!rc)
        db_number(db, "SELECT count(*) FROM ledger", &rc);
    return rc;
}

int db_load(void *arg, const struct store_visitor *visitor, struct store_loaded *into)
{
    struct sqlite_db *db = arg;
    int rc = db_ensure_open(db);

    into->more = db->removal_count > 0;
    for (size_t i = 0; i < ARRAY_SIZE(tables) && !rc; i++)
        rc = each_row(db, i, visitor, &into->visited);
    if (!rc)
        rc = ledger_load(db, visitor, into);
    if (rc)
        log_error("store: cannot read %s: %s", db->path, sqlite3_errmsg(db->handle));
    return rc ? db_error(rc, db->handle) : 0;
}

/* --- backup --- */

static int same_file(const char *a, const char *b)
{
    struct stat x, y;

    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int begin_backup(struct sqlite_db *db, const char *path)
{
    int rc = db_ensure_open(db);

    if (rc)
        return db_error(rc, db->handle);
    if (same_file(path, db->path))
        return -EINVAL;
    db->backup.part = mem_format("%s.part", path);
    unlink(db->backup.part);
    int fd = open(db->backup.part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    close(fd);
    rc = sqlite3_open_v2(db->backup.part, &db->backup.to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (!rc)
        db->backup.run = sqlite3_backup_init(db->backup.to, "main", db->handle, "main");
    return db->backup.run ? 0 : db_error(sqlite3_errcode(db->backup.to), db->backup.to);
}

/* Everything of a backup that has ended, well (err 0) or not. */
static int end_backup(struct sqlite_db *db, const char *path, int err)
{
    if (db->backup.run) {
        int rc = sqlite3_backup_finish(db->backup.run);
        err = err ? err : rc ? db_error(rc, db->backup.to) : 0;
    }
    sqlite3_close(db->backup.to);
    if (!err && rename(db->backup.part, path))
        err = -errno;
    if (err && db->backup.part)
        unlink(db->backup.part);
    free(db->backup.part);
    memset(&db->backup, 0, sizeof(db->backup));
    return err;
}

/* What is committed meanwhile goes into the copy too, since it goes through the same connection. */
int db_backup(void *arg, const char *path, bool cancel)
{
    struct sqlite_db *db = arg;
    size_t len = strlen(path);
    int err = cancel ? -ECANCELED : 0;

    if (db->backup.part && (strncmp(db->backup.part, path, len) || strcmp(db->backup.part + len, ".part")))
        return -EBUSY; /* one at a time */
    if (!err && !db->backup.part)
        err = begin_backup(db, path);
    else if (!err && !db->backup.run)
        err = -EIO; /* the database was opened anew meanwhile */
    if (err)
        return end_backup(db, path, err);
    int rc = sqlite3_backup_step(db->backup.run, BACKUP_PAGES);
    if (rc == SQLITE_OK)
        return -EAGAIN;
    return end_backup(db, path, rc == SQLITE_DONE ? 0 : db_error(rc, db->backup.to));
}
