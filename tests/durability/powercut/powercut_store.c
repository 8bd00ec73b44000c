/* SPDX-License-Identifier: Apache-2.0 */
/* What the power-cut test drives: "write DIR SEED SYNC" changes a store at random until it is killed and says
 * on stdout what it does: each operation with its ticket before it is handed over, then the tickets that are
 * done. "dump DIR" prints all that a store holds. What records and bodies contain follows from their session
 * and sequence, and is checked when it is dumped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/retain.h"
#include "store/store.h"

enum { SESSIONS = 6, BODY_SOURCE = 300000 };

struct session {
    bool there, dying;
    uint64_t head, tail;
};

static uv_loop_t loop;
static uv_prepare_t end_of_turn;
static uv_idle_t busy;
static struct store *store;
static struct retain *retained;
static struct session sessions[SESSIONS + 1];
static uint8_t bodies[BODY_SOURCE + 256];
static struct buf ledger;
static struct buf dump;

static uint64_t below(uint64_t n)
{
    return (uint64_t)random() % n;
}

static size_t record_of(uint8_t *out, uint32_t no, uint64_t seq)
{
    size_t len = 20 + (no * 31 + seq * 17) % 280;

    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(no + seq * 7 + i);
    return len;
}

static struct bytes body_of(uint64_t id)
{
    return (struct bytes){bodies + id % 256, 1 + id * 7919 % (id % 8 ? 9000 : BODY_SOURCE)};
}

static void fill_payload(uint8_t *out, size_t len, uint32_t key)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(i < 4 ? key >> 8 * i : key + i * 13);
}

/* --- writing --- */

static void flush_ledger(void)
{
    for (size_t at = 0; at < ledger.len;) {
        ssize_t n = write(1, ledger.data + at, ledger.len - at);
        if (n <= 0)
            exit(1);
        at += (size_t)n;
    }
    ledger.len = 0;
}

#define SAY(...)                                                                                             \
    (buf_printf(&ledger, "%llu ", (unsigned long long)store_open_ticket(store)),                             \
     buf_printf(&ledger, __VA_ARGS__))

static void put(uint32_t no, const struct store_body *body)
{
    struct session *s = &sessions[no];
    uint8_t record[400];
    size_t len = record_of(record, no, s->tail);

    SAY("put %u %llu %zu %llu %zu\n", no, (unsigned long long)s->tail, len,
        (unsigned long long)(body ? body->id : 0), body ? body->data.len : 0);
    store_queue_put(store, no, s->tail++, (struct bytes){record, len}, body);
}

static struct store_body new_body(void)
{
    struct store_body body = {.id = store_next_body(store)};

    body.data = body_of(body.id);
    return body;
}

static void put_some(uint32_t no)
{
    struct store_body body;

    for (uint64_t i = below(80) ? 1 + below(8) : 700; i > 0; i--)
        put(no, NULL);
    if (below(12))
        return;
    body = new_body();
    for (uint32_t other = 1; other <= SESSIONS; other++)
        if (sessions[other].there && (other == no || below(2)))
            put(other, &body);
}

static void take_some(uint32_t no)
{
    struct session *s = &sessions[no];
    uint64_t span = s->tail - s->head, first = s->head, end;

    if (!span)
        return;
    end = first + 1 + below(below(4) ? (span < 9 ? span : 9) : span);
    /* At times in the middle, as a queue that is full drops its oldest behind what is in flight. */
    if (!below(4))
        first += below(end - first);
    SAY("remove %u %llu %llu\n", no, (unsigned long long)first, (unsigned long long)end);
    store_queue_remove(store, no, first, end);
    if (first == s->head)
        s->head = end;
}

static void release(uint32_t no)
{
    struct session *s = &sessions[no];
    uint64_t seq;

    if (s->tail == s->head)
        return;
    seq = s->head + below(s->tail - s->head);
    SAY("release %u %llu\n", no, (unsigned long long)seq);
    store_queue_release(store, no, seq);
}

static void change_session(uint32_t no)
{
    char text[32];

    if (sessions[no].there && !below(60)) {
        SAY("purge %u\n", no);
        store_session_purge(store, no);
        sessions[no].there = false;
        sessions[no].dying = true;
        return;
    }
    snprintf(text, sizeof(text), "%llu", (unsigned long long)below(1000000));
    SAY("session %u %s\n", no, text);
    store_session_put(store, no, bytes_of(text));
    if (!sessions[no].there)
        sessions[no] = (struct session){.there = true};
}

