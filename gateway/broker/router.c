/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/router.h"

#include <stdlib.h>
#include <string.h>

#include "broker/share.h"

enum {
    CACHE_SLOTS = 1024,
    LONG_TOPIC = 512, /* all longer ones share one slot, so that the cache is bounded */
};

/* A level of filters, or several, when nothing ends or branches off between them: "4711/level". */
struct router_node {
    struct map_node by_level; /* in router->nodes, by parent and first level */
    struct router_node *parent;
    struct list *subscriptions, *shares;       /* rings; their filters end with text */
    uint32_t children : 30, any : 1, rest : 1; /* any, rest: such as begin with "+" and "#" are among them */
    uint16_t text_len;
    char text[];
};

/* Where a walk stands: behind a level of node, the last when at is text_len. */
struct place {
    struct router_node *node;
    size_t at;
};

struct router {
    struct map nodes;
    struct map subscriptions; /* by session and filter */
    struct router_node *root;
    uint64_t generation;
    struct route *cache[CACHE_SLOTS + 1];
    struct place *now, *next; /* of a walk */
    size_t walk_cap;
    struct target *found;
    size_t found_count, found_cap;
};

struct level_key {
    const struct router_node *parent;
    struct bytes level;
};

static struct bytes first_level(struct bytes text)
{
    const uint8_t *slash = text.len ? memchr(text.data, '/', text.len) : NULL;

    return (struct bytes){text.data, slash ? (size_t)(slash - text.data) : text.len};
}

/* The level that begins at so many bytes of its text. */
static struct bytes level_of(const struct router_node *node, size_t from)
{
    return first_level((struct bytes){(const uint8_t *)node->text + from, node->text_len - from});
}

static bool node_equal(const struct map_node *n, const void *key)
{
    const struct router_node *node = container_of(n, const struct router_node, by_level);
    const struct level_key *k = key;

    return node->parent == k->parent && bytes_equal(level_of(node, 0), k->level);
}

static uint64_t level_hash(const struct level_key *k)
{
    return map_hash(k->level.data, k->level.len) ^ map_hash_u64((uint64_t)(uintptr_t)k->parent);
}

static struct router_node *find_child(const struct router *r, const struct router_node *parent,
                                      struct bytes level)
{
    struct level_key key = {parent, level};
    struct map_node *n = map_find(&r->nodes, level_hash(&key), node_equal, &key);

    return n ? container_of(n, struct router_node, by_level) : NULL;
}

static bool is_level(struct bytes level, char c)
{
    return level.len == 1 && level.data[0] == c;
}

static void attach(struct router *r, struct router_node *parent, struct router_node *node)
{
    struct level_key key = {parent, level_of(node, 0)};

    node->parent = parent;
    map_insert(&r->nodes, &node->by_level, level_hash(&key));
    parent->children++;
    parent->any |= is_level(key.level, '+');
    parent->rest |= is_level(key.level, '#');
}

static void detach(struct router *r, struct router_node *node)
{
    struct bytes level = level_of(node, 0);

    map_remove(&r->nodes, &node->by_level);
    node->parent->children--;
    node->parent->any &= !is_level(level, '+');
    node->parent->rest &= !is_level(level, '#');
}

static struct router_node *node_new(const void *text, size_t len)
{
    struct router_node *node = mem_alloc(mem_size_with(struct router_node, text, len));

    node->text_len = (uint16_t)len;
    if (len)
        memcpy(node->text, text, len);
    return node;
}

/* Something ends or branches off behind so many bytes of its text: a node for what lies before comes in
 * between. The old one stays where it is, since others point to it. */
static struct router_node *split(struct router *r, struct router_node *node, size_t at)
{
    struct router_node *upper = node_new(node->text, at), *parent = node->parent;

    detach(r, node);
    node->text_len = (uint16_t)(node->text_len - at - 1);
    memmove(node->text, node->text + at + 1, node->text_len);
    attach(r, parent, upper);
    attach(r, upper, node);
    return upper;
}

/* How many bytes of whole levels its text and filter begin with; their first level is the same. */
static size_t common(const struct router_node *node, struct bytes filter)
{
    const uint8_t *text = (const uint8_t *)node->text;
    size_t len = node->text_len, i = 0;

    while (i < len && i < filter.len && text[i] == filter.data[i])
        i++;
    while ((i < len && text[i] != '/') || (i < filter.len && filter.data[i] != '/'))
        i--;
    return i;
}

/* The node with which filter ends; made when it is not there. */
static struct router_node *node_of(struct router *r, struct bytes filter)
{
    struct router_node *node = r->root;
    bool left = true;

    while (left) {
        struct router_node *parent = node;
        node = find_child(r, parent, first_level(filter));
        if (!node) {
            node = node_new(filter.data, filter.len);
            attach(r, parent, node);
            return node;
        }
        size_t same = common(node, filter);
        if (same < node->text_len)
            node = split(r, node, same);
        left = same < filter.len;
        if (left)
            filter = (struct bytes){filter.data + same + 1, filter.len - same - 1};
    }
    return node;
}

