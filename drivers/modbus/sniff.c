/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/sniff.h"

#include "base/mem.h"
#include "drivers/modbus/crc.h"

enum { FRAME_LEAST = 4, EXCEPTION_LEN = 5, TRIES = 5 };

void sniff_init(struct sniff *s, struct rtu_timing timing)
{
    *s = (struct sniff){.timing = timing};
}

size_t sniff_room(const struct sniff *s)
{
    return sizeof s->rx - (s->len - s->used);
}

static void drop_used(struct sniff *s)
{
    if (!s->used)
        return;
    s->len -= s->used;
    memmove(s->rx, s->rx + s->used, s->len);
    memmove(s->at_us, s->at_us + s->used, s->len * sizeof s->at_us[0]);
    s->used = 0;
}

void sniff_feed(struct sniff *s, const uint8_t *data, size_t len, uint64_t now_us)
{
    drop_used(s);
    memcpy(s->rx + s->len, data, len);
    for (size_t i = 0; i < len; i++) {
        uint64_t before = rtu_wire_us(&s->timing, len - 1 - i);
        uint64_t at = now_us > before ? now_us - before : 0;
        uint64_t last = s->len ? s->at_us[s->len - 1] : 0;
        s->at_us[s->len++] = at > last ? at : last;
    }
}

/* The lengths that a frame which begins so may have: a request, an answer; 0: none. Those that need bytes
 * which are not there yet are told as RTU_FRAME_MAX. */
static void lengths_of(const uint8_t *p, size_t len, size_t out[TRIES])
{
    size_t n = 0;

    memset(out, 0, TRIES * sizeof out[0]);
    if (p[1] & 0x80) {
        out[0] = EXCEPTION_LEN;
        return;
    }
    switch (p[1]) {
    case 7:
    case 11:
    case 12:
    case 17:
        out[n++] = FRAME_LEAST;
        out[n++] = p[1] == 7 ? 5 : p[1] == 11 ? 8 : len > 2 ? p[2] + 5u : RTU_FRAME_MAX;
        return;
    case 22:
        out[n++] = 10;
        return;
    case 24:
        out[n++] = 6;
        out[n++] = len > 3 ? (size_t)(p[2] << 8 | p[3]) + 6 : RTU_FRAME_MAX;
        return;
    case 43:
        out[n++] = 7;
        return;
    case 15:
    case 16:
        out[n++] = len > 6 ? p[6] + 9u : RTU_FRAME_MAX;
        break;
    case 23:
        out[n++] = len > 10 ? p[10] + 13u : RTU_FRAME_MAX;
        break;
    default:
        break;
    }
    out[n++] = 8;
    out[n++] = len > 2 ? p[2] + 5u : RTU_FRAME_MAX;
}

/* 0: no frame begins here; *more: one may, when more bytes come. */
static size_t frame_at(const uint8_t *p, size_t len, bool *more)
{
    size_t lengths[TRIES];

    *more = len < FRAME_LEAST;
    if (len < 2)
        return 0;
    lengths_of(p, len, lengths);
    for (size_t i = 0; i < TRIES && lengths[i]; i++) {
        if (lengths[i] < FRAME_LEAST || lengths[i] > RTU_FRAME_MAX)
            continue;
        if (lengths[i] > len)
            *more = true;
        else if (crc_good(p, lengths[i]))
            return lengths[i];
    }
    return 0;
}

/* After a gap all that is there is whole: also what has no length that anybody knows. */
static size_t whole_at(const uint8_t *p, size_t len)
{
    bool more;
    size_t found = frame_at(p, len, &more);

    if (found || len < FRAME_LEAST || len > RTU_FRAME_MAX || !p[1])
        return found;
    return crc_good(p, len) ? len : 0;
}

static struct sniff_piece piece_of(struct sniff *s, size_t len, bool frame)
{
    uint64_t char_us = rtu_wire_us(&s->timing, 1);
    uint64_t first = s->at_us[0] > char_us ? s->at_us[0] - char_us : 0;

    s->used = len;
    s->noise = 0;
    return (struct sniff_piece){{s->rx, len}, frame, first, s->at_us[len - 1]};
}

static uint64_t ended_us(const struct sniff *s)
{
    return s->at_us[s->len - 1] + s->timing.gap_us;
}

struct sniff_piece sniff_next(struct sniff *s, uint64_t now_us)
{
    drop_used(s);
    while (s->noise < s->len) {
        const uint8_t *p = s->rx + s->noise;
        size_t left = s->len - s->noise;
        bool ended = now_us >= ended_us(s), more = false;
        size_t found = ended ? whole_at(p, left) : frame_at(p, left, &more);
        if (found && s->noise)
            return piece_of(s, s->noise, false);
        if (found)
            return piece_of(s, found, true);
        if (more && !ended && s->len < sizeof s->rx)
            return (struct sniff_piece){0};
        s->noise++;
    }
    return s->len ? piece_of(s, s->len, false) : (struct sniff_piece){0};
}

uint64_t sniff_wake_us(const struct sniff *s)
{
    return s->len > s->used ? ended_us(s) : 0;
}
