/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/mqttsn/framing.h"

#include <string.h>

#include "base/mem.h"

const struct framing_kind *const framings[] = {&framing_plain, &framing_slip_crc, &framing_xbee,
                                               &framing_xbee_escaped, NULL};
const char *const framing_names[] = {"plain", "slip-crc", "xbee", "xbee-escaped", NULL};
_Static_assert(ARRAY_SIZE(framings) == ARRAY_SIZE(framing_names), "a name for each, in the same order");

void framing_reset(struct framing *f)
{
    *f = (struct framing){
        .kind = f->kind, .most = f->most, .gap_us = f->gap_us, .emit = f->emit, .arg = f->arg, .in = f->in};
}

uint64_t framing_deadline(const struct framing *f)
{
    return f->kind->gap && f->len ? f->last_us + f->gap_us : UINT64_MAX;
}

void framing_idle(struct framing *f, uint64_t now_us)
{
    if (now_us < framing_deadline(f))
        return;
    f->counts.gaps++;
    f->kind->gap(f);
}

void framing_feed(struct framing *f, uint64_t now_us, const uint8_t *data, size_t len)
{
    f->last_us = now_us;
    f->counts.bytes += len;
    for (size_t i = 0; i < len; i++)
        f->kind->take(f, data[i]);
}

size_t framing_put(struct framing *f, uint64_t address, struct bytes packet, uint8_t *out)
{
    return f->kind->put(f, address, packet, out);
}

void framing_packet(struct framing *f, uint64_t address, struct bytes packet)
{
    f->counts.packets++;
    f->emit(f->arg, address, packet);
}

void framing_drop(struct framing *f, size_t count)
{
    f->len -= count;
    memmove(f->in, f->in + count, f->len);
}

void framing_skip(struct framing *f, size_t count)
{
    f->counts.skipped += count;
    framing_drop(f, count);
}
