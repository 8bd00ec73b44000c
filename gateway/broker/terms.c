/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/terms.h"

#include <string.h>

const struct conf_row terms_rows[] = {
    {"qos", CONF_INT, .def = "2", .min = 0, .max = 2,
     .help = "highest QoS of clients' messages and subscriptions"},
    {"retain", CONF_BOOL, .def = "true", .help = "clients may publish retained messages"},
    {"wildcards", CONF_BOOL, .def = "true", .help = "clients may subscribe with + and #"},
    {"shared", CONF_BOOL, .def = "true", .help = "clients may share subscriptions ($share/NAME/FILTER)"},
    {"subscription_ids", CONF_BOOL, .def = "true", .help = "MQTT 5 clients may number their subscriptions"},
    {"check_payloads", CONF_BOOL, .def = "true",
     .help = "refuse payloads of MQTT 5 clients that claim to be UTF-8 and are not"},
    {"old_client_id", CONF_INT, .def = "23", .min = 23, .max = 65535,
     .help = "longest client identifier of an MQTT 3.1 client, in characters; 3.1 allows 23"},
    {"odd_characters", CONF_BOOL, .def = "true",
     .help = "take control characters and Unicode non-characters in topics, filters and names"},
    {0},
};

struct terms terms_of(const struct conf_node *group)
{
    return (struct terms){
        .max_qos = (uint8_t)conf_int(group, "qos"),
        .retain = conf_bool(group, "retain"),
        .wildcards = conf_bool(group, "wildcards"),
        .shared = conf_bool(group, "shared"),
        .subscription_ids = conf_bool(group, "subscription_ids"),
        .check_payloads = conf_bool(group, "check_payloads"),
        .old_client_id = (uint16_t)conf_int(group, "old_client_id"),
        .odd_characters = conf_bool(group, "odd_characters"),
    };
}

void terms_tell(const struct terms *t, struct mqtt_props *connack)
{
    if (t->max_qos < 2)
        mqtt_set_number(connack, MQTT_MAXIMUM_QOS, t->max_qos);
    if (!t->retain)
        mqtt_set_number(connack, MQTT_RETAIN_AVAILABLE, 0);
    if (!t->wildcards)
        mqtt_set_number(connack, MQTT_WILDCARD_AVAILABLE, 0);
    if (!t->shared)
        mqtt_set_number(connack, MQTT_SHARED_AVAILABLE, 0);
    if (!t->subscription_ids)
        mqtt_set_number(connack, MQTT_SUBSCRIPTION_ID_AVAILABLE, 0);
}

static uint8_t refuse(uint8_t reason, const char *what, const char **why)
{
    *why = what;
    return reason;
}

static bool is_odd(const struct terms *t, struct bytes text)
{
    return !t->odd_characters && !mqtt_utf8_tidy(text);
}

static const char odd[] = "control character or non-character";

uint8_t terms_message(const struct terms *t, struct bytes topic, uint8_t qos, bool retain, const char **why)
{
    if (qos > t->max_qos)
        return refuse(MQTT_NO_QOS, "a higher QoS than is offered here", why);
    if (retain && !t->retain)
        return refuse(MQTT_NO_RETAIN, "retained messages are not offered here", why);
    return is_odd(t, topic) ? refuse(MQTT_BAD_TOPIC, odd, why) : MQTT_OK;
}

static size_t characters(struct bytes text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += (text.data[i] & 0xc0) != 0x80;
    return count;
}

uint8_t terms_connect(const struct terms *t, const struct mqtt_connect *p, const char **why)
{
    const struct mqtt_will *w = &p->will;

    if (p->version == MQTT_3_1 && characters(p->client_id) > t->old_client_id)
        return refuse(MQTT_BAD_CLIENT_ID,
                      "client identifier longer than MQTT 3.1 allows; mqtt.old_client_id may allow more",
                      why);
    if (is_odd(t, p->client_id))
        return refuse(MQTT_BAD_CLIENT_ID, odd, why);
    if (p->has_user && is_odd(t, p->user))
        return refuse(MQTT_BAD_CREDENTIALS, odd, why);
    if (!p->has_will)
        return MQTT_OK;
    if (p->version == MQTT_5 && terms_bad_format(t, &w->props, w->payload, why))
        return MQTT_BAD_PAYLOAD_FORMAT;
    return terms_message(t, w->topic, w->qos, w->retain, why);
}

static uint8_t judge_filter(const struct terms *t, struct bytes filter, const char **why)
{
    bool wild = memchr(filter.data, '+', filter.len) || memchr(filter.data, '#', filter.len);

    if (!t->shared && filter.len > 7 && !memcmp(filter.data, "$share/", 7))
        return refuse(MQTT_NO_SHARED, "shared subscriptions are not offered here", why);
    if (wild && !t->wildcards)
        return refuse(MQTT_NO_WILDCARDS, "wildcards are not offered here", why);
    return is_odd(t, filter) ? refuse(MQTT_BAD_FILTER, odd, why) : MQTT_OK;
}

uint8_t terms_subscribe(const struct terms *t, const struct mqtt_subscribe *p, const char **why)
{
    struct cursor at = cursor_of(p->filters.data, p->filters.len);
    struct mqtt_filter f;
    uint8_t reason = MQTT_OK;

    if (!t->subscription_ids && mqtt_has(&p->props, MQTT_SUBSCRIPTION_ID))
        return refuse(MQTT_NO_SUBSCRIPTION_IDS, "subscription identifiers are not offered here", why);
    if (t->shared && t->wildcards && t->odd_characters)
        return MQTT_OK;
    while (!reason && mqtt_filter_next(&at, MQTT_SUBSCRIBE, &f))
        reason = judge_filter(t, f.filter, why);
    return reason;
}

/* UTF-8 in which U+0000 is a character like others (§3.3.2.3.2). */
static bool is_text(struct bytes payload)
{
    const uint8_t *at = payload.data, *end = at + payload.len;

    while (at < end) {
        const uint8_t *zero = memchr(at, 0, (size_t)(end - at)), *stop = zero ? zero : end;
        if (!mqtt_utf8_ok((struct bytes){at, (size_t)(stop - at)}))
            return false;
        at = stop + 1;
    }
    return true;
}

bool terms_bad_format(const struct terms *t, const struct mqtt_props *p, struct bytes payload,
                      const char **why)
{
    *why = "payload that is not the UTF-8 it claims to be";
    return t->check_payloads && mqtt_number(p, MQTT_PAYLOAD_FORMAT, 0) && !is_text(payload);
}
