/* SPDX-License-Identifier: Apache-2.0 */
/* The store on a disk that fails: I/O errors at any call, a full disk, and what it says meanwhile. The calls
 * that write and sync are ours here. */
#include "tests/unit/test_store_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

static atomic_long calls_left; /* until one fails; below 0: none does */
static atomic_int fail_for;    /* calls from then on */
static atomic_long quota;      /* bytes that all files of the folder may have; 0: no limit */
static char watched[64];

/* 0, or that this call fails. */
static int fault(void)
{
    long left = atomic_load(&calls_left);

    if (left < 0)
        return 0;
    if (left > 0) {
        atomic_store(&calls_left, left - 1);
        return 0;
    }
    if (atomic_fetch_sub(&fail_for, 1) > 1)
        return EIO;
    atomic_store(&calls_left, -1);
    return EIO;
}

static long used(void)
{
    DIR *dir = opendir(watched);
    struct stat st;
    long bytes = 0;

    for (struct dirent *e; dir && (e = readdir(dir));)
        if (!fstatat(dirfd(dir), e->d_name, &st, 0) && S_ISREG(st.st_mode))
            bytes += st.st_size;
    if (dir)
        closedir(dir);
    return bytes;
}

static bool too_big(int fd, size_t len, off_t at)
{
    long limit = atomic_load(&quota);
    struct stat st;

    if (!limit || fstat(fd, &st) || at + (off_t)len <= st.st_size)
        return false;
    return used() + at + (off_t)len - st.st_size > limit;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
    errno = fault();
    if (!errno && too_big(fd, len, at))
        errno = ENOSPC;
    return errno ? -1 : syscall(SYS_pwrite64, fd, data, len, at);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return pwrite64(fd, data, len, at);
}

int fdatasync(int fd)
{
    errno = fault();
    return errno ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    errno = fault();
    return errno ? -1 : (int)syscall(SYS_fsync, fd);
}

int fstatvfs(int fd, struct statvfs *out)
{
    long limit = atomic_load(&quota), left = limit - used();

    (void)fd;
    *out = (struct statvfs){.f_bavail = 1 << 20, .f_frsize = 4096};
    if (limit)
        out->f_bavail = left > 0 ? (fsblkcnt_t)left / 4096 : 0;
    return 0;
}

static void fail_at(long calls, int count)
{
    atomic_store(&fail_for, count);
    atomic_store(&calls_left, calls);
}

static int begin(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));

    fail_at(-1, 0);
    atomic_store(&quota, 0);
    fix_begin(f);
    snprintf(watched, sizeof(watched), "%s", f->dir);
    *state = f;
    return fix_open(f, false);
}

static int end(void **state)
{
    struct fixture *f = *state;

    fail_at(-1, 0);
    fix_free_rows(f);
    fix_end(f);
    free(f);
    return 0;
}

static void wait_for_state(struct fixture *f, int err)
{
    while (f->state != err)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static void nothing_is_told_while_syncing_fails(void **state)
{
    struct fixture *f = *state;
    struct store_stats stats;

    fix_put(f, 1, 0);
    fix_settle(f);
    store_ticket before = f->told;
    fail_at(0, 1000000);
    fix_put(f, 1, 1);
    store_want(f->s);
    wait_for_state(f, -EIO);
    fix_put(f, 1, 2);
    /* Readers see what waits all the same. */
    fix_read(f, 1, 0, 10, 1000);
    fix_expect(f, 1, 0, 3);
    for (int i = 0; i < 4; i++)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->told, before);
    store_get_stats(f->s, &stats);
    assert_int_equal(stats.last_error, -EIO);
    assert_true(stats.failing_since_us > 0);
    fail_at(-1, 0);
    wait_for_state(f, 0);
    assert_int_equal(f->state_changes, 2);
    fix_settle(f);
    store_get_stats(f->s, &stats);
    assert_int_equal(stats.last_error, 0);
    assert_int_equal(stats.failing_since_us, 0);
    assert_int_equal(stats.refused, 0);
    fix_read(f, 1, 0, 10, 1000);
    fix_expect(f, 1, 0, 3);
}

/* One round of everything, with a body that is used twice. */
static void do_some_work(struct fixture *f, uint64_t round)
{
    static uint8_t data[9000];
    struct store_body body = {store_next_body(f->s), {data, sizeof(data)}, NULL, NULL};

    store_session_put(f->s, 1, bytes_of("s"));
    store_session_put(f->s, 2, bytes_of("s"));
    store_queue_put(f->s, 1, round, bytes_of("row"), &body);
    store_queue_put(f->s, 2, round, bytes_of("row"), &body);
    store_ledger_put(f->s, bytes_of("r"), round % 3 ? &body : NULL, f->ledger_body);
    f->ledger_body = round % 3 ? body.id : 0;
    store_identifier_put(f->s, 1, (uint16_t)round);
    store_value_put(f->s, "v", bytes_of("x"));
    if (round % 2)
        store_queue_release(f->s, 2, round - 1);
    if (round >= 5) {
        store_identifier_remove(f->s, 1, (uint16_t)(round - 5));
        store_queue_remove(f->s, 1, round - 5, round - 4);
    }
    fix_settle(f);
}

