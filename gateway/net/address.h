/* SPDX-License-Identifier: Apache-2.0 */
/* Where a peer is, and networks that it may be in. Values without owners; any thread. */
#ifndef SLUICE_NET_ADDRESS_H
#define SLUICE_NET_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
    uint8_t family; /* AF_INET, AF_INET6, AF_UNIX; AF_UNSPEC: not known */
    uint16_t port;
    uint8_t ip[16];
};

/* IPv4 in IPv6 becomes IPv4. A family that has no place here becomes AF_UNSPEC. */
void address_set(struct address *a, const struct sockaddr *from);
/* "192.0.2.7:51234", "[2001:db8::1]:51234", "unix", "unknown". */
void address_text(const struct address *a, char out[64]);

struct network {
    uint8_t family, bits;
    uint8_t ip[16];
};

/* "192.0.2.7", "10.0.0.0/8", "2001:db8::/32". 0 or -EINVAL, also when bits beyond the mask are set. */
int network_parse(const char *text, struct network *out);
bool network_has(const struct network *n, const struct address *a);

#endif
