/* SPDX-License-Identifier: Apache-2.0 */
/* Packets back to back, by their own lengths. Without a check sum only their shape tells them from garbage,
 * and inside a damaged packet there may be bytes that look like a small one. So when something is wrong
 * nothing is believed until the line is silent: then what is taken is the longest row of whole packets that
 * ends where the silence begins. */
#include <errno.h>

#include "codec/mqttsn.h"
#include "drivers/mqttsn/framing.h"

enum { GLITCHES = 4 /* bytes that a driver that is switched off may leave behind the last packet */ };

/* The packet at data, with a forwarder's envelope if it has one. 1: *total is its length and it is whole; 0:
 * there may be more to come; -EBADMSG: it is none. */
static int look(const struct framing *f, const uint8_t *data, size_t len, size_t *total)
{
    struct mqttsn_envelope envelope;
    struct mqttsn_packet packet;
    struct bytes inner;
    size_t header, more;
    int is = mqttsn_frame(data, len, &header, total);

    if (is != 1)
        return is;
    if (*total > f->most)
        return -EBADMSG;
    if (len < *total)
        return 0;
    if (mqttsn_unwrap((struct bytes){data, *total}, &envelope, &inner)) {
        is = mqttsn_frame(data + *total, len - *total, &header, &more);
        if (is != 1)
            return is;
        *total += more;
        if (*total > f->most)
            return -EBADMSG;
        if (len < *total)
            return 0;
    }
    if (mqttsn_unwrap((struct bytes){data, *total}, &envelope, &inner) < 0)
        return -EBADMSG;
    return mqttsn_decode(&mqttsn_12, inner, &packet) ? -EBADMSG : 1;
}

static void take_packets(struct framing *f)
{
    size_t total;
    int is;

    while (f->len && (is = look(f, f->in, f->len, &total))) {
        if (is < 0) {
            f->lost = true;
            return;
        }
        framing_packet(f, 0, (struct bytes){f->in, total});
        framing_drop(f, total);
    }
}

/* The first place from which whole packets fill the buffer up to end; end when there is none. From the back:
 * a place is good when a packet leads from it to the end or to a good place. */
static size_t find_row(const struct framing *f, size_t end)
{
    uint8_t good[FRAMING_ROOM(FRAMING_MOST) / 8 + 1] = {0};
    size_t found = end, total;

    for (size_t at = end; at-- > 0;)
        if (look(f, f->in + at, end - at, &total) == 1 &&
            (at + total == end || good[(at + total) / 8] & 1 << (at + total) % 8)) {
            good[at / 8] |= (uint8_t)(1 << at % 8);
            found = at;
        }
    return found;
}

static void gap(struct framing *f)
{
    size_t end = f->len, at = find_row(f, end);

    for (int i = 0; i < GLITCHES && at == end && end && (f->in[end - 1] == 0 || f->in[end - 1] == 0xff);
         i++) {
        end--;
        at = find_row(f, end);
    }
    if (at < end) {
        framing_skip(f, at);
        f->lost = false;
        take_packets(f);
    }
    framing_skip(f, f->len);
    f->lost = false;
}

/* Two packets from at on, and at least the beginning of a third. */
static bool believable(const struct framing *f, size_t at)
{
    size_t total;

    for (int i = 0; i < 2; i++, at += total)
        if (look(f, f->in + at, f->len - at, &total) != 1)
            return false;
    return look(f, f->in + at, f->len - at, &total) >= 0;
}

/* A line that is never silent. */
static void give_room(struct framing *f)
{
    for (size_t at = 1; at < f->len; at++)
        if (believable(f, at)) {
            framing_skip(f, at);
            f->lost = false;
            take_packets(f);
            return;
        }
    framing_skip(f, f->len / 2);
}

static void take(struct framing *f, uint8_t byte)
{
    f->in[f->len++] = byte;
    if (!f->lost)
        take_packets(f);
    if (f->len == FRAMING_ROOM(f->most))
        give_room(f);
}

static size_t put(struct framing *f, uint64_t address, struct bytes packet, uint8_t *out)
{
    (void)f, (void)address;
    memcpy(out, packet.data, packet.len);
    return packet.len;
}

const struct framing_kind framing_plain = {.name = "plain", .take = take, .gap = gap, .put = put};