static void change_small(uint32_t no)
{
    char name[16], text[32];
    uint16_t id = (uint16_t)below(30);
    bool put_it = below(3);

    snprintf(name, sizeof(name), "n%u", (unsigned)id);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)below(1000000));
    switch (below(3)) {
    case 0:
        SAY("value %s %s\n", name, put_it ? text : "");
        store_value_put(store, name, bytes_of(put_it ? text : ""));
        break;
    case 1:
        SAY("%s %u %u\n", put_it ? "identifier" : "no-identifier", no, (unsigned)id);
        (put_it ? store_identifier_put : store_identifier_remove)(store, no, id);
        break;
    default:
        SAY("%s %u %s %s\n", put_it ? "subscription" : "no-subscription", no, name, put_it ? text : "");
        if (put_it)
            store_subscription_put(store, no, bytes_of(name), bytes_of(text));
        else
            store_subscription_remove(store, no, bytes_of(name));
    }
}

/* Large and small ones, so often that the box puts old ones anew all the time. */
static void change_retained(void)
{
    char topic[16];
    uint8_t payload[12000];

    snprintf(topic, sizeof(topic), "t%u", (unsigned)below(200));
    size_t len = below(4) ? 16 + below(below(6) ? 600 : sizeof(payload) - 16) : 0;
    uint32_t key = (uint32_t)random();
    fill_payload(payload, len, key);
    if (len)
        SAY("retained %s %u %zu\n", topic, key, len);
    else
        SAY("no-retained %s\n", topic);
    struct message m = {
        .topic = bytes_of(topic), .payload = {payload, len}, .qos = 1, .retain = true, .born_us = 1};
    retain_set(retained, &m, true);
    message_done(&m);
}

static void change_something(void)
{
    uint32_t no = 1 + (uint32_t)below(SESSIONS);

    if (sessions[no].dying)
        return;
    if (!sessions[no].there || !below(12)) {
        change_session(no);
        return;
    }
    switch (below(10)) {
    case 0:
        release(no);
        break;
    case 1:
        change_small(no);
        break;
    case 2:
        for (uint64_t i = 1 + below(6); i > 0; i--)
            change_retained();
        break;
    case 3:
    case 4:
    case 5:
        take_some(no);
        break;
    default:
        put_some(no);
    }
}

static void on_busy(uv_idle_t *handle)
{
    struct store_stats stats;

    (void)handle;
    store_get_stats(store, &stats);
    if (stats.open_bytes > 2000)
        return;
    for (uint64_t i = below(6); i > 0; i--)
        change_something();
    if (below(4))
        store_want(store);
}

static void on_end_of_turn(uv_prepare_t *handle)
{
    (void)handle;
    flush_ledger();
    store_submit(store);
}

static void on_commit(void *arg, store_ticket done)
{
    (void)arg;
    buf_printf(&ledger, "%llu done\n", (unsigned long long)done);
    flush_ledger();
}

static void on_state(void *arg, int err, const char *text)
{
    (void)arg;
    fprintf(stderr, "state %d: %s\n", err, text);
    exit(1);
}

static void on_gone(void *arg, uint32_t no)
{
    (void)arg;
    sessions[no] = (struct session){0};
}

/* --- loading, for both --- */

static void on_value(void *arg, const char *name, struct bytes value)
{
    (void)arg;
    buf_printf(&dump, "value %s %.*s\n", name, (int)value.len, (const char *)value.data);
}

static void on_session(void *arg, uint32_t no, struct bytes record, uint64_t head, uint64_t tail,
                       uint64_t bytes, bool dead)
{
    (void)arg;
    sessions[no] = (struct session){!dead, dead, head, tail};
    if (!dead)
        buf_printf(&dump, "session %u %.*s %llu\n", no, (int)record.len, (const char *)record.data,
                   (unsigned long long)bytes);
}

static void on_subscription(void *arg, uint32_t no, struct bytes filter, struct bytes record)
{
    (void)arg;
    buf_printf(&dump, "subscription %u %.*s %.*s\n", no, (int)filter.len, (const char *)filter.data,
               (int)record.len, (const char *)record.data);
}

static void on_identifier(void *arg, uint32_t no, uint16_t id)
{
    (void)arg;
    buf_printf(&dump, "identifier %u %u\n", no, id);
}

