/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/retain.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "codec/mqtt.h"
#include "store/ledger.h"

/* CLEARED: in the place of a message's format; the topic follows. Of each byte that is put at most MOVED are
 * put anew. */
enum {
    BODY_ABOVE = 4096,
    CLEARED = 0,
    FLOOR = 256 << 10,
    MOVED = 4,
    TRIM_LEAST = 64 << 10,
    TRIM_MOST = 512 << 10,
};

struct retained {
    struct map_node by_topic;
    struct message *message;
    struct list by_age; /* in retain.on_disk while it has a record */
    uint64_t offset;    /* of the record; 0: it has none */
    uint64_t size;
};

struct retain {
    struct store *store;
    struct map topics;
    uint32_t most;
    uint64_t refused, swept_us;
    uint64_t bytes;       /* of payloads */
    struct list on_disk;  /* the oldest record first */
    uint64_t live;        /* bytes of their records */
    uint64_t first;       /* nothing older is on disk */
    uint64_t trim_end;    /* the ledger's end when it was last trimmed, */
    store_ticket trimmed; /* and the batch */
    struct buf record;    /* room to write one */
};

static bool topic_equal(const struct map_node *n, const void *key)
{
    return bytes_equal(container_of(n, const struct retained, by_topic)->message->topic,
                       *(const struct bytes *)key);
}

static struct retained *find(const struct retain *r, struct bytes topic, uint64_t hash)
{
    struct map_node *n = map_find(&r->topics, hash, topic_equal, &topic);

    return n ? container_of(n, struct retained, by_topic) : NULL;
}

struct retain *retain_new(struct store *store, uint32_t most)
{
    struct retain *r = mem_alloc(sizeof(*r));

    r->store = store;
    r->most = most;
    list_init(&r->on_disk);
    return r;
}

void retain_limit(struct retain *r, uint32_t most)
{
    r->most = most;
}

void retain_free(struct retain *r)
{
    if (!r)
        return;
    for (struct map_node *n = map_next(&r->topics, NULL), *next; n; n = next) {
        next = map_next(&r->topics, n);
        struct retained *e = container_of(n, struct retained, by_topic);
        message_drop(e->message);
        free(e);
    }
    map_free(&r->topics);
    buf_free(&r->record);
    free(r);
}

/* --- on disk --- */

/* What the ledger's record names; 0: no body. */
static uint64_t body_of(const struct retained *e)
{
    return e->offset && e->message->payload.len > BODY_ABOVE ? e->message->body_id : 0;
}

static void note(struct retain *r, struct retained *e, uint64_t offset, uint64_t size)
{
    e->offset = offset;
    e->size = size;
    r->live += size;
    list_add_tail(&r->on_disk, &e->by_age);
}

/* Its record is garbage. */
static void forget(struct retain *r, struct retained *e)
{
    if (!e->offset)
        return;
    r->live -= e->size;
    e->offset = 0;
    list_remove(&e->by_age);
}

static void drop_body(void *owner)
{
    message_drop(owner);
}

static void write_message(struct retain *r, struct retained *e, uint64_t dropped)
{
    struct message *m = e->message;
    bool apart = m->payload.len > BODY_ABOVE;

    if (apart && !m->body_id)
        m->body_id = store_next_body(r->store);
    r->record.len = 0;
    message_write(&r->record, m, !apart);
    struct store_body body = {m->body_id, m->payload, apart ? message_keep(m) : NULL, drop_body};
    uint64_t offset = store_ledger_put(r->store, (struct bytes){r->record.data, r->record.len},
                                       apart ? &body : NULL, dropped);
    note(r, e, offset, store_ledger_end(r->store) - offset);
}

static void write_cleared(struct retain *r, struct bytes topic, uint64_t dropped)
{
    r->record.len = 0;
    buf_u8(&r->record, CLEARED);
    buf_append(&r->record, topic.data, topic.len);
    store_ledger_put(r->store, (struct bytes){r->record.data, r->record.len}, NULL, dropped);
}

/* --- topics --- */

static void drop_entry(struct retain *r, struct retained *e)
{
    forget(r, e);
    map_remove(&r->topics, &e->by_topic);
    r->bytes -= e->message->payload.len;
    message_drop(e->message);
    free(e);
}

static store_ticket erase(struct retain *r, struct retained *old)
{
    if (!old)
        return 0;
    bool lasted = old->offset;
    if (lasted)
        write_cleared(r, old->message->topic, body_of(old));
    drop_entry(r, old);
    return lasted ? store_open_ticket(r->store) : 0;
}

static struct retained *put(struct retain *r, struct retained *e, struct message *kept, uint64_t hash)
{
    r->bytes += kept->payload.len;
    if (e) {
        r->bytes -= e->message->payload.len;
        message_drop(e->message);
        e->message = kept;
        return e;
    }
    e = mem_alloc(sizeof(*e));
    list_init(&e->by_age);
    e->message = kept;
    map_insert(&r->topics, &e->by_topic, hash);
    return e;
}

/* --- garbage --- */

static struct retained *oldest(const struct retain *r)
{
    return list_empty(&r->on_disk) ? NULL : list_entry(r->on_disk.next, struct retained, by_age);
}

