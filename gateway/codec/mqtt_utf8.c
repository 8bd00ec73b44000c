/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/mqtt.h"
#include "codec/mqtt_plain.h"

/* The bytes of the sequence at s, 0 when it is none. The second byte tells overlong forms, surrogates and
 * what is beyond U+10FFFF. */
static size_t sequence(const uint8_t *s, size_t left)
{
    uint8_t lead = s[0];
    size_t len = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;

    if (!len || left < len)
        return 0;
    uint8_t least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < least || s[1] > most)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

static bool utf8_ok(struct bytes text)
{
    const uint8_t *at = text.data, *end = at + text.len;

    while (at < end) {
        size_t left = (size_t)(end - at), step = 1;

        if (left >= sizeof(uint64_t) && mqtt_plain_word(mqtt_word(at), true))
            step = sizeof(uint64_t);
        else if (*at >= 0x80)
            step = sequence(at, left);
        else if (!*at)
            return false;
        if (!step)
            return false;
        at += step;
    }
    return true;
}

bool mqtt_utf8_ok(struct bytes text)
{
    return mqtt_plain(text, true) || utf8_ok(text);
}

/* U+0001 to U+001F, U+007F to U+009F, U+FDD0 to U+FDEF, and the last two of each plane. */
static bool is_odd(const uint8_t *s, size_t len)
{
    if (len == 1)
        return *s < 0x20 || *s == 0x7f;
    if (len == 2)
        return s[0] == 0xc2 && s[1] < 0xa0;
    if (len == 3 && s[0] == 0xef && s[1] == 0xb7)
        return s[2] >= 0x90 && s[2] <= 0xaf;
    bool plane_ends = len == 3 ? s[0] == 0xef && s[1] == 0xbf : (s[1] & 0x0f) == 0x0f && s[2] == 0xbf;
    return plane_ends && s[len - 1] >= 0xbe;
}

bool mqtt_utf8_tidy(struct bytes text)
{
    const uint8_t *at = text.data, *end = at + text.len;

    while (at < end) {
        size_t step = *at < 0x80 ? 1 : sequence(at, (size_t)(end - at));
        if (!step || is_odd(at, step))
            return false;
        at += step;
    }
    return true;
}
