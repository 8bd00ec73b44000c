/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a folder of its own and a loop whose turns end with store_submit. For the tests of the store
 * alone. */
#ifndef TESTS_UNIT_TEST_STORE_FIXTURE_H
#define TESTS_UNIT_TEST_STORE_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/store.h"

struct fixture {
    char dir[64];
    uv_loop_t loop;
    uv_prepare_t end_of_turn;
    struct store_config config;
    struct store *s;
    store_ticket told; /* by on_commit */
    int state, state_changes;
    uint32_t gone[16];
    size_t gone_count;
    /* what the last read gave */
    struct store_row *rows;
    size_t count;
    int read_err;
    bool read_back;
    /* what loading told, one line each */
    struct buf loaded;
    uint64_t ledger_end;
    uint64_t ledger_body; /* that the last record names */
};

static inline void fix_on_commit(void *arg, store_ticket done)
{
    struct fixture *f = arg;

    assert_true(done > f->told);
    assert_int_equal(done, store_done_ticket(f->s));
    f->told = done;
}

static inline void fix_on_state(void *arg, int err, const char *text)
{
    struct fixture *f = arg;

    assert_non_null(text);
    assert_int_not_equal(err, f->state);
    f->state = err;
    f->state_changes++;
}

static inline void fix_on_gone(void *arg, uint32_t no)
{
    struct fixture *f = arg;

    assert_true(f->gone_count < 16);
    f->gone[f->gone_count++] = no;
}

static inline void fix_end_of_turn(uv_prepare_t *handle)
{
    struct fixture *f = handle->data;

    if (f->s)
        store_submit(f->s);
}

static inline void fix_value(void *arg, const char *name, struct bytes value)
{
    struct fixture *f = arg;

    buf_printf(&f->loaded, "value %s=%.*s\n", name, (int)value.len, (const char *)value.data);
}

static inline void fix_session(void *arg, uint32_t no, struct bytes record, uint64_t head, uint64_t tail,
                               uint64_t bytes, bool dead)
{
    struct fixture *f = arg;

    buf_printf(&f->loaded, "session %u '%.*s' %llu..%llu %llu%s\n", no, (int)record.len,
               (const char *)record.data, (unsigned long long)head, (unsigned long long)tail,
               (unsigned long long)bytes, dead ? " dead" : "");
}

static inline void fix_subscription(void *arg, uint32_t no, struct bytes filter, struct bytes record)
{
    struct fixture *f = arg;

    buf_printf(&f->loaded, "subscription %u %.*s '%.*s'\n", no, (int)filter.len, (const char *)filter.data,
               (int)record.len, (const char *)record.data);
}

static inline void fix_identifier(void *arg, uint32_t no, uint16_t id)
{
    struct fixture *f = arg;

    buf_printf(&f->loaded, "identifier %u %u\n", no, id);
}

static inline bool fix_ledger(void *arg, uint64_t offset, struct bytes record, uint64_t body_id)
{
    struct fixture *f = arg;

    assert_true(offset >= f->ledger_end);
    f->ledger_end = offset + (body_id ? 12 : 4) + record.len;
    buf_printf(&f->loaded, "ledger '%.*s' %llu\n", (int)record.len, (const char *)record.data,
               (unsigned long long)body_id);
    return true;
}

static inline void fix_loop(struct fixture *f)
{
    assert_int_equal(uv_loop_init(&f->loop), 0);
    uv_prepare_init(&f->loop, &f->end_of_turn);
    f->end_of_turn.data = f;
    uv_prepare_start(&f->end_of_turn, fix_end_of_turn);
    uv_unref((uv_handle_t *)&f->end_of_turn);
}

/* 0 or the error of opening; loads. memory: the other maker. */
static inline int fix_open(struct fixture *f, bool memory)
{
    struct store_events events = {f, fix_on_commit, fix_on_state};
    struct store_visitor visitor = {f, fix_value, fix_session, fix_subscription, fix_identifier, fix_ledger};

    f->told = 0;
    f->gone_count = 0;
    f->loaded.len = 0;
    f->ledger_end = 1;
    int err = memory ? store_open_memory(&f->s, &f->loop, &events)
                     : store_open_sqlite(&f->s, &f->loop, &f->config, &events);
    if (err)
        return err;
    store_on_session_gone(f->s, fix_on_gone, f);
    assert_int_equal(store_load(f->s, &visitor), 0);
    buf_append(&f->loaded, "", 1);
    return 0;
}

static inline int fix_close(struct fixture *f)
{
    int err = store_close(f->s, 20000);

    while (!store_closed(f->s))
        uv_run(&f->loop, UV_RUN_ONCE);
    store_free(f->s);
    f->s = NULL;
    return err;
}

static inline void fix_reopen(struct fixture *f)
{
    assert_int_equal(fix_close(f), 0);
    assert_int_equal(fix_open(f, false), 0);
}

