/* SPDX-License-Identifier: Apache-2.0 */
/* What a maker of stores is behind the front: something that applies batches, whole or not at all, and reads
 * them back. Two rows: engine_sqlite, engine_memory. open and load are called on the loop's thread before any
 * other; all the rest on the store's own thread when threaded is true, else on the loop's; never two at a
 * time. The front does tickets, lingering, retries, and lays what is not on disk yet over what is read. */
#ifndef SLUICE_STORE_ENGINE_H
#define SLUICE_STORE_ENGINE_H

#include "store/batch.h"

struct store_outcome {
    int err;        /* 0, or -E…: nothing of the batch counts; it will come again, whole */
    char text[160]; /* what err is about */
    uint64_t refused;
    bool more;       /* removals are left over: even an empty batch has work to do */
    struct buf gone; /* numbers of purged sessions that are empty now, uint32_t each */
    uint64_t commit_us;
    uint64_t bytes_written, file_bytes, wal_bytes, free_bytes;
};

struct store_loaded {
    uint64_t visited; /* queue rows */
    bool more;        /* removals were left over when the last process ended */
    uint64_t ledger_end, damaged;
};

struct engine {
    const char *name;
    bool threaded;
    int (*open)(void **out, const struct store_config *config);
    int (*load)(void *db, const struct store_visitor *visitor, struct store_loaded *into); /* all zeroes */
    int (*body)(void *db, uint64_t id, struct bytes *out);                                 /* malloc'ed */
    /* Above all ids of bodies that are in use. Right after open. */
    uint64_t (*next_body)(void *db);
    /* b->tries > 0: the batch may be on disk already although it was told to have failed. Sets all of out,
     * but appends to out->gone, which is empty. */
    void (*apply)(void *db, const struct batch *b, struct store_outcome *out);
    /* After the outcome went to the front: what nobody waits for. */
    void (*after)(void *db);
    /* Rows of a queue from first on, in order, until on_row returns false. on_row owns row->body.data. */
    int (*read)(void *db, uint32_t no, uint64_t first, bool (*on_row)(void *arg, const struct store_row *row),
                void *arg);
    /* Copies to path, a piece a call: -EAGAIN means call again, 0 done. cancel: give up and clean up. */
    int (*backup)(void *db, const char *path, bool cancel);
    void (*close)(void *db);
};

extern const struct engine engine_sqlite, engine_memory;

#endif
