/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/ids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void note_name(unsigned place, char out[24])
{
    snprintf(out, 24, "command/%u", place);
}

static char *take_text(struct cursor *c)
{
    struct bytes text = cursor_bytes(c, cursor_u16(c));

    return c->failed ? NULL : mem_strndup((const char *)text.data, text.len);
}

static void recall(struct ids *i, unsigned place)
{
    char name[24];

    note_name(place, name);
    struct bytes note = notes_get(i->notes, name);
    struct cursor c = cursor_of(note.data, note.len);
    struct id_entry e = {.number = cursor_u64(&c), .earlier = true};
    bool ended = cursor_u8(&c);
    if (c.failed || e.number % IDS_MAX != place)
        return;
    e.key = take_text(&c);
    e.verdict = ended ? take_text(&c) : NULL;
    i->ring[place] = e;
    if (e.number >= i->next)
        i->next = e.number + 1;
}

void ids_open(struct ids *i, struct notes *notes)
{
    *i = (struct ids){.notes = notes};
    for (unsigned place = 0; place < IDS_MAX; place++)
        recall(i, place);
}

static void drop(struct id_entry *e)
{
    free(e->key);
    free(e->verdict);
    *e = (struct id_entry){0};
}

void ids_close(struct ids *i)
{
    for (unsigned place = 0; place < IDS_MAX; place++)
        drop(&i->ring[place]);
}

static struct id_entry *find(const struct ids *i, const char *key)
{
    for (unsigned place = 0; place < IDS_MAX; place++)
        if (i->ring[place].key && !strcmp(i->ring[place].key, key))
            return (struct id_entry *)(uintptr_t)&i->ring[place];
    return NULL;
}

const struct id_entry *ids_find(const struct ids *i, const char *key)
{
    return find(i, key);
}

static void put_text(struct buf *out, const char *text)
{
    size_t len = strlen(text);

    buf_u16(out, (uint16_t)len);
    buf_append(out, text, len);
}

static store_ticket save(struct ids *i, const struct id_entry *e)
{
    struct buf note = {0};
    char name[24];

    buf_u64(&note, e->number);
    buf_u8(&note, e->verdict != NULL);
    put_text(&note, e->key);
    if (e->verdict)
        put_text(&note, e->verdict);
    note_name((unsigned)(e->number % IDS_MAX), name);
    store_ticket ticket = notes_put(i->notes, name, (struct bytes){note.data, note.len});
    buf_free(&note);
    return ticket;
}

store_ticket ids_begin(struct ids *i, const char *key)
{
    struct id_entry *e = &i->ring[i->next % IDS_MAX];

    drop(e);
    e->number = i->next++;
    e->key = mem_strdup(key);
    return save(i, e);
}

store_ticket ids_end(struct ids *i, const char *key, const char *verdict)
{
    struct id_entry *e = find(i, key);

    if (!e)
        return 0;
    free(e->verdict);
    e->verdict = mem_strdup(verdict);
    return save(i, e);
}