static inline void fix_begin(struct fixture *f)
{
    *f = (struct fixture){.config = {.linger_idle_ms = 1, .batch_max = 64 << 20, .sync = true}};
    snprintf(f->dir, sizeof(f->dir), "/tmp/sluice-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->config.dir = f->dir;
    fix_loop(f);
    log_open(LOG_LEVEL_ERROR);
}

static inline void fix_end(struct fixture *f)
{
    char *command = mem_format("rm -rf '%s'", f->dir);

    if (f->s)
        fix_close(f);
    uv_close((uv_handle_t *)&f->end_of_turn, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    buf_free(&f->loaded);
    assert_int_equal(system(command), 0);
    free(command);
}

/* Until everything that was appended is done. */
static inline void fix_settle(struct fixture *f)
{
    store_ticket ticket = store_open_ticket(f->s);

    store_value_put(f->s, "settle", (struct bytes){0});
    store_want(f->s);
    while (f->told < ticket)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static inline void fix_put(struct fixture *f, uint32_t no, uint64_t seq)
{
    char text[32];

    snprintf(text, sizeof(text), "%u/%llu", no, (unsigned long long)seq);
    store_queue_put(f->s, no, seq, bytes_of(text), NULL);
}

static inline void fix_free_rows(struct fixture *f)
{
    for (size_t i = 0; i < f->count; i++) {
        free((void *)(uintptr_t)f->rows[i].record.data);
        free((void *)(uintptr_t)f->rows[i].body.data);
    }
    free(f->rows);
    f->rows = NULL;
    f->count = 0;
}

static inline void fix_on_read(void *arg, const struct store_row *rows, size_t count, int err)
{
    struct fixture *f = arg;

    f->read_back = true;
    f->read_err = err;
    f->rows = count ? mem_alloc(count * sizeof(*rows)) : NULL;
    f->count = count;
    for (size_t i = 0; i < count; i++) {
        uint8_t *copy = mem_alloc(rows[i].record.len);
        memcpy(copy, rows[i].record.data, rows[i].record.len);
        f->rows[i] = rows[i];
        f->rows[i].record.data = copy;
    }
}

/* Into f->rows, until the next read or fix_free_rows. */
static inline void fix_read(struct fixture *f, uint32_t no, uint64_t first, uint32_t max_rows,
                            size_t max_bytes)
{
    fix_free_rows(f);
    f->read_back = false;
    store_queue_read(f->s, no, first, max_rows, max_bytes, fix_on_read, f);
    assert_false(f->read_back);
    while (!f->read_back)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->read_err, 0);
}

/* The rows are those of sequences first to end - 1 as fix_put makes them. */
static inline void fix_expect(const struct fixture *f, uint32_t no, uint64_t first, uint64_t end)
{
    assert_int_equal(f->count, end - first);
    for (size_t i = 0; i < f->count; i++) {
        char text[32];
        int len = snprintf(text, sizeof(text), "%u/%llu", no, (unsigned long long)(first + i));
        assert_int_equal(f->rows[i].seq, first + i);
        assert_false(f->rows[i].released);
        assert_int_equal(f->rows[i].record.len, len);
        assert_memory_equal(f->rows[i].record.data, text, (size_t)len);
    }
}

/* --- of stores on disk --- */

static inline int fix_begin_empty(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));

    fix_begin(f);
    *state = f;
    return 0;
}

static inline int fix_begin_open(void **state)
{
    return fix_begin_empty(state) || fix_open(*state, false);
}

static inline int fix_end_all(void **state)
{
    struct fixture *f = *state;

    fix_free_rows(f);
    fix_end(f);
    free(f);
    return 0;
}

static inline char *fix_path(const struct fixture *f, const char *name)
{
    return mem_format("%s/%s", f->dir, name);
}

/* One number of the closed database. */
static inline int64_t fix_ask(const struct fixture *f, const char *sql)
{
    char *path = fix_path(f, "sluice.db");
    sqlite3_stmt *st;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    free(path);
    return number;
}

/* Changes the closed database. */
static inline void fix_change(const struct fixture *f, const char *sql)
{
    char *path = fix_path(f, "sluice.db");
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    free(path);
}

static inline void fix_put_many(struct fixture *f, uint32_t no, uint64_t first, uint64_t end_seq)
{
    for (uint64_t seq = first; seq < end_seq; seq++) {
        fix_put(f, no, seq);
        if (seq % 50000 == 49999)
            fix_settle(f);
    }
    fix_settle(f);
}

#define OPEN(test)  cmocka_unit_test_setup_teardown(test, fix_begin_open, fix_end_all)
#define EMPTY(test) cmocka_unit_test_setup_teardown(test, fix_begin_empty, fix_end_all)

#endif
