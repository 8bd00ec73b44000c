/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/front.h"

enum { RETRY_FIRST_MS = 50, RETRY_MOST_MS = 1000, END_GRACE_MS = 500, THREAD_STACK = 1 << 20 };

static uint64_t monotonic_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* --- the thread --- */

static void run_jobs(struct store *s, struct list *work, struct list *again)
{
    for (struct list *link; (link = list_pop(work));) {
        struct job *job = list_entry(link, struct job, link);
        bool commit = job == &s->commit;
        if (!job->run(s, job))
            list_add_tail(again, link);
        else
            mailbox_post(&s->done, link);
        if (commit)
            s->engine->after(s->db);
    }
}

static void *thread_main(void *arg)
{
    struct store *s = arg;
    struct list work = LIST_INIT(work);
    struct list again = LIST_INIT(again);

    while (!s->db_closed) {
        /* A deadline that has passed: look, do not wait. */
        mailbox_wait(&s->todo, &work, list_empty(&again) ? 0 : 1);
        list_splice(&work, &again);
        run_jobs(s, &work, &again);
    }
    return NULL;
}

static int start_thread(struct store *s)
{
    pthread_attr_t attr;
    sigset_t all, old;

    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int err = pthread_create(&s->thread, &attr, thread_main, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    s->thread_runs = !err;
    return -err;
}

void store_post(struct store *s, struct job *job)
{
    if (s->engine->threaded && (s->thread_runs || !start_thread(s))) {
        mailbox_post(&s->todo, &job->link);
        return;
    }
    while (!job->run(s, job))
        ;
    mailbox_post(&s->done, &job->link);
}

static bool run_commit(struct store *s, struct job *job)
{
    (void)job;
    s->engine->apply(s->db, s->running, &s->outcome);
    return true;
}

/* --- tickets --- */

static void on_linger(uv_timer_t *timer)
{
    struct store *s = timer->data;

    s->due = true;
}

void store_begin_linger(struct store *s)
{
    if (!s->closing)
        uv_timer_start(&s->linger, on_linger, s->linger_idle_ms, 0);
}

void store_want(struct store *s)
{
    if (s->open->wanted)
        return;
    s->open->wanted = true;
    if (s->linger_ms && s->linger_ms < s->linger_idle_ms && !s->closing)
        uv_timer_start(&s->linger, on_linger, s->linger_ms, 0);
}

static void hand_over(struct store *s)
{
    struct batch *b = s->open;

    uv_timer_stop(&s->linger);
    s->due = false;
    s->more = false;
    s->running = b;
    s->open = &s->batches[b == &s->batches[0]];
    batch_reset(s->open, b->ticket + 1);
    store_post(s, &s->commit);
    if (!s->engine->threaded && !s->outcome.err)
        s->done_ticket = b->ticket;
}

void store_submit(struct store *s)
{
    /* Somebody may want a ticket that nothing was appended to; such a transaction writes nothing. */
    if (s->running || !(s->open->count || s->more || s->open->wanted))
        return;
    if (s->due || (s->open->wanted && !s->linger_ms) || store_full(s))
        hand_over(s);
}

bool store_full(const struct store *s)
{
    size_t bytes = batch_bytes(s->open);

    /* A batch that is refused and the one behind it are one backlog. */
    if (s->waiting)
        bytes += batch_bytes(s->running);
    return bytes > s->batch_max;
}

store_ticket store_open_ticket(const struct store *s)
{
    return s->open->ticket;
}

store_ticket store_written_ticket(const struct store *s)
{
    return s->open->count ? s->open->ticket : s->open->ticket - 1;
}

store_ticket store_done_ticket(const struct store *s)
{
    return s->done_ticket;
}

uint64_t store_next_body(struct store *s)
{
    return s->next_body++;
}

/* Puts what has come in since behind the batch that cannot be committed: its removals may be what makes room.
 */
static void absorb_open(struct store *s)
{
    struct batch *from = s->open, *to = s->running;

    if (!from->count)
        return;
    for (const struct op *op = batch_first(from); op; op = batch_next(from, op))
        store_append(s, to, op, op_name(op), op_value(op), op_body(from, op));
    to->ticket = from->ticket;
    uv_timer_stop(&s->linger);
    s->due = false;
    batch_reset(from, to->ticket + 1);
}

static void try_again(struct store *s)
{
    s->waiting = false;
    absorb_open(s);
    store_post(s, &s->commit);
}

static void on_retry(uv_timer_t *timer)
{
    try_again(timer->data);
}

static void commit_failed(struct store *s, struct batch *b)
{
    const struct store_outcome *o = &s->outcome;
    bool news = s->stats.last_error != o->err;
    unsigned doublings = b->tries < 5 ? b->tries : 5;
    uint64_t pause = (uint64_t)RETRY_FIRST_MS << doublings;

    b->tries++;
    s->waiting = true;
    s->stats.failures++;
    if (!s->stats.failing_since_us)
        s->stats.failing_since_us = clock_boot_us();
    s->stats.last_error = o->err;
    if (!s->closing)
        uv_timer_start(&s->retry, on_retry, pause < RETRY_MOST_MS ? pause : RETRY_MOST_MS, 0);
    if (!news)
        return;
    log_error("store: nothing can be committed: %s", o->text);
    if (s->events.on_state)
        s->events.on_state(s->events.arg, o->err, o->text);
}

static void commit_works_again(struct store *s)
{
    s->stats.last_error = 0;
    s->stats.failing_since_us = 0;
    log_info("store: commits work again");
    if (s->events.on_state)
        s->events.on_state(s->events.arg, 0, "commits work again");
}

static void count_commit(struct store *s, const struct batch *b)
{
    const struct store_outcome *o = &s->outcome;
    struct store_stats *stats = &s->stats;

    stats->commits++;
    stats->operations += b->count;
    stats->refused += o->refused;
    stats->bytes_written = o->bytes_written;
    stats->file_bytes = o->file_bytes;
    stats->wal_bytes = o->wal_bytes;
    stats->free_bytes = o->free_bytes;
    stats->commit_us_last = o->commit_us;
    if (o->commit_us > stats->commit_us_most)
        stats->commit_us_most = o->commit_us;
}

static void tell_gone(struct store *s)
{
    struct buf *gone = &s->outcome.gone;

    for (size_t at = 0; at < gone->len; at += sizeof(uint32_t)) {
        uint32_t no;
        memcpy(&no, gone->data + at, sizeof(no));
        store_lane_drop(s, no);
        if (s->gone)
            s->gone(s->gone_arg, no);
    }
    gone->len = 0;
}

/* running stays set until all callbacks are back, so that nothing that they do hands the next batch over
 * early. */
static void commit_done(struct store *s, struct job *job)
{
    struct batch *b = s->running;

    (void)job;
    if (s->outcome.err) {
        commit_failed(s, b);
        return;
    }
    s->done_ticket = b->ticket;
    s->more = s->outcome.more;
    count_commit(s, b);
    if (s->stats.last_error)
        commit_works_again(s);
    tell_gone(s);
    batch_release_bodies(b);
    if (s->events.on_commit)
        s->events.on_commit(s->events.arg, s->done_ticket);
    batch_reset(b, 0);
    s->running = NULL;
    if (s->more && !s->open->count)
        store_begin_linger(s);
}

static void take_done(struct store *s, struct list *done)
{
    for (struct list *link; (link = list_pop(done));) {
        struct job *job = list_entry(link, struct job, link);
        job->done(s, job);
    }
}

static void on_async(uv_async_t *async)
{
    struct store *s = async->data;
    struct list done = LIST_INIT(done);

    mailbox_take(&s->done, &done);
    take_done(s, &done);
}

void store_get_stats(const struct store *s, struct store_stats *out)
{
    *out = s->stats;
    out->open_bytes = batch_bytes(s->open);
}

/* --- life --- */

static void wake_loop(void *arg)
{
    uv_async_send(arg);
}

static struct store *make_store(const struct engine *engine, uv_loop_t *loop,
                                const struct store_config *config, const struct store_events *events)
{
    struct store *s = mem_alloc(sizeof(*s));

    s->engine = engine;
    s->linger_ms = config->linger_ms;
    s->linger_idle_ms = config->linger_idle_ms;
    s->batch_max = config->batch_max;
    s->events = *events;
    s->commit = (struct job){.run = run_commit, .done = commit_done};
    s->open = &s->batches[0];
    s->ledger_end = 1;
    batch_reset(s->open, 1);
    batch_reset(&s->batches[1], 0);
    list_init(&s->reads);
    uv_async_init(loop, &s->async, on_async);
    uv_timer_init(loop, &s->linger);
    uv_timer_init(loop, &s->retry);
    s->async.data = s->linger.data = s->retry.data = s;
    s->handles = 3;
    mailbox_init(&s->todo, SIZE_MAX, NULL, NULL);
    mailbox_init(&s->done, SIZE_MAX, wake_loop, &s->async);
    return s;
}

static int open_engine(struct store **out, const struct engine *engine, uv_loop_t *loop,
                       const struct store_config *config, const struct store_events *events)
{
    void *db = NULL;
    int err = engine->open(&db, config);

    if (err)
        return err;
    struct store *s = make_store(engine, loop, config, events);
    s->db = db;
    s->next_body = engine->next_body(db);
    *out = s;
    return 0;
}

int store_open_sqlite(struct store **out, uv_loop_t *loop, const struct store_config *config,
                      const struct store_events *events)
{
    return open_engine(out, &engine_sqlite, loop, config, events);
}

int store_open_memory(struct store **out, uv_loop_t *loop, const struct store_events *events)
{
    struct store_config config = {.linger_idle_ms = 0, .batch_max = SIZE_MAX};

    return open_engine(out, &engine_memory, loop, &config, events);
}

int store_load(struct store *s, const struct store_visitor *visitor)
{
    struct store_loaded loaded = {0};
    int err = s->engine->load(s->db, visitor, &loaded);

    s->stats.rows_visited = loaded.visited;
    s->stats.damaged = loaded.damaged;
    s->ledger_end = loaded.ledger_end;
    s->more = loaded.more;
    if (s->more)
        store_begin_linger(s);
    return err;
}

int store_body_get(struct store *s, uint64_t id, struct bytes *out)
{
    return s->engine->body(s->db, id, out);
}

/* Twice: what else comes again sees in between that the end has come. */
static bool run_end(struct store *s, struct job *job)
{
    (void)job;
    if (!s->ending) {
        s->ending = true;
        return false;
    }
    s->engine->close(s->db);
    s->db_closed = true;
    return true;
}

static void end_done(struct store *s, struct job *job)
{
    (void)job;
    s->ended = true;
    if (s->thread_runs)
        pthread_join(s->thread, NULL);
}

/* Commits what is left, trying again while there is time. */
static void drain(struct store *s, uint64_t deadline_us)
{
    while ((s->running || s->open->count) && monotonic_us() < deadline_us) {
        struct list done = LIST_INIT(done);
        uint64_t pause = monotonic_us() + RETRY_FIRST_MS * 1000;
        if (!s->running)
            hand_over(s);
        mailbox_wait(&s->done, &done, s->waiting && pause < deadline_us ? pause : deadline_us);
        take_done(s, &done);
        if (s->waiting && monotonic_us() >= pause)
            try_again(s);
    }
}

/* Closes the database. When the thread hangs in a call to the kernel, it and what it uses are left to
 * themselves. */
static void end_thread(struct store *s, uint64_t deadline_us)
{
    deadline_us += (uint64_t)END_GRACE_MS * 1000;
    s->end = (struct job){.run = run_end, .done = end_done};
    store_post(s, &s->end);
    while (!s->ended && monotonic_us() < deadline_us) {
        struct list done = LIST_INIT(done);
        mailbox_wait(&s->done, &done, deadline_us);
        take_done(s, &done);
    }
    s->abandoned = !s->ended;
}

static void on_closed(uv_handle_t *handle)
{
    struct store *s = handle->data;

    s->handles--;
}

int store_close(struct store *s, uint32_t timeout_ms)
{
    uint64_t deadline = monotonic_us() + (uint64_t)timeout_ms * 1000;

    s->closing = true;
    uv_timer_stop(&s->linger);
    uv_timer_stop(&s->retry);
    store_cancel_reads(s);
    drain(s, deadline);
    end_thread(s, deadline);
    bool lost = s->abandoned || s->running || s->open->count;
    if (lost)
        log_error("store: closed before everything was committed");
    if (!s->abandoned) {
        batch_release_bodies(&s->batches[0]);
        batch_release_bodies(&s->batches[1]);
    }
    uv_close((uv_handle_t *)&s->async, on_closed);
    uv_close((uv_handle_t *)&s->linger, on_closed);
    uv_close((uv_handle_t *)&s->retry, on_closed);
    return lost ? -ETIMEDOUT : 0;
}

bool store_closed(const struct store *s)
{
    return !s->handles;
}

void store_free(struct store *s)
{
    /* A thread that hangs may still use all of it. */
    if (!s || s->abandoned)
        return;
    for (struct map_node *node = map_next(&s->lanes, NULL), *next; node; node = next) {
        next = map_next(&s->lanes, node);
        free(container_of(node, struct lane, node));
    }
    map_free(&s->lanes);
    batch_free(&s->batches[0]);
    batch_free(&s->batches[1]);
    buf_free(&s->outcome.gone);
    mailbox_destroy(&s->todo);
    mailbox_destroy(&s->done);
    free(s);
}
