/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/mote_ask.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "drivers/sim/mote_packet.h"

enum { PROTOCOL = 1 };

/* "{n}" in a pattern becomes the mote's number, "{id}" its id. */
char *sim_mote_fill(const char *pattern, size_t number, const char *id)
{
    struct buf out = {0};

    for (const char *at = pattern; *at;)
        if (!strncmp(at, "{n}", 3)) {
            buf_printf(&out, "%zu", number);
            at += 3;
        } else if (id && !strncmp(at, "{id}", 4)) {
            buf_printf(&out, "%s", id);
            at += 4;
        } else {
            buf_u8(&out, (uint8_t)*at++);
        }
    char *text = mem_strndup((const char *)out.data, out.len);
    buf_free(&out);
    return text;
}

void sim_mote_set_due(struct sim_mote *m, uint64_t due)
{
    m->due = due;
    m->world->due(m);
}

bool sim_mote_is_short(const struct sim_mote *m)
{
    return strlen(m->topic) == 2;
}

void sim_mote_say(struct sim_mote *m, uint64_t now, const struct buf *b)
{
    m->plan->counts.sent++;
    m->last_sent = now;
    m->world->send(m, b->data, b->len);
}

static void request(struct sim_mote *m, uint64_t now, uint8_t type, uint16_t id)
{
    sim_sn_end(&m->pending);
    m->pending_type = type;
    m->pending_id = id;
    m->tries = 1;
    sim_mote_set_due(m, now + m->plan->retry_us);
    sim_mote_say(m, now, &m->pending);
}

static uint16_t new_id(struct sim_mote *m)
{
    m->last_id = (uint16_t)(m->last_id == UINT16_MAX ? 1 : m->last_id + 1);
    return m->last_id;
}

void sim_mote_ask_connect(struct sim_mote *m, uint64_t now)
{
    uint8_t flags = (uint8_t)((m->plan->clean ? SIM_SN_CLEAN : 0) | (m->plan->will_topic ? SIM_SN_WILL : 0));

    if (m->plan->clean) {
        m->subscribed = m->id_count = 0;
        m->topic_id = m->plan->topic_id;
    }
    sim_sn_begin(&m->pending, SIM_SN_CONNECT);
    buf_u8(&m->pending, flags);
    buf_u8(&m->pending, PROTOCOL);
    buf_u16(&m->pending, m->plan->keepalive_s);
    buf_append(&m->pending, m->id, strlen(m->id));
    request(m, now, SIM_SN_CONNECT, 0);
}

void sim_mote_ask_register(struct sim_mote *m, uint64_t now)
{
    uint16_t id = new_id(m);

    sim_sn_begin(&m->pending, SIM_SN_REGISTER);
    buf_u16(&m->pending, 0);
    buf_u16(&m->pending, id);
    buf_append(&m->pending, m->topic, strlen(m->topic));
    request(m, now, SIM_SN_REGISTER, id);
}

void sim_mote_ask_subscribe(struct sim_mote *m, uint64_t now)
{
    char *filter = sim_mote_fill(m->plan->filters[m->subscribed], 0, m->id);
    uint16_t id = new_id(m);

    sim_sn_begin(&m->pending, SIM_SN_SUBSCRIBE);
    buf_u8(&m->pending, (uint8_t)(m->plan->subscribe_qos << 5));
    buf_u16(&m->pending, id);
    buf_append(&m->pending, filter, strlen(filter));
    free(filter);
    request(m, now, SIM_SN_SUBSCRIBE, id);
}

static void put_data(struct sim_mote *m)
{
    char text[300];
    int len = snprintf(text, sizeof text, "%s %u ", m->id, m->n);

    buf_append(&m->pending, text, (size_t)len);
    for (size_t i = (size_t)len; i < m->plan->size; i++)
        buf_u8(&m->pending, '.');
}

void sim_mote_publish(struct sim_mote *m, uint64_t now)
{
    const struct sim_mote_plan *p = m->plan;
    uint16_t id = p->qos > 0 ? new_id(m) : 0;
    uint8_t kind = p->topic_id ? SIM_SN_PREDEFINED : sim_mote_is_short(m) ? SIM_SN_SHORT : 0;

    m->next_publish = (now > m->next_publish + p->every_us ? now : m->next_publish) + p->every_us;
    m->n++;
    m->plan->counts.published++;
    sim_sn_begin(&m->pending, SIM_SN_PUBLISH);
    buf_u8(&m->pending, (uint8_t)((p->qos & 3) << 5 | (p->retain ? SIM_SN_RETAIN : 0) | kind));
    if (kind == SIM_SN_SHORT)
        buf_append(&m->pending, m->topic, 2);
    else
        buf_u16(&m->pending, m->topic_id);
    buf_u16(&m->pending, id);
    put_data(m);
    m->publishing = p->qos > 0;
    m->published_us = now;
    if (m->publishing) {
        request(m, now, SIM_SN_PUBLISH, id);
        return;
    }
    sim_sn_end(&m->pending);
    sim_mote_say(m, now, &m->pending);
    sim_mote_set_due(m, now);
}

void sim_mote_ask_ping(struct sim_mote *m, uint64_t now, bool with_id)
{
    sim_sn_begin(&m->pending, SIM_SN_PINGREQ);
    if (with_id)
        buf_append(&m->pending, m->id, strlen(m->id));
    request(m, now, SIM_SN_PINGREQ, 0);
}

void sim_mote_ask_sleep(struct sim_mote *m, uint64_t now)
{
    sim_sn_begin(&m->pending, SIM_SN_DISCONNECT);
    buf_u16(&m->pending, m->plan->sleep_s);
    request(m, now, SIM_SN_DISCONNECT, 0);
}

void sim_mote_ask_willtopic(struct sim_mote *m, uint64_t now)
{
    char *topic = sim_mote_fill(m->plan->will_topic, 0, m->id);

    sim_sn_begin(&m->pending, SIM_SN_WILLTOPIC);
    buf_u8(&m->pending, (uint8_t)(m->plan->will_qos << 5 | (m->plan->will_retain ? SIM_SN_RETAIN : 0)));
    buf_append(&m->pending, topic, strlen(topic));
    free(topic);
    request(m, now, SIM_SN_WILLTOPIC, 0);
}

void sim_mote_ask_willmsg(struct sim_mote *m, uint64_t now)
{
    sim_sn_begin(&m->pending, SIM_SN_WILLMSG);
    buf_append(&m->pending, m->plan->will_message, strlen(m->plan->will_message));
    request(m, now, SIM_SN_WILLMSG, 0);
}

void sim_mote_ask_pubrel(struct sim_mote *m, uint64_t now, uint16_t id)
{
    sim_sn_begin(&m->pending, SIM_SN_PUBREL);
    buf_u16(&m->pending, id);
    request(m, now, SIM_SN_PUBREL, id);
}

void sim_mote_reply(struct sim_mote *m, uint64_t now, uint8_t type, const uint8_t *fields, size_t len)
{
    struct buf b = {0};

    sim_sn_begin(&b, type);
    buf_append(&b, fields, len);
    sim_sn_end(&b);
    sim_mote_say(m, now, &b);
    buf_free(&b);
}
