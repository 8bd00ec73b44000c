/* SPDX-License-Identifier: Apache-2.0 */
#include "load_tls.h"

#include <errno.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct tls {
    mbedtls_ssl_context ssl;
    int fd;
    size_t unfinished; /* length of a write that is to be repeated as it was */
};

static mbedtls_ssl_config config;

static int on_send(void *arg, const unsigned char *data, size_t len)
{
    const struct tls *t = arg;
    ssize_t n = send(t->fd, data, len, MSG_NOSIGNAL);

    return n >= 0 ? (int)n : errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_WRITE : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

static int on_recv(void *arg, unsigned char *data, size_t size)
{
    const struct tls *t = arg;
    ssize_t n = recv(t->fd, data, size, 0);

    return n >= 0 ? (int)n : errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

static void configure(void)
{
    static const int suites[] = {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 0};
    static mbedtls_entropy_context entropy;
    static mbedtls_ctr_drbg_context drbg;

    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&drbg);
    mbedtls_ctr_drbg_seed(&drbg, mbedtls_entropy_func, &entropy, NULL, 0);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                MBEDTLS_SSL_PRESET_DEFAULT);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &drbg);
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_NONE);
    mbedtls_ssl_conf_max_version(&config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
    mbedtls_ssl_conf_ciphersuites(&config, suites);
}

struct tls *tls_open(int fd)
{
    static int configured;
    struct tls *t = calloc(1, sizeof(*t));

    if (!configured++)
        configure();
    if (!t)
        return NULL;
    t->fd = fd;
    mbedtls_ssl_init(&t->ssl);
    int err = mbedtls_ssl_setup(&t->ssl, &config);
    mbedtls_ssl_set_bio(&t->ssl, t, on_send, on_recv, NULL);
    if (!err)
        err = mbedtls_ssl_handshake(&t->ssl);
    if (!err)
        return t;
    fprintf(stderr, "load: TLS handshake: -0x%04x\n", (unsigned)-err);
    mbedtls_ssl_free(&t->ssl);
    free(t);
    return NULL;
}

static ssize_t result(int n)
{
    if (n >= 0)
        return n;
    if (n == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
        return 0;
    errno = n == MBEDTLS_ERR_SSL_WANT_READ || n == MBEDTLS_ERR_SSL_WANT_WRITE ? EAGAIN : EPROTO;
    return -1;
}

ssize_t tls_recv(struct tls *t, void *data, size_t size)
{
    return result(mbedtls_ssl_read(&t->ssl, data, size));
}

ssize_t tls_send(struct tls *t, const void *data, size_t len)
{
    int n = mbedtls_ssl_write(&t->ssl, data, t->unfinished ? t->unfinished : len);

    if (n < 0 && !t->unfinished)
        t->unfinished = len;
    else if (n >= 0)
        t->unfinished = 0;
    return result(n);
}
