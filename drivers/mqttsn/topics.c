/* SPDX-License-Identifier: Apache-2.0 */
/* How motes name topics: by ids that they registered, by ids that all know, by two characters, in full. What
 * the broker sees has the line's prefix before it. */
#include "broker/session_ids.h"
#include "codec/mqtt.h"
#include "drivers/mqttsn/gateway.h"

enum { APART_MOST = 32768 };

/* Numbers above the predefined ones, so that a mote that confuses the two kinds fails at once. */
uint16_t topic_first_id(const struct sn_settings *s)
{
    uint16_t most = s->predefined_count ? s->predefined[s->predefined_count - 1].id : 0;

    return most < APART_MOST ? (uint16_t)(most + 1) : 1;
}

bool topic_with_prefix(const struct sn_line *l, struct bytes name, struct buf *out)
{
    buf_append(out, l->settings->prefix, strlen(l->settings->prefix));
    buf_append(out, name.data, name.len);
    struct bytes topic = {out->data, out->len};
    return name.len && mqtt_topic_ok(name) && mqtt_topic_ok(topic) && topic.data[0] != '$';
}

bool topic_of(const struct sn_line *l, const struct mote *m, const struct mqttsn_packet *p, struct buf *out)
{
    const uint8_t two[2] = {(uint8_t)(p->topic_id >> 8), (uint8_t)p->topic_id};
    const struct sn_predefined *known;
    struct bytes name = {0};

    switch (p->topic) {
    case MQTTSN_NORMAL:
        if (m && m->session)
            name = session_topic_name(m->session, p->topic_id);
        break;
    case MQTTSN_PREDEFINED:
        known = sn_predefined_id(l->settings, p->topic_id);
        if (known)
            name = bytes_of(known->topic);
        break;
    default:
        name = (struct bytes){two, sizeof(two)};
    }
    return name.len && topic_with_prefix(l, name, out);
}

bool topic_for(const struct mote *m, struct bytes topic, uint8_t *kind, uint16_t *id, struct bytes *name)
{
    const char *prefix = m->line->settings->prefix;
    size_t len = strlen(prefix);

    *name = (struct bytes){0};
    if (topic.len <= len || memcmp(topic.data, prefix, len) != 0)
        return false;
    *name = (struct bytes){topic.data + len, topic.len - len};
    *kind = MQTTSN_NORMAL;
    *id = session_topic_id(m->session, *name);
    if (*id && session_topic_known(m->session, *id))
        return true;
    const struct sn_predefined *known = sn_predefined_topic(m->line->settings, *name);
    if (known) {
        *kind = MQTTSN_PREDEFINED;
        *id = known->id;
        return true;
    }
    *kind = MQTTSN_SHORT;
    if (name->len == 2)
        *id = (uint16_t)(name->data[0] << 8 | name->data[1]);
    return name->len == 2;
}
