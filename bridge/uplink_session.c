/* SPDX-License-Identifier: Apache-2.0 */
/* The uplink as a reader of its sessions: what goes to the upstream. */
#include <stdlib.h>

#include "base/clock.h"
#include "bridge/uplink_private.h"
#include "bridge/wire.h"
#include "service.h"

enum { BACKLOG_MOST = 256 * 1024 }; /* bytes in the connection above which nothing more is pulled */

/* ---- struct session_ops ---- */

/* Ends a delivery that is not to be sent, as if it had been acknowledged. */
static void skip(struct uplink *u, struct session *s, const struct delivery *d, uint64_t *counter)
{
    store_ticket ticket;
    bool release;

    ++*counter;
    if (!d->qos)
        return;
    u->counts.skipped++;
    if (d->qos == 1)
        session_on_puback(s, d->id);
    else
        session_on_pubrec(s, d->id, true, &release, &ticket);
}

/* Where a message that remap keeps back is counted. */
static uint64_t *counter_of(struct uplink *u, enum remap_verdict verdict)
{
    if (verdict == REMAP_NO_RULE)
        return &u->counts.no_rule;
    return verdict == REMAP_NO_TOPIC ? &u->counts.no_topic : &u->counts.loop;
}

static void fill_publish(struct uplink *u, const struct delivery *d, struct mqtt_publish *p)
{
    /* An upstream that has forgotten us has never seen it. */
    p->dup = d->dup && u->peer.session_present;
    p->retain = d->retain && u->peer.retain;
    p->qos = d->qos;
    p->id = d->id;
    p->topic = (struct bytes){u->topic.data, u->topic.len};
    p->payload = message_payload(d->message);
    if (d->message->expires)
        mqtt_set_number(&p->props, MQTT_MESSAGE_EXPIRY, message_left_s(d->message));
    p->props.extra = d->message->props;
}

static bool on_deliver(struct session *s, const struct delivery *d)
{
    struct uplink *u = s->reader;
    struct mqtt_packet p = {.type = MQTT_PUBLISH};
    enum remap_verdict verdict = remap_out(&u->settings->remap, d->message->topic, &u->topic);

    if (verdict != REMAP_OK) {
        skip(u, s, d, counter_of(u, verdict));
        return true;
    }
    if (!d->qos && conn_backlog(&u->attempt->conn) > BACKLOG_MOST)
        return false;
    fill_publish(u, d, &p.publish);
    size_t size = mqtt_encoded_size(&p, u->settings->version);
    if (!size || size > u->peer.packet_max) {
        skip(u, s, d, &u->counts.too_large);
        return true;
    }
    struct buf *lane = d->qos ? uplink_held_lane(u, d->ticket) : uplink_free_lane(u);
    mqtt_encode(buf_extend(lane, size), &p, u->settings->version);
    u->counts.sent++;
    if (d->qos && s == u->lanes.normal)
        pace_take(&u->pace);
    return true;
}

static void on_release(struct session *s, uint16_t id, store_ticket ticket)
{
    struct uplink *u = s->reader;

    wire_ack(uplink_held_lane(u, ticket), MQTT_PUBREL, id, MQTT_OK, u->settings->version);
}

static void on_again(uv_timer_t *timer)
{
    struct uplink *u = container_of(timer, struct uplink, again);

    session_wake(u->lanes.normal);
}

static bool on_room(struct session *s)
{
    struct uplink *u = s->reader;

    if (conn_backlog(&u->attempt->conn) > BACKLOG_MOST)
        return false; /* on_drain wakes */
    if (!lanes_may_send(&u->lanes, s))
        return false;
    if (s != u->lanes.normal || pace_ready(&u->pace, clock_boot_us(), s->queue->tail))
        return true;
    if (!uv_is_active((uv_handle_t *)&u->again))
        uv_timer_start(&u->again, on_again, pace_wait_ms(&u->pace), 0);
    return false;
}

static void on_displaced(struct session *s)
{
    uplink_lost(s->reader, true, "another reader took the bridge's session");
}

static void on_pumped(struct session *s)
{
    lanes_pumped(&((struct uplink *)s->reader)->lanes, s);
}

static const struct session_ops ops = {.kind = "upstream",
                                       .on_deliver = on_deliver,
                                       .on_release = on_release,
                                       .on_room = on_room,
                                       .on_displaced = on_displaced,
                                       .on_pumped = on_pumped};

void uplink_session_attach(struct uplink *u)
{
    u->attempt->conn.high = BACKLOG_MOST;
    pace_start(&u->pace, u->settings->drain_rate, clock_boot_us(), u->lanes.normal->queue->tail);
    lanes_attach(&u->lanes, &ops, u, u->peer.window);
}
