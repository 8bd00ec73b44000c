/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the SQLite engine, shared by its files: store_sqlite.c (opening, schema, moving aside,
 * closing), store_sqlite_apply.c (a batch as a transaction), store_sqlite_queue.c (queue rows and bodies),
 * store_sqlite_ledger.c and store_sqlite_load.c (loading, reading, backup). Results are SQLite's codes; the
 * engine's own functions turn them into -E….
 *
 * A queue row's key is session << 40 | seq. 1,024 sequences are a segment. The bytes of a segment are
 * recorded when the first row of the next one is put; after a start only the rows of the oldest segment,
 * which may be partly removed, and of the newest, which has no record yet, are looked at. A segment between
 * them that loses rows (drop-oldest behind what is in flight) has its record changed in the same transaction.
 */
#ifndef SLUICE_STORE_STORE_SQLITE_H
#define SLUICE_STORE_STORE_SQLITE_H

#include <sqlite3.h>

#include "base/list.h"
#include "base/map.h"
#include "store/engine.h"

enum {
    SEQ_BITS = 40,
    SEGMENT_BITS = 10,
    SEGMENT_ROWS = 1 << SEGMENT_BITS,
    PIECE_BITS = 16, /* of a body's number of 64 kB pieces */
    PIECE_BYTES = 65536,
    SLICE_ROWS = 2000, /* removed by one batch */
};

#define SEQ_END       ((uint64_t)1 << SEQ_BITS)
#define NO_SEGMENT    UINT64_MAX
#define WAL_PAGES_MAX 500
#define PAGE_BYTES    1024

enum statement {
    ST_BEGIN,
    ST_COMMIT,
    ST_ROLLBACK,
    ST_SAVEPOINT,
    ST_UNDO,
    ST_KEEP,
    ST_VALUE_PUT,
    ST_VALUE_REMOVE,
    ST_SESSION_PUT,
    ST_SESSION_DEAD,
    ST_SESSION_REMOVE,
    ST_SUBSCRIPTION_PUT,
    ST_SUBSCRIPTION_REMOVE,
    ST_SUBSCRIPTIONS_PURGE,
    ST_IDENTIFIER_PUT,
    ST_IDENTIFIER_REMOVE,
    ST_IDENTIFIERS_PURGE,
    ST_LEDGER_PUT,
    ST_LEDGER_TRIM,
    ST_LEDGER_NEXT,
    ST_LEDGER_READ,
    ST_QUEUE_PUT,
    ST_QUEUE_PUT_AGAIN,
    ST_QUEUE_ROW,
    ST_QUEUE_RELEASE,
    ST_QUEUE_RANGE,
    ST_QUEUE_REMOVE,
    ST_QUEUE_FIRST,
    ST_QUEUE_LAST,
    ST_QUEUE_READ,
    ST_SEGMENT_PUT,
    ST_SEGMENT_LESS,
    ST_SEGMENTS_REMOVE,
    ST_SEGMENTS,
    ST_REMOVAL_PUT,
    ST_REMOVAL_MOVE,
    ST_REMOVAL_DONE,
    ST_REMOVALS_PURGE,
    ST_REMOVALS,
    ST_BODY_USE,
    ST_BODY_MORE,
    ST_BODY_LESS,
    ST_BODY_FIRST,
    ST_BODY_GONE,
    ST_BODY_PUT,
    ST_BODY_REMOVE,
    ST_BODY_READ,
    ST_BODY_LAST,
    STATEMENTS
};

/* What must be known of a queue to keep its segments right. */
struct queue_state {
    uint64_t head;         /* no row is below it */
    uint64_t tail;         /* none is at or above it */
    uint64_t tail_segment; /* number of the newest segment, or NO_SEGMENT */
    uint64_t tail_bytes;   /* of its rows */
};

struct queue {
    struct map_node node;
    uint32_t no;
    struct queue_state now, before; /* before: at the begin of the transaction */
    struct list touched;            /* in sqlite_db.touched while they may differ */
};

/* Rows whose removal was promised and is not finished. */
struct removal {
    int64_t id;
    uint32_t no;
    uint64_t first, end;
};

struct sqlite_db {
    char *dir, *path;
    int dir_fd; /* holds the lock of the folder */
    bool sync;
    sqlite3 *handle; /* NULL: to be opened anew */
    sqlite3_stmt *st[STATEMENTS];