static bool on_ledger(void *arg, uint64_t offset, struct bytes record, uint64_t body_id)
{
    (void)arg;
    return retain_restore(retained, offset, record, body_id);
}

static void dump_retained(void)
{
    uint64_t place = 0;
    uint8_t payload[12000];

    while (place != RETAIN_END) {
        uint32_t key, steps = 1000;
        struct message *m = retain_next(retained, bytes_of("#"), &place, &steps);
        if (!m)
            continue;
        memcpy(&key, m->payload.data, sizeof(key));
        fill_payload(payload, m->payload.len, key);
        bool good = bytes_equal(m->payload, (struct bytes){payload, m->payload.len});
        buf_printf(&dump, "retained %.*s %u %zu%s\n", (int)m->topic.len, (const char *)m->topic.data, key,
                   m->payload.len, good ? "" : " WRONG");
    }
}

static void open_store(const char *dir, bool sync, uint64_t ballast)
{
    struct store_config config = {
        .dir = dir, .linger_idle_ms = 1, .batch_max = 1 << 20, .ballast = ballast, .sync = sync};
    struct store_events events = {NULL, on_commit, on_state};
    struct store_visitor visitor = {NULL, on_value, on_session, on_subscription, on_identifier, on_ledger};

    for (size_t i = 0; i < sizeof(bodies); i++)
        bodies[i] = (uint8_t)(i * 31 + i / 1009);
    log_open(LOG_LEVEL_WARN);
    uv_loop_init(&loop);
    struct store_stats stats;
    if (store_open_sqlite(&store, &loop, &config, &events))
        exit(2);
    retained = retain_new(store, 1000);
    if (store_load(store, &visitor))
        exit(2);
    store_get_stats(store, &stats);
    if (stats.damaged)
        exit(6);
    retain_restored(retained);
    store_on_session_gone(store, on_gone, NULL);
}

static int write_for_ever(const char *dir, unsigned seed, bool sync)
{
    srandom(seed);
    open_store(dir, sync, 4096);
    uv_prepare_init(&loop, &end_of_turn);
    uv_prepare_start(&end_of_turn, on_end_of_turn);
    uv_idle_init(&loop, &busy);
    uv_idle_start(&busy, on_busy);
    return uv_run(&loop, UV_RUN_DEFAULT);
}

/* --- dumping --- */

static uint32_t dumped;
static uint64_t next_seq;
static bool more;

static void on_rows(void *arg, const struct store_row *rows, size_t count, int err)
{
    uint8_t record[400];

    (void)arg;
    if (err)
        exit(3);
    more = count > 0;
    for (size_t i = 0; i < count; i++) {
        const struct store_row *r = &rows[i];
        struct bytes expected = {record, record_of(record, dumped, r->seq)};
        bool good = r->released || bytes_equal(r->record, expected);
        if (r->body_id && !bytes_equal(r->body, body_of(r->body_id)))
            good = false;
        printf("row %u %llu %s %zu %llu %zu%s\n", dumped, (unsigned long long)r->seq,
               r->released ? "released" : "there", r->record.len, (unsigned long long)r->body_id, r->body.len,
               good ? "" : " WRONG");
        free((void *)(uintptr_t)r->body.data);
        next_seq = r->seq + 1;
    }
}

static int dump_all(const char *dir)
{
    open_store(dir, true, 0);
    dump_retained();
    fwrite(dump.data, 1, dump.len, stdout);
    for (dumped = 1; dumped <= SESSIONS; dumped++) {
        next_seq = 0;
        more = sessions[dumped].there;
        while (more) {
            uint64_t before = next_seq;
            store_queue_read(store, dumped, next_seq, 1000, 1 << 22, on_rows, NULL);
            do
                uv_run(&loop, UV_RUN_ONCE);
            while (more && next_seq == before);
        }
    }
    if (store_close(store, 10000))
        return 4;
    while (!store_closed(store))
        uv_run(&loop, UV_RUN_ONCE);
    store_free(store);
    return fflush(stdout) ? 5 : 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "write"))
        return write_for_ever(argv[2], (unsigned)atoi(argv[3]), atoi(argv[4]));
    if (argc == 3 && !strcmp(argv[1], "dump"))
        return dump_all(argv[2]);
    fprintf(stderr, "usage: %s write DIR SEED SYNC | dump DIR\n", argv[0]);
    return 64;
}
