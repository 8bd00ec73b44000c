/* SPDX-License-Identifier: Apache-2.0 */
/* Filters and topics, apart at the first zero byte, against the standard's words taken literally: split both
 * into levels and compare them one by one. */
#include <stdlib.h>

#include "codec/mqtt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is(struct bytes level, char byte)
{
    return level.len == 1 && level.data[0] == byte;
}

/* The level at the start of *rest; false behind the last one. */
static bool next_level(struct bytes *rest, bool *more, struct bytes *level)
{
    if (!*more)
        return false;
    size_t len = 0;
    while (len < rest->len && rest->data[len] != '/')
        len++;
    *level = (struct bytes){rest->data, len};
    *more = len < rest->len;
    *rest = (struct bytes){rest->data + len + *more, rest->len - len - *more};
    return true;
}

static bool reference_matches(struct bytes filter, struct bytes topic)
{
    struct bytes f, t;
    bool more_f = true, more_t = true, first = true;

    for (;; first = false) {
        bool has_f = next_level(&filter, &more_f, &f), has_t = next_level(&topic, &more_t, &t);
        if (first && has_t && t.len && t.data[0] == '$' && (is(f, '+') || is(f, '#')))
            return false;
        if (has_f && is(f, '#'))
            return true;
        if (has_f != has_t)
            return false;
        if (!has_f)
            return true;
        if (!is(f, '+') && !bytes_equal(f, t))
            return false;
    }
}

static bool reference_filter_ok(struct bytes filter)
{
    struct bytes level, rest = filter;
    bool more = true, hash = false;

    if (!filter.len || filter.len > 65535)
        return false;
    while (next_level(&rest, &more, &level)) {
        if (hash)
            return false;
        hash = is(level, '#');
        for (size_t i = 0; level.len > 1 && i < level.len; i++)
            if (level.data[i] == '+' || level.data[i] == '#')
                return false;
    }
    return true;
}

static bool has_wildcard(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == '+' || text.data[i] == '#')
            return true;
    return false;
}

static bool reference_utf8_ok(struct bytes text)
{
    size_t i = 0;

    while (i < text.len) {
        uint32_t c = text.data[i];
        size_t more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        static const uint32_t least[] = {1, 0x80, 0x800, 0x10000};
        if (c >= 0xf8 || (c >= 0x80 && c < 0xc0) || text.len - i <= more)
            return false;
        c = more ? c & (0x3fu >> more) : c;
        for (size_t k = 1; k <= more; k++) {
            if ((text.data[i + k] & 0xc0) != 0x80)
                return false;
            c = c << 6 | (text.data[i + k] & 0x3f);
        }
        if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return false;
        i += more + 1;
    }
    return true;
}

static void check(struct bytes filter, struct bytes topic)
{
    bool filter_ok = reference_utf8_ok(filter) && reference_filter_ok(filter);
    bool topic_ok = reference_utf8_ok(topic) && topic.len && topic.len <= 65535 && !has_wildcard(topic);

    if (mqtt_utf8_ok(topic) != reference_utf8_ok(topic) || mqtt_filter_ok(filter) != filter_ok ||
        mqtt_topic_ok(topic) != topic_ok)
        abort();
    if (filter_ok && topic_ok && mqtt_topic_matches(filter, topic) != reference_matches(filter, topic))
        abort();
}

/* Copies that end where their text ends. */
static struct bytes copy_of(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);

    if (!copy)
        abort();
    if (len)
        memcpy(copy, data, len);
    return (struct bytes){copy, len};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t len = zero ? (size_t)(zero - data) : size, rest = zero ? size - len - 1 : 0;
    struct bytes filter = copy_of(data, len), topic = copy_of(zero ? zero + 1 : NULL, rest);

    check(filter, topic);
    check(topic, filter);
    free((void *)(uintptr_t)filter.data);
    free((void *)(uintptr_t)topic.data);
    return 0;
}
