/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/layer.h"
#include "net/tls_private.h"

#ifdef MBEDTLS_SSL_PROTO_TLS1_3
#include <psa/crypto.h>
#define NEWEST "1.3"
#else
#define NEWEST "1.2"
#endif

#define SYSTEM_CA     "/etc/ssl/certs/ca-certificates.crt"
#define TICKET_LIFE_S 86400

/* Forward secrecy and authenticated encryption only. */
static const int suites[] = {
#ifdef MBEDTLS_SSL_PROTO_TLS1_3
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
    MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
#endif
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    0,
};

const char *tls_newest(void)
{
    return NEWEST;
}

static struct tls_context *context_new(bool server)
{
    struct tls_context *t = mem_alloc(sizeof(*t));

    t->refs = 1;
    t->server = server;
    mbedtls_ssl_config_init(&t->config);
    mbedtls_entropy_init(&t->entropy);
    mbedtls_ctr_drbg_init(&t->random);
    mbedtls_x509_crt_init(&t->cert);
    mbedtls_x509_crt_init(&t->ca);
    mbedtls_pk_init(&t->key);
    mbedtls_ssl_ticket_init(&t->tickets);
    mbedtls_ssl_session_init(&t->session);
    return t;
}

struct tls_context *tls_context_ref(struct tls_context *t)
{
    t->refs++;
    return t;
}

void tls_context_free(struct tls_context *t)
{
    if (!t || --t->refs)
        return;
    mbedtls_ssl_config_free(&t->config);
    mbedtls_ssl_session_free(&t->session);
    mbedtls_ssl_ticket_free(&t->tickets);
    mbedtls_pk_free(&t->key);
    mbedtls_x509_crt_free(&t->ca);
    mbedtls_x509_crt_free(&t->cert);
    mbedtls_ctr_drbg_free(&t->random);
    mbedtls_entropy_free(&t->entropy);
    free(t->session_name);
    free(t->ca_file);
    free(t->alpn);
    free(t);
}

/* A sentence about a file; returns -EINVAL. */
static int complain(char *error, size_t size, const char *file, const char *what, int err)
{
    char words[160];

    if (err) {
        tls_words(err, words, sizeof(words));
        snprintf(error, size, "%s: %s: %s", file, what, words);
    } else {
        snprintf(error, size, "%s: %s", file, what);
    }
    return -EINVAL;
}

/* Tells of all that cannot be read at once; NULL among the files: none. */
static int check_readable(const char *const files[], size_t count, char *error, size_t size)
{
    size_t at = 0;
    int err = 0;

    for (size_t i = 0; i < count; i++) {
        FILE *f = files[i] ? fopen(files[i], "re") : NULL;
        if (f)
            fclose(f);
        if (f || !files[i])
            continue;
        int why = errno;
        if (at < size)
            at += (size_t)snprintf(error + at, size - at, "%s%s: cannot be read: %s", err ? "; " : "",
                                   files[i], strerror(why));
        err = err ? err : -why;
    }
    return err;
}

/* lenient: a bundle may contain certificates of kinds that mbedtls does not know. */
static int load_certs(mbedtls_x509_crt *out, const char *file, bool lenient, char *error, size_t size)
{
    int err = mbedtls_x509_crt_parse_file(out, file);

    if (err < 0)
        return complain(error, size, file, "is not a PEM certificate", err);
    if (err > 0 && !lenient)
        return complain(error, size, file, "has a certificate that cannot be understood", 0);
    return 0;
}

static int parse_key(struct tls_context *t, const char *file)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    return mbedtls_pk_parse_keyfile(&t->key, file, NULL, mbedtls_ctr_drbg_random, &t->random);
#else
    return mbedtls_pk_parse_keyfile(&t->key, file, NULL);
#endif
}

static int check_pair(struct tls_context *t)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    return mbedtls_pk_check_pair(&t->cert.pk, &t->key, mbedtls_ctr_drbg_random, &t->random);
#else
    return mbedtls_pk_check_pair(&t->cert.pk, &t->key);
#endif
}

static int load_own(struct tls_context *t, const char *cert, const char *key, char *error, size_t size)
{
    int err = load_certs(&t->cert, cert, false, error, size);

    if (err)
        return err;
    err = parse_key(t, key);
    if (err == MBEDTLS_ERR_PK_PASSWORD_REQUIRED)
        return complain(error, size, key, "is encrypted; a key without a pass phrase is needed", 0);
    if (err)
        return complain(error, size, key, "is not a PEM private key", err);
    if (check_pair(t)) {
        snprintf(error, size, "%s: is not the key of the certificate in %s", key, cert);
        return -EINVAL;
    }
    err = mbedtls_ssl_conf_own_cert(&t->config, &t->cert, &t->key);
    return err ? complain(error, size, cert, "cannot be used", err) : 0;
}

