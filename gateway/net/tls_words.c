/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <ctype.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net/tls_private.h"

static const struct {
    int code;
    const char *words;
} known[] = {
    {MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE, "the peer sent no certificate"},
    {MBEDTLS_ERR_SSL_INVALID_RECORD, "the peer does not speak TLS"},
    {MBEDTLS_ERR_SSL_INVALID_MAC, "a record was damaged or forged on the way"},
    {MBEDTLS_ERR_SSL_CONN_EOF, "closed by the peer"},
    {MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE, "the peer sent a message that does not belong here"},
    {MBEDTLS_ERR_SSL_ALLOC_FAILED, "out of memory"},
    {MBEDTLS_ERR_X509_CERT_VERIFY_FAILED, "the peer's certificate is not acceptable"},
#if MBEDTLS_VERSION_MAJOR >= 3
    {MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION, "no TLS version in common"},
    {MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE, "no cipher or key exchange in common"},
    {MBEDTLS_ERR_SSL_DECODE_ERROR, "the peer sent a malformed message"},
    {MBEDTLS_ERR_SSL_NO_APPLICATION_PROTOCOL, "no application protocol (ALPN) in common"},
#else
    {MBEDTLS_ERR_SSL_BAD_HS_PROTOCOL_VERSION, "no TLS version in common"},
    {MBEDTLS_ERR_SSL_NO_CIPHER_CHOSEN, "no cipher in common"},
    {MBEDTLS_ERR_SSL_BAD_HS_CLIENT_HELLO, "the peer's greeting is malformed"},
#endif
};

void tls_words(int err, char *out, size_t size)
{
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].code == err) {
            snprintf(out, size, "%s", known[i].words);
            return;
        }
    mbedtls_strerror(err, out, size);
}

const char *tls_alert_words(int alert)
{
    switch (alert) {
    case MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE:
        return "handshake failure (no cipher in common, or a certificate is missing)";
    case MBEDTLS_SSL_ALERT_MSG_BAD_CERT:
        return "bad certificate";
    case MBEDTLS_SSL_ALERT_MSG_UNSUPPORTED_CERT:
        return "unsupported certificate";
    case MBEDTLS_SSL_ALERT_MSG_CERT_REVOKED:
        return "our certificate is revoked";
    case MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED:
        return "our certificate has expired";
    case MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN:
        return "our certificate is not accepted";
    case MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA:
        return "our certificate is signed by a CA that it does not know";
    case MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED:
        return "access denied";
    case MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION:
        return "no TLS version in common";
    case MBEDTLS_SSL_ALERT_MSG_INSUFFICIENT_SECURITY:
        return "our ciphers are too weak for it";
    case MBEDTLS_SSL_ALERT_MSG_UNRECOGNIZED_NAME:
        return "it does not know the server name";
    case MBEDTLS_SSL_ALERT_MSG_NO_APPLICATION_PROTOCOL:
        return "no application protocol (ALPN) in common";
    case 116: /* certificate_required, RFC 8446; mbedtls has no name for it */
        return "it wants a certificate from us";
    default:
        return NULL;
    }
}

static bool printable(const unsigned char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (iscntrl(text[i]))
            return false;
    return len > 0;
}

bool tls_common_name(const mbedtls_x509_crt *cert, char *out, size_t size)
{
    const mbedtls_x509_name *name = &cert->subject;

    for (; name; name = name->next) {
        if (MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &name->oid))
            continue;
        if (name->val.len >= size || !printable(name->val.p, name->val.len))
            return false;
        memcpy(out, name->val.p, name->val.len);
        out[name->val.len] = 0;
        return true;
    }
    return false;
}

enum { SAN_DNS = 2, SAN_ADDRESS = 7 };

static int san_kind(const mbedtls_x509_sequence *san)
{
    return san->buf.tag & 0x1f;
}

bool tls_is_address(const char *name)
{
    uint8_t addr[16];

    return inet_pton(AF_INET, name, addr) == 1 || inet_pton(AF_INET6, name, addr) == 1;
}

bool tls_cert_has_address(const mbedtls_x509_crt *cert, const char *name)
{
    uint8_t addr[16];
    size_t len = inet_pton(AF_INET, name, addr) == 1 ? 4 : inet_pton(AF_INET6, name, addr) == 1 ? 16 : 0;

    for (const mbedtls_x509_sequence *san = &cert->subject_alt_names; san; san = san->next)
        if (len && san_kind(san) == SAN_ADDRESS && san->buf.len == len && !memcmp(san->buf.p, addr, len))
            return true;
    return false;
}

static size_t add_name(char *out, size_t size, size_t at, const mbedtls_x509_sequence *san)
{
    char text[INET6_ADDRSTRLEN];
    int family = san->buf.len == 4 ? AF_INET : AF_INET6;
    int len = 0;

    if (san_kind(san) == SAN_DNS && printable(san->buf.p, san->buf.len))
        len = snprintf(out + at, size - at, "%s%.*s", at ? ", " : "", (int)san->buf.len, (char *)san->buf.p);
    else if (san_kind(san) == SAN_ADDRESS && (san->buf.len == 4 || san->buf.len == 16))
        len = snprintf(out + at, size - at, "%s%s", at ? ", " : "",
                       inet_ntop(family, san->buf.p, text, sizeof(text)));
    return at + (size_t)len < size ? at + (size_t)len : at;
}

/* Whom a certificate is for: its alternative names, else its common name. */
static void names(const mbedtls_x509_crt *cert, char *out, size_t size)
{
    size_t at = 0;

    out[0] = 0;
    for (const mbedtls_x509_sequence *san = &cert->subject_alt_names; san && san->buf.p; san = san->next)
        at = add_name(out, size, at, san);
    out[at] = 0;
    if (!at && !tls_common_name(cert, out, size))
        snprintf(out, size, "nobody");
}

void tls_verify_words(const mbedtls_x509_crt *cert, uint32_t flags, const char *name, const char *ca_file,
                      char *out, size_t size)
{
    const mbedtls_x509_time *from = &cert->valid_from, *to = &cert->valid_to;
    char who[160];

    if (!tls_common_name(cert, who, sizeof(who)))
        names(cert, who, sizeof(who));
    if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
        snprintf(out, size, "certificate of %s is not signed by %s", who, ca_file);
    else if (flags & MBEDTLS_X509_BADCERT_EXPIRED)
        snprintf(out, size, "certificate of %s expired %04d-%02d-%02d", who, to->year, to->mon, to->day);
    else if (flags & MBEDTLS_X509_BADCERT_FUTURE)
        snprintf(out, size, "certificate of %s is not valid before %04d-%02d-%02d; is the clock right?", who,
                 from->year, from->mon, from->day);
    else if (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) {
        names(cert, who, sizeof(who));
        snprintf(out, size, "certificate is for %s, not %s", who, name ? name : "us");
    } else if (flags & MBEDTLS_X509_BADCERT_REVOKED)
        snprintf(out, size, "certificate of %s is revoked", who);
    else if (flags &
             (MBEDTLS_X509_BADCERT_BAD_MD | MBEDTLS_X509_BADCERT_BAD_PK | MBEDTLS_X509_BADCERT_BAD_KEY))
        snprintf(out, size, "certificate of %s has a key or signature that is too weak", who);
    else if (flags & (MBEDTLS_X509_BADCERT_KEY_USAGE | MBEDTLS_X509_BADCERT_EXT_KEY_USAGE))
        snprintf(out, size, "certificate of %s is not made for this use (key usage)", who);
    else
        snprintf(out, size, "certificate of %s is not acceptable (%#x)", who, (unsigned)flags);
}
