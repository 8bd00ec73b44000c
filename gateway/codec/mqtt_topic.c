/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/mqtt_plain.h"
#include "codec/mqtt_wire.h"

static bool length_ok(struct bytes text)
{
    return text.len && text.len <= UINT16_MAX;
}

static bool has(struct bytes text, int byte)
{
    return text.len && memchr(text.data, byte, text.len);
}

uint8_t mqtt_topic_error(struct bytes topic)
{
    if (length_ok(topic) && mqtt_plain(topic, false))
        return 0;
    if (!mqtt_utf8_ok(topic))
        return MQTT_MALFORMED;
    return length_ok(topic) && !has(topic, '+') && !has(topic, '#') ? 0 : MQTT_BAD_TOPIC;
}

/* A wildcard stands alone between slashes, and # at the end. */
static bool wildcards_ok(struct bytes filter)
{
    const uint8_t *s = filter.data;

    for (size_t i = 0; i < filter.len; i++) {
        bool last = i + 1 == filter.len;

        if (s[i] != '+' && s[i] != '#')
            continue;
        if (i && s[i - 1] != '/')
            return false;
        if (!last && (s[i] == '#' || s[i + 1] != '/'))
            return false;
    }
    return true;
}

uint8_t mqtt_filter_error(struct bytes filter)
{
    if (length_ok(filter) && mqtt_plain(filter, false))
        return 0;
    if (!mqtt_utf8_ok(filter))
        return MQTT_MALFORMED;
    return length_ok(filter) && wildcards_ok(filter) ? 0 : MQTT_BAD_FILTER;
}

bool mqtt_shared(struct bytes filter, uint8_t *why)
{
    static const char prefix[] = "$share/";
    size_t len = sizeof(prefix) - 1;

    *why = 0;
    if (filter.len < len || memcmp(filter.data, prefix, len) != 0)
        return false;
    struct bytes name = {filter.data + len, filter.len - len};
    const uint8_t *slash = name.len ? memchr(name.data, '/', name.len) : NULL;
    size_t name_len = slash ? (size_t)(slash - name.data) : 0;
    bool followed = name_len + 1 < name.len;
    name.len = name_len;
    if (!name_len || !followed || has(name, '+') || has(name, '#'))
        *why = MQTT_BAD_FILTER;
    return true;
}

bool mqtt_topic_ok(struct bytes topic)
{
    return !mqtt_topic_error(topic);
}

bool mqtt_filter_ok(struct bytes filter)
{
    return !mqtt_filter_error(filter);
}

static bool is_wildcard(uint8_t byte)
{
    return byte == '+' || byte == '#';
}

bool mqtt_topic_matches(struct bytes filter, struct bytes topic)
{
    const uint8_t *f = filter.data, *f_end = f + filter.len;
    const uint8_t *t = topic.data, *t_end = t + topic.len;

    if (f < f_end && t < t_end && *t == '$' && is_wildcard(*f))
        return false;
    for (; f < f_end; f++, t++) {
        if (*f == '#')
            return true;
        if (*f == '+')
            for (f++; t < t_end && *t != '/'; t++)
                ;
        for (; f < f_end && *f != '/'; f++, t++)
            if (t == t_end || *t != *f)
                return false;
        if (f == f_end)
            return t == t_end;
        if (t == t_end) /* "a/#" takes "a" as well */
            return f_end - f == 2 && f[1] == '#';
        if (*t != '/')
            return false;
    }
    return t == t_end;
}
