/* SPDX-License-Identifier: Apache-2.0 */
/* What the store on disk keeps beyond its process: everything that was committed, counts of queues,
 * tombstones, bodies in use. */
#include "tests/unit/test_store_fixture.h"

#include <sys/stat.h>

/* --- what a start finds --- */

static void everything_is_there_after_a_restart(void **state)
{
    struct fixture *f = *state;

    store_value_put(f->s, "boot", bytes_of("7"));
    store_value_put(f->s, "old", bytes_of("x"));
    store_session_put(f->s, 3, bytes_of("three"));
    store_session_put(f->s, 4, bytes_of("four"));
    store_subscription_put(f->s, 3, bytes_of("a/#"), bytes_of("q1"));
    store_subscription_put(f->s, 3, bytes_of("b"), bytes_of("q0"));
    store_identifier_put(f->s, 3, 65535);
    store_identifier_put(f->s, 3, 1);
    assert_int_equal(store_ledger_put(f->s, bytes_of("one"), NULL, 0), 1);
    assert_int_equal(store_ledger_put(f->s, bytes_of("two"), NULL, 0), 8);
    fix_put(f, 3, 10);
    fix_put(f, 3, 11);
    fix_settle(f);
    store_value_put(f->s, "old", (struct bytes){0});
    store_session_put(f->s, 4, bytes_of("vier"));
    store_subscription_put(f->s, 3, bytes_of("b"), bytes_of("q2"));
    store_subscription_put(f->s, 4, bytes_of("c"), bytes_of(""));
    store_subscription_remove(f->s, 3, bytes_of("a/#"));
    store_identifier_remove(f->s, 3, 1);
    store_ledger_put(f->s, bytes_of("three"), NULL, 0);
    fix_reopen(f);
    assert_string_equal(f->loaded.data, "value boot=7\n"
                                        "session 3 'three' 10..12 8\n"
                                        "session 4 'vier' 0..0 0\n"
                                        "subscription 3 b 'q2'\n"
                                        "subscription 4 c ''\n"
                                        "identifier 3 65535\n"
                                        "ledger 'one' 0\n"
                                        "ledger 'two' 0\n"
                                        "ledger 'three' 0\n");
    assert_int_equal(store_ledger_end(f->s), 24);
    fix_read(f, 3, 0, 10, 1000);
    fix_expect(f, 3, 10, 12);
}

/* A model beside the store: random puts, removals at the head and behind it, releases; after each restart
 * head, tail and bytes must be the model's. */
struct model {
    uint64_t head, tail;
    uint8_t kind[40000]; /* 0 gone, 1 there, 2 released */
};

static uint64_t model_bytes(const struct model *m)
{
    uint64_t bytes = 0;

    for (uint64_t seq = 0; seq < m->tail; seq++)
        if (m->kind[seq] == 1)
            bytes += (uint64_t)snprintf(NULL, 0, "1/%llu", (unsigned long long)seq);
    return bytes;
}

static void model_remove(struct fixture *f, struct model *m, uint64_t first, uint64_t end_seq)
{
    store_queue_remove(f->s, 1, first, end_seq);
    for (uint64_t seq = first; seq < end_seq && seq < m->tail; seq++)
        m->kind[seq] = 0;
    while (m->head < m->tail && !m->kind[m->head])
        m->head++;
}

static void model_step(struct fixture *f, struct model *m)
{
    uint64_t span = m->tail - m->head, first = m->head + (span ? (uint64_t)rand() % span : 0);

    switch (rand() % 6) {
    case 0:
        model_remove(f, m, m->head, first);
        break;
    case 1:
        model_remove(f, m, first, first + (uint64_t)rand() % 3000);
        break;
    case 2:
        if (span && m->kind[first] == 1) {
            store_queue_release(f->s, 1, first);
            m->kind[first] = 2;
        }
        break;
    default:
        for (int i = rand() % 1200; i > 0 && m->tail < 39000; i--) {
            m->kind[m->tail] = 1;
            fix_put(f, 1, m->tail++);
        }
    }
    if (rand() % 2)
        fix_settle(f);
}

