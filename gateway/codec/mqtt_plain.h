/* SPDX-License-Identifier: Apache-2.0 */
/* The quick half of the UTF-8 and topic checks, eight bytes at a time: is a text nothing but ASCII without
 * U+0000, and without wildcards if asked? Most are; whoever gets a no looks closer. Used by mqtt_utf8.c and
 * mqtt_topic.c. */
#ifndef SLUICE_CODEC_MQTT_PLAIN_H
#define SLUICE_CODEC_MQTT_PLAIN_H

#include "base/buf.h"

#define MQTT_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Adding 0x7f to a byte below 0x80 sets its top bit unless it is zero, and carries into no other byte. '#'
 * and '+' differ in one bit. */
static inline bool mqtt_plain_word(uint64_t v, bool wildcards)
{
    uint64_t good = (v + MQTT_EACH(0x7f)) & ~v;

    if (!wildcards)
        good &= ((v | MQTT_EACH('#' ^ '+')) ^ MQTT_EACH('+')) + MQTT_EACH(0x7f);
    return (good & MQTT_EACH(0x80)) == MQTT_EACH(0x80);
}

static inline uint64_t mqtt_word(const uint8_t *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof(v));
    return v;
}

/* Fewer than eight bytes, some of them twice or filled up with letters. */
static inline uint64_t mqtt_short_word(const uint8_t *at, size_t len)
{
    uint32_t low, high;

    if (len >= sizeof(low)) {
        memcpy(&low, at, sizeof(low));
        memcpy(&high, at + len - sizeof(high), sizeof(high));
        return (uint64_t)high << 32 | low;
    }
    if (!len)
        return MQTT_EACH('x');
    return (MQTT_EACH('x') << 24) | (uint32_t)(at[0] | at[len / 2] << 8 | at[len - 1] << 16);
}

static inline bool mqtt_plain(struct bytes text, bool wildcards)
{
    const uint8_t *at = text.data;

    if (text.len < sizeof(uint64_t))
        return mqtt_plain_word(mqtt_short_word(at, text.len), wildcards);
    const uint8_t *last = at + text.len - sizeof(uint64_t);
    for (; at < last; at += sizeof(uint64_t))
        if (!mqtt_plain_word(mqtt_word(at), wildcards))
            return false;
    return mqtt_plain_word(mqtt_word(last), wildcards);
}

#endif
