/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/ballast.h"

enum { SCHEMA = 2, APPLICATION = 0x534c5543 /* "SLUC" */, LOOK_EVERY_US = 1000000 };

static const char db_name[] = "sluice.db", wal_name[] = "sluice.db-wal", note_name[] = "sluice.db-damaged";

/* upgrades[n] makes schema n + 1 of schema n; an empty file is schema 0. */
static const struct {
    const char *sql;
    int (*move)(struct sqlite_db *db); /* what it takes over; NULL: nothing */
} upgrades[SCHEMA] = {
    {"CREATE TABLE value(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
     "CREATE TABLE session(no INTEGER PRIMARY KEY, record BLOB NOT NULL, dead INTEGER NOT NULL DEFAULT 0);"
     "CREATE TABLE subscription(no INTEGER NOT NULL, filter TEXT NOT NULL, record BLOB NOT NULL,"
     " PRIMARY KEY(no, filter)) WITHOUT ROWID;"
     /* no << 16 | identifier */
     "CREATE TABLE identifier(id INTEGER PRIMARY KEY);"
     "CREATE TABLE retained(topic TEXT PRIMARY KEY, record BLOB NOT NULL, body INTEGER, size INTEGER)"
     " WITHOUT ROWID;"
     /* no << 40 | seq; a released row has no record */
     "CREATE TABLE queue(id INTEGER PRIMARY KEY, record BLOB, body INTEGER, size INTEGER);"
     /* no << 30 | seq >> 10 */
     "CREATE TABLE segment(id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);"
     "CREATE TABLE removal(id INTEGER PRIMARY KEY, no INTEGER NOT NULL, first INTEGER NOT NULL,"
     " end INTEGER NOT NULL);"
     "CREATE TABLE body(id INTEGER PRIMARY KEY, uses INTEGER NOT NULL, size INTEGER NOT NULL);"
     /* body << 16 | number of the piece */
     "CREATE TABLE piece(id INTEGER PRIMARY KEY, data BLOB NOT NULL);",
     NULL},
    /* offset of the first record */
    {"CREATE TABLE ledger(id INTEGER PRIMARY KEY, data BLOB NOT NULL)", ledger_from_retained},
};