static void counts_survive_any_history(void **state)
{
    struct fixture *f = *state;
    struct model *m = mem_alloc(sizeof(*m));
    unsigned long long head, tail, found;

    srand(20261122);
    store_session_put(f->s, 1, bytes_of("s"));
    for (int round = 0; round < 25; round++) {
        for (int i = rand() % 8; i >= 0; i--)
            model_step(f, m);
        /* At times in the middle of what takes several batches. */
        if (rand() % 2)
            fix_settle(f);
        uint64_t bytes = model_bytes(m);
        fix_reopen(f);
        assert_int_equal(
            sscanf((char *)f->loaded.data, "session 1 's' %llu..%llu %llu", &head, &tail, &found), 3);
        assert_int_equal(found, bytes);
        if (head < tail)
            assert_int_equal(head, m->head);
        /* Numbers of the newest rows are free again when they were removed. */
        assert_true(tail <= m->tail);
        while (m->tail > tail)
            assert_int_equal(m->kind[--m->tail], 0);
        m->head = head;
        for (uint64_t at = m->head; at < m->tail;) {
            fix_read(f, 1, at, 500, 1 << 20);
            for (size_t i = 0; i < f->count; i++, at++) {
                while (at < m->tail && !m->kind[at])
                    at++;
                assert_int_equal(f->rows[i].seq, at);
                assert_int_equal(f->rows[i].released, m->kind[at] == 2);
            }
            if (!f->count)
                at = m->tail;
        }
    }
    free(m);
}

static void a_million_rows_are_no_work_at_start(void **state)
{
    struct fixture *f = *state;
    struct store_stats stats;
    uint64_t bytes = 0;
    char expected[100];

    store_session_put(f->s, 9, bytes_of("big"));
    fix_put_many(f, 9, 0, 1000500);
    store_queue_remove(f->s, 9, 0, 500);
    fix_reopen(f);
    store_get_stats(f->s, &stats);
    assert_true(stats.rows_visited <= 2048);
    for (uint64_t seq = 500; seq < 1000500; seq++)
        bytes += (uint64_t)snprintf(NULL, 0, "9/%llu", (unsigned long long)seq);
    snprintf(expected, sizeof(expected), "session 9 'big' 500..1000500 %llu\n", (unsigned long long)bytes);
    assert_string_equal(f->loaded.data, expected);
    fix_read(f, 9, 999000, 5, 1000);
    fix_expect(f, 9, 999000, 999005);
}

/* --- purge --- */

static void a_big_session_goes_in_slices(void **state)
{
    struct fixture *f = *state;
    struct store_stats before, after;

    store_session_put(f->s, 5, bytes_of("five"));
    store_subscription_put(f->s, 5, bytes_of("x"), bytes_of(""));
    store_identifier_put(f->s, 5, 9);
    fix_put_many(f, 5, 0, 100000);
    store_get_stats(f->s, &before);
    store_session_purge(f->s, 5);
    fix_settle(f);
    assert_int_equal(f->gone_count, 0);
    fix_read(f, 5, 0, 10, 1000);
    assert_int_equal(f->count, 0);
    fix_reopen(f);
    assert_string_equal(f->loaded.data, "session 5 '' 100000..100000 0 dead\n");
    while (!f->gone_count)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->gone[0], 5);
    store_get_stats(f->s, &after);
    assert_true(after.commits >= 100000 / 2000 - 3);
    /* The number is free: nothing of the old session touches the new one. */
    store_session_put(f->s, 5, bytes_of("new"));
    fix_put(f, 5, 0);
    fix_reopen(f);
    assert_string_equal(f->loaded.data, "session 5 'new' 0..1 3\n");
    assert_int_equal(fix_close(f), 0);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM segment"), 0);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM removal"), 0);
}

static void a_purge_swallows_unfinished_removals(void **state)
{
    struct fixture *f = *state;

    store_session_put(f->s, 5, bytes_of("five"));
    fix_put_many(f, 5, 0, 9000);
    store_queue_remove(f->s, 5, 0, 7000);
    fix_settle(f);
    store_session_purge(f->s, 5);
    while (!f->gone_count)
        uv_run(&f->loop, UV_RUN_ONCE);
    store_session_put(f->s, 5, bytes_of("again"));
    fix_put_many(f, 5, 0, 10);
    for (int i = 0; i < 5; i++)
        fix_settle(f);
    fix_read(f, 5, 0, 100, 10000);
    fix_expect(f, 5, 0, 10);
}

/* --- bodies --- */

static struct store_body make_body(struct fixture *f, const uint8_t *data, size_t len)
{
    return (struct store_body){store_next_body(f->s), {data, len}, NULL, NULL};
}