static int load_ca(struct tls_context *t, const char *file, char *error, size_t size)
{
    t->ca_file = mem_strdup(file);
    int err = load_certs(&t->ca, file, !strcmp(file, SYSTEM_CA), error, size);
    if (err)
        return err;
    mbedtls_ssl_conf_ca_chain(&t->config, &t->ca, NULL);
    mbedtls_ssl_conf_authmode(&t->config, MBEDTLS_SSL_VERIFY_REQUIRED);
    return 0;
}

static void set_versions(mbedtls_ssl_config *config)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    mbedtls_ssl_conf_min_tls_version(config, MBEDTLS_SSL_VERSION_TLS1_2);
#else
    mbedtls_ssl_conf_min_version(config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#endif
#ifdef MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(
        config, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
#endif
}

static int set_up(struct tls_context *t, char *error, size_t size)
{
    int err = 0;

#ifdef MBEDTLS_SSL_PROTO_TLS1_3
    err = psa_crypto_init() ? MBEDTLS_ERR_ENTROPY_SOURCE_FAILED : 0;
#endif
    if (!err)
        err = mbedtls_ctr_drbg_seed(&t->random, mbedtls_entropy_func, &t->entropy,
                                    (const unsigned char *)"sluice tls", 10);
    if (!err)
        err =
            mbedtls_ssl_config_defaults(&t->config, t->server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
                                        MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (err)
        return complain(error, size, "TLS", "cannot be set up", err);
    mbedtls_ssl_conf_rng(&t->config, mbedtls_ctr_drbg_random, &t->random);
    mbedtls_ssl_conf_ciphersuites(&t->config, suites);
    set_versions(&t->config);
    return 0;
}

/* Not where clients need certificates: a resumed TLS 1.3 session of mbedtls does not carry the certificate,
 * and who the peer is must stay known. */
static int offer_tickets(struct tls_context *t, char *error, size_t size)
{
    int err = mbedtls_ssl_ticket_setup(&t->tickets, mbedtls_ctr_drbg_random, &t->random,
                                       MBEDTLS_CIPHER_AES_256_GCM, TICKET_LIFE_S);

    if (err)
        return complain(error, size, "TLS", "session tickets cannot be set up", err);
    mbedtls_ssl_conf_session_tickets_cb(&t->config, mbedtls_ssl_ticket_write, mbedtls_ssl_ticket_parse,
                                        &t->tickets);
    return 0;
}

int tls_server_new(struct tls_context **out, const struct tls_server_config *config, char *error, size_t size)
{
    const char *const files[] = {config->cert, config->key, config->client_ca};
    struct tls_context *t = context_new(true);
    int err = set_up(t, error, size);

    if (!err)
        err = check_readable(files, 3, error, size);
    if (!err)
        err = load_own(t, config->cert, config->key, error, size);
    if (!err)
        err = config->client_ca ? load_ca(t, config->client_ca, error, size) : offer_tickets(t, error, size);
    if (err) {
        tls_context_free(t);
        return err;
    }
    if (!config->client_ca)
        mbedtls_ssl_conf_authmode(&t->config, MBEDTLS_SSL_VERIFY_NONE);
    *out = t;
    return 0;
}

static int set_alpn(struct tls_context *t, const char *alpn, char *error, size_t size)
{
    t->alpn = mem_strdup(alpn);
    t->alpn_list[0] = t->alpn;
    int err = mbedtls_ssl_conf_alpn_protocols(&t->config, t->alpn_list);
    return err ? complain(error, size, alpn, "is no ALPN name", err) : 0;
}

int tls_client_new(struct tls_context **out, const struct tls_client_config *config, char *error, size_t size)
{
    const char *ca = config->ca ? config->ca : SYSTEM_CA;
    const char *key = config->key ? config->key : config->cert;
    const char *const files[] = {ca, config->cert, config->key};
    struct tls_context *t = context_new(false);
    int err = set_up(t, error, size);

    if (!err)
        err = check_readable(files, 3, error, size);
    if (!err)
        err = load_ca(t, ca, error, size);
    if (!err && config->cert)
        err = load_own(t, config->cert, key, error, size);
    if (!err && config->alpn)
        err = set_alpn(t, config->alpn, error, size);
    if (err) {
        tls_context_free(t);
        return err;
    }
    *out = t;
    return 0;
}
