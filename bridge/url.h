/* SPDX-License-Identifier: Apache-2.0 */
/* Where an upstream listens: mqtt://HOST[:PORT], mqtts://HOST[:PORT]; HOST is a name, an IPv4 address or an
 * IPv6 address in brackets. Credentials and paths have their own settings and are refused here. Pure. */
#ifndef SLUICE_BRIDGE_URL_H
#define SLUICE_BRIDGE_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct url {
    char *text; /* as written */
    char *host; /* without brackets */
    uint16_t port;
    bool tls;
};

/* 0, or -EINVAL with what would be right in error. On success release with url_free(). */
int url_parse(struct url *out, const char *text, char *error, size_t size);
void url_free(struct url *u);

/* True for localhost, 127.0.0.0/8 and ::1: nobody listens in on the way. */
bool url_is_loopback(const struct url *u);

#endif