static void bodies_are_counted_across_restarts(void **state)
{
    struct fixture *f = *state;
    uint8_t *data = mem_alloc(150000);

    memset(data, 'b', 150000);
    struct store_body one = make_body(f, data, 150000), two = make_body(f, data, 65536),
                      three = make_body(f, data, 1);
    store_session_put(f->s, 1, bytes_of(""));
    store_session_put(f->s, 2, bytes_of(""));
    store_queue_put(f->s, 1, 0, bytes_of("r"), &one);
    store_queue_put(f->s, 2, 0, bytes_of("r"), &one);
    store_queue_put(f->s, 2, 1, bytes_of("r"), &two);
    store_ledger_put(f->s, bytes_of("t"), &one, 0);
    store_ledger_put(f->s, bytes_of("u"), &three, 0);
    fix_reopen(f);
    assert_string_equal(f->loaded.data, "session 1 '' 0..1 150001\n"
                                        "session 2 '' 0..2 215538\n"
                                        "ledger 't' 1\n"
                                        "ledger 'u' 3\n");
    struct bytes back;
    assert_int_equal(store_body_get(f->s, one.id, &back), 0);
    assert_true(bytes_equal(back, one.data));
    free((void *)(uintptr_t)back.data);
    assert_int_equal(store_body_get(f->s, 99, &back), -ENOENT);
    assert_true(store_next_body(f->s) > three.id);
    fix_close(f);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM piece"), 3 + 1 + 1);
    assert_int_equal(fix_ask(f, "SELECT sum(uses) FROM body"), 5);
    assert_int_equal(fix_open(f, false), 0);
    store_queue_remove(f->s, 1, 0, 1);
    store_queue_release(f->s, 2, 0);
    store_ledger_put(f->s, bytes_of("u"), &three, three.id);
    fix_settle(f);
    store_ledger_put(f->s, bytes_of("t"), &three, one.id);
    fix_reopen(f);
    assert_string_equal(f->loaded.data, "session 1 '' 0..0 0\n"
                                        "session 2 '' 0..2 65537\n"
                                        "ledger 't' 1\n"
                                        "ledger 'u' 3\n"
                                        "ledger 'u' 3\n"
                                        "ledger 't' 3\n");
    store_session_purge(f->s, 2);
    store_ledger_put(f->s, bytes_of("-t"), NULL, three.id);
    fix_close(f);
    assert_int_equal(fix_ask(f, "SELECT uses FROM body"), 1);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM piece"), 1);
    free(data);
}

/* --- the ledger --- */

static void a_batch_of_records_takes_few_rows(void **state)
{
    struct fixture *f = *state;
    char text[64];
    uint64_t offset = 0;

    for (int i = 0; i < 10000; i++) {
        snprintf(text, sizeof(text), "%050d", i);
        uint64_t at = store_ledger_put(f->s, bytes_of(text), NULL, 0);
        assert_int_equal(at, offset ? offset + 54 : 1);
        offset = at;
    }
    fix_reopen(f);
    assert_int_equal(f->loaded.len - 1, 10000 * strlen("ledger '' 0\n") + 10000 * 50);
    assert_non_null(strstr((char *)f->loaded.data, "9998' 0\nledger '0000000000"));
    fix_close(f);
    assert_in_range(fix_ask(f, "SELECT count(*) FROM ledger"), 2, 12);
    assert_int_equal(fix_open(f, false), 0);
    /* From the front, but for what shares a row with what stays. */
    store_ledger_trim(f->s, 1 + 5000 * 54);
    fix_reopen(f);
    size_t lines = 0;
    for (const char *c = (char *)f->loaded.data; (c = strchr(c, '\n')); c++)
        lines++;
    assert_in_range(lines, 5000, 5000 + 65536 / 54);
    assert_int_equal(store_ledger_end(f->s), 1 + 10000 * 54);
    store_ledger_trim(f->s, store_ledger_end(f->s));
    fix_reopen(f);
    assert_int_equal(store_ledger_end(f->s), 1 + 10000 * 54);
    fix_close(f);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM ledger"), 1);
}

static void damaged_records_are_left_out_and_counted(void **state)
{
    struct fixture *f = *state;
    struct store_stats stats;

    store_ledger_put(f->s, bytes_of("one"), NULL, 0);
    fix_settle(f);
    store_ledger_put(f->s, bytes_of("two"), NULL, 0);
    fix_settle(f);
    store_ledger_put(f->s, bytes_of("three"), NULL, 0);
    fix_close(f);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM ledger"), 3);
    fix_change(f, "UPDATE ledger SET data = x'7fffffff414141' WHERE id = 8");
    assert_int_equal(fix_open(f, false), 0);
    assert_string_equal(f->loaded.data, "ledger 'one' 0\nledger 'three' 0\n");
    store_get_stats(f->s, &stats);
    assert_int_equal(stats.damaged, 1);
    fix_close(f);
    /* A row that overlaps the next one, and a body without a number. */
    fix_change(f, "UPDATE ledger SET data = x'0000000341414100000003424242' WHERE id = 8;"
                  "INSERT INTO ledger VALUES(100, x'8000000141')");
    assert_int_equal(fix_open(f, false), 0);
    assert_string_equal(f->loaded.data, "ledger 'one' 0\nledger 'AAA' 0\nledger 'BBB' 0\n");
    store_get_stats(f->s, &stats);
    assert_int_equal(stats.damaged, 2);
    assert_int_equal(store_ledger_put(f->s, bytes_of("four"), NULL, 0), 105);
    fix_reopen(f);
    assert_non_null(strstr((char *)f->loaded.data, "ledger 'four' 0\n"));
}

