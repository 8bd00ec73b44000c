/* SPDX-License-Identifier: Apache-2.0 */
/* What comes in: taken out of its envelope, counted, judged by who sends it and handed to whom it concerns.
 */
#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "drivers/mqttsn/gateway.h"

typedef void from_anybody(struct sn_line *l, const struct sn_peer *from, struct mote *m,
                          const struct mqttsn_packet *p);
typedef void from_mote(struct mote *m, const struct mqttsn_packet *p);

/* ---- finding gateways (§6.1) ---- */

void line_advertise(struct sn_line *l)
{
    const struct mqttsn_packet p = {.type = MQTTSN_ADVERTISE,
                                    .number = l->settings->gateway_id,
                                    .duration = (uint16_t)l->settings->advertise_s};

    line_shout(l, &p);
}

static void on_search(struct sn_line *l, const struct sn_peer *from, struct mote *m,
                      const struct mqttsn_packet *p)
{
    const struct mqttsn_packet answer = {.type = MQTTSN_GWINFO, .number = l->settings->gateway_id};

    (void)m, (void)p;
    line_send(l, from, &answer, 0);
}

/* Other gateways, and motes that answer for them. */
static void on_others(struct sn_line *l, const struct sn_peer *from, struct mote *m,
                      const struct mqttsn_packet *p)
{
    (void)l, (void)from, (void)m, (void)p;
}

static void on_any_publish(struct sn_line *l, const struct sn_peer *from, struct mote *m,
                           const struct mqttsn_packet *p)
{
    if (p->qos == MQTTSN_MINUS_ONE) {
        on_publish_minus_one(l, m, p);
    } else if (m && m->session) {
        mote_heard(m);
        on_publish(m, p);
    } else {
        line_tell_stranger(l, from);
    }
}

static void on_any_disconnect(struct sn_line *l, const struct sn_peer *from, struct mote *m,
                              const struct mqttsn_packet *p)
{
    if (m && m->session)
        on_disconnect(m, p);
    else
        line_tell_stranger(l, from); /* which is also the answer to one that is told again */
}

static const struct row {
    from_anybody *anybody;
    from_mote *mote, *joining; /* connected; on its way to that */
} rows[MQTTSN_TYPES] = {
    [MQTTSN_ADVERTISE] = {on_others, NULL, NULL},
    [MQTTSN_SEARCHGW] = {on_search, NULL, NULL},
    [MQTTSN_GWINFO] = {on_others, NULL, NULL},
    [MQTTSN_CONNECT] = {on_connect, NULL, NULL},
    [MQTTSN_WILLTOPIC] = {NULL, NULL, on_will_topic},
    [MQTTSN_WILLMSG] = {NULL, connect_answer_again, on_will_message},
    [MQTTSN_REGISTER] = {NULL, on_register, NULL},
    [MQTTSN_REGACK] = {NULL, on_regack, NULL},
    [MQTTSN_PUBLISH] = {on_any_publish, NULL, NULL},
    [MQTTSN_PUBACK] = {NULL, on_puback, NULL},
    [MQTTSN_PUBCOMP] = {NULL, on_pubcomp, NULL},
    [MQTTSN_PUBREC] = {NULL, on_pubrec, NULL},
    [MQTTSN_PUBREL] = {NULL, on_pubrel, NULL},
    [MQTTSN_SUBSCRIBE] = {NULL, on_subscribe, NULL},
    [MQTTSN_UNSUBSCRIBE] = {NULL, on_unsubscribe, NULL},
    [MQTTSN_PINGREQ] = {on_pingreq, NULL, NULL},
    [MQTTSN_DISCONNECT] = {on_any_disconnect, NULL, NULL},
    [MQTTSN_WILLTOPICUPD] = {NULL, on_will_topic_update, NULL},
    [MQTTSN_WILLMSGUPD] = {NULL, on_will_message_update, NULL},
};

/* ---- rates ---- */

static bool is_far(const struct sn_line *l, const struct sn_peer *from)
{
    const struct address *a = &from->place.at;

    return !l->link->local && a->family != AF_UNSPEC && !(a->family == AF_INET && a->ip[0] == 127);
}

