/* SPDX-License-Identifier: Apache-2.0 */
/* Retained messages on disk: beside a model, over restarts, while the ledger goes round; what an older
 * release kept; damage; and how much is written. */
#include "tests/unit/test_store_fixture.h"

#include "base/clock.h"
#include "broker/retain.h"

enum { TOPICS = 120 };

static struct retain *r;
static uint8_t source[200000];
static size_t model[TOPICS]; /* length of the payload; 0: none */
static uint8_t marks[TOPICS];

static bool on_ledger(void *arg, uint64_t offset, struct bytes record, uint64_t body_id)
{
    (void)arg;
    return retain_restore(r, offset, record, body_id);
}

static void on_value(void *arg, const char *name, struct bytes value)
{
    (void)arg;
    (void)name;
    (void)value;
}

static void load(struct fixture *f)
{
    struct store_events events = {f, fix_on_commit, fix_on_state};
    struct store_visitor visitor = {.on_value = on_value, .on_ledger = on_ledger};

    f->told = 0;
    assert_int_equal(store_open_sqlite(&f->s, &f->loop, &f->config, &events), 0);
    r = retain_new(f->s, TOPICS);
    assert_int_equal(store_load(f->s, &visitor), 0);
    retain_restored(r);
}

static void unload(struct fixture *f)
{
    assert_int_equal(fix_close(f), 0);
    retain_free(r);
}

static void set(unsigned topic, size_t len)
{
    char name[32];
    static uint8_t payload[sizeof(source)];

    snprintf(name, sizeof(name), "plant/%u", topic);
    memcpy(payload, source + topic, len);
    marks[topic] = payload[0] = (uint8_t)random();
    struct message m = {.topic = bytes_of(name), .payload = {payload, len}, .retain = true, .born_us = 1};
    assert_int_not_equal(retain_set(r, &m, true) == 0, len || model[topic]);
    message_done(&m);
    model[topic] = len;
}

static void expect_model(void)
{
    size_t count = 0;

    for (unsigned i = 0; i < TOPICS; i++) {
        char name[32];
        uint64_t place = 0;
        uint32_t steps = 10;
        snprintf(name, sizeof(name), "plant/%u", i);
        struct message *m = retain_next(r, bytes_of(name), &place, &steps);
        assert_int_equal(m ? m->payload.len : 0, model[i]);
        if (!m)
            continue;
        count++;
        assert_int_equal(m->payload.data[0], marks[i]);
        assert_memory_equal(m->payload.data + 1, source + i + 1, 3);
    }
    assert_int_equal(retain_count(r), count);
}

static void the_last_word_counts_while_the_ledger_goes_round(void **state)
{
    struct fixture *f = *state;

    srandom(7);
    memset(model, 0, sizeof(model));
    load(f);
    for (int i = 1; i <= 30000; i++) {
        unsigned topic = (unsigned)random() % (random() % 4 ? 10 : TOPICS);
        set(topic, random() % 8 ? 4 + (size_t)random() % (random() % 100 ? 300 : 100000) : 0);
        if (i % 50 == 0)
            fix_settle(f);
        if (i % 3000)
            continue;
        expect_model();
        unload(f);
        /* Half of it counts, at least, but for the floor and what the last batches were late. */
        uint64_t live = 0, bodies = 0;
        for (unsigned t = 0; t < TOPICS; t++) {
            live += model[t] > 4096 ? 60 : model[t] ? model[t] + 40 : 0;
            bodies += model[t] > 4096;
        }
        assert_true((uint64_t)fix_ask(f, "SELECT sum(length(data)) FROM ledger") < 2 * live + 400000);
        assert_int_equal(fix_ask(f, "SELECT count(*) FROM body WHERE uses = 1"), bodies);
        assert_int_equal(fix_ask(f, "SELECT count(*) FROM body"), bodies);
        load(f);
        expect_model();
    }
    unload(f);
    assert_true(fix_ask(f, "SELECT min(id) FROM ledger") > 1000000);
}

/* A record: format, flags, QoS, start, expiry, born, born of that run, encoder, topic, properties, payload.
 */

