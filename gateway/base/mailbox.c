/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mailbox.h"

#include <errno.h>
#include <stdbool.h>
#include <time.h>

void mailbox_init(struct mailbox *m, size_t limit, void (*wake)(void *arg), void *wake_arg)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&m->filled, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&m->lock, NULL);
    list_init(&m->items);
    m->count = 0;
    m->limit = limit;
    m->wake = wake;
    m->wake_arg = wake_arg;
}

void mailbox_destroy(struct mailbox *m)
{
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->filled);
}

int mailbox_post(struct mailbox *m, struct list *item)
{
    pthread_mutex_lock(&m->lock);
    bool full = m->count >= m->limit;
    bool first = !m->count;
    if (!full) {
        list_add_tail(&m->items, item);
        m->count++;
    }
    pthread_mutex_unlock(&m->lock);
    if (full)
        return -EAGAIN;
    pthread_cond_signal(&m->filled); /* not under the lock, on which whom it wakes would only wait again */
    if (first && m->wake)
        m->wake(m->wake_arg);
    return 0;
}

size_t mailbox_room(struct mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    size_t room = m->limit - m->count;
    pthread_mutex_unlock(&m->lock);
    return room;
}

static size_t take_locked(struct mailbox *m, struct list *out)
{
    size_t count = m->count;

    list_splice(out, &m->items);
    m->count = 0;
    return count;
}

size_t mailbox_take(struct mailbox *m, struct list *out)
{
    pthread_mutex_lock(&m->lock);
    size_t count = take_locked(m, out);
    pthread_mutex_unlock(&m->lock);
    return count;
}

size_t mailbox_wait(struct mailbox *m, struct list *out, uint64_t deadline_us)
{
    struct timespec until = {(time_t)(deadline_us / 1000000), (long)(deadline_us % 1000000 * 1000)};
    int err = 0;

    pthread_mutex_lock(&m->lock);
    while (!m->count && err != ETIMEDOUT) {
        if (deadline_us)
            err = pthread_cond_timedwait(&m->filled, &m->lock, &until);
        else
            pthread_cond_wait(&m->filled, &m->lock);
    }
    size_t count = take_locked(m, out);
    pthread_mutex_unlock(&m->lock);
    return count;
}
