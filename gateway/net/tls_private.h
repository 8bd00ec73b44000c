/* SPDX-License-Identifier: Apache-2.0 */
/* What the tls files share: the context, and words for what mbedtls says. The differences between
 * mbedtls 2.28 and 3.6 are settled here and in the tls files. Nobody else includes this. Loop thread only. */
#ifndef SLUICE_NET_TLS_PRIVATE_H
#define SLUICE_NET_TLS_PRIVATE_H

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <stdbool.h>

#include "net/tls.h"

#ifndef MBEDTLS_PRIVATE
#define MBEDTLS_PRIVATE(member) member
#endif

struct tls_context {
    unsigned refs;
    bool server;
    mbedtls_ssl_config config;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_x509_crt cert, ca;
    mbedtls_pk_context key;
    mbedtls_ssl_ticket_context tickets; /* server: seals sessions, so that a client can resume */
    mbedtls_ssl_session session;        /* client: the last one, to be resumed */
    char *session_name;                 /* whose it is; NULL: none */
    char *ca_file;                      /* for messages */
    char *alpn;
    const char *alpn_list[2];
};

/* What went wrong, for people; err is mbedtls's. */
void tls_words(int err, char *out, size_t size);
/* The same for an alert of the peer. */
const char *tls_alert_words(int alert);
/* What is wrong with cert by flags (never 0). name: whom we expected, or NULL. */
void tls_verify_words(const mbedtls_x509_crt *cert, uint32_t flags, const char *name, const char *ca_file,
                      char *out, size_t size);
/* Its common name into out; false when there is none that text can hold. */
bool tls_common_name(const mbedtls_x509_crt *cert, char *out, size_t size);
/* True when name is an IP address; then also whether cert names it. */
bool tls_is_address(const char *name);
bool tls_cert_has_address(const mbedtls_x509_crt *cert, const char *name);

#endif