/* Removes nodes that nothing needs any more, upwards. */
static void prune(struct router *r, struct router_node *node)
{
    while (node->parent && !node->children && !node->subscriptions && !node->shares) {
        struct router_node *parent = node->parent;

        detach(r, node);
        free(node);
        node = parent;
    }
}

/* Takes the first level off text; false when none is left. started tells "a/" (two levels) from "a". */
static bool next_level(struct bytes *text, bool *started, struct bytes *level)
{
    if (*started) {
        if (!text->len)
            return false;
        text->data++; /* the slash */
        text->len--;
    }
    *started = true;
    *level = first_level(*text);
    text->data += level->len;
    text->len -= level->len;
    return true;
}

struct router *router_new(void)
{
    struct router *r = mem_alloc(sizeof(*r));

    r->generation = 1;
    r->root = node_new(NULL, 0);
    return r;
}

static void route_free(struct route *route)
{
    if (!route)
        return;
    for (uint32_t i = 0; i < route->count; i++)
        free(route->targets[i].sub_ids);
    free(route->targets);
    free(route);
}

void router_free(struct router *r)
{
    if (!r)
        return;
    for (size_t i = 0; i <= CACHE_SLOTS; i++)
        route_free(r->cache[i]);
    for (struct map_node *n = map_next(&r->nodes, NULL), *next; n; n = next) {
        next = map_next(&r->nodes, n);
        free(container_of(n, struct router_node, by_level));
    }
    free(r->root);
    map_free(&r->nodes);
    map_free(&r->subscriptions);
    free(r->now);
    free(r->next);
    free(r->found);
    free(r);
}

struct filter_key {
    const struct session *session;
    struct bytes filter;
};

static bool filter_equal(const struct map_node *n, const void *key)
{
    const struct subscription *sub = container_of(n, const struct subscription, by_filter);
    const struct filter_key *k = key;

    return sub->session == k->session &&
           bytes_equal((struct bytes){(const uint8_t *)sub->filter, sub->filter_len}, k->filter);
}

static uint64_t filter_hash(const struct session *s, struct bytes filter)
{
    return map_hash(filter.data, filter.len) ^ map_hash_u64((uint64_t)(uintptr_t)s);
}

struct subscription *router_find(const struct router *r, const struct session *s, struct bytes filter)
{
    struct filter_key key = {s, filter};
    struct map_node *n = map_find(&r->subscriptions, filter_hash(s, filter), filter_equal, &key);

    return n ? container_of(n, struct subscription, by_filter) : NULL;
}

void router_changed(struct router *r)
{
    r->generation++;
}

void router_add(struct router *r, struct subscription *sub)
{
    struct bytes filter = {(const uint8_t *)sub->filter, sub->filter_len}, name;

    map_insert(&r->subscriptions, &sub->by_filter, filter_hash(sub->session, filter));
    bool shared = share_split(filter, &name, &filter);
    struct router_node *node = node_of(r, filter);
    if (shared) {
        share_join(node, &node->shares, name, sub);
    } else {
        sub->node = node;
        ring_add_tail(&node->subscriptions, &sub->in_node);
    }
    router_changed(r);
}

void router_remove(struct router *r, struct subscription *sub)
{
    map_remove(&r->subscriptions, &sub->by_filter);
    struct router_node *node = sub->shared ? sub->share->node : sub->node;
    if (sub->shared)
        share_leave(&node->shares, sub);
    else
        ring_remove(&node->subscriptions, &sub->in_node);
    prune(r, node);
    sub->node = NULL;
    router_changed(r);
}

static void add_id(struct target *t, uint32_t id)
{
    if (!id)
        return;
    uint32_t count = t->sub_ids ? t->sub_ids[0] : 0;
    t->sub_ids = mem_resize(t->sub_ids, (count + 2) * sizeof(uint32_t));
    t->sub_ids[0] = count + 1;
    t->sub_ids[count + 1] = id;
}

static struct target *new_target(struct router *r)
{
    if (r->found_count == r->found_cap) {
        r->found_cap = r->found_cap ? r->found_cap * 2 : 64;
        r->found = mem_resize(r->found, r->found_cap * sizeof(*r->found));
    }
    return &r->found[r->found_count++];
}

static void collect(struct router *r, const struct router_node *node)
{
    ring_for(it, node->shares) * new_target(r) =
        (struct target){.share = list_entry(it, struct share, in_node)};
    ring_for(it, node->subscriptions)
    {
        const struct subscription *sub = list_entry(it, struct subscription, in_node);
        struct target *t = new_target(r);
        *t = (struct target){.session = sub->session,
                             .qos = sub->options.qos,
                             .raise = sub->options.raise,
                             .retain_as_published = sub->options.retain_as_published,
                             .not_own = sub->options.no_local};
        add_id(t, sub->options.id);
    }
}

/* Room in both walk arrays for count places. */
static void walk_room(struct router *r, size_t count)
{
    if (count <= r->walk_cap)
        return;
    r->walk_cap = count * 2;
    r->now = mem_resize(r->now, r->walk_cap * sizeof(*r->now));
    r->next = mem_resize(r->next, r->walk_cap * sizeof(*r->next));
}

