/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a serial line that nobody expects: what the sniffer makes of them covers them all, in order, and
 * what it calls a frame has a good CRC; any frame can be told in words. */
#include <stdlib.h>
#include <string.h>

#include "drivers/modbus/crc.h"
#include "drivers/modbus/decode.h"
#include "drivers/modbus/sniff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void tell(struct bytes frame)
{
    static struct decode_request asked;
    struct bytes pdu = {frame.data + 1, frame.len - 3};
    struct buf words = {0};

    decode_reply(&asked, frame.data[0], pdu, &words);
    decode_request(pdu, &words);
    asked = decode_remember(frame.data[0], pdu);
    if (!words.len || strlen((const char *)words.data) != words.len)
        abort();
    buf_free(&words);
}

static size_t take(struct sniff *s, uint64_t now_us, const uint8_t *from)
{
    size_t done = 0;

    for (struct sniff_piece p; (p = sniff_next(s, now_us)).data.len; done += p.data.len) {
        if (memcmp(p.data.data, from + done, p.data.len) || (p.frame && !crc_good(p.data.data, p.data.len)))
            abort();
        if (p.data.len > 3)
            tell(p.data);
    }
    return done;
}

/* Each first byte says how many follow, and whether there is a gap before them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *line = malloc(size + 1);
    struct sniff s;
    size_t len = 0, done = 0;
    uint64_t now = 1000000;

    if (!line)
        abort();
    sniff_init(&s, rtu_timing(9600, 11));
    for (size_t at = 0; at < size;) {
        size_t part = data[at] & 0x3f, left = size - at - 1;
        now += data[at] & 0x40 ? 1000000 : 1000;
        at++;
        part = part < left ? part : left;
        if (now > 1000000)
            done += take(&s, now, line + done);
        memcpy(line + len, data + at, part);
        len += part;
        for (size_t fed; part; at += fed, part -= fed) {
            size_t room = sniff_room(&s);
            if (!room)
                abort();
            fed = part < room ? part : room;
            sniff_feed(&s, data + at, fed, now);
            done += take(&s, 0, line + done);
        }
    }
    done += take(&s, UINT64_MAX, line + done);
    if (done != len)
        abort();
    free(line);
    return 0;
}
