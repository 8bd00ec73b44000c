/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/retain.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "codec/mqtt.h"

enum { BODY_ABOVE = 4096 };

struct retained {
    struct map_node by_topic;
    struct message *message;
};

struct retain {
    struct store *store;
    struct map topics;
    uint32_t most;
    uint64_t refused, swept_us;
    uint64_t bytes; /* of payloads */
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
    free(r);
}

static store_ticket erase(struct retain *r, struct retained *old)
{
    if (!old)
        return 0;
    store_retained_remove(r->store, old->message->topic);
    map_remove(&r->topics, &old->by_topic);
    r->bytes -= old->message->payload.len;
    message_drop(old->message);
    free(old);
    return store_open_ticket(r->store);
}

static void put(struct retain *r, struct retained *old, struct message *kept, uint64_t hash)
{
    r->bytes += kept->payload.len;
    if (old) {
        r->bytes -= old->message->payload.len;
        message_drop(old->message);
        old->message = kept;
        return;
    }
    struct retained *e = mem_alloc(sizeof(*e));
    e->message = kept;
    map_insert(&r->topics, &e->by_topic, hash);
}

static void drop_body(void *owner)
{
    message_drop(owner);
}

static void store_message(struct retain *r, struct message *m)
{
    bool apart = m->payload.len > BODY_ABOVE;
    struct buf record = {0};

    if (apart && !m->body_id)
        m->body_id = store_next_body(r->store);
    message_write(&record, m, !apart);
    struct store_body body = {m->body_id, m->payload, apart ? message_keep(m) : NULL, drop_body};
    store_retained_put(r->store, m->topic, (struct bytes){record.data, record.len}, apart ? &body : NULL);
    buf_free(&record);
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

store_ticket retain_set(struct retain *r, struct message *m, bool lasting)
{
    uint64_t hash = map_hash(m->topic.data, m->topic.len);
    struct retained *old = find(r, m->topic, hash);

    if (!m->payload.len)
        return erase(r, old);
    if (!old && r->topics.count >= r->most)
        sweep(r);
    if (!old && r->topics.count >= r->most) {
        r->refused++;
        return 0;
    }
    struct message *kept = message_keep(m);
    put(r, old, kept, hash);
    if (!lasting)
        return 0;
    store_message(r, kept);
    return store_open_ticket(r->store);
}

void retain_restore(struct retain *r, struct message *m)
{
    uint64_t hash = map_hash(m->topic.data, m->topic.len);

    put(r, find(r, m->topic, hash), m, hash);
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