static void what_schema_1_kept_is_taken_over(void **state)
{
    struct fixture *f = *state;

    load(f);
    set(1, 4); /* makes the tables */
    set(1, 0);
    unload(f);
    fix_change(
        f, "DROP TABLE ledger;"
           "CREATE TABLE retained(topic TEXT PRIMARY KEY, record BLOB NOT NULL, body INTEGER, size INTEGER)"
           " WITHOUT ROWID;"
           "INSERT INTO retained VALUES('plant/5', x'0103010000000700000000"
           "00065BFEDA25E0000000000000000005000007706C616E742F350000000061626364', NULL, NULL);"
           "INSERT INTO retained VALUES('plant/6', x'0101010000000700000000"
           "00065BFEDA25E0000000000000000005000007706C616E742F3600000000', 3, 70000);"
           "INSERT INTO body VALUES(3, 1, 70000);"
           "INSERT INTO piece VALUES(3 << 16, zeroblob(65536));"
           "INSERT INTO piece VALUES(3 << 16 | 1, zeroblob(70000 - 65536));"
           "PRAGMA user_version = 1");
    for (int start = 0; start < 2; start++) {
        uint64_t place = 0, second = 0;
        uint32_t steps = 10;
        load(f);
        assert_int_equal(retain_count(r), 2);
        assert_int_equal(retain_bytes(r), 70004);
        struct message *m = retain_next(r, bytes_of("plant/5"), &place, &steps);
        assert_true(m && m->retain && m->qos == 1 && bytes_equal(m->payload, bytes_of("abcd")));
        m = retain_next(r, bytes_of("plant/6"), &second, &steps);
        assert_true(m && m->payload.len == 70000 && !m->payload.data[69999]);
        unload(f);
    }
    assert_int_equal(fix_ask(f, "PRAGMA user_version"), 2);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM sqlite_schema WHERE name = 'retained'"), 0);
    load(f);
    set(6, 4);
    unload(f);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM body") + fix_ask(f, "SELECT count(*) FROM piece"), 0);
}

static void damage_costs_no_more_than_its_record(void **state)
{
    struct fixture *f = *state;
    struct store_stats stats;

    memset(model, 0, sizeof(model));
    load(f);
    for (unsigned i = 0; i < 5; i++) {
        set(i, i == 3 ? 5000 : 100);
        fix_settle(f);
    }
    unload(f);
    fix_change(f, "UPDATE ledger SET data = x'00000003ffffff' WHERE id = (SELECT min(id) FROM ledger);"
                  "DELETE FROM piece");
    load(f);
    store_get_stats(f->s, &stats);
    assert_int_equal(stats.damaged, 1);
    model[0] = model[3] = 0;
    expect_model();
    set(3, 6000);
    unload(f);
    load(f);
    expect_model();
    unload(f);
}

/* Of a message that is not to outlive the box nothing is left of its topic. */
static void what_does_not_last_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct message m = {
        .topic = bytes_of("plant/1"), .payload = bytes_of("now"), .retain = true, .born_us = 1};

    memset(model, 0, sizeof(model));
    load(f);
    set(1, 5000);
    assert_int_not_equal(retain_set(r, &m, false), 0);
    assert_int_equal(retain_set(r, &m, false), 0);
    message_done(&m);
    unload(f);
    load(f);
    assert_int_equal(retain_count(r), 0);
    unload(f);
    assert_int_equal(fix_ask(f, "SELECT count(*) FROM body"), 0);
}

static void what_has_expired_is_not_put_anew(void **state)
{
    struct fixture *f = *state;
    struct message m = {.topic = bytes_of("plant/old"),
                        .payload = bytes_of("old"),
                        .retain = true,
                        .expires = true,
                        .expiry_s = 1,
                        .born_us = (int64_t)clock_boot_us() - 2000000};

    memset(model, 0, sizeof(model));
    load(f);
    retain_set(r, &m, true);
    message_done(&m);
    assert_int_equal(retain_count(r), 1);
    for (int i = 0; i < 4000; i++)
        set(2, 200);
    assert_int_equal(retain_count(r), 1);
    expect_model();
    unload(f);
    load(f);
    expect_model();
    unload(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EMPTY(the_last_word_counts_while_the_ledger_goes_round),
        EMPTY(what_schema_1_kept_is_taken_over),
        EMPTY(damage_costs_no_more_than_its_record),
        EMPTY(what_does_not_last_leaves_nothing),
        EMPTY(what_has_expired_is_not_put_anew),
    };

    for (size_t i = 0; i < sizeof(source); i++)
        source[i] = (uint8_t)(i * 7);
    return cmocka_run_group_tests_name("retained messages on disk", tests, NULL, NULL);
}
