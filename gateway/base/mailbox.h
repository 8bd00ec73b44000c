/* SPDX-License-Identifier: Apache-2.0 */
/* How threads hand things over: a bounded queue of owned items. Posting passes ownership; the taker swaps the
 * whole queue out under the lock and works outside it. Two kinds of taker: a thread that waits
 * (mailbox_wait), or the loop, which is woken by the function given at init (uv_async_send). Any thread may
 * post. */
#ifndef SLUICE_BASE_MAILBOX_H
#define SLUICE_BASE_MAILBOX_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct list items;
    size_t count, limit;
    void (*wake)(void *arg); /* called by the poster, outside the lock, when the box was empty; may be NULL */
    void *wake_arg;
};

void mailbox_init(struct mailbox *m, size_t limit, void (*wake)(void *arg), void *wake_arg);
void mailbox_destroy(struct mailbox *m); /* items still inside are not freed */

/* 0, or -EAGAIN when the box is full: then the item is still the caller's. */
int mailbox_post(struct mailbox *m, struct list *item);

/* How many more items there is room for. Who is the only poster can rely on it. */
size_t mailbox_room(struct mailbox *m);

/* Appends all that is there to out; returns how many. */
size_t mailbox_take(struct mailbox *m, struct list *out);

/* The same, but waits until there is something or until deadline_us of CLOCK_MONOTONIC (0: for ever). */
size_t mailbox_wait(struct mailbox *m, struct list *out, uint64_t deadline_us);

#endif
