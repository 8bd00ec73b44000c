/* SPDX-License-Identifier: Apache-2.0 */
/* Packets in words, for those who watch a line. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "broker/session_ids.h"
#include "drivers/mqttsn/gateway.h"

enum {
    SHOW_QOS = 1,
    SHOW_TOPIC = 2,
    SHOW_ID = 4,
    SHOW_CODE = 8,
    SHOW_TEXT = 16,
    SHOW_SIZE = 32,
    SHOW_TIME = 64
};

static const uint8_t shown[MQTTSN_TYPES] = {
    [MQTTSN_ADVERTISE] = SHOW_TIME,
    [MQTTSN_CONNECT] = SHOW_TEXT | SHOW_TIME,
    [MQTTSN_CONNACK] = SHOW_CODE,
    [MQTTSN_WILLTOPIC] = SHOW_QOS | SHOW_TEXT,
    [MQTTSN_WILLMSG] = SHOW_SIZE,
    [MQTTSN_REGISTER] = SHOW_TOPIC | SHOW_ID | SHOW_TEXT,
    [MQTTSN_REGACK] = SHOW_TOPIC | SHOW_ID | SHOW_CODE,
    [MQTTSN_PUBLISH] = SHOW_QOS | SHOW_TOPIC | SHOW_ID | SHOW_SIZE,
    [MQTTSN_PUBACK] = SHOW_TOPIC | SHOW_ID | SHOW_CODE,
    [MQTTSN_PUBCOMP] = SHOW_ID,
    [MQTTSN_PUBREC] = SHOW_ID,
    [MQTTSN_PUBREL] = SHOW_ID,
    [MQTTSN_SUBSCRIBE] = SHOW_QOS | SHOW_TOPIC | SHOW_ID | SHOW_TEXT,
    [MQTTSN_SUBACK] = SHOW_QOS | SHOW_TOPIC | SHOW_ID | SHOW_CODE,
    [MQTTSN_UNSUBSCRIBE] = SHOW_TOPIC | SHOW_ID | SHOW_TEXT,
    [MQTTSN_UNSUBACK] = SHOW_ID,
    [MQTTSN_PINGREQ] = SHOW_TEXT,
    [MQTTSN_DISCONNECT] = SHOW_TIME,
    [MQTTSN_WILLTOPICUPD] = SHOW_QOS | SHOW_TEXT,
    [MQTTSN_WILLTOPICRESP] = SHOW_CODE,
    [MQTTSN_WILLMSGUPD] = SHOW_SIZE,
    [MQTTSN_WILLMSGRESP] = SHOW_CODE,
};

static void put_topic(struct buf *out, const struct sn_line *l, const struct mote *m,
                      const struct mqttsn_packet *p)
{
    struct bytes name = {0};
    const struct sn_predefined *known;

    if (p->topic == MQTTSN_SHORT) {
        buf_printf(out, " topic \"%c%c\"", p->topic_id >> 8, p->topic_id & 0xff);
        return;
    }
    if (!p->topic_id)
        return;
    known = p->topic == MQTTSN_PREDEFINED ? sn_predefined_id(l->settings, p->topic_id) : NULL;
    if (known)
        name = bytes_of(known->topic);
    else if (p->topic == MQTTSN_NORMAL && m && m->session)
        name = session_topic_name(m->session, p->topic_id);
    buf_printf(out, " topic %s%u", p->topic == MQTTSN_PREDEFINED ? "predefined " : "", p->topic_id);
    if (name.len)
        buf_printf(out, " (%.*s)", (int)name.len, (const char *)name.data);
}

static void put_packet(struct buf *out, const struct sn_line *l, const struct mote *m,
                       const struct mqttsn_packet *p)
{
    static const char *const codes[] = {"accepted", "congestion", "invalid topic id", "not supported"};
    uint8_t show = shown[p->type];

    buf_printf(out, "%s", mqttsn_type_name(p->type));
    if (show & SHOW_QOS && !p->bare)
        buf_printf(out, " QoS %d%s%s", p->qos == MQTTSN_MINUS_ONE ? -1 : p->qos, p->dup ? " DUP" : "",
                   p->retain ? " retain" : "");
    if (show & SHOW_TOPIC)
        put_topic(out, l, m, p);
    if (show & SHOW_ID)
        buf_printf(out, " id %u", p->id);
    if (show & SHOW_TEXT && p->text.len)
        buf_printf(out, " \"%.*s\"", (int)p->text.len, (const char *)p->text.data);
    if (p->type == MQTTSN_CONNECT)
        buf_printf(out, "%s%s", p->clean ? " clean" : "", p->will ? " will" : "");
    if (show & SHOW_TIME && !p->bare)
        buf_printf(out, " %u s", p->duration);
    if (show & SHOW_SIZE)
        buf_printf(out, " %zu bytes", p->text.len);
    if (show & SHOW_CODE)
        buf_printf(out, " %s", p->code < ARRAY_SIZE(codes) ? codes[p->code] : "reserved code");
}

static struct mote *by_number(const struct sn_line *l, uint64_t number)
{
    list_for(it, &l->motes)
    {
        struct mote *m = list_entry(it, struct mote, in_line);
        if (m->session && m->session->key == number)
            return m;
    }
    return NULL;
}

/* Whose it is is found out now: afterwards it may be elsewhere. */
void line_see(struct sn_line *l, enum tap_kind kind, const struct link_place *place, struct bytes packet)
{
    struct sn_peer at = {.place = *place};
    uint64_t now = clock_boot_us(), number = 0;
    struct mqttsn_envelope e;
    struct bytes inner;

    if (!tap_watched(&l->tap))
        return;
    if (mqttsn_unwrap(packet, &e, &inner) == 1 && e.node.len <= SN_NODE_MOST) {
        at.wrapped = true;
        at.node_len = (uint8_t)e.node.len;
        if (e.node.len)
            memcpy(at.node, e.node.data, e.node.len);
    }
    const struct mote *m = mote_at(l, &at);
    if (m && m->session)
        number = m->session->key;
    tap_put_of(&l->tap, kind, packet, now, now, number);
}

void line_view(struct sn_line *l, const struct tap_frame *f, cJSON *into)
{
    const struct mote *m = by_number(l, f->who);
    struct mqttsn_envelope e;
    struct mqttsn_packet p;
    struct bytes inner;
    struct buf text = {0};
    bool whole = mqttsn_unwrap((struct bytes){f->data, f->len}, &e, &inner) >= 0;
    int err = whole ? mqttsn_decode(&mqttsn_12, inner, &p) : -EBADMSG;

    if (m) {
        struct bytes id = mote_id(m);
        char *name = mem_strndup((const char *)id.data, id.len);
        cJSON_AddStringToObject(into, "device", name);
        cJSON_AddNumberToObject(into, "unit", (double)f->who);
        free(name);
    }
    if (err)
        buf_printf(&text, "%s", err == -ENOTSUP ? "a message of no known type" : "no whole message");
    else
        put_packet(&text, l, m, &p);
    cJSON_AddStringToObject(into, "text", (const char *)text.data);
    buf_free(&text);
}

void line_view_head(const struct sn_line *l, cJSON *into)
{
    cJSON *units = cJSON_AddObjectToObject(into, "units");

    list_for(it, &l->motes)
    {
        const struct mote *m = list_entry(it, struct mote, in_line);
        struct bytes id = mote_id(m);
        if (!m->session)
            continue;
        char *name = mem_strndup((const char *)id.data, id.len);
        cJSON_AddNumberToObject(units, name, (double)m->session->key);
        free(name);
    }
    cJSON_AddStringToObject(into, "dissector", "mqttsn");
}
