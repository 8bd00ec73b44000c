/* SPDX-License-Identifier: Apache-2.0 */
#include "net/proxy.h"

#include <arpa/inet.h>
#include <errno.h>

enum {
    V1_MOST = 107,
    V2_HEAD = 16,
    V2_LOCAL = 0x20,
    V2_PROXY = 0x21,
    V2_TCP4 = 0x11,
    V2_TCP6 = 0x21,
    V2_UNIX = 0x31,
    UNIX_PATH = 108,
    TLV_SSL = 0x20,
    TLV_SSL_CN = 0x22,
    CLIENT_SSL = 1,
    CLIENT_CERT = 2 | 4, /* in this connection, or in the session that it resumed */
};

static const uint8_t v1_begin[] = "PROXY ";
static const uint8_t v2_begin[] = "\r\n\r\n\0\r\nQUIT\n";

static int wrong(const char **why, const char *text)
{
    *why = text;
    return -EPROTO;
}

static bool may_begin(const uint8_t *data, size_t len, const uint8_t *begin, size_t size)
{
    return !memcmp(data, begin, len < size ? len : size);
}

/* ---- version 1: a line of text ---- */

/* The next word of a line, which must be followed by one space or end the line. */
static bool word(struct cursor *c, char *out, size_t size)
{
    size_t len = 0;

    while (cursor_left(c) && *c->at != ' ' && len + 1 < size)
        out[len++] = (char)cursor_u8(c);
    out[len] = 0;
    return len && (!cursor_left(c) || cursor_u8(c) == ' ');
}

static bool port_of(const char *text, uint16_t *port)
{
    uint32_t value = 0;

    if (text[0] == '0' && text[1])
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > 65535)
            return false;
        value = value * 10 + (uint32_t)(*text - '0');
    }
    *port = (uint16_t)value;
    return value <= 65535;
}

static bool v1_addresses(struct cursor *c, int family, struct address *peer)
{
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN], from_port[6], to_port[6];
    uint8_t ip[16];
    uint16_t port;

    if (!word(c, from, sizeof(from)) || !word(c, to, sizeof(to)) || !word(c, from_port, sizeof(from_port)) ||
        !word(c, to_port, sizeof(to_port)) || cursor_left(c))
        return false;
    peer->family = (uint8_t)family;
    return inet_pton(family, from, peer->ip) == 1 && inet_pton(family, to, ip) == 1 &&
           port_of(from_port, &peer->port) && port_of(to_port, &port);
}

static int parse_v1(const uint8_t *data, size_t len, struct proxy_header *out, const char **why)
{
    const uint8_t *end = memchr(data, '\n', len < V1_MOST ? len : V1_MOST);
    char family[8];

    if (!end)
        return len < V1_MOST ? 0 : wrong(why, "a line without an end");
    if (end - data < (ptrdiff_t)sizeof(v1_begin) || end[-1] != '\r')
        return wrong(why, "a line that does not end with CR LF");
    size_t begin = sizeof(v1_begin) - 1;
    struct cursor c = cursor_of(data + begin, (size_t)(end - 1 - data) - begin);
    bool one = word(&c, family, sizeof(family));
    bool known = one && (!strcmp(family, "TCP4") || !strcmp(family, "TCP6"));
    if (known && !v1_addresses(&c, family[3] == '4' ? AF_INET : AF_INET6, &out->peer))
        return wrong(why, "an address or port that is none");
    if (!known && (!one || strcmp(family, "UNKNOWN")))
        return wrong(why, "neither TCP4, TCP6 nor UNKNOWN");
    return (int)(end + 1 - data);
}

/* ---- version 2: binary ---- */

static bool v2_address(struct cursor *c, uint8_t kind, struct address *peer)
{
    size_t size = kind == V2_TCP4 ? 4 : 16;

    if (kind == V2_UNIX) {
        peer->family = AF_UNIX;
        return cursor_take(c, 2 * UNIX_PATH) != NULL;
    }
    if (kind != V2_TCP4 && kind != V2_TCP6) /* of what we do not know only the length is */
        return cursor_take(c, cursor_left(c)) != NULL;
    const uint8_t *from = cursor_take(c, size);
    cursor_take(c, size);
    uint16_t port = cursor_u16(c);
    cursor_u16(c);
    if (c->failed)
        return false;
    peer->family = kind == V2_TCP4 ? AF_INET : AF_INET6;
    memcpy(peer->ip, from, size);
    peer->port = port;
    return true;
}

/* One type-length-value; its type, or -1. */
static int next_tlv(struct cursor *c, struct bytes *value)
{
    int type = cursor_u8(c);

    *value = cursor_bytes(c, cursor_u16(c));
    return c->failed ? -1 : type;
}

static bool v2_certificate(struct bytes ssl, struct bytes *name)
{
    struct cursor c = cursor_of(ssl.data, ssl.len);
    struct bytes value;
    uint8_t client = cursor_u8(&c);
    bool verified = cursor_u32(&c) == 0 && client & CLIENT_SSL && client & CLIENT_CERT;

    while (!c.failed && cursor_left(&c))
        if (next_tlv(&c, &value) == TLV_SSL_CN && verified)
            *name = value;
    return !c.failed;
}

static bool v2_more(struct cursor *c, struct bytes *name)
{
    struct bytes value;

    while (cursor_left(c)) {
        int type = next_tlv(c, &value);
        if (type < 0 || (type == TLV_SSL && !v2_certificate(value, name)))
            return false;
    }
    return true;
}

static int parse_v2(const uint8_t *data, size_t len, struct proxy_header *out, const char **why)
{
    struct cursor c = cursor_of(data, len);

    cursor_take(&c, sizeof(v2_begin) - 1);
    uint8_t command = cursor_u8(&c), kind = cursor_u8(&c);
    uint16_t size = cursor_u16(&c);
    if (c.failed)
        return 0;
    if (command != V2_LOCAL && command != V2_PROXY)
        return wrong(why, "neither LOCAL nor PROXY of version 2");
    if (V2_HEAD + size > PROXY_MOST)
        return wrong(why, "a header over 4 kB");
    if (cursor_left(&c) < size)
        return 0;
    struct cursor body = cursor_of(c.at, size);
    if (command == V2_PROXY && !v2_address(&body, kind, &out->peer))
        return wrong(why, "a header too short for its addresses");
    if (command == V2_PROXY && !v2_more(&body, &out->common_name))
        return wrong(why, "a header whose parts are longer than the whole");
    return V2_HEAD + size;
}

int proxy_parse(const uint8_t *data, size_t len, struct proxy_header *out, const char **why)
{
    *out = (struct proxy_header){0};
    if (!len)
        return 0;
    if (may_begin(data, len, v1_begin, sizeof(v1_begin) - 1))
        return parse_v1(data, len, out, why);
    if (may_begin(data, len, v2_begin, sizeof(v2_begin) - 1))
        return parse_v2(data, len, out, why);
    return wrong(why, "the connection does not begin with a PROXY header");
}
