/* SPDX-License-Identifier: Apache-2.0 */
#include "bridge/wire.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

#include "base/clock.h"
#include "version.h"

static bool put(struct buf *out, const struct mqtt_packet *p, uint8_t version)
{
    size_t size = mqtt_encoded_size(p, version);

    if (!size)
        return false;
    mqtt_encode(buf_extend(out, size), p, version);
    return true;
}

/* The will does not know when it will be sent, so it has no time. */
static char *presence_text(bool online, bool stamped, const char *reason)
{
    cJSON *o = cJSON_CreateObject();
    char since[32];

    cJSON_AddStringToObject(o, "state", online ? "online" : "offline");
    if (stamped) {
        clock_format(clock_wall_us(), since);
        cJSON_AddStringToObject(o, "since", since);
        if (!clock_is_set())
            cJSON_AddStringToObject(o, "clk", "unset");
    }
    cJSON_AddStringToObject(o, "reason", reason);
    cJSON_AddStringToObject(o, "version", SLUICE_VERSION);
    char *text = cJSON_PrintUnformatted(o);
    cJSON_Delete(o);
    return text;
}

bool wire_connect(struct buf *out, const struct settings *s, const char *password, uint32_t packet_max)
{
    char *offline = presence_text(false, false, "the connection was lost");
    struct mqtt_packet p = {.type = MQTT_CONNECT};
    struct mqtt_connect *c = &p.connect;

    c->version = s->version;
    c->clean = s->clean;
    c->keep_alive = (uint16_t)s->keepalive_s;
    c->client_id = bytes_of(s->client_id);
    if ((c->has_user = s->user))
        c->user = bytes_of(s->user);
    if ((c->has_password = password))
        c->password = bytes_of(password);
    if (!s->clean)
        mqtt_set_number(&c->props, MQTT_SESSION_EXPIRY, UINT32_MAX);
    mqtt_set_number(&c->props, MQTT_MAXIMUM_PACKET_SIZE, packet_max);
    if ((c->has_will = s->remap.presence)) {
        c->will.topic = bytes_of(s->remap.presence);
        c->will.payload = bytes_of(offline);
        c->will.qos = 1;
        c->will.retain = true;
    }
    bool done = put(out, &p, s->version);
    free(offline);
    return done;
}

bool wire_presence(struct buf *out, const struct settings *s, bool online, const char *reason, bool retain,
                   uint16_t id)
{
    char *text = presence_text(online, true, reason);
    struct mqtt_packet p = {.type = MQTT_PUBLISH};

    p.publish.qos = 1;
    p.publish.retain = retain;
    p.publish.id = id;
    p.publish.topic = bytes_of(s->remap.presence);
    p.publish.payload = bytes_of(text);
    bool done = put(out, &p, s->version);
    free(text);
    return done;
}

static void add_filter(struct buf *filters, enum mqtt_type type, const struct mqtt_filter *f)
{
    uint8_t *at = buf_extend(filters, 3 + f->filter.len);

    filters->len = (size_t)(at - filters->data) + mqtt_filter_put(at, type, f);
}

static bool put_filters(struct buf *out, enum mqtt_type type, struct buf *filters, uint8_t version,
                        uint16_t id)
{
    struct mqtt_packet p = {.type = (uint8_t)type};

    p.subscribe.id = id;
    p.subscribe.filters = (struct bytes){filters->data, filters->len};
    bool done = put(out, &p, version);
    buf_free(filters);
    return done;
}

/* Retained messages only for a subscription that is new to the upstream, their flag kept, nothing of our own
 * back: what MQTT 5 has words for. */
bool wire_subscribe(struct buf *out, const struct settings *s, uint16_t id)
{
    bool v5 = s->version == MQTT_5;
    struct buf filters = {0};

    for (size_t i = 0; i < s->remap.in_count; i++) {
        const struct rule *r = &s->remap.in[i];
        struct mqtt_filter f = {bytes_of(r->match), r->qos, v5, v5, v5};
        add_filter(&filters, MQTT_SUBSCRIBE, &f);
    }
    return put_filters(out, MQTT_SUBSCRIBE, &filters, s->version, id);
}

bool wire_unsubscribe(struct buf *out, char *const *names, size_t count, uint8_t version, uint16_t id)
{
    struct buf filters = {0};

    for (size_t i = 0; i < count; i++) {
        struct mqtt_filter f = {.filter = bytes_of(names[i])};
        add_filter(&filters, MQTT_UNSUBSCRIBE, &f);
    }
    return put_filters(out, MQTT_UNSUBSCRIBE, &filters, version, id);
}

bool wire_ack(struct buf *out, enum mqtt_type type, uint16_t id, uint8_t reason, uint8_t version)
{
    struct mqtt_packet p = {.type = (uint8_t)type};

    p.ack.id = id;
    p.ack.reason = reason;
    return put(out, &p, version);
}

bool wire_bare(struct buf *out, enum mqtt_type type, uint8_t version)
{
    struct mqtt_packet p = {.type = (uint8_t)type};

    return put(out, &p, version);
}
