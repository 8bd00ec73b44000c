/* SPDX-License-Identifier: Apache-2.0 */
/* On disk a number or a note is a row among the session's subscriptions, under a name that no filter has:
 * "\1" and the number, or "\1" and the key. */
#include "broker/session_ids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/broker_private.h"

enum { KEY_MOST = 16, IDS_MOST = 65534 /* 0x0000 and 0xffff are reserved (§5.3.11) */ };

struct topic_id {
    struct map_node by_id, by_name;
    uint16_t id;
    bool known; /* to the peer */
    size_t len;
    char name[];
};

struct note {
    struct list link;
    char key[KEY_MOST];
    struct buf value;
};

struct session_ids {
    struct map by_id, by_name;
    struct list notes;
    uint16_t last;
};

static struct session_ids *ids_of(struct session *s)
{
    if (!s->ids) {
        s->ids = mem_alloc(sizeof(*s->ids));
        list_init(&s->ids->notes);
    }
    return s->ids;
}

static bool id_is(const struct map_node *n, const void *key)
{
    return container_of(n, const struct topic_id, by_id)->id == *(const uint16_t *)key;
}

static bool name_is(const struct map_node *n, const void *key)
{
    const struct topic_id *t = container_of(n, const struct topic_id, by_name);

    return bytes_equal((struct bytes){(const uint8_t *)t->name, t->len}, *(const struct bytes *)key);
}

static struct topic_id *find(const struct session *s, uint16_t id)
{
    struct map_node *n = s->ids ? map_find(&s->ids->by_id, map_hash_u64(id), id_is, &id) : NULL;

    return n ? container_of(n, struct topic_id, by_id) : NULL;
}

uint16_t session_topic_id(const struct session *s, struct bytes name)
{
    if (!s->ids)
        return 0;
    struct map_node *n = map_find(&s->ids->by_name, map_hash(name.data, name.len), name_is, &name);
    return n ? container_of(n, struct topic_id, by_name)->id : 0;
}

struct bytes session_topic_name(const struct session *s, uint16_t id)
{
    const struct topic_id *t = find(s, id);

    return t ? (struct bytes){(const uint8_t *)t->name, t->len} : (struct bytes){0};
}

uint32_t session_topics(const struct session *s)
{
    return s->ids ? (uint32_t)s->ids->by_id.count : 0;
}

static struct topic_id *insert(struct session *s, uint16_t id, struct bytes name, bool known)
{
    struct topic_id *t = mem_alloc(sizeof(*t) + name.len + 1);

    t->id = id;
    t->known = known;
    t->len = name.len;
    memcpy(t->name, name.data, name.len);
    map_insert(&ids_of(s)->by_id, &t->by_id, map_hash_u64(id));
    map_insert(&s->ids->by_name, &t->by_name, map_hash(name.data, name.len));
    return t;
}

static void save(const struct session *s, const struct topic_id *t)
{
    char key[KEY_MOST];
    struct buf record = {0};

    if (!s->no)
        return;
    snprintf(key, sizeof(key), "\1%u", t->id);
    buf_u8(&record, t->known);
    buf_append(&record, t->name, t->len);
    store_subscription_put(s->broker->store, s->no, bytes_of(key), (struct bytes){record.data, record.len});
    buf_free(&record);
}

uint16_t session_add_topic(struct session *s, struct bytes name, uint16_t first, uint32_t most, bool known)
{
    struct session_ids *ids = ids_of(s);

    if (ids->by_id.count >= most || ids->by_id.count + first > IDS_MOST)
        return 0;
    uint16_t id = ids->last < first ? first : ids->last;
    while (find(s, id))
        id = id == IDS_MOST ? first : (uint16_t)(id + 1);
    ids->last = id;
    save(s, insert(s, id, name, known));
    return id;
}

bool session_topic_known(const struct session *s, uint16_t id)
{
    const struct topic_id *t = find(s, id);

    return t && t->known;
}

void session_know_topic(struct session *s, uint16_t id, bool known)
{
    struct topic_id *t = find(s, id);

    if (!t || t->known == known)
        return;
    t->known = known;
    save(s, t);
}

/* ---- notes ---- */

static struct note *find_note(const struct session *s, const char *key)
{
    if (s->ids)
        list_for(it, &s->ids->notes) if (!strcmp(list_entry(it, struct note, link)->key,
                                                 key)) return list_entry(it, struct note, link);
    return NULL;
}

struct bytes session_noted(const struct session *s, const char *key)
{
    const struct note *n = find_note(s, key);

    return n ? (struct bytes){n->value.data, n->value.len} : (struct bytes){0};
}

static void drop_note(struct note *n)
{
    list_remove(&n->link);
    buf_free(&n->value);
    free(n);
}

static void set_note(struct session *s, const char *key, struct bytes value)
{
    struct note *n = find_note(s, key);

    if (!value.len) {
        if (n)
            drop_note(n);
        return;
    }
    if (!n) {
        n = mem_alloc(sizeof(*n));
        snprintf(n->key, sizeof(n->key), "%s", key);
        list_add_tail(&ids_of(s)->notes, &n->link);
    }
    n->value.len = 0;
    buf_append(&n->value, value.data, value.len);
}

void session_note(struct session *s, const char *key, struct bytes value)
{
    char on_disk[KEY_MOST + 1];

    if (bytes_equal(session_noted(s, key), value))
        return;
    set_note(s, key, value);
    if (!s->no)
        return;
    snprintf(on_disk, sizeof(on_disk), "\1%s", key);
    if (value.len)
        store_subscription_put(s->broker->store, s->no, bytes_of(on_disk), value);
    else
        store_subscription_remove(s->broker->store, s->no, bytes_of(on_disk));
}

/* ---- from disk, and the end ---- */

bool session_ids_restore(struct session *s, struct bytes key, struct bytes record)
{
    char text[KEY_MOST] = "";

    if (!key.len || key.data[0] != '\1' || key.len > KEY_MOST)
        return false;
    memcpy(text, key.data + 1, key.len - 1);
    unsigned long id = strtoul(text, NULL, 10);
    if (!id)
        set_note(s, text, record);
    else if (id <= IDS_MOST && record.len > 1 && !find(s, (uint16_t)id))
        insert(s, (uint16_t)id, (struct bytes){record.data + 1, record.len - 1}, record.data[0]);
    return true;
}

void session_ids_free(struct session *s)
{
    if (!s->ids)
        return;
    list_for_safe(it, &s->ids->notes) drop_note(list_entry(it, struct note, link));
    for (struct map_node *n = map_next(&s->ids->by_id, NULL), *next; n; n = next) {
        next = map_next(&s->ids->by_id, n);
        free(container_of(n, struct topic_id, by_id));
    }
    map_free(&s->ids->by_id);
    map_free(&s->ids->by_name);
    free(s->ids);
    s->ids = NULL;
}
