/* SPDX-License-Identifier: Apache-2.0 */
/* What the store does with folders and files that it cannot use. */
#include "tests/unit/test_store_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void write_file(const struct fixture *f, const char *name, const void *data, size_t len)
{
    char *path = fix_path(f, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
    free(path);
}

/* The name of the one file that was moved aside; out "" when there is none. */
static void find_aside(const struct fixture *f, char out[64])
{
    DIR *dir = opendir(f->dir);
    int count = 0;

    out[0] = '\0';
    for (struct dirent *e; (e = readdir(dir));) {
        size_t len = strlen(e->d_name);
        if (!strncmp(e->d_name, "sluice-", 7) && !strcmp(e->d_name + len - 3, ".db") && len < 64) {
            memcpy(out, e->d_name, len + 1);
            count++;
        }
    }
    closedir(dir);
    assert_true(count <= 1);
}

/* It was moved aside as it was, and a working store stands in its place. */
static void expect_aside(struct fixture *f, const void *data, size_t len)
{
    char name[64], *path;
    uint8_t *found = mem_alloc(len + 1);

    assert_int_equal(fix_open(f, false), 0);
    assert_string_equal(f->loaded.data, "");
    find_aside(f, name);
    path = fix_path(f, name);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, found, len + 1), len);
    assert_memory_equal(found, data, len);
    close(fd);
    free(path);
    free(found);
    store_session_put(f->s, 1, bytes_of("new"));
    fix_reopen(f);
    assert_string_equal(f->loaded.data, "session 1 'new' 0..0 0\n");
}

static void zeroes_are_moved_aside(void **state)
{
    static const uint8_t zeroes[40960];

    write_file(*state, "sluice.db", zeroes, sizeof(zeroes));
    expect_aside(*state, zeroes, sizeof(zeroes));
}

static void garbage_is_moved_aside(void **state)
{
    uint8_t garbage[5000];

    srand(1);
    for (size_t i = 0; i < sizeof(garbage); i++)
        garbage[i] = (uint8_t)rand();
    write_file(*state, "sluice.db", garbage, sizeof(garbage));
    expect_aside(*state, garbage, sizeof(garbage));
}

static void garbage_behind_a_good_header_is_moved_aside(void **state)
{
    struct fixture *f = *state;
    uint8_t page[8192];

    assert_int_equal(fix_open(f, false), 0);
    fix_close(f);
    char *path = fix_path(f, "sluice.db");
    int fd = open(path, O_RDONLY);
    assert_true(read(fd, page, sizeof(page)) > 1024);
    close(fd);
    free(path);
    memset(page + 100, 0x5a, sizeof(page) - 100);
    write_file(f, "sluice.db", page, sizeof(page));
    path = fix_path(f, "sluice.db-wal");
    unlink(path);
    free(path);
    expect_aside(f, page, sizeof(page));
}

static void a_truncated_database_is_moved_aside(void **state)
{
    struct fixture *f = *state;
    char *path = fix_path(f, "sluice.db"), *wal = fix_path(f, "sluice.db-wal");
    uint8_t start[2048];

    assert_int_equal(fix_open(f, false), 0);
    store_session_put(f->s, 1, bytes_of("one"));
    fix_close(f);
    unlink(wal);
    assert_int_equal(truncate(path, sizeof(start)), 0);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, start, sizeof(start)), sizeof(start));
    close(fd);
    expect_aside(f, start, sizeof(start));
    free(path);
    free(wal);
}

static void set_version(struct fixture *f, const char *sql)
{
    char *path = fix_path(f, "sluice.db");
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    free(path);
}

static void a_newer_database_is_moved_aside(void **state)
{
    struct fixture *f = *state;
    char name[64];

    assert_int_equal(fix_open(f, false), 0);
    store_session_put(f->s, 1, bytes_of("kept"));
    fix_close(f);
    set_version(f, "PRAGMA user_version = 999");
    assert_int_equal(fix_open(f, false), 0);
    assert_string_equal(f->loaded.data, "");
    fix_close(f);
    find_aside(f, name);
    assert_string_not_equal(name, "");
    /* What the newer release stored is all in it. */
    char *from = fix_path(f, name), *to = fix_path(f, "sluice.db"), *wal = fix_path(f, "sluice.db-wal");
    unlink(wal);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM session WHERE record = CAST('kept' AS BLOB)"), 1);
    free(from);
    free(to);
    free(wal);
}

