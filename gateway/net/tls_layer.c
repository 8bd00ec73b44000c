/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/layer.h"
#include "net/tls_private.h"

struct tls {
    struct layer layer;
    mbedtls_ssl_context ssl;
    struct tls_context *context;
    struct buf out;    /* records for the layer below */
    const uint8_t *in; /* what is left of what the layer below has just passed up */
    size_t in_len;
    char *name;    /* whom we expect; NULL: any */
    char *refused; /* why we do not accept the peer's certificate */
    bool greeted;  /* the first byte of the peer was one of TLS */
    char cipher[64];
};

static struct tls *of_layer(struct layer *l)
{
    return container_of(l, struct tls, layer);
}

static int bio_send(void *arg, const unsigned char *data, size_t len)
{
    struct tls *t = arg;

    if (!t->out.data)
        net_buf_get(t->layer.conn->net, &t->out);
    buf_append(&t->out, data, len);
    return (int)len;
}

static int bio_receive(void *arg, unsigned char *out, size_t size)
{
    struct tls *t = arg;
    size_t len = t->in_len < size ? t->in_len : size;

    if (!len)
        return MBEDTLS_ERR_SSL_WANT_READ;
    memcpy(out, t->in, len);
    t->in += len;
    t->in_len -= len;
    return (int)len;
}

/* A box without a battery clock comes up in 1970 and may need this very connection to learn the time. Until
 * its clock is set it cannot judge dates, so it takes certificates whatever their dates are and says so once;
 * whose they are and who has signed them is checked all the same. */
static uint32_t without_dates(uint32_t flags)
{
    static bool said;
    const uint32_t dates = MBEDTLS_X509_BADCERT_EXPIRED | MBEDTLS_X509_BADCERT_FUTURE |
                           MBEDTLS_X509_BADCRL_EXPIRED | MBEDTLS_X509_BADCRL_FUTURE;

    if (!(flags & dates) || clock_is_set())
        return flags;
    if (!said)
        log_warn("tls: the clock is not set: dates of certificates are not checked until it is");
    said = true;
    return flags & ~dates;
}

static int verify(void *arg, mbedtls_x509_crt *cert, int depth, uint32_t *flags)
{
    struct tls *t = arg;
    char words[400];

    *flags = without_dates(*flags);
    if (depth == 0 && t->name && tls_is_address(t->name) && !tls_cert_has_address(cert, t->name))
        *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    if (!*flags || t->refused)
        return 0;
    tls_verify_words(cert, *flags, t->name, t->context->ca_file, words, sizeof(words));
    t->refused = mem_strdup(words);
    return 0;
}

static bool is_tls12(const struct tls *t)
{
    return !strcmp(mbedtls_ssl_get_version(&t->ssl), "TLSv1.2");
}

static void fail(struct tls *t, int err)
{
    struct conn *c = t->layer.conn;
    const char *before = c->state == CONN_SHAKING ? "" : "TLS: ";
    char words[200];

    if (err == MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE && is_tls12(t)) /* mbedtls says nothing to the peer */
        mbedtls_ssl_send_alert_message(&t->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
                                       MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE);
    if (t->out.len)
        net_dirty(c); /* the alert */
    if (t->refused) {
        conn_fail(c, true, "%s%s", before, t->refused);
    } else if (err == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
        int alert = t->ssl.MBEDTLS_PRIVATE(in_msg)[1];
        const char *known = tls_alert_words(alert);
        if (known)
            conn_fail(c, true, "%sthe peer refused: %s", before, known);
        else
            conn_fail(c, true, "%sthe peer refused: alert %d", before, alert);
    } else {
        tls_words(err, words, sizeof(words));
        conn_fail(c, true, "%s%s", before, words);
    }
}

static void keep_session(struct tls *t)
{
    struct tls_context *x = t->context;

    mbedtls_ssl_session_free(&x->session);
    mbedtls_ssl_session_init(&x->session);
    free(x->session_name);
    x->session_name = NULL;
    if (!mbedtls_ssl_get_session(&t->ssl, &x->session))
        x->session_name = mem_strdup(t->name ? t->name : "");
}

static void shaken(struct tls *t)
{
    snprintf(t->cipher, sizeof(t->cipher), "%s %s", mbedtls_ssl_get_version(&t->ssl),
             mbedtls_ssl_get_ciphersuite(&t->ssl));
    /* TLS 1.3 sends its tickets later. */
    if (!t->context->server && is_tls12(t))
        keep_session(t);
    layer_stands(&t->layer);
}

static void shake(struct tls *t)
{
    int err = mbedtls_ssl_handshake(&t->ssl);

    if (t->out.len)
        net_dirty(t->layer.conn);
    if (!err)
        shaken(t);
    else if (err != MBEDTLS_ERR_SSL_WANT_READ && err != MBEDTLS_ERR_SSL_WANT_WRITE)
        fail(t, err);
}

/* True when reading can go on after err. left: of the input, when mbedtls last asked for more. With TLS 1.3
 * it does so between finding a session ticket and looking into it, while there is more. */
static bool passing(struct tls *t, int err, size_t *left)
{
#ifdef MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET
    if (err == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
        keep_session(t);
        return true;
    }
#endif
    if (err != MBEDTLS_ERR_SSL_WANT_READ || t->in_len == *left)
        return false;
    *left = t->in_len;
    return t->in_len || mbedtls_ssl_check_pending(&t->ssl);
}

