/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/share.h"

#include <stdlib.h>
#include <string.h>

bool share_split(struct bytes filter, struct bytes *name, struct bytes *inner)
{
    static const char prefix[] = "$share/";
    const size_t len = sizeof(prefix) - 1;

    if (filter.len <= len || memcmp(filter.data, prefix, len))
        return false;
    const uint8_t *start = filter.data + len, *slash = memchr(start, '/', filter.len - len);
    if (!slash || slash == start || slash + 1 == filter.data + filter.len)
        return false;
    *name = (struct bytes){start, (size_t)(slash - start)};
    *inner = (struct bytes){slash + 1, (size_t)(filter.data + filter.len - slash - 1)};
    return true;
}

static struct share *find(struct list *shares, struct bytes name)
{
    ring_for(it, shares)
    {
        struct share *s = list_entry(it, struct share, in_node);
        if (bytes_equal((struct bytes){(const uint8_t *)s->name, s->name_len}, name))
            return s;
    }
    return NULL;
}

void share_join(struct router_node *node, struct list **shares, struct bytes name, struct subscription *sub)
{
    struct share *s = find(*shares, name);

    if (!s) {
        s = mem_alloc(sizeof(*s) + name.len);
        s->node = node;
        s->name_len = name.len;
        memcpy(s->name, name.data, name.len);
        list_init(&s->members);
        ring_add_tail(shares, &s->in_node);
    }
    sub->share = s;
    sub->shared = true;
    list_add_tail(&s->members, &sub->in_node);
}

void share_leave(struct list **shares, struct subscription *sub)
{
    struct share *s = sub->share;

    list_remove(&sub->in_node);
    sub->share = NULL;
    if (!list_empty(&s->members))
        return;
    ring_remove(shares, &s->in_node);
    free(s);
}

static bool has_room(struct session *s)
{
    return s->ops && session_backlog(s) < s->window && s->ops->on_room(s);
}

/* True when a is the better place for a message that has to wait: it is there, and is sooner through with
 * what it has, which is more to wait for when its window is small. */
static bool waits_less(const struct session *a, const struct session *b)
{
    if (!a->ops != !b->ops)
        return a->ops != NULL;
    return session_backlog(a) * b->window < session_backlog(b) * a->window;
}

struct subscription *share_pick(struct share *share, uint8_t qos)
{
    struct subscription *best = NULL;

    list_for(it, &share->members)
    {
        struct subscription *sub = list_entry(it, struct subscription, in_node);
        struct session *s = sub->session;
        uint8_t granted = sub->options.qos < qos ? sub->options.qos : qos;
        if (s->leaving || (!granted && !s->ops))
            continue;
        if (has_room(s)) {
            best = sub;
            break;
        }
        if (!best || waits_less(s, best->session))
            best = sub;
    }
    if (best) {
        list_remove(&best->in_node);
        list_add_tail(&share->members, &best->in_node);
    }
    return best;
}