static const char *const texts[STATEMENTS] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_SAVEPOINT] = "SAVEPOINT one",
    [ST_UNDO] = "ROLLBACK TO one",
    [ST_KEEP] = "RELEASE one",
    [ST_VALUE_PUT] = "REPLACE INTO value VALUES(?, ?)",
    [ST_VALUE_REMOVE] = "DELETE FROM value WHERE name = ?",
    [ST_SESSION_PUT] = "INSERT INTO session(no, record) VALUES(?, ?)"
                       " ON CONFLICT(no) DO UPDATE SET record = excluded.record",
    [ST_SESSION_DEAD] = "INSERT INTO session(no, record, dead) VALUES(?, x'', 1)"
                        " ON CONFLICT(no) DO UPDATE SET record = x'', dead = 1",
    [ST_SESSION_REMOVE] = "DELETE FROM session WHERE no = ?",
    [ST_SUBSCRIPTION_PUT] = "REPLACE INTO subscription VALUES(?, ?, ?)",
    [ST_SUBSCRIPTION_REMOVE] = "DELETE FROM subscription WHERE no = ? AND filter = ?",
    [ST_SUBSCRIPTIONS_PURGE] = "DELETE FROM subscription WHERE no = ?",
    [ST_IDENTIFIER_PUT] = "INSERT OR IGNORE INTO identifier VALUES(?)",
    [ST_IDENTIFIER_REMOVE] = "DELETE FROM identifier WHERE id = ?",
    [ST_IDENTIFIERS_PURGE] = "DELETE FROM identifier WHERE id >= ? AND id < ?",
    [ST_LEDGER_PUT] = "INSERT INTO ledger VALUES(?, ?)",
    [ST_LEDGER_TRIM] = "DELETE FROM ledger WHERE id < (SELECT max(id) FROM ledger WHERE id <= ?)",
    [ST_LEDGER_NEXT] = "SELECT id FROM ledger WHERE id > ? ORDER BY id LIMIT 1",
    [ST_LEDGER_READ] = "SELECT data FROM ledger WHERE id = ?",
    [ST_QUEUE_PUT] = "INSERT INTO queue VALUES(?, ?, ?, ?)",
    [ST_QUEUE_PUT_AGAIN] = "INSERT OR IGNORE INTO queue VALUES(?, ?, ?, ?)",
    [ST_QUEUE_ROW] = "SELECT ifnull(length(record), 0) + ifnull(size, 0), body FROM queue WHERE id = ?",
    [ST_QUEUE_RELEASE] = "UPDATE queue SET record = NULL, body = NULL, size = NULL WHERE id = ?",
    [ST_QUEUE_RANGE] = "SELECT id, ifnull(length(record), 0) + ifnull(size, 0), body FROM queue"
                       " WHERE id >= ? AND id < ? ORDER BY id",
    [ST_QUEUE_REMOVE] = "DELETE FROM queue WHERE id >= ? AND id <= ?",
    [ST_QUEUE_FIRST] = "SELECT id FROM queue WHERE id >= ? AND id < ? ORDER BY id LIMIT 1",
    [ST_QUEUE_LAST] = "SELECT id FROM queue WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1",
    [ST_QUEUE_READ] = "SELECT id, record, body, size FROM queue WHERE id >= ? AND id < ? ORDER BY id",
    [ST_SEGMENT_PUT] = "REPLACE INTO segment VALUES(?, ?)",
    [ST_SEGMENT_LESS] = "UPDATE segment SET bytes = max(bytes - ?2, 0) WHERE id = ?1",
    [ST_SEGMENTS_REMOVE] = "DELETE FROM segment WHERE id >= ? AND id < ?",
    [ST_SEGMENTS] = "SELECT id, bytes FROM segment WHERE id >= ? AND id < ? ORDER BY id",
    [ST_REMOVAL_PUT] = "INSERT INTO removal VALUES(?, ?, ?, ?)",
    [ST_REMOVAL_MOVE] = "UPDATE removal SET first = ?2 WHERE id = ?1",
    [ST_REMOVAL_DONE] = "DELETE FROM removal WHERE id = ?",
    [ST_REMOVALS_PURGE] = "DELETE FROM removal WHERE no = ?",
    [ST_REMOVALS] = "SELECT id, no, first, end FROM removal ORDER BY id",
    [ST_BODY_USE] = "SELECT uses, size FROM body WHERE id = ?",
    [ST_BODY_MORE] = "UPDATE body SET uses = uses + 1 WHERE id = ?",
    [ST_BODY_LESS] = "UPDATE body SET uses = uses - 1 WHERE id = ?",
    [ST_BODY_FIRST] = "INSERT INTO body VALUES(?, 1, ?)",
    [ST_BODY_GONE] = "DELETE FROM body WHERE id = ?",
    [ST_BODY_PUT] = "INSERT INTO piece VALUES(?, ?)",
    [ST_BODY_REMOVE] = "DELETE FROM piece WHERE id >= ? AND id < ?",
    [ST_BODY_READ] = "SELECT data FROM piece WHERE id >= ? AND id < ? ORDER BY id",
    [ST_BODY_LAST] = "SELECT ifnull(max(id), 0) FROM body",
};

/* --- statements --- */

int db_error(int code, sqlite3 *handle)
{
    int system = handle ? sqlite3_system_errno(handle) : 0;

    switch (code & 0xff) {
    case SQLITE_OK:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_TOOBIG:
        return -E2BIG;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return system > 0 ? -system : -EIO;
    default:
        return -EIO;
    }
}

