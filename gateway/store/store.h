/* SPDX-License-Identifier: Apache-2.0 */
/* The only door to the disk: what must outlive the process. During a turn the broker appends operations to
 * the open batch, which costs no I/O; store_submit at the end of the turn gives the batch to the store's own
 * thread as one transaction, unless one is still running (then the batch goes on filling: group commit
 * without a timer). When the batch is on disk its ticket is done, on_commit is called from the loop, and what
 * was held for it may leave. The store knows numbers and bytes, not MQTT: sessions, their queues, sets of
 * 16-bit identifiers, a ledger of records, and small named values. Two makers: store_sqlite,
 * store_memory (for tests: all tickets are done at once, nothing survives). All calls from the loop's thread;
 * callbacks arrive there. */
#ifndef SLUICE_STORE_STORE_H
#define SLUICE_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"

/* Counts batches from 1. Ticket 0 is always done. */
typedef uint64_t store_ticket;

struct store;

/* A payload too large to be copied into a queue row: referenced until its batch is done, then release(owner)
 * is called on the loop's thread, once for each operation that named it. Stored once under id for all rows
 * that name it; ids are the caller's, never reused (store_next_body()). id 0: no body. */
struct store_body {
    uint64_t id;
    struct bytes data;
    void *owner;
    void (*release)(void *owner);
};

/* What store_load tells, in this order of kinds: every value, session, subscription, identifier, record of
 * the ledger. Bytes live only during the call. */
struct store_visitor {
    void *arg;
    void (*on_value)(void *arg, const char *name, struct bytes value);
    /* head: sequence of the oldest row, tail: one after the newest (head == tail: empty); bytes: of the
     * queue. dead: a purged session whose rows are still being removed (the store goes on with that by
     * itself; the number must not be used). */
    void (*on_session)(void *arg, uint32_t no, struct bytes record, uint64_t head, uint64_t tail,
                       uint64_t bytes, bool dead);
    void (*on_subscription)(void *arg, uint32_t no, struct bytes filter, struct bytes record);
    void (*on_identifier)(void *arg, uint32_t no, uint16_t id);
    /* In the order in which they were put, also those that mean nothing any more: what body_id names may be
     * gone, store_body_get tells. False: it cannot be read, and is counted as damaged. */
    bool (*on_ledger)(void *arg, uint64_t offset, struct bytes record, uint64_t body_id);
};

/* One queue row read back. released: store_queue_release was called for it (its record is then empty). */
struct store_row {
    uint64_t seq;
    bool released;
    struct bytes record; /* lives during the callback */
    uint64_t body_id;
    struct bytes body; /* malloc'ed when body_id is not 0: the callback owns it and frees data */
};

struct store_stats {
    uint64_t commits, failures, refused; /* batches; failed tries; operations that were taken out */
    uint64_t operations;
    uint64_t bytes_written; /* into the database and its log, as far as the process can tell */
    uint64_t file_bytes, wal_bytes, free_bytes; /* sizes now; room on the file system */
    uint64_t open_bytes;                        /* of the open batch */
    uint64_t rows_visited;                      /* queue rows that store_load looked at */
    uint64_t damaged;                           /* records of the ledger that store_load could not read */
    uint64_t commit_us_last, commit_us_most;
    int last_error;            /* -E… of the failure that lasts, 0 when all is well */
    uint64_t failing_since_us; /* CLOCK_BOOTTIME; 0: all is well */
};

struct store_config {
    const char *dir;         /* state_dir; made (0700) when it is not there */
    uint32_t linger_ms;      /* how long a batch may wait for company when something waits for its ticket */
    uint32_t linger_idle_ms; /* the same when nothing does (store_want was not called): default 200 */
    size_t batch_max;        /* open bytes above which store_full() is true */
    /* Bytes of the file that keeps room to delete on a full disk: more than the log may hold, which is half a
     * megabyte and a batch, so 2 MB and batch_max are enough. 0: none. */
    uint64_t ballast;
    bool sync; /* synchronous=FULL; false exists for the power-cut test's control alone */
};

struct store_events {
    void *arg;
    void (*on_commit)(void *arg, store_ticket done); /* the highest ticket that is on disk */
    /* Commits began to fail (err -E…) or work again (err 0). Once a change. */
    void (*on_state)(void *arg, int err, const char *text);
};

/* 0, or -E… (logged). An unreadable or newer database is moved aside with a warning and a fresh one made.
 * Locks the folder against a second process (-EBUSY). */
