/* SPDX-License-Identifier: Apache-2.0 */
/* Framings of MQTT-SN: the first octet chooses one, the second the longest packet, the rest is a line in
 * pieces with silences between them (an octet with the piece's length; its highest bit: a silence before it).
 * No octet is lost from the counts, a packet is never longer than allowed, and after all that a frame is
 * whole. */
#include <stdlib.h>

#include "drivers/mqttsn/framing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { GAP_US = 1000 };

struct heard {
    const struct framing *f;
    size_t bytes, count;
};

static void on_packet(void *arg, uint64_t address, struct bytes packet)
{
    struct heard *h = arg;
    uint8_t sum = (uint8_t)address;

    for (size_t i = 0; i < packet.len; i++) /* the sanitizer looks at each */
        sum ^= packet.data[i];
    if (!packet.len || packet.len > h->f->most + 14 || (sum == 0 && packet.len > FRAMING_ROOM(FRAMING_MOST)))
        abort();
    h->bytes += packet.len;
    h->count++;
}

static void play(struct framing *f, const uint8_t *data, size_t size)
{
    uint64_t now = 0;

    while (size) {
        size_t piece = *data & 0x7f;
        if (*data & 0x80)
            now += GAP_US;
        data++, size--;
        piece = piece < size ? piece : size;
        framing_idle(f, ++now);
        framing_feed(f, now, data, piece);
        data += piece, size -= piece;
        if (f->len > FRAMING_ROOM(f->most))
            abort();
    }
    now += GAP_US;
    framing_idle(f, now);
    if (framing_deadline(f) != UINT64_MAX)
        abort();
}

/* What the framing itself writes it, or its radio, can read. A radio's own frames are others, so of it only
 * the length is known. */
static void put(struct framing *f, struct heard *h)
{
    static const uint8_t ping[] = {2, 0x16};
    uint8_t *frame = malloc(FRAMING_FRAME(f->most));
    size_t count = h->count;

    if (!frame)
        abort();
    size_t len = framing_put(f, 7, (struct bytes){ping, sizeof ping}, frame);
    if (len < sizeof ping || len > FRAMING_FRAME(f->most))
        abort();
    framing_feed(f, f->last_us + 1, frame, len);
    if (f->kind != &framing_xbee && f->kind != &framing_xbee_escaped && h->count == count)
        abort();
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heard h = {.f = NULL};
    struct framing f = {.gap_us = GAP_US, .emit = on_packet, .arg = &h};

    if (size < 2)
        return 0;
    f.kind = framings[data[0] % 4];
    f.most = 32 + (size_t)data[1];
    f.in = malloc(FRAMING_ROOM(f.most));
    if (!f.in)
        abort();
    framing_reset(&f);
    h.f = &f;
    play(&f, data + 2, size - 2);
    if (f.kind == &framing_plain && f.counts.bytes != f.counts.skipped + h.bytes)
        abort();
    if (h.count != f.counts.packets || h.bytes + f.counts.skipped > f.counts.bytes)
        abort();
    put(&f, &h);
    free(f.in);
    return 0;
}
