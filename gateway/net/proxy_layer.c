/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "net/layer.h"
#include "net/proxy.h"

struct proxy {
    struct layer layer;
    const struct proxy_config *config;
    struct buf head; /* of a header that came in pieces */
    struct address peer;
    char *common_name;
};

static struct proxy *of_layer(struct layer *l)
{
    return container_of(l, struct proxy, layer);
}

static bool may_announce(const struct proxy_config *config, const struct address *who)
{
    bool listed = !config->from || who->family == AF_UNIX;

    for (size_t i = 0; i < config->from_count; i++)
        listed |= network_has(&config->from[i], who);
    return listed;
}

static void open_proxy(struct layer *l)
{
    struct address who;

    l->below->ops->peer(l->below, &who);
    if (!may_announce(of_layer(l)->config, &who))
        conn_fail(l->conn, true, "not one of proxy_from");
}

static void take(struct proxy *p, const struct proxy_header *header)
{
    struct bytes name = header->common_name;

    p->peer = header->peer;
    if (name.len && !memchr(name.data, 0, name.len))
        p->common_name = mem_strndup((const char *)name.data, name.len);
    buf_free(&p->head);
    p->head = (struct buf){0};
}

/* Returns how many bytes of data were the header's. */
static size_t shake(struct proxy *p, const uint8_t *data, size_t len)
{
    size_t before = p->head.len;
    struct proxy_header header;
    const char *why = NULL;
    int size;

    if (before) {
        buf_append(&p->head, data, len < PROXY_MOST ? len : PROXY_MOST);
        size = proxy_parse(p->head.data, p->head.len, &header, &why);
    } else {
        size = proxy_parse(data, len, &header, &why);
    }
    if (size < 0) {
        conn_fail(p->layer.conn, true, "%s", why);
        return len;
    }
    if (!size) {
        if (!before)
            buf_append(&p->head, data, len);
        return len;
    }
    take(p, &header);
    layer_stands(&p->layer);
    return (size_t)size - before;
}

static void input(struct layer *l, uint8_t *data, size_t len, size_t room)
{
    size_t used = l->stands ? 0 : shake(of_layer(l), data, len);

    if (used < len && l->stands && conn_listens(l->conn))
        layer_pass_up(l, data + used, len - used, room);
}

static void output(struct layer *l, struct buf *data)
{
    if (l->stands)
        layer_output(l->below, data);
}

static void farewell(struct layer *l)
{
    l->below->ops->farewell(l->below);
}

static void free_proxy(struct layer *l)
{
    struct proxy *p = of_layer(l);

    buf_free(&p->head);
    free(p->common_name);
    free(p);
}

static void peer(const struct layer *l, struct address *out)
{
    const struct proxy *p = container_of(l, struct proxy, layer);

    if (p->peer.family == AF_UNSPEC)
        l->below->ops->peer(l->below, out);
    else
        *out = p->peer;
}

static bool peer_name(const struct layer *l, char *out, size_t size)
{
    const char *name = container_of(l, struct proxy, layer)->common_name;

    if (!name || strlen(name) >= size)
        return false;
    memcpy(out, name, strlen(name) + 1);
    return true;
}

static const struct conn_layer proxy_layer = {
    .name = "PROXY",
    .open = open_proxy,
    .input = input,
    .ended = layer_ended,
    .output = output,
    .farewell = farewell,
    .free = free_proxy,
    .peer = peer,
    .peer_name = peer_name,
};

struct layer *proxy_layer_new(const struct proxy_config *config)
{
    struct proxy *p = mem_alloc(sizeof(*p));

    p->layer.ops = &proxy_layer;
    p->config = config;
    return &p->layer;
}