    struct map queues;
    struct queue *last;
    struct list touched;
    struct removal *removals; /* as in the table, by id */
    size_t removal_count, removal_room;
    int64_t next_removal;
    unsigned budget; /* rows that this transaction may still remove */
    struct store_outcome *out;
    struct {
        struct buf row; /* is being filled; its key */
        uint64_t key;
        uint64_t there; /* what is below it was put by an earlier try */
        bool alone;     /* a row for each record */
    } ledger;

    uint64_t ballast;
    bool ballast_there, damaged;
    uint64_t next_look_us; /* at file sizes and free room */
    int wal_pages;
    uint64_t written, file_bytes, wal_bytes, free_bytes;
    struct {
        sqlite3 *to;
        sqlite3_backup *run;
        char *part;
    } backup;
};

/* Sequence 2^40 of a session is the key behind its last one. */
static inline int64_t row_key(uint32_t no, uint64_t seq)
{
    return (int64_t)(((uint64_t)no << SEQ_BITS) + seq);
}

static inline uint64_t row_seq(int64_t key)
{
    return (uint64_t)key & (SEQ_END - 1);
}

static inline uint64_t segment_of(uint64_t seq)
{
    return seq >> SEGMENT_BITS;
}

static inline int64_t segment_key(uint32_t no, uint64_t segment)
{
    return (int64_t)(((uint64_t)no << (SEQ_BITS - SEGMENT_BITS)) + segment);
}

/* store_sqlite.c */
int db_ensure_open(struct sqlite_db *db);
/* After an I/O error: nothing that the handle remembers can be trusted. */
void db_drop_handle(struct sqlite_db *db);
int db_error(int code, sqlite3 *handle);
/* The first column of the first row, 0 when there is none. */
int64_t db_number(struct sqlite_db *db, const char *sql, int *rc);
/* Runs a statement that gives no rows. Its parameters are bound. */
int db_run(struct sqlite_db *db, enum statement which);
void db_bind(sqlite3_stmt *st, int at, struct bytes value);
void db_bind_text(sqlite3_stmt *st, int at, struct bytes value);
struct bytes db_bytes(sqlite3_stmt *st, int column);
/* Leaves a note for the next start to look at every page. */
void db_note_damage(struct sqlite_db *db);

/* store_sqlite_vfs.c */
/* Of the way to the disk that the database is opened with. */
const char *vfs_name(void);

/* store_sqlite_apply.c */
void db_apply(void *arg, const struct batch *b, struct store_outcome *out);

/* store_sqlite_queue.c */
struct queue *queue_of(struct sqlite_db *db, uint32_t no);
int queue_put(struct sqlite_db *db, const struct batch *b, const struct op *op);
int queue_release(struct sqlite_db *db, uint32_t no, uint64_t seq);
/* Removes what the budget allows and remembers the rest. */
int queue_remove(struct sqlite_db *db, uint32_t no, uint64_t first, uint64_t end);
int session_purge(struct sqlite_db *db, uint32_t no);
/* Goes on with what earlier transactions left. */
int removals_go_on(struct sqlite_db *db);
int removals_read(struct sqlite_db *db);
/* The first sequence from seq on that is in no unfinished removal. */
uint64_t removals_skip(const struct sqlite_db *db, uint32_t no, uint64_t seq);
int body_add(struct sqlite_db *db, const struct store_body *body);
int body_drop(struct sqlite_db *db, int64_t id);

/* store_sqlite_ledger.c */
#define LEDGER_END "SELECT id + length(data) FROM ledger ORDER BY id DESC LIMIT 1"
/* At the begin of a transaction. again: what it does may be there already. */
int ledger_begin(struct sqlite_db *db, bool again, bool alone);
int ledger_put(struct sqlite_db *db, const struct batch *b, const struct op *op);
int ledger_trim(struct sqlite_db *db, uint64_t before);
int ledger_flush(struct sqlite_db *db);
int ledger_load(struct sqlite_db *db, const struct store_visitor *visitor, struct store_loaded *into);
int ledger_from_retained(struct sqlite_db *db);

/* store_sqlite_load.c */
int db_load(void *arg, const struct store_visitor *visitor, struct store_loaded *into);
int db_body(void *arg, uint64_t id, struct bytes *out);
/* Reads every small table, to see whether it can be read. */
int db_check(struct sqlite_db *db);
int db_read(void *arg, uint32_t no, uint64_t first, bool (*on_row)(void *arg, const struct store_row *row),
            void *row_arg);
int db_backup(void *arg, const char *path, bool cancel);

#endif
