/* SPDX-License-Identifier: Apache-2.0 */
/* TLS contexts: certificates, keys and settings that connections share; the tls layer in net/ uses them.
 * TLS 1.2 and, where the mbedtls at hand has it, 1.3. Reference counted by its connections: a reload makes
 * new contexts, old connections keep theirs. Loop thread only. */
#ifndef SLUICE_NET_TLS_H
#define SLUICE_NET_TLS_H

#include <stddef.h>

struct tls_context;

struct tls_server_config {
    const char *cert, *key; /* PEM files; cert with its chain */
    const char *client_ca;  /* PEM; NULL: no client certificate is asked for. Else one is required */
};
struct tls_client_config {
    const char *ca;         /* PEM; NULL: the system's (/etc/ssl/certs/ca-certificates.crt) */
    const char *cert, *key; /* NULL: none */
    const char *alpn;       /* NULL: none */
};

/* 0, or -E… with a sentence for the user in error (which file, what is wrong with it). */
int tls_server_new(struct tls_context **out, const struct tls_server_config *config, char *error,
                   size_t size);
int tls_client_new(struct tls_context **out, const struct tls_client_config *config, char *error,
                   size_t size);
/* Drops the maker's reference. NULL is fine. */
void tls_context_free(struct tls_context *t);
/* "1.2" or "1.3": the newest version that this build speaks. */
const char *tls_newest(void);

#endif
