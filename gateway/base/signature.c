/* SPDX-License-Identifier: Apache-2.0 */
#include "base/signature.h"

#include <mbedtls/ecp.h>
#include <mbedtls/pk.h>
#include <mbedtls/version.h>

#include "base/crypto.h"
#include "base/mem.h"

enum { SECRET_LEAST = 32, RSA_LEAST_BITS = 2048, RSA_MOST_BITS = 8192, ES256_LEN = 64 };

const char *const signature_names[] = {"HS256", "RS256", "ES256", NULL};

static bool is_pem(struct bytes key)
{
    return memmem(key.data, key.len, "-----BEGIN", 10) != NULL;
}

/* ---- keys ---- */

static mbedtls_ecp_group_id curve_of(const mbedtls_pk_context *pk)
{
#if MBEDTLS_VERSION_NUMBER >= 0x03060000
    return mbedtls_ecp_keypair_get_group_id(mbedtls_pk_ec(*pk));
#else
    return mbedtls_pk_ec(*pk)->grp.id;
#endif
}

static const char *rsa_wrong(const mbedtls_pk_context *pk)
{
    size_t bits = mbedtls_pk_get_bitlen(pk);

    if (mbedtls_pk_get_type(pk) != MBEDTLS_PK_RSA)
        return "is no RSA key, which RS256 needs";
    return bits < RSA_LEAST_BITS || bits > RSA_MOST_BITS
               ? "is an RSA key of less than 2048 or more than 8192 bits"
               : NULL;
}

static const char *ec_wrong(const mbedtls_pk_context *pk)
{
    if (mbedtls_pk_get_type(pk) != MBEDTLS_PK_ECKEY || curve_of(pk) != MBEDTLS_ECP_DP_SECP256R1)
        return "is no key on the curve P-256, which ES256 needs";
    return NULL;
}

static const char *public_wrong(struct bytes key, const char *(*wrong)(const mbedtls_pk_context *pk))
{
    mbedtls_pk_context pk;
    const char *why = "is no public key as PEM (-----BEGIN PUBLIC KEY-----)";

    mbedtls_pk_init(&pk);
    if (is_pem(key) && !mbedtls_pk_parse_public_key(&pk, key.data, key.len + 1))
        why = wrong(&pk);
    mbedtls_pk_free(&pk);
    return why;
}

static const char *secret_wrong(struct bytes key)
{
    if (is_pem(key))
        return "is a key as PEM, which everybody may know; HS256 needs a secret, such as openssl rand -hex "
               "32 makes";
    return key.len < SECRET_LEAST ? "is too short: a secret for HS256 has at least 32 bytes" : NULL;
}

/* ---- signatures ---- */

static bool public_ok(struct bytes key, const uint8_t hash[CRYPTO_SHA256_LEN], struct bytes signature)
{
    mbedtls_pk_context pk;

    mbedtls_pk_init(&pk);
    bool ok =
        !mbedtls_pk_parse_public_key(&pk, key.data, key.len + 1) &&
        !mbedtls_pk_verify(&pk, MBEDTLS_MD_SHA256, hash, CRYPTO_SHA256_LEN, signature.data, signature.len);
    mbedtls_pk_free(&pk);
    return ok;
}

static bool rsa_ok(struct bytes key, struct bytes data, struct bytes signature)
{
    uint8_t hash[CRYPTO_SHA256_LEN];

    crypto_digest(CRYPTO_SHA256, data.data, data.len, hash);
    return public_ok(key, hash, signature);
}

/* An INTEGER of ASN.1, of 32 bytes without a sign. */
static uint8_t *put_integer(uint8_t *at, const uint8_t *number)
{
    size_t len = ES256_LEN / 2;

    while (len > 1 && !*number)
        number++, len--;
    bool sign = *number & 0x80;
    *at++ = 2;
    *at++ = (uint8_t)(len + sign);
    if (sign)
        *at++ = 0;
    memcpy(at, number, len);
    return at + len;
}

/* RFC 7518 §3.4 puts r and s side by side; mbedtls takes them as ASN.1. */
static bool ec_ok(struct bytes key, struct bytes data, struct bytes signature)
{
    uint8_t hash[CRYPTO_SHA256_LEN], der[2 + 2 * (3 + ES256_LEN / 2)];

    if (signature.len != ES256_LEN)
        return false;
    uint8_t *end = put_integer(der + 2, signature.data);
    end = put_integer(end, signature.data + ES256_LEN / 2);
    der[0] = 0x30;
    der[1] = (uint8_t)(end - der - 2);
    crypto_digest(CRYPTO_SHA256, data.data, data.len, hash);
    return public_ok(key, hash, (struct bytes){der, (size_t)(end - der)});
}

static bool hmac_ok(struct bytes key, struct bytes data, struct bytes signature)
{
    uint8_t mac[CRYPTO_SHA256_LEN];

    crypto_hmac(CRYPTO_SHA256, key.data, key.len, data.data, data.len, mac);
    return signature.len == sizeof(mac) && crypto_equal(mac, signature.data, sizeof(mac));
}

/* ---- kinds ---- */

const char *signature_key_wrong(enum signature_kind kind, struct bytes key)
{
    static const char *(*const wrong[])(const mbedtls_pk_context *pk) = {NULL, rsa_wrong, ec_wrong};

    return wrong[kind] ? public_wrong(key, wrong[kind]) : secret_wrong(key);
}

bool signature_ok(enum signature_kind kind, struct bytes key, struct bytes data, struct bytes signature)
{
    static bool (*const ok[])(struct bytes key, struct bytes data, struct bytes signature) = {hmac_ok, rsa_ok,
                                                                                              ec_ok};

    return ok[kind](key, data, signature);
}