int store_open_sqlite(struct store **out, uv_loop_t *loop, const struct store_config *config,
                      const struct store_events *events);
int store_open_memory(struct store **out, uv_loop_t *loop, const struct store_events *events);

/* Once, after opening and before any operation; blocks. Visits at most 2,048 queue rows a session. */
int store_load(struct store *s, const struct store_visitor *visitor);
/* A body that the ledger names, malloc'ed, or -E…. Blocks: between store_load and the first store_submit. */
int store_body_get(struct store *s, uint64_t id, struct bytes *out);

/* Commits all, blocking (at most timeout_ms; -ETIMEDOUT says that something is lost), ends the thread. Then,
 * while the loop runs, its handles close; store_closed() tells when; then store_free(). */
int store_close(struct store *s, uint32_t timeout_ms);
bool store_closed(const struct store *s);
void store_free(struct store *s);

/* The ticket that operations appended now will get. */
store_ticket store_open_ticket(const struct store *s);
/* The ticket at which all that has been appended until now is on disk: that of the open batch, unless nothing
 * is in it. */
store_ticket store_written_ticket(const struct store *s);
/* All tickets up to this one are on disk. */
store_ticket store_done_ticket(const struct store *s);
/* An acknowledgement waits for the open batch: do not linger. */
void store_want(struct store *s);
/* End of the turn: hands the open batch over, when it is time and no commit is running. */
void store_submit(struct store *s);
/* The open batch exceeds batch_max: stop reading from publishers until on_commit. */
bool store_full(const struct store *s);
void store_get_stats(const struct store *s, struct store_stats *out);

/* Operations. All append to the open batch and copy what they are given, but bodies. Numbers of sessions: 1
 * to 2^23. */
void store_value_put(struct store *s, const char *name, struct bytes value); /* empty: removes it */
void store_session_put(struct store *s, uint32_t no, struct bytes record);
/* The session with all that belongs to it. Its queue goes in slices of at most 2,000 rows a batch behind a
 * tombstone that also survives a restart. on_session_gone below tells when the number is free again. */
void store_session_purge(struct store *s, uint32_t no);
void store_on_session_gone(struct store *s, void (*gone)(void *arg, uint32_t no), void *arg);
void store_subscription_put(struct store *s, uint32_t no, struct bytes filter, struct bytes record);
void store_subscription_remove(struct store *s, uint32_t no, struct bytes filter);
void store_identifier_put(struct store *s, uint32_t no, uint16_t id);
void store_identifier_remove(struct store *s, uint32_t no, uint16_t id);

/* The ledger: records of at most 2^31 - 1 bytes, packed into few rows. dropped: the body of a record that
 * means nothing from now on, 0: none; it may be the one that this record names again. Returns the offset,
 * never 0, which rises. Who puts also trims. */
uint64_t store_ledger_put(struct store *s, struct bytes record, const struct store_body *body,
                          uint64_t dropped);
/* The offset of the next record. */
uint64_t store_ledger_end(const struct store *s);
/* Takes away what is below offset, oldest first, but for what shares a row with something that stays. */
void store_ledger_trim(struct store *s, uint64_t offset);

/* Queues. seq rises by one for each row of a session, below 2^40. The record of a row is kept with it. */
void store_queue_put(struct store *s, uint32_t no, uint64_t seq, struct bytes record,
                     const struct store_body *body);
/* The row is kept but its content is not needed any more (PUBREC was received). */
void store_queue_release(struct store *s, uint32_t no, uint64_t seq);
/* Rows from first up to (not including) end. May ride with a later batch (it does not by itself make a commit
 * happen before linger_idle_ms). Takes at most 2,000 rows a batch from the disk; the rest follows in the next
 * ones. */
void store_queue_remove(struct store *s, uint32_t no, uint64_t first, uint64_t end);
/* Reads at most max_rows rows and about max_bytes from seq first on, as they will be when what has been
 * appended until now is done. Then done(arg, rows, count, err) from the loop; it is always called, with
 * -ECANCELED when the store closes first. */
typedef void store_read_done(void *arg, const struct store_row *rows, size_t count, int err);
void store_queue_read(struct store *s, uint32_t no, uint64_t first, uint32_t max_rows, size_t max_bytes,
                      store_read_done *done, void *arg);
/* A body id that was never used. */
uint64_t store_next_body(struct store *s);

/* A consistent copy of the database to path, made by the store thread; done(arg, err) from the loop. */
void store_backup(struct store *s, const char *path, void (*done)(void *arg, int err), void *arg);

#endif
