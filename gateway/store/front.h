/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of struct store, shared by the files of the front: store.c (life, tickets, thread), ops.c
 * (appending) and read.c. Everything but the thread, todo and done belongs to the loop's thread. */
#ifndef SLUICE_STORE_FRONT_H
#define SLUICE_STORE_FRONT_H

#include <pthread.h>

#include "base/list.h"
#include "base/mailbox.h"
#include "base/map.h"
#include "store/engine.h"

/* Travels to the thread and back. run: there; false says "once more, when nothing else waits". done: on the
 * loop. */
struct job {
    struct list link;
    bool (*run)(struct store *s, struct job *job);
    void (*done)(struct store *s, struct job *job);
};

/* Where the operations on one queue stand in the two batches. */
struct lane {
    struct map_node node;
    uint32_t no;
    size_t last[2]; /* 1 + offset of the newest one */
    uint64_t serial[2];
};

struct store {
    const struct engine *engine;
    void *db;
    uint32_t linger_ms, linger_idle_ms;
    size_t batch_max;
    struct store_events events;
    void (*gone)(void *arg, uint32_t no);
    void *gone_arg;

    pthread_t thread;
    bool thread_runs, ended, abandoned;
    bool ending, db_closed; /* the thread's */
    struct mailbox todo, done;
    uv_async_t async;
    uv_timer_t linger, retry;
    unsigned handles; /* that are not closed yet */

    struct batch batches[2];
    struct batch *open, *running; /* running: with the thread, or waiting for its next try */
    struct job commit, end;
    struct store_outcome outcome;
    bool due;     /* the open batch has lingered long enough */
    bool waiting; /* running has failed and waits for the retry timer */
    bool more, closing;
    store_ticket done_ticket;
    uint64_t next_body, ledger_end;
    struct map lanes;
    struct lane *last_lane;
    struct list reads; /* whose callers still wait */
    struct store_stats stats;
};

void store_post(struct store *s, struct job *job);
/* The lane of a queue, NULL when it has none. */
struct lane *store_lane(struct store *s, uint32_t no);
void store_lane_drop(struct store *s, uint32_t no);
/* Appends an operation to a batch and links it to the others of its queue. */
void store_append(struct store *s, struct batch *b, const struct op *like, struct bytes name,
                  struct bytes value, const struct store_body *body);
/* The first operation of the open batch came in. */
void store_begin_linger(struct store *s);
/* Tells all who wait for a read that they wait in vain. */
void store_cancel_reads(struct store *s);

#endif