int db_run(struct sqlite_db *db, enum statement which)
{
    int rc = sqlite3_step(db->st[which]);

    sqlite3_reset(db->st[which]);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

void db_bind(sqlite3_stmt *st, int at, struct bytes value)
{
    sqlite3_bind_blob64(st, at, value.len ? (const void *)value.data : "", value.len, SQLITE_STATIC);
}

void db_bind_text(sqlite3_stmt *st, int at, struct bytes value)
{
    sqlite3_bind_text64(st, at, value.len ? (const char *)value.data : "", value.len, SQLITE_STATIC,
                        SQLITE_UTF8);
}

struct bytes db_bytes(sqlite3_stmt *st, int column)
{
    const uint8_t *data = sqlite3_column_blob(st, column);

    return (struct bytes){data, data ? (size_t)sqlite3_column_bytes(st, column) : 0};
}

/* --- opening --- */

void db_note_damage(struct sqlite_db *db)
{
    int fd = openat(db->dir_fd, note_name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
    if (!db->damaged)
        log_error("store: %s is damaged; the next start looks at all of it", db->path);
    db->damaged = true;
}

void db_drop_handle(struct sqlite_db *db)
{
    if (db->backup.run)
        sqlite3_backup_finish(db->backup.run);
    db->backup.run = NULL;
    for (size_t i = 0; i < STATEMENTS; i++) {
        sqlite3_finalize(db->st[i]);
        db->st[i] = NULL;
    }
    /* What it would write now comes from memory that may be wrong. */
    if (db->handle)
        sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close(db->handle);
    db->handle = NULL;
}

static int exec(struct sqlite_db *db, const char *sql)
{
    return sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
}

int64_t db_number(struct sqlite_db *db, const char *sql, int *rc)
{
    sqlite3_stmt *st = NULL;
    int64_t number = 0;

    *rc = sqlite3_prepare_v2(db->handle, sql, -1, &st, NULL);
    if (!*rc && (*rc = sqlite3_step(st)) == SQLITE_ROW)
        number = sqlite3_column_int64(st, 0);
    if (*rc == SQLITE_ROW || *rc == SQLITE_DONE)
        *rc = SQLITE_OK;
    sqlite3_finalize(st);
    return number;
}

static int on_wal(void *arg, sqlite3 *handle, const char *name, int pages)
{
    struct sqlite_db *db = arg;

    (void)handle;
    (void)name;
    db->wal_pages = pages;
    return SQLITE_OK;
}

static int set_up(struct sqlite_db *db)
{
    int keep = 1;
    /* The page size must come first, exclusive locking before the log is first used (then its index is in
     * memory, not in a shared file). A cache of 512 kB, so that a big backlog costs no more memory than a
     * small one. */
    int rc = exec(db, "PRAGMA page_size = 1024; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                      "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 8388608;"
                      "PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -512;");

    if (!rc)
        rc = exec(db, db->sync ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = OFF");
    sqlite3_wal_hook(db->handle, on_wal, db);
    /* A log that keeps its blocks is overwritten in place after the next start too. */
    sqlite3_file_control(db->handle, NULL, SQLITE_FCNTL_PERSIST_WAL, &keep);
    return rc;
}

enum verdict { USABLE, FAILED, NEWER, FOREIGN };

static enum verdict judge_schema(struct sqlite_db *db, int *rc, int64_t *version)
{
    int64_t application = 0, objects = 0;

    *version = db_number(db, "PRAGMA user_version", rc);
    if (!*rc)
        application = db_number(db, "PRAGMA application_id", rc);
    if (!*rc)
        objects = db_number(db, "SELECT count(*) FROM sqlite_schema", rc);
    if (*rc)
        return FAILED;
    if (objects && application != APPLICATION)
        return FOREIGN;
    return *version < 0 || *version > SCHEMA ? NEWER : USABLE;
}

static int upgrade(struct sqlite_db *db, int64_t version)
{
    char mark[96];
    int rc = exec(db, "BEGIN IMMEDIATE");

    for (int64_t v = version; v < SCHEMA && !rc; v++) {
        rc = exec(db, upgrades[v].sql);
        if (!rc && upgrades[v].move)
            rc = upgrades[v].move(db);
    }
    snprintf(mark, sizeof(mark), "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", APPLICATION,
             SCHEMA);
    return rc ? rc : exec(db, mark);
}

static int prepare_all(struct sqlite_db *db)
{
    int rc = SQLITE_OK;

    for (size_t i = 0; i < STATEMENTS && !rc; i++)
        rc = sqlite3_prepare_v3(db->handle, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &db->st[i], NULL);
    return rc;
}

static int open_handle(struct sqlite_db *db)
{
    /* SQLite would make it readable for all. */
    int fd = openat(db->dir_fd, db_name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return SQLITE_CANTOPEN;
    close(fd);
    int rc = sqlite3_open_v2(db->path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, vfs_name());
    if (!rc)
        sqlite3_extended_result_codes(db->handle, 1);
    return rc ? rc : set_up(db);
}

/* Opens whatever is there. When it cannot be used, says why and leaves rc. */
static enum verdict open_as_it_is(struct sqlite_db *db, int *rc)
{
    int64_t version = 0;
    enum verdict verdict = FAILED;

    *rc = open_handle(db);
    if (!*rc)
        verdict = judge_schema(db, rc, &version);
    if (verdict != USABLE)
        return verdict;
    if (version < SCHEMA)
        *rc = upgrade(db, version);
    if (!*rc)
        *rc = prepare_all(db);
    if (!*rc)
        *rc = removals_read(db);
    return *rc ? FAILED : USABLE;
}

/* Opens a database that was fine when it was last open. */
int db_ensure_open(struct sqlite_db *db)
{
    int rc;

    if (db->handle)
        return SQLITE_OK;
    if (open_as_it_is(db, &rc) == USABLE)
        return SQLITE_OK;
    rc = rc ? rc : SQLITE_NOTADB;
    log_debug("store: %s: %s", db->path, db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(rc));
    db_drop_handle(db);
    return rc;
}

/* --- moving aside --- */

static void aside_name(struct sqlite_db *db, char *out, size_t size)
{
    time_t now = (time_t)(clock_wall_us() / 1000000);
    struct tm tm;
    char stamp[32];

    gmtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    /* A box without a clock wakes at the same second each time. */
    for (int n = 0; n < 10000; n++) {
        snprintf(out, size, n ? "sluice-%s-%d.db" : "sluice-%s.db", stamp, n);
        if (faccessat(db->dir_fd, out, F_OK, 0))
            return;
    }
}

static int move_aside(struct sqlite_db *db, const char *why)
{
    char name[64], wal[80];

    db_drop_handle(db);
    aside_name(db, name, sizeof(name));
    snprintf(wal, sizeof(wal), "%s-wal", name);
    if (renameat(db->dir_fd, db_name, db->dir_fd, name))
        return -errno;
    if (renameat(db->dir_fd, wal_name, db->dir_fd, wal) && errno != ENOENT)
        return -errno;
    fsync(db->dir_fd);
    log_warn("store: %s %s; it was moved aside as %s and a new one is made", db->path, why, name);
    return 0;
}

static bool unreadable(int rc)
{
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB || rc == SQLITE_IOERR_SHORT_READ ||
           /* a table lacks or has other columns */
           (rc & 0xff) == SQLITE_ERROR;
}

static const char *reason(enum verdict verdict)
{
    if (verdict == NEWER)
        return "was written by a newer release";
    return verdict == FOREIGN ? "is not a database of this program" : "cannot be read";
}

/* After a note: every page. Otherwise what a start reads anyway. */
static int check(struct sqlite_db *db)
{
    sqlite3_stmt *st = NULL;
    bool fine = true;
    int rc = db_check(db);

    if (rc || faccessat(db->dir_fd, note_name, F_OK, 0))
        return rc;
    log_info("store: looking at all of %s", db->path);
    rc = sqlite3_prepare_v2(db->handle, "PRAGMA quick_check(1)", -1, &st, NULL);
    if (!rc && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        fine = !strcmp((const char *)sqlite3_column_text(st, 0), "ok");
        rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rc ? rc : fine ? SQLITE_OK : SQLITE_CORRUPT;
}

static int cannot_open(struct sqlite_db *db, int rc)
{
    int err = db_error(rc, db->handle);

    if (rc == SQLITE_CANTOPEN && !db->handle)
        err = -errno;
    log_error("store: cannot open %s: %s", db->path, strerror(-err));
    return err;
}

static int open_or_replace(struct sqlite_db *db)
{
    int rc, err;
    enum verdict verdict = open_as_it_is(db, &rc);

    if (verdict == USABLE && (rc = check(db)))
        verdict = FAILED;
    if (verdict == USABLE) {
        unlinkat(db->dir_fd, note_name, 0);
        return 0;
    }
    if (verdict == FAILED && !unreadable(rc))
        return cannot_open(db, rc);
    if ((err = move_aside(db, reason(verdict)))) {
        log_error("store: %s %s and cannot be moved aside: %s", db->path, reason(verdict), strerror(-err));
        return err;
    }
    unlinkat(db->dir_fd, note_name, 0);
    verdict = open_as_it_is(db, &rc);
    return verdict == USABLE ? 0 : cannot_open(db, rc ? rc : SQLITE_ERROR);
}

/* --- the folder --- */

static int sync_parent(const char *dir)
{
    char *path = mem_format("%s/..", dir);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    free(path);
    if (fd < 0)
        return -errno;
    fsync(fd);
    close(fd);
    return 0;
}

static int open_folder(struct sqlite_db *db)
{
    int err = mkdir(db->dir, 0700) ? errno : 0;

    if (!err)
        sync_parent(db->dir);
    db->dir_fd = open(db->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (db->dir_fd < 0) {
        err = err && err != EEXIST ? err : errno;
        log_error("store: cannot use folder %s: %s", db->dir, strerror(err));
        return -err;
    }
    if (flock(db->dir_fd, LOCK_EX | LOCK_NB)) {
        err = errno == EWOULDBLOCK ? EBUSY : errno;
        log_error("store: folder %s is %s", db->dir,
                  err == EBUSY ? "in use by another process" : "not lockable");
        return -err;
    }
    return 0;
}

/* --- the engine --- */

static void sqlite_close(void *arg)
{
    struct sqlite_db *db = arg;

    if (db->handle)
        sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    db_drop_handle(db);
    if (db->dir_fd >= 0)
        close(db->dir_fd);
    for (struct map_node *node = map_next(&db->queues, NULL), *next; node; node = next) {
        next = map_next(&db->queues, node);
        free(container_of(node, struct queue, node));
    }
    map_free(&db->queues);
    free(db->removals);
    buf_free(&db->ledger.row);
    free(db->backup.part);
    free(db->dir);
    free(db->path);
    free(db);
}

static void look_around(struct sqlite_db *db)
{
    struct stat st;

    if (!fstatat(db->dir_fd, db_name, &st, 0))
        db->file_bytes = (uint64_t)st.st_size;
    if (!fstatat(db->dir_fd, wal_name, &st, 0))
        db->wal_bytes = (uint64_t)st.st_size;
    db->free_bytes = ballast_room(db->dir_fd);
}

static int sqlite_open(void **out, const struct store_config *config)
{
    struct sqlite_db *db = mem_alloc(sizeof(*db));

    db->dir = mem_strdup(config->dir);
    db->path = mem_format("%s/%s", config->dir, db_name);
    db->dir_fd = -1;
    db->sync = config->sync;
    db->ballast = config->ballast;
    list_init(&db->touched);
    int err = open_folder(db);
    if (!err)
        err = open_or_replace(db);
    if (err) {
        sqlite_close(db);
        return err;
    }
    fsync(db->dir_fd);
    look_around(db);
    db->ballast_there = ballast_make(db->dir_fd, db->ballast);
    if (!db->ballast_there)
        log_warn("store: there is no room for a ballast file of %llu bytes", (unsigned long long)db->ballast);
    *out = db;
    return 0;
}

static uint64_t sqlite_next_body(void *arg)
{
    struct sqlite_db *db = arg;
    int rc;

    return (uint64_t)db_number(db, texts[ST_BODY_LAST], &rc) + 1;
}

static void check_point(struct sqlite_db *db)
{
    int pages = 0, copied = 0;
    int rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &copied);

    db->wal_pages = 0;
    if (!rc)
        db->written += (uint64_t)copied * PAGE_BYTES;
    /* Nothing is lost, the log only grows. An I/O error is left to the next commit, on a database opened
     * anew. */
    else if ((rc & 0xff) == SQLITE_IOERR)
        db_drop_handle(db);
}

static void sqlite_after(void *arg)
{
    struct sqlite_db *db = arg;
    struct timespec now;
    int written = 0, most;

    if (!db->handle)
        return;
    sqlite3_db_status(db->handle, SQLITE_DBSTATUS_CACHE_WRITE, &written, &most, 1);
    db->written += (uint64_t)written * (PAGE_BYTES + 24);
    if (db->wal_pages >= WAL_PAGES_MAX)
        check_point(db);
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    if (us < db->next_look_us)
        return;
    db->next_look_us = us + LOOK_EVERY_US;
    look_around(db);
}

const struct engine engine_sqlite = {
    .name = "sqlite",
    .threaded = true,
    .open = sqlite_open,
    .load = db_load,
    .body = db_body,
    .next_body = sqlite_next_body,
    .apply = db_apply,
    .after = sqlite_after,
    .read = db_read,
    .backup = db_backup,
    .close = sqlite_close,
};
