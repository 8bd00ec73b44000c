/* SPDX-License-Identifier: Apache-2.0 */
/* What goes out: packets wait for their ticket, then for room on the link. */
#include <stdlib.h>

#include "base/mem.h"
#include "drivers/mqttsn/gateway.h"

enum { ENVELOPE_MOST = 3 + SN_NODE_MOST };

static const uint8_t ranks[MQTTSN_TYPES] = {
    [MQTTSN_PINGRESP] = OUT_PING,
    [MQTTSN_REGISTER] = OUT_REGISTER,
    [MQTTSN_PUBLISH] = OUT_PUBLISH,
};

static void make_ready(struct sn_line *l, struct sn_out *o)
{
    list_add_tail(&l->ready[o->rank], &o->link);
    l->ready_bytes += o->len;
    o->ready = true;
}

/* Tickets rise but for a few that were given for what is written already. */
static void hold(struct sn_line *l, struct sn_out *o)
{
    struct list *at = l->held.prev;

    while (at != &l->held && list_entry(at, struct sn_out, link)->ticket > o->ticket)
        at = at->prev;
    list_add_head(at, &o->link);
    broker_want(l->b, o->ticket);
}

static struct sn_out *out_new(const struct sn_peer *to, size_t size)
{
    uint8_t head[ENVELOPE_MOST];
    size_t extra = 0;

    if (to && to->wrapped) {
        const struct mqttsn_envelope e = {to->control, {to->node, to->node_len}};
        extra = mqttsn_wrap(head, &e);
    }
    struct sn_out *o = mem_alloc(sizeof(*o) + extra + size);
    list_init(&o->link);
    if (extra)
        memcpy(o->data, head, extra);
    if (to)
        o->to = to->place;
    o->len = extra + size;
    return o;
}

static void put(struct sn_line *l, struct sn_out *o, store_ticket ticket)
{
    o->ticket = ticket;
    if (ticket > broker_done_ticket(l->b))
        hold(l, o);
    else
        make_ready(l, o);
}

struct sn_out *line_send_bytes(struct sn_line *l, const struct sn_peer *to, enum out_rank rank,
                               struct bytes packet, store_ticket ticket)
{
    struct sn_out *o = out_new(to, packet.len);

    memcpy(o->data + o->len - packet.len, packet.data, packet.len);
    o->rank = (uint8_t)rank;
    put(l, o, ticket);
    return o;
}

void line_send(struct sn_line *l, const struct sn_peer *to, const struct mqttsn_packet *p,
               store_ticket ticket)
{
    size_t size = mqttsn_size(&mqttsn_12, p);
    struct sn_out *o = out_new(to, size);

    mqttsn_encode(&mqttsn_12, o->data + o->len - size, p);
    o->rank = ranks[p->type];
    put(l, o, ticket);
}

void line_shout(struct sn_line *l, const struct mqttsn_packet *p)
{
    size_t size = mqttsn_size(&mqttsn_12, p);
    struct sn_out *o = out_new(NULL, size);

    mqttsn_encode(&mqttsn_12, o->data, p);
    o->to_all = true;
    put(l, o, 0);
}

static bool give(struct sn_line *l, const struct sn_out *o)
{
    const struct link_kind *kind = l->link->kind;
    struct bytes packet = {o->data, o->len};

    if (!(o->to_all ? kind->shout(l->link, packet) : kind->send(l->link, &o->to, packet)))
        return false;
    line_see(l, TAP_OUT, &o->to, packet);
    l->counts.packets_out++;
    l->counts.bytes_out += o->len;
    l->counts.airtime_us += kind->airtime_us(l->link, o->len);
    return true;
}

static void drop(struct sn_out *o)
{
    list_remove(&o->link);
    if (o->mote)
        o->mote->flight.out = NULL;
    free(o);
}

static void write_ready(struct sn_line *l)
{
    for (size_t rank = 0; rank < OUT_RANKS; rank++)
        while (!list_empty(&l->ready[rank])) {
            struct sn_out *o = list_entry(l->ready[rank].next, struct sn_out, link);
            struct mote *m = o->mote;
            if (!give(l, o)) {
                l->no_room = true;
                return;
            }
            l->ready_bytes -= o->len;
            drop(o);
            if (m)
                deliver_sent(m);
        }
}

void line_flush(struct net_flusher *f, uint64_t committed)
{
    struct sn_line *l = container_of(f, struct sn_line, flusher);

    list_for_safe(it, &l->awake) sleep_settle(list_entry(it, struct mote, awake));
    while (!list_empty(&l->held)) {
        struct sn_out *o = list_entry(l->held.next, struct sn_out, link);
        if (o->ticket > committed)
            break;
        list_remove(&o->link);
        make_ready(l, o);
    }
    if (l->link && !l->no_room)
        write_ready(l);
}

void line_drop_output(struct sn_line *l)
{
    list_for_safe(it, &l->held) drop(list_entry(it, struct sn_out, link));
    for (size_t rank = 0; rank < OUT_RANKS; rank++)
        list_for_safe(it, &l->ready[rank]) drop(list_entry(it, struct sn_out, link));
    l->ready_bytes = 0;
}

bool line_holds(const struct sn_line *l)
{
    bool any = !list_empty(&l->held);

    for (size_t rank = 0; rank < OUT_RANKS; rank++)
        any |= !list_empty(&l->ready[rank]);
    return any;
}
