/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/pcap.h"

#include <string.h>

#include "base/buf.h"

enum {
    UPPER_PDU = 252,
    /* Tags in front of each packet (wireshark, epan/exported_pdu.h). */
    TAG_END = 0,
    TAG_DISSECTOR = 12,
    TAG_IPV4_FROM = 20,
    TAG_IPV4_TO = 21,
    TAG_PORT_KIND = 24,
    TAG_PORT_FROM = 25,
    TAG_PORT_TO = 26,
    PORT_KIND_TCP = 2,
    MASTER_PORT = 49152,
    SLAVE_PORT = 502, /* by which the dissectors tell a request from an answer */
};

/* The file's own numbers are in the byte order of who writes it; its first says which that is. */
static void put_native(FILE *out, uint32_t v)
{
    fwrite(&v, sizeof v, 1, out);
}

void pcap_begin(FILE *out)
{
    const uint16_t version[2] = {2, 4};

    put_native(out, 0xa1b2c3d4);
    fwrite(version, sizeof version, 1, out);
    put_native(out, 0);
    put_native(out, 0);
    put_native(out, 65535);
    put_native(out, UPPER_PDU);
}

static void put_number(struct buf *b, uint16_t tag, uint32_t v)
{
    buf_u16(b, tag);
    buf_u16(b, 4);
    buf_u32(b, v);
}

/* Padded with zeroes to whole words. */
static void put_text(struct buf *b, uint16_t tag, const char *text)
{
    size_t len = strlen(text), padded = (len + 3) / 4 * 4;

    buf_u16(b, tag);
    buf_u16(b, (uint16_t)padded);
    buf_append(b, text, len);
    buf_append(b, "\0\0\0", padded - len);
}

void pcap_write(FILE *out, const struct pcap_packet *p)
{
    struct buf b = {0};
    int64_t us = p->wall_us > 0 ? p->wall_us : 0;

    put_text(&b, TAG_DISSECTOR, p->dissector);
    put_number(&b, TAG_IPV4_FROM, p->from);
    put_number(&b, TAG_IPV4_TO, p->to);
    put_number(&b, TAG_PORT_KIND, PORT_KIND_TCP);
    put_number(&b, TAG_PORT_FROM, p->answer ? SLAVE_PORT : MASTER_PORT);
    put_number(&b, TAG_PORT_TO, p->answer ? MASTER_PORT : SLAVE_PORT);
    buf_u16(&b, TAG_END);
    buf_u16(&b, 0);
    buf_append(&b, p->data, p->len);
    put_native(out, (uint32_t)(us / 1000000));
    put_native(out, (uint32_t)(us % 1000000));
    put_native(out, (uint32_t)b.len);
    put_native(out, (uint32_t)b.len);
    fwrite(b.data, 1, b.len, out);
    buf_free(&b);
}
