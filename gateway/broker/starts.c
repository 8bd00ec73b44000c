/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/starts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"

enum {
    REMEMBERED = 1000, /* starts; a backlog that is older than that many has what times it has */
    MOVED_US = 10000,  /* smaller changes of the offset are the clock's ordinary drift */
    BOOT_ID = 36,
};

struct start {
    struct list link; /* oldest first */
    uint32_t number;
    bool known;
    int64_t offset_us;
    char boot_id[BOOT_ID + 1];
};

struct starts {
    struct store *store;
    struct list all;
    uint32_t count, last;
    struct start *now;
};

struct starts *starts_new(struct store *store)
{
    struct starts *s = mem_alloc(sizeof(*s));

    s->store = store;
    list_init(&s->all);
    return s;
}

void starts_free(struct starts *s)
{
    if (!s)
        return;
    for (struct list *it; (it = list_pop(&s->all));)
        free(list_entry(it, struct start, link));
    free(s);
}

static struct start *add(struct starts *s, uint32_t number)
{
    struct start *one = mem_alloc(sizeof(*one));
    struct list *place = &s->all;

    one->number = number;
    while (place->prev != &s->all && list_entry(place->prev, struct start, link)->number > number)
        place = place->prev;
    list_add_tail(place, &one->link);
    s->count++;
    if (number > s->last)
        s->last = number;
    return one;
}

static void value_name(uint32_t number, char out[24])
{
    snprintf(out, 24, "start/%u", number);
}

void starts_value(struct starts *s, const char *name, struct bytes value)
{
    struct cursor c = cursor_of(value.data, value.len);
    unsigned number;

    if (sscanf(name, "start/%u", &number) != 1)
        return;
    struct bytes boot_id = cursor_bytes(&c, BOOT_ID);
    bool known = cursor_u8(&c);
    int64_t offset_us = (int64_t)cursor_u64(&c);
    struct start *one = add(s, number); /* its number is used, whatever the rest says */
    if (c.failed)
        return;
    memcpy(one->boot_id, boot_id.data, BOOT_ID);
    one->known = known;
    one->offset_us = offset_us;
}

static void save(struct starts *s, const struct start *one)
{
    struct buf value = {0};
    char name[24];

    buf_append(&value, one->boot_id, BOOT_ID);
    buf_u8(&value, one->known);
    buf_u64(&value, (uint64_t)one->offset_us);
    value_name(one->number, name);
    store_value_put(s->store, name, (struct bytes){value.data, value.len});
    buf_free(&value);
}

static void forget_oldest(struct starts *s)
{
    struct start *oldest = list_entry(s->all.next, struct start, link);
    char name[24];

    value_name(oldest->number, name);
    store_value_put(s->store, name, (struct bytes){0});
    list_remove(&oldest->link);
    free(oldest);
    s->count--;
}

uint32_t starts_begin(struct starts *s)
{
    while (s->count >= REMEMBERED)
        forget_oldest(s);
    s->now = add(s, s->last + 1);
    clock_boot_id(s->now->boot_id);
    if (clock_is_set()) {
        s->now->known = true;
        s->now->offset_us = clock_offset_us();
    }
    save(s, s->now);
    return s->now->number;
}

void starts_note_clock(struct starts *s)
{
    struct start *now = s->now;

    if (!clock_is_set())
        return;
    int64_t offset = clock_offset_us();
    if (now->known && llabs(now->offset_us - offset) < MOVED_US)
        return;
    now->known = true;
    now->offset_us = offset;
    save(s, now);
}

bool starts_offset(void *arg, uint32_t number, int64_t *offset_us)
{
    struct starts *s = arg;

    list_for(it, &s->all)
    {
        const struct start *one = list_entry(it, struct start, link);
        if (one->number != number)
            continue;
        bool same_boot = one->boot_id[0] && !strcmp(one->boot_id, s->now->boot_id);
        if (same_boot && clock_is_set()) {
            *offset_us = clock_offset_us();
            return true;
        }
        *offset_us = one->offset_us;
        return one->known;
    }
    return false;
}