/* The pointers of overflow pages full of c lead nowhere. */
static void break_row(const struct fixture *f, int c)
{
    char *path = fix_path(f, "sluice.db");
    uint8_t page[1024], full[1020];
    FILE *file = fopen(path, "r+");
    bool found = false;

    assert_non_null(file);
    memset(full, c, sizeof(full));
    while (fread(page, sizeof(page), 1, file) == 1) {
        if (memcmp(page + 4, full, sizeof(full)) != 0)
            continue;
        found = true;
        fseek(file, -(long)sizeof(page), SEEK_CUR);
        fwrite("\x7f\xff\xff\xff", 4, 1, file);
        fseek(file, (long)sizeof(full), SEEK_CUR);
    }
    assert_true(found);
    fclose(file);
    free(path);
}

/* What is put afterwards must not take its place: it would be refused, or taken for what an earlier try has
 * done. */
static void a_last_row_that_cannot_be_read_keeps_its_place(void **state)
{
    struct fixture *f = *state;
    char text[5001] = "";
    struct store_stats stats;

    store_ledger_put(f->s, bytes_of("one"), NULL, 0);
    fix_settle(f);
    memset(text, 'a', sizeof(text) - 1);
    store_ledger_put(f->s, bytes_of(text), NULL, 0);
    fix_close(f);
    fix_change(f, "PRAGMA wal_checkpoint(TRUNCATE)");
    break_row(f, 'a');
    assert_int_equal(fix_open(f, false), 0);
    assert_string_equal(f->loaded.data, "ledger 'one' 0\n");
    store_get_stats(f->s, &stats);
    assert_int_equal(stats.damaged, 1);
    assert_int_equal(store_ledger_put(f->s, bytes_of("two"), NULL, 0), 8 + 5004);
    fix_settle(f);
    store_get_stats(f->s, &stats);
    assert_int_equal(stats.failures, 0);
    fix_close(f);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM ledger WHERE id = 5012"), 1);
}

/* --- backup --- */

static void on_backup(void *arg, int err)
{
    *(int *)arg = err;
}

static int back_up(struct fixture *f, const char *path)
{
    int result = 1;

    store_backup(f->s, path, on_backup, &result);
    while (result == 1)
        uv_run(&f->loop, UV_RUN_ONCE);
    return result;
}

static void a_backup_is_a_store(void **state)
{
    struct fixture *f = *state;
    char *dir = fix_path(f, "copy"), *path = fix_path(f, "copy/sluice.db");
    int result = 1;
    uint64_t seq = 20000;

    store_session_put(f->s, 1, bytes_of("one"));
    fix_put_many(f, 1, 0, 20000);
    assert_int_equal(mkdir(dir, 0700), 0);
    store_backup(f->s, path, on_backup, &result);
    /* Commits go on meanwhile. */
    while (result == 1) {
        fix_put(f, 1, seq++);
        store_want(f->s);
        uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(result, 0);
    fix_close(f);
    f->config.dir = dir;
    assert_int_equal(fix_open(f, false), 0);
    fix_read(f, 1, 19000, 1000, 1 << 20);
    fix_expect(f, 1, 19000, 20000);
    assert_int_equal(back_up(f, path), -EINVAL);
    assert_int_equal(back_up(f, "/nowhere/at/all"), -ENOENT);
    fix_close(f);
    f->config.dir = f->dir;
    free(dir);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OPEN(everything_is_there_after_a_restart),
        OPEN(counts_survive_any_history),
        OPEN(a_million_rows_are_no_work_at_start),
        OPEN(a_big_session_goes_in_slices),
        OPEN(a_purge_swallows_unfinished_removals),
        OPEN(bodies_are_counted_across_restarts),
        OPEN(a_batch_of_records_takes_few_rows),
        OPEN(damaged_records_are_left_out_and_counted),
        OPEN(a_last_row_that_cannot_be_read_keeps_its_place),
        OPEN(a_backup_is_a_store),
    };

    return cmocka_run_group_tests_name("store on disk", tests, NULL, NULL);
}
