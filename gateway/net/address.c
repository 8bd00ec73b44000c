/* SPDX-License-Identifier: Apache-2.0 */
#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void address_set(struct address *a, const struct sockaddr *from)
{
    const struct sockaddr_in *v4 = (const void *)from;
    const struct sockaddr_in6 *v6 = (const void *)from;

    memset(a, 0, sizeof(*a));
    if (from->sa_family == AF_INET) {
        a->family = AF_INET;
        memcpy(a->ip, &v4->sin_addr, 4);
        a->port = ntohs(v4->sin_port);
    } else if (from->sa_family == AF_INET6) {
        bool mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
        a->family = mapped ? AF_INET : AF_INET6;
        memcpy(a->ip, v6->sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
        a->port = ntohs(v6->sin6_port);
    } else if (from->sa_family == AF_UNIX) {
        a->family = AF_UNIX;
    }
}

void address_text(const struct address *a, char out[64])
{
    char host[INET6_ADDRSTRLEN] = "";

    if (a->family != AF_INET && a->family != AF_INET6) {
        snprintf(out, 64, "%s", a->family == AF_UNIX ? "unix" : "unknown");
        return;
    }
    inet_ntop(a->family, a->ip, host, sizeof(host));
    snprintf(out, 64, a->family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, a->port);
}

static bool has_prefix(const uint8_t *ip, const uint8_t *prefix, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(ip, prefix, whole))
        return false;
    return !rest || !((ip[whole] ^ prefix[whole]) >> (8 - rest));
}

static bool is_clean(const struct network *n)
{
    unsigned most = n->family == AF_INET ? 32 : 128;

    for (unsigned bit = n->bits; bit < most; bit++)
        if (n->ip[bit / 8] >> (7 - bit % 8) & 1)
            return false;
    return true;
}

int network_parse(const char *text, struct network *out)
{
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    char host[INET6_ADDRSTRLEN], *end;

    memset(out, 0, sizeof(*out));
    if (len >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, len);
    host[len] = 0;
    out->family = strchr(host, ':') ? AF_INET6 : AF_INET;
    unsigned long most = out->family == AF_INET ? 32 : 128, bits = most;
    if (inet_pton(out->family, host, out->ip) != 1)
        return -EINVAL;
    if (slash) {
        bits = strtoul(slash + 1, &end, 10);
        if (slash[1] < '0' || slash[1] > '9' || *end || bits > most)
            return -EINVAL;
    }
    out->bits = (uint8_t)bits;
    return is_clean(out) ? 0 : -EINVAL;
}

bool network_has(const struct network *n, const struct address *a)
{
    return n->family == a->family && has_prefix(a->ip, n->ip, n->bits);
}
