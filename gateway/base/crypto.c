/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crypto.h"

#include <errno.h>
#include <mbedtls/base64.h>
#include <mbedtls/constant_time.h>
#include <mbedtls/md.h>
#include <mbedtls/pkcs5.h>
#include <mbedtls/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"

static void must(int result, const char *what)
{
    if (!result)
        return;
    fprintf(stderr, "<2>%s failed: %d\n", what, result);
    abort();
}

void crypto_random(void *out, size_t len)
{
    uint8_t *at = out;

    while (len) {
        ssize_t got = getrandom(at, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        must(got < 0 ? errno : 0, "getrandom");
        at += got;
        len -= (size_t)got;
    }
}

static mbedtls_md_type_t type_of(enum crypto_hash hash)
{
    static const mbedtls_md_type_t types[] = {MBEDTLS_MD_SHA1, MBEDTLS_MD_SHA256, MBEDTLS_MD_SHA512};

    return types[hash];
}

static const mbedtls_md_info_t *info_of(enum crypto_hash hash)
{
    return mbedtls_md_info_from_type(type_of(hash));
}

size_t crypto_hash_len(enum crypto_hash hash)
{
    return mbedtls_md_get_size(info_of(hash));
}

void crypto_digest(enum crypto_hash hash, const void *data, size_t len, uint8_t *out)
{
    must(mbedtls_md(info_of(hash), data, len, out), "hash");
}

void crypto_hmac(enum crypto_hash hash, const void *key, size_t key_len, const void *data, size_t len,
                 uint8_t *out)
{
    must(mbedtls_md_hmac(info_of(hash), key, key_len, data, len, out), "HMAC");
}

void crypto_pbkdf2(enum crypto_hash hash, const void *password, size_t password_len, const void *salt,
                   size_t salt_len, unsigned rounds, uint8_t *out, size_t out_len)
{
#if MBEDTLS_VERSION_NUMBER >= 0x03030000
    must(mbedtls_pkcs5_pbkdf2_hmac_ext(type_of(hash), password, password_len, salt, salt_len, rounds,
                                       (uint32_t)out_len, out),
         "PBKDF2");
#else
    mbedtls_md_context_t md;

    mbedtls_md_init(&md);
    must(mbedtls_md_setup(&md, info_of(hash), 1), "PBKDF2");
    must(mbedtls_pkcs5_pbkdf2_hmac(&md, password, password_len, salt, salt_len, rounds, (uint32_t)out_len,
                                   out),
         "PBKDF2");
    mbedtls_md_free(&md);
#endif
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
    return !mbedtls_ct_memcmp(a, b, len);
}

char *crypto_base64(const void *data, size_t len)
{
    size_t size = (len + 2) / 3 * 4 + 1;
    char *text = mem_alloc(size);

    must(mbedtls_base64_encode((uint8_t *)text, size, &size, data, len), "base64");
    return text;
}

int crypto_base64_decode(const char *text, uint8_t *out, size_t size, size_t *len)
{
    size_t text_len = strlen(text);

    /* mbedtls takes line ends and missing padding; no file of ours has either. */
    if (text_len % 4 || strpbrk(text, " \r\n"))
        return -EINVAL;
    switch (mbedtls_base64_decode(out, size, len, (const uint8_t *)text, text_len)) {
    case 0:
        return 0;
    case MBEDTLS_ERR_BASE64_BUFFER_TOO_SMALL:
        return -EMSGSIZE;
    default:
        return -EINVAL;
    }
}

int crypto_base64url_decode(struct bytes text, uint8_t *out, size_t size, size_t *len)
{
    char *plain = mem_alloc(text.len + 4);
    int err = 0;

    for (size_t i = 0; i < text.len && !err; i++) {
        char c = (char)text.data[i];
        plain[i] = c == '-' ? '+' : c == '_' ? '/' : c;
        if (!c || strchr("+/=", c))
            err = -EINVAL;
    }
    memset(plain + text.len, '=', (4 - text.len % 4) % 4);
    if (!err)
        err = crypto_base64_decode(plain, out, size, len);
    free(plain);
    return err;
}