static void a_foreign_database_is_moved_aside(void **state)
{
    struct fixture *f = *state;
    char name[64];

    set_version(f, "CREATE TABLE recipes(cake TEXT)");
    assert_int_equal(fix_open(f, false), 0);
    find_aside(f, name);
    assert_string_not_equal(name, "");
}

static void damage_that_was_noted_is_found_at_start(void **state)
{
    struct fixture *f = *state;
    char *path = fix_path(f, "sluice.db"), *wal = fix_path(f, "sluice.db-wal"), name[64];
    struct stat st;

    assert_int_equal(fix_open(f, false), 0);
    fix_put_many(f, 1, 0, 20000);
    fix_close(f);
    /* Somewhere in the middle of the queue, where no start looks by itself. */
    assert_int_equal(unlink(wal), 0);
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_RDWR);
    uint8_t rubbish[1024];
    memset(rubbish, 0xee, sizeof(rubbish));
    assert_int_equal(pwrite(fd, rubbish, 1024, st.st_size / 2048 * 1024), 1024);
    close(fd);
    assert_int_equal(fix_open(f, false), 0);
    fix_close(f);
    find_aside(f, name);
    assert_string_equal(name, "");
    write_file(f, "sluice.db-damaged", "", 0);
    assert_int_equal(fix_open(f, false), 0);
    find_aside(f, name);
    assert_string_not_equal(name, "");
    free(path);
    free(wal);
}

static void a_folder_that_cannot_be_written_is_an_error(void **state)
{
    struct fixture *f = *state;
    char *file = fix_path(f, "file"), *below = fix_path(f, "file/below"), *closed = fix_path(f, "closed");
    int status;

    write_file(f, "file", "", 0);
    f->config.dir = below;
    assert_int_equal(fix_open(f, false), -ENOTDIR);
    f->config.dir = file;
    assert_int_equal(fix_open(f, false), -ENOTDIR);
    assert_int_equal(mkdir(closed, 0555), 0);
    assert_int_equal(chmod(f->dir, 0755), 0);
    f->config.dir = closed;
    pid_t child = fork();
    if (!child) {
        /* The superuser may write anywhere. */
        if (!geteuid() && setresuid(65534, 65534, 65534))
            _exit(99);
        _exit(-fix_open(f, false));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EACCES);
    f->config.dir = f->dir;
    free(file);
    free(below);
    free(closed);
}

static void a_second_process_is_kept_out(void **state)
{
    struct fixture *f = *state;
    struct fixture second = {.config = f->config};
    int status;

    pid_t child = fork();
    if (!child) {
        fix_loop(&second);
        _exit(-fix_open(&second, false));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EBUSY);
    fix_put(f, 1, 0);
    fix_settle(f);
}

static void the_folder_is_made_and_private(void **state)
{
    struct fixture *f = *state;
    char *below = fix_path(f, "state");
    struct stat st;

    f->config.dir = below;
    f->config.ballast = 300000;
    assert_int_equal(fix_open(f, false), 0);
    assert_int_equal(stat(below, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    for (size_t i = 0; i < 3; i++) {
        static const char *const names[] = {"state/sluice.db", "state/sluice.db-wal", "state/ballast"};
        char *path = fix_path(f, names[i]);
        if (i == 1) {
            fix_put(f, 1, 0);
            fix_settle(f);
        }
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        free(path);
    }
    assert_int_equal(st.st_size, 300000);
    fix_close(f);
    f->config.dir = f->dir;
    free(below);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EMPTY(zeroes_are_moved_aside),
        EMPTY(garbage_is_moved_aside),
        EMPTY(garbage_behind_a_good_header_is_moved_aside),
        EMPTY(a_truncated_database_is_moved_aside),
        EMPTY(a_newer_database_is_moved_aside),
        EMPTY(a_foreign_database_is_moved_aside),
        EMPTY(damage_that_was_noted_is_found_at_start),
        EMPTY(a_folder_that_cannot_be_written_is_an_error),
        OPEN(a_second_process_is_kept_out),
        EMPTY(the_folder_is_made_and_private),
    };

    return cmocka_run_group_tests_name("places of the store", tests, NULL, NULL);
}
