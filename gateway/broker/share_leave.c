/* SPDX-License-Identifier: Apache-2.0 */
/* What a session that ends had got by shared subscriptions goes to their other members (5.0 §4.8.2). Mostly
 * all of it is in memory; else the session stays, under another name, until its queue has been read to the
 * end. */
#include "broker/broker_private.h"
#include "broker/share.h"
#include "codec/mqtt.h"

enum { LOOK_EVERY_S = 1 };

static struct bytes filter_of(const struct subscription *sub)
{
    return (struct bytes){(const uint8_t *)sub->filter, sub->filter_len};
}

/* To another member of the share through which m came, if there is one. */
static void pass_on(struct session *s, struct message *m, uint8_t qos)
{
    struct bytes name, inner;

    list_for(it, &s->subscriptions)
    {
        struct subscription *mine = list_entry(it, struct subscription, in_session);
        if (!mine->shared || !share_split(filter_of(mine), &name, &inner) ||
            !mqtt_topic_matches(inner, m->topic))
            continue;
        struct subscription *other = share_pick(mine->share, qos);
        if (!other)
            continue;
        uint32_t ids[2] = {1, other->options.id};
        const struct offer offer = {other->options.qos < qos ? other->options.qos : qos, false, true,
                                    other->options.id ? ids : NULL};
        session_offer(other->session, m, &offer);
        return;
    }
}

/* ---- a queue that is read to its end ---- */

/* What was begun at QoS 2 goes to no other ([MQTT-4.8.2-5]). */
static bool deliver(struct session *s, const struct delivery *d)
{
    if (d->shared && (d->qos == 1 || !d->dup))
        pass_on(s, d->message, d->qos);
    session_skip(s, d->id);
    return true;
}

static void release(struct session *s, uint16_t id, store_ticket ticket)
{
    (void)ticket;
    session_on_pubcomp(s, id);
}

static bool room(struct session *s)
{
    (void)s;
    return true;
}

static void displaced(struct session *s)
{
    session_detach(s);
}

static const struct session_ops ops = {.kind = "leaving",
                                       .on_deliver = deliver,
                                       .on_release = release,
                                       .on_room = room,
                                       .on_displaced = displaced};

static bool has_others(const struct session *s)
{
    list_for(it, &s->subscriptions)
    {
        const struct subscription *sub = list_entry(it, struct subscription, in_session);
        if (sub->shared && sub->share->members.next != sub->share->members.prev)
            return true;
    }
    return false;
}

static void keep_shares_only(struct session *s)
{
    list_for_safe(it, &s->subscriptions)
    {
        const struct subscription *sub = list_entry(it, struct subscription, in_session);
        if (!sub->shared)
            session_unsubscribe(s, filter_of(sub));
    }
}

bool share_hands_over(struct session *s)
{
    s->leaving = true;
    if (!has_others(s))
        return false;
    if (s->queue->loaded == s->queue->tail) {
        session_each_shared(s, pass_on);
        return false;
    }
    if (!s->nameless)
        session_give_up_name(s);
    keep_shares_only(s);
    session_attach(s, &ops, NULL, s->window);
    session_expire_in(s, LOOK_EVERY_S);
    return true;
}
