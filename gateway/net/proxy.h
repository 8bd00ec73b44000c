/* SPDX-License-Identifier: Apache-2.0 */
/* The PROXY protocol, versions 1 and 2: with what a load balancer in front of us begins a connection, to tell
 * whose it is. Pure; proxy_layer.c puts it on a connection. Nothing of it can be trusted beyond whoever can
 * reach the listener. Any thread. */
#ifndef SLUICE_NET_PROXY_H
#define SLUICE_NET_PROXY_H

#include <stddef.h>

#include "base/buf.h"
#include "net/address.h"

/* Must outlive the connections of a listener; may change meanwhile. */
struct proxy_config {
    struct network *from; /* who may announce peers; NULL: whoever connects */
    size_t from_count;
};

enum { PROXY_MOST = 4096 /* bytes of a header */ };

struct proxy_header {
    struct address peer;      /* AF_UNSPEC: the connection's own is meant */
    struct bytes common_name; /* of the certificate that the peer has shown to the balancer, which verified
                               * it; in the bytes parsed; empty: none */
};

/* Parses what data begins with. The length of the header; 0: more is needed; -EPROTO: it is none, *why says
 * what is wrong. */
int proxy_parse(const uint8_t *data, size_t len, struct proxy_header *out, const char **why);

#endif