struct place *line_rate_place(struct sn_line *l, const struct sn_peer *from)
{
    char text[64];

    if (!l->settings->rate || (!l->settings->rate_given && !is_far(l, from)))
        return NULL;
    address_text(&from->place.at, text);
    return place_enter(l->rates, text);
}

static bool may_take(struct sn_line *l, const struct sn_peer *from, const struct mote *m)
{
    struct place *place = m ? m->rate : line_rate_place(l, from);
    bool may = !place || place_may(place);

    if (place && may)
        place_spend(place);
    if (place && !m)
        place_leave(place);
    l->counts.limited += !may;
    return may;
}

/* A mote that is not connected learns it from two octets, but nobody can have many of them sent to a victim.
 */
void line_tell_stranger(struct sn_line *l, const struct sn_peer *to)
{
    const struct mqttsn_packet p = {.type = MQTTSN_DISCONNECT, .bare = true};
    char text[64];

    l->counts.strangers++;
    address_text(&to->place.at, text);
    struct place *place = place_enter(l->answers, text);
    if (place_may(place)) {
        place_spend(place);
        line_send(l, to, &p, 0);
    } else {
        l->counts.limited++;
    }
    place_leave(place);
}

/* ---- a packet ---- */

static void handle(struct sn_line *l, const struct sn_peer *from, const struct mqttsn_packet *p)
{
    const struct row *row = &rows[p->type];
    struct mote *m = mote_at(l, from);

    if (!may_take(l, from, m))
        return;
    if (m)
        m->peer.control = from->control;
    if (row->anybody) {
        row->anybody(l, from, m, p);
    } else if (m && m->handshake && row->joining) {
        row->joining(m, p);
    } else if (m && m->session && (row->mote || row->joining)) {
        mote_heard(m);
        if (row->mote)
            row->mote(m, p);
        else
            l->counts.misplaced++;
    } else if (row->mote || row->joining) {
        line_tell_stranger(l, from);
    } else {
        l->counts.misplaced++; /* a mote does not say such things */
    }
}

static void on_packet(void *arg, const struct link_place *place, struct bytes packet, bool to_all)
{
    struct sn_line *l = arg;
    struct mqttsn_envelope envelope = {0};
    struct sn_peer from = {.place = *place};
    struct mqttsn_packet p;
    struct bytes inner;

    if (l->closing)
        return;
    l->counts.packets_in++;
    l->counts.bytes_in += packet.len;
    l->counts.airtime_us += l->link->kind->airtime_us(l->link, packet.len);
    line_see(l, TAP_IN, place, packet);
    int wrapped = mqttsn_unwrap(packet, &envelope, &inner);
    if (wrapped < 0 || envelope.node.len > SN_NODE_MOST) {
        l->counts.malformed++;
        return;
    }
    if (wrapped) {
        from.wrapped = true;
        from.control = envelope.control;
        from.node_len = (uint8_t)envelope.node.len;
        if (envelope.node.len)
            memcpy(from.node, envelope.node.data, envelope.node.len);
    }
    int err = mqttsn_decode(&mqttsn_12, inner, &p);
    if (err) {
        *(err == -ENOTSUP ? &l->counts.unknown_types : &l->counts.malformed) += 1;
        return;
    }
    if (to_all && p.type == MQTTSN_SEARCHGW) { /* others that search hear it as well */
        const struct mqttsn_packet info = {.type = MQTTSN_GWINFO, .number = l->settings->gateway_id};
        line_shout(l, &info);
    }
    if (!to_all || p.type == MQTTSN_SEARCHGW)
        handle(l, &from, &p);
}

static void on_room(void *arg)
{
    struct sn_line *l = arg;

    l->no_room = false;
    list_for(it, &l->motes) deliver_go_on(list_entry(it, struct mote, in_line));
}

static void on_node(void *arg, const char *node, enum device_state state, uint64_t since_us,
                    const char *reason)
{
    struct sn_line *l = arg;

    log_info("line %s: node %s is %s%s%s", l->settings->name, node, device_state_name(state),
             reason[0] ? ": " : "", reason);
    field_publish_state(l->field, node, state, since_us, reason);
}

const struct link_events sn_link_events = {on_packet, on_room, on_node};