static void stop_reading(struct tls *t, int err)
{
    if (t->out.len)
        net_dirty(t->layer.conn);
    if (err == MBEDTLS_ERR_SSL_WANT_READ)
        return;
    if (err == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY || err == 0)
        layer_ended(&t->layer);
    else
        fail(t, err);
}

static void read_records(struct tls *t)
{
    struct conn *c = t->layer.conn;
    uint8_t *plain = net_plain(c->net) + READ_ROOM;
    size_t len = 0, left = SIZE_MAX;
    int got;

    while (conn_listens(c)) {
        got = mbedtls_ssl_read(&t->ssl, plain + len, READ_SIZE - len);
        if (got > 0)
            len += (size_t)got;
        if (len && (got <= 0 || len == READ_SIZE)) {
            layer_pass_up(&t->layer, plain, len, READ_ROOM);
            len = 0;
        }
        if (got <= 0 && !passing(t, got, &left)) {
            if (conn_listens(c))
                stop_reading(t, got);
            return;
        }
    }
}

static void open_tls(struct layer *l)
{
    shake(of_layer(l));
}

/* mbedtls has many names for what comes of speaking to something else. */
static bool greets(struct tls *t, uint8_t first)
{
    if (!t->greeted && first != MBEDTLS_SSL_MSG_HANDSHAKE && first != MBEDTLS_SSL_MSG_ALERT) {
        conn_fail(t->layer.conn, true, "the peer does not speak TLS");
        return false;
    }
    t->greeted = true;
    return true;
}

static void input(struct layer *l, uint8_t *data, size_t len, size_t room)
{
    struct tls *t = of_layer(l);

    (void)room;
    if (!greets(t, data[0]))
        return;
    t->in = data;
    t->in_len = len;
    if (!l->stands)
        shake(t);
    if (l->stands)
        read_records(t);
    t->in = NULL;
    t->in_len = 0;
}

static void ended(struct layer *l)
{
    if (l->stands)
        conn_fail(l->conn, true, "the stream ended without TLS close_notify");
    else
        conn_fail(l->conn, true, "closed by the peer");
}

static void encrypt(struct tls *t, struct buf *data)
{
    size_t done = 0;

    while (done < data->len) {
        int n = mbedtls_ssl_write(&t->ssl, data->data + done, data->len - done);
        if (n <= 0) {
            fail(t, n);
            break;
        }
        done += (size_t)n;
    }
    data->len = 0;
}

static void push(struct tls *t)
{
    layer_output(t->layer.below, &t->out);
    if (!t->out.len)
        net_buf_put(t->layer.conn->net, &t->out);
    t->layer.waiting = t->out.len;
}

static void output(struct layer *l, struct buf *data)
{
    struct tls *t = of_layer(l);

    if (l->stands && !layer_blocked(l))
        encrypt(t, data);
    push(t);
}

static void farewell(struct layer *l)
{
    struct tls *t = of_layer(l);

    if (l->stands)
        mbedtls_ssl_close_notify(&t->ssl);
    push(t);
    l->below->ops->farewell(l->below);
}

static void free_tls(struct layer *l)
{
    struct tls *t = of_layer(l);

    mbedtls_ssl_free(&t->ssl);
    tls_context_free(t->context);
    buf_free(&t->out);
    free(t->name);
    free(t->refused);
    free(t);
}

static const char *cipher(const struct layer *l)
{
    return container_of(l, struct tls, layer)->cipher;
}

static bool peer_name(const struct layer *l, char *out, size_t size)
{
    const mbedtls_x509_crt *cert = mbedtls_ssl_get_peer_cert(&container_of(l, struct tls, layer)->ssl);

    return l->stands && cert && tls_common_name(cert, out, size);
}

static const struct conn_layer tls_layer = {
    .name = "TLS",
    .open = open_tls,
    .input = input,
    .ended = ended,
    .output = output,
    .farewell = farewell,
    .free = free_tls,
    .cipher = cipher,
    .peer_name = peer_name,
};

/* An address is no server name by RFC 6066: it is not sent, and verify() compares it. */
static int set_name(struct tls *t)
{
    return mbedtls_ssl_set_hostname(&t->ssl, t->name && !tls_is_address(t->name) ? t->name : NULL);
}

struct layer *tls_layer_new(struct tls_context *context, const char *server_name)
{
    struct tls *t = mem_alloc(sizeof(*t));

    t->layer.ops = &tls_layer;
    t->context = tls_context_ref(context);
    t->name = server_name && !context->server ? mem_strdup(server_name) : NULL;
    mbedtls_ssl_init(&t->ssl);
    if (mbedtls_ssl_setup(&t->ssl, &context->config) || (!context->server && set_name(t))) {
        free_tls(&t->layer);
        return NULL;
    }
    mbedtls_ssl_set_bio(&t->ssl, t, bio_send, bio_receive, NULL);
    mbedtls_ssl_set_verify(&t->ssl, verify, t);
    /* A session that does not fit is no harm: the handshake is then a full one. */
    if (context->session_name && t->name && !strcmp(context->session_name, t->name))
        mbedtls_ssl_set_session(&t->ssl, &context->session);
    return &t->layer;
}
