/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/tap.h"

#include <stdlib.h>

#include "base/mem.h"

void tap_init(struct tap *t, void (*wake)(void *arg), void *wake_arg)
{
    atomic_init(&t->watchers, 0);
    atomic_init(&t->lost, 0);
    mailbox_init(&t->mail, TAP_FRAMES_MAX, wake, wake_arg);
}

void tap_destroy(struct tap *t)
{
    struct list left = LIST_INIT(left);

    mailbox_take(&t->mail, &left);
    for (struct list *it; (it = list_pop(&left));)
        free(list_entry(it, struct tap_frame, link));
    mailbox_destroy(&t->mail);
}

void tap_put_of(struct tap *t, enum tap_kind kind, struct bytes data, uint64_t first_us, uint64_t last_us,
                uint64_t who)
{
    size_t len = data.len < TAP_BYTES_MAX ? data.len : TAP_BYTES_MAX;
    struct tap_frame *f = mem_alloc(sizeof *f + len);

    *f = (struct tap_frame){.kind = kind, .first_us = first_us, .last_us = last_us, .who = who, .len = len};
    memcpy(f->data, data.data, len);
    if (!mailbox_post(&t->mail, &f->link))
        return;
    atomic_fetch_add(&t->lost, 1);
    free(f);
}

const char *tap_kind_name(enum tap_kind kind)
{
    static const char *const names[] = {"request", "reply", "echo", "late", "foreign",
                                        "broken",  "noise", "in",   "out",  "timeout"};

    return names[kind];
}
