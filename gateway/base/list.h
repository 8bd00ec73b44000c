/* SPDX-License-Identifier: Apache-2.0 */
/* A circular doubly linked list whose links are embedded in what they link. A head is a link of its own and
 * must be initialised; an entry that is in no list points to itself, so that list_remove is always safe on
 * it. Not locked. */
#ifndef SLUICE_BASE_LIST_H
#define SLUICE_BASE_LIST_H

#include <stdbool.h>

#include "base/mem.h"

struct list {
    struct list *prev, *next;
};

#define LIST_INIT(name)                                                                                      \
    {                                                                                                        \
        &(name), &(name)                                                                                     \
    }

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

/* Puts entry before pos: at the end, when pos is the head. */
static inline void list_add_tail(struct list *pos, struct list *entry)
{
    entry->prev = pos->prev;
    entry->next = pos;
    pos->prev->next = entry;
    pos->prev = entry;
}

static inline void list_add_head(struct list *head, struct list *entry)
{
    list_add_tail(head->next, entry);
}

static inline void list_remove(struct list *entry)
{
    entry->prev->next = entry->next;
    entry->next->prev = entry->prev;
    list_init(entry);
}

/* Moves all entries of from to the end of to. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

static inline struct list *list_pop(struct list *head)
{
    struct list *entry = head->next;

    if (entry == head)
        return NULL;
    list_remove(entry);
    return entry;
}

/* A ring is a list without a head: a pointer to its first entry, NULL when empty. A head of which there are
 * very many, mostly of few entries, thus takes half. */
static inline void ring_add_tail(struct list **ring, struct list *entry)
{
    if (*ring)
        list_add_tail(*ring, entry);
    else
        list_init(*ring = entry);
}

static inline void ring_remove(struct list **ring, struct list *entry)
{
    if (*ring == entry)
        *ring = entry->next == entry ? NULL : entry->next;
    list_remove(entry);
}

#define ring_for(it, ring)                                                                                   \
    for (struct list *it = (ring), *it##_end = NULL; it && it != it##_end; it##_end = (ring), it = it->next)

#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_for(it, head)            for (struct list *it = (head)->next; it != (head); it = it->next)
/* The entry may be removed or freed in the body. */
#define list_for_safe(it, head)                                                                              \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                                \
         it = it##_next, it##_next = it->next)

#endif
