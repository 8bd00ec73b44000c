/* SPDX-License-Identifier: Apache-2.0 */
#include "bridge/url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

static const struct scheme {
    const char *prefix;
    uint16_t port;
    bool tls;
} schemes[] = {
    {"mqtt://", 1883, false},
    {"mqtts://", 8883, true},
};

static const struct scheme *find_scheme(const char *text)
{
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
        if (!strncasecmp(text, schemes[i].prefix, strlen(schemes[i].prefix)))
            return &schemes[i];
    return NULL;
}

/* The part after "HOST", which begins with ':' or is empty. */
static int parse_port(const char *text, uint16_t *out)
{
    if (!*text)
        return 0;
    size_t digits = strspn(text + 1, "0123456789");
    unsigned long port = strtoul(text + 1, NULL, 10);

    if (*text != ':' || !digits || digits > 5 || text[1 + digits] || !port || port > 65535)
        return -EINVAL;
    *out = (uint16_t)port;
    return 0;
}

static bool host_ok(const char *host, size_t len, bool brackets)
{
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    char address[64];
    struct in6_addr ip6;

    if (!len || len > 253)
        return false;
    if (!brackets)
        return strspn(host, name) >= len;
    size_t plain = strcspn(host, "%]"); /* what follows '%' names the interface */
    if (plain >= sizeof(address))
        return false;
    memcpy(address, host, plain);
    address[plain] = 0;
    return inet_pton(AF_INET6, address, &ip6) == 1;
}

int url_parse(struct url *out, const char *text, char *error, size_t size)
{
    const struct scheme *scheme = find_scheme(text);

    if (!scheme) {
        snprintf(error, size, "\"%s\" is no address of an upstream; mqtt://HOST:PORT or mqtts://HOST:PORT",
                 text);
        return -EINVAL;
    }
    const char *host = text + strlen(scheme->prefix);
    if (strchr(host, '@')) {
        snprintf(error, size, "credentials do not belong in a url; use user and password or password_file");
        return -EINVAL;
    }
    bool brackets = *host == '[';
    host += brackets;
    size_t len = strcspn(host, brackets ? "]" : ":/?#");
    const char *rest = host + len + (brackets && host[len]);
    uint16_t port = scheme->port;

    if ((brackets && !host[len]) || !host_ok(host, len, brackets) || parse_port(rest, &port)) {
        snprintf(error, size, "\"%s\" has no valid host and port; %sHOST:PORT, an IPv6 address in brackets",
                 text, scheme->prefix);
        return -EINVAL;
    }
    *out = (struct url){mem_strdup(text), mem_strndup(host, len), port, scheme->tls};
    return 0;
}

void url_free(struct url *u)
{
    free(u->text);
    free(u->host);
}

bool url_is_loopback(const struct url *u)
{
    return !strcasecmp(u->host, "localhost") || !strncmp(u->host, "127.", 4) || !strcmp(u->host, "::1");
}