/* To the children of a node that ends here. A level of a topic is never "+" or "#", so exact is neither of
 * them. */
static size_t step_down(struct router *r, const struct router_node *node, struct bytes level, bool dollar,
                        size_t found)
{
    struct router_node *exact = node->children ? find_child(r, node, level) : NULL;

    if (node->rest && !dollar)
        collect(r, find_child(r, node, bytes_of("#")));
    if (exact)
        r->next[found++] = (struct place){exact, level.len};
    if (node->any && !dollar)
        r->next[found++] = (struct place){find_child(r, node, bytes_of("+")), 1};
    return found;
}

/* To the next level of the same node. */
static size_t step_on(struct router *r, struct place p, struct bytes level, size_t found)
{
    struct bytes next = level_of(p.node, p.at + 1);

    if (is_level(next, '#'))
        collect(r, p.node);
    else if (is_level(next, '+') || bytes_equal(next, level))
        r->next[found++] = (struct place){p.node, p.at + 1 + next.len};
    return found;
}

/* One level down from all places of r->now. dollar: the first level of a $-topic, which wildcards do not
 * match
 * ([MQTT-4.7.2-1]). Returns at how many places the walk then stands. */
static size_t step(struct router *r, size_t count, struct bytes level, bool dollar)
{
    size_t found = 0;

    walk_room(r, count * 2 + 2);
    for (size_t i = 0; i < count; i++) {
        struct place p = r->now[i];
        found = p.at == p.node->text_len ? step_down(r, p.node, level, dollar, found)
                                         : step_on(r, p, level, found);
    }
    struct place *swap = r->now;
    r->now = r->next;
    r->next = swap;
    return found;
}

/* The topic ends here. "a/#" also matches "a". */
static void arrive(struct router *r, struct place p)
{
    bool ends = p.at == p.node->text_len;

    if (ends || is_level(level_of(p.node, p.at + 1), '#'))
        collect(r, p.node);
    if (ends && p.node->rest)
        collect(r, find_child(r, p.node, bytes_of("#")));
}

static void walk(struct router *r, struct bytes topic)
{
    bool started = false, first = true;
    struct bytes level;
    size_t count = 1;

    walk_room(r, 2);
    r->now[0] = (struct place){r->root, 0};
    while (count && next_level(&topic, &started, &level)) {
        count = step(r, count, level, first && level.len && level.data[0] == '$');
        first = false;
    }
    for (size_t i = 0; i < count; i++)
        arrive(r, r->now[i]);
}

/* Those without no_local come first. */
static int by_session(const void *a, const void *b)
{
    const struct target *s = a, *t = b;
    uintptr_t x = (uintptr_t)s->session, y = (uintptr_t)t->session;

    return x != y ? (x < y ? -1 : 1) : s->not_own - t->not_own;
}

static void merge_into(struct target *into, struct target *from)
{
    if (from->qos > into->qos)
        into->qos = from->qos;
    into->raise |= from->raise;
    into->retain_as_published |= from->retain_as_published;
    for (uint32_t i = 0; from->sub_ids && i < from->sub_ids[0]; i++)
        add_id(into, from->sub_ids[i + 1]);
    free(from->sub_ids);
}

/* What the session itself publishes goes to it by t alone; what others do, by all. */
static struct target for_others(struct target *t)
{
    struct target all = *t;

    all.sub_ids = NULL;
    for (uint32_t i = 0; t->sub_ids && i < t->sub_ids[0]; i++)
        add_id(&all, t->sub_ids[i + 1]);
    all.not_own = true;
    t->own_only = true;
    return all;
}

static void merge(struct router *r)
{
    size_t kept = 0;

    if (r->found_count < 2)
        return;
    qsort(r->found, r->found_count, sizeof(*r->found), by_session);
    for (size_t i = 1; i < r->found_count; i++) {
        struct target next = r->found[i], *last = &r->found[kept];
        bool same = next.session && next.session == last->session;
        if (same && next.not_own && !last->not_own)
            r->found[++kept] = for_others(last);
        if (same)
            merge_into(&r->found[kept], &next);
        else
            r->found[++kept] = next;
    }
    r->found_count = kept + 1;
}

const struct route *router_match(struct router *r, struct bytes topic)
{
    uint64_t index = topic.len > LONG_TOPIC ? CACHE_SLOTS : map_hash(topic.data, topic.len) % CACHE_SLOTS;
    struct route **slot = &r->cache[index];
    struct route *route = *slot;

    if (route && route->generation == r->generation &&
        bytes_equal((struct bytes){(const uint8_t *)route->topic, route->topic_len}, topic))
        return route;
    route_free(route);
    r->found_count = 0;
    walk(r, topic);
    merge(r);
    route = *slot = mem_alloc(sizeof(*route) + topic.len);
    route->generation = r->generation;
    route->count = (uint32_t)r->found_count;
    route->topic_len = topic.len;
    memcpy(route->topic, topic.data, topic.len);
    if (r->found_count) {
        route->targets = mem_alloc(r->found_count * sizeof(*r->found));
        memcpy(route->targets, r->found, r->found_count * sizeof(*r->found));
    }
    return route;
}