/* Takes away what is older than all that counts: once a batch, and not too much at a time. */
static void trim(struct retain *r)
{
    const struct retained *e = oldest(r);
    uint64_t end = store_ledger_end(r->store), to = e ? e->offset : end;
    uint64_t most = r->first + TRIM_MOST + 2 * (end - r->trim_end);

    if (to - r->first < TRIM_LEAST || r->trimmed == store_open_ticket(r->store))
        return;
    r->first = to < most ? to : most;
    r->trim_end = end;
    r->trimmed = store_open_ticket(r->store);
    store_ledger_trim(r->store, r->first);
}

static void move(struct retain *r, struct retained *e)
{
    uint64_t body = body_of(e);

    forget(r, e);
    write_message(r, e, body);
}

/* begin: where the ledger ended before what came now. */
static void tidy(struct retain *r, uint64_t begin)
{
    uint64_t end = store_ledger_end(r->store), most = end + MOVED * (end - begin);
    struct retained *e;

    while (end < most && (e = oldest(r)) && end - e->offset > 2 * r->live + FLOOR) {
        if (message_expired(e->message))
            erase(r, e);
        else
            move(r, e);
        end = store_ledger_end(r->store);
    }
    trim(r);
}

/* What has expired makes way (5.0 §3.3.1.3); looked for at most once a second. */
static void sweep(struct retain *r)
{
    uint64_t now_us = clock_boot_us();

    if (r->swept_us && now_us - r->swept_us < 1000000)
        return;
    r->swept_us = now_us;
    for (struct map_node *n = map_next(&r->topics, NULL), *next; n; n = next) {
        next = map_next(&r->topics, n);
        struct retained *e = container_of(n, struct retained, by_topic);
        if (message_expired(e->message))
            erase(r, e);
    }
}

static store_ticket replace(struct retain *r, struct retained *e, struct message *m, bool lasting,
                            uint64_t hash)
{
    uint64_t dropped = e ? body_of(e) : 0;
    bool lasted = e && e->offset;

    if (e)
        forget(r, e);
    e = put(r, e, message_keep(m), hash);
    if (lasting)
        write_message(r, e, dropped);
    else if (lasted)
        write_cleared(r, m->topic, dropped);
    return lasting || lasted ? store_open_ticket(r->store) : 0;
}

store_ticket retain_set(struct retain *r, struct message *m, bool lasting)
{
    uint64_t hash = map_hash(m->topic.data, m->topic.len), begin = store_ledger_end(r->store);
    struct retained *e = find(r, m->topic, hash);

    if (m->payload.len && !e && r->topics.count >= r->most)
        sweep(r);
    if (m->payload.len && !e && r->topics.count >= r->most) {
        r->refused++;
        return 0;
    }
    store_ticket ticket = m->payload.len ? replace(r, e, m, lasting, hash) : erase(r, e);
    if (ticket)
        tidy(r, begin);
    return ticket;
}

/* --- loading --- */

bool retain_restore(struct retain *r, uint64_t offset, struct bytes record, uint64_t body_id)
{
    bool cleared = record.len && record.data[0] == CLEARED;
    struct message *m = cleared ? NULL : message_read(record, NULL);
    struct bytes topic = cleared ? (struct bytes){record.data + 1, record.len - 1} : m ? m->topic : record;

    if (!cleared && !m)
        return false;
    if (!r->first)
        r->first = offset;
    uint64_t hash = map_hash(topic.data, topic.len);
    struct retained *e = find(r, topic, hash);
    if (e)
        forget(r, e);
    if (e && cleared)
        drop_entry(r, e);
    if (m) {
        m->body_id = body_id;
        note(r, put(r, e, m, hash), offset, ledger_size(&(struct ledger_record){body_id, record}));
    }
    return true;
}

void retain_restored(struct retain *r)
{
    struct list *link = r->on_disk.next, *next;

    r->trim_end = store_ledger_end(r->store);
    if (!r->first)
        r->first = r->trim_end;
    for (; link != &r->on_disk; link = next) {
        struct retained *e = list_entry(link, struct retained, by_age);
        struct message *m = e->message;
        struct bytes body;
        next = link->next;
        int err = m->body_id ? store_body_get(r->store, m->body_id, &body) : 0;
        if (err) {
            log_error("the retained message of %.*s cannot be read and is dropped: %s", (int)m->topic.len,
                      m->topic.data, strerror(-err));
            erase(r, e);
        } else if (m->body_id) {
            e->message = message_complete(m, body);
            r->bytes += body.len;
        }
    }
}

size_t retain_count(const struct retain *r)
{
    return r->topics.count;
}

uint64_t retain_bytes(const struct retain *r)
{
    return r->bytes;
}

uint64_t retain_refused(const struct retain *r)
{
    return r->refused;
}

static struct message *alive(const struct retained *e)
{
    return e && !message_expired(e->message) ? e->message : NULL;
}

struct message *retain_next(const struct retain *r, struct bytes filter, uint64_t *place, uint32_t *steps)
{
    bool wild = memchr(filter.data, '+', filter.len) || memchr(filter.data, '#', filter.len);

    if (!wild) {
        *place = RETAIN_END;
        return alive(find(r, filter, map_hash(filter.data, filter.len)));
    }
    for (; *steps; --*steps) {
        struct map_node *n = map_walk(&r->topics, place);
        if (!n) {
            *place = RETAIN_END;
            break;
        }
        struct message *m = alive(container_of(n, struct retained, by_topic));
        if (m && mqtt_topic_matches(filter, m->topic))
            return m;
    }
    return NULL;
}
