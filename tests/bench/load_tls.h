/* SPDX-License-Identifier: Apache-2.0 */
/* TLS for the load generator: TLS 1.2 with one cipher suite, so that every broker does the same work. The
 * handshake blocks, what follows does not; results are those of recv and send, errno EAGAIN included. The
 * peer is not verified: it is on loopback, and what is measured is the broker. */
#ifndef SLUICE_BENCH_LOAD_TLS_H
#define SLUICE_BENCH_LOAD_TLS_H

#include <stddef.h>
#include <sys/types.h>

struct tls;

/* fd is connected and blocks. NULL when the handshake fails. */
struct tls *tls_open(int fd);
/* To be called until it says EAGAIN: what is decrypted already does not wake an epoll. */
ssize_t tls_recv(struct tls *t, void *data, size_t size);
ssize_t tls_send(struct tls *t, const void *data, size_t len);

#endif