/* Each call of a history fails once, and again for three calls. Nothing is lost, doubled or counted wrong. */
static void any_call_may_fail(void **state)
{
    struct fixture *f = *state;
    enum { ROUNDS = 6 };
    uint64_t at = 0;

    for (long n = 0; n < 160; n += 1 + n / 40) {
        fail_at(n, n % 2 ? 3 : 1);
        for (int i = 0; i < ROUNDS; i++)
            do_some_work(f, at++);
        fail_at(-1, 0);
        fix_read(f, 1, 0, 100, 1 << 20);
        assert_int_equal(f->count, 5);
        assert_int_equal(f->rows[0].seq, at - 5);
    }
    struct store_stats stats;
    store_get_stats(f->s, &stats);
    assert_true(stats.failures > 20);
    assert_int_equal(stats.refused, 0);
    fix_reopen(f);
    fix_read(f, 2, at - 8, 100, 1 << 20);
    assert_int_equal(f->count, 8);
    fix_close(f);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM queue WHERE id >> 40 = 1"), 5);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM identifier"), 5);
    assert_int_equal(fix_ask(f, "SELECT (SELECT sum(uses) FROM body) - (SELECT count(body) FROM queue)"),
                     f->ledger_body != 0);
    assert_int_equal(fix_ask(f, "SELECT sum(length(data)) = max(id + length(data)) - 1 FROM ledger"), 1);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM body JOIN piece ON piece.id >> 16 = body.id"
                                " WHERE uses = 0 OR size <> length(data)"),
                     0);
}

static bool ballast_is_there(const struct fixture *f)
{
    char *path = mem_format("%s/ballast", f->dir);
    bool there = !access(path, F_OK);

    free(path);
    return there;
}

static void a_full_disk_is_told_and_left_by_removing(void **state)
{
    struct fixture *f = *state;
    uint8_t record[1000] = {0};
    uint64_t tail = 0, done_rows;

    fix_close(f);
    f->config.ballast = 1000000;
    f->config.batch_max = 50000;
    assert_int_equal(fix_open(f, false), 0);
    assert_true(ballast_is_there(f));
    atomic_store(&quota, 4000000);
    store_session_put(f->s, 1, bytes_of("s"));
    while (f->state != -ENOSPC) {
        for (int i = 0; i < 4; i++)
            store_queue_put(f->s, 1, tail++, (struct bytes){record, sizeof(record)}, NULL);
        store_want(f->s);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_false(ballast_is_there(f));
    store_ticket told = f->told;
    while (!store_full(f->s))
        store_queue_put(f->s, 1, tail++, (struct bytes){record, sizeof(record)}, NULL);
    store_ticket last = store_open_ticket(f->s);
    for (int i = 0; i < 4; i++)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->told, told);
    /* What upstream takes meanwhile makes room, although its removal stands behind what does not fit. */
    done_rows = tail - 200;
    store_queue_remove(f->s, 1, 0, done_rows);
    while (f->told < last)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->state, 0);
    assert_false(store_full(f->s));
    fix_reopen(f);
    fix_read(f, 1, 0, 1000, 1 << 20);
    assert_int_equal(f->count, 200);
    assert_int_equal(f->rows[0].seq, done_rows);
    assert_int_equal(f->rows[199].seq, tail - 1);
}

static void room_that_returns_is_used(void **state)
{
    struct fixture *f = *state;
    uint8_t record[1000] = {0};
    uint64_t tail = 0;

    atomic_store(&quota, 400000);
    while (f->state != -ENOSPC) {
        store_queue_put(f->s, 1, tail++, (struct bytes){record, sizeof(record)}, NULL);
        store_want(f->s);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    atomic_store(&quota, 0);
    fix_settle(f);
    assert_int_equal(f->state, 0);
    fix_read(f, 1, 0, 10000, 1 << 24);
    assert_int_equal(f->count, tail);
}

static int released;

static void count_release(void *owner)
{
    (void)owner;
    released++;
}

static void closing_gives_up_in_time(void **state)
{
    struct fixture *f = *state;
    struct store_body body = {store_next_body(f->s), {(const uint8_t *)"b", 1}, NULL, count_release};

    released = 0;
    fail_at(0, 1000000);
    store_queue_put(f->s, 1, 0, bytes_of("r"), &body);
    store_want(f->s);
    wait_for_state(f, -EIO);
    assert_int_equal(store_close(f->s, 300), -ETIMEDOUT);
    assert_int_equal(released, 1);
    while (!store_closed(f->s))
        uv_run(&f->loop, UV_RUN_ONCE);
    store_free(f->s);
    f->s = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_told_while_syncing_fails, begin, end),
        cmocka_unit_test_setup_teardown(any_call_may_fail, begin, end),
        cmocka_unit_test_setup_teardown(a_full_disk_is_told_and_left_by_removing, begin, end),
        cmocka_unit_test_setup_teardown(room_that_returns_is_used, begin, end),
        cmocka_unit_test_setup_teardown(closing_gives_up_in_time, begin, end),
    };

    return cmocka_run_group_tests_name("store on a failing disk", tests, NULL, NULL);
}
