/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes, hashes, HMAC, password hashes and base64, thin over mbedtls; TLS is net's. Nothing is kept,
 * nothing fails but the decoder of base64: without memory or randomness the program ends. Any thread;
 * crypto_pbkdf2 takes long by design and belongs on a worker. */
#ifndef SLUICE_BASE_CRYPTO_H
#define SLUICE_BASE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { CRYPTO_SHA256_LEN = 32, CRYPTO_SHA512_LEN = 64, CRYPTO_MOST_LEN = 64 };
enum crypto_hash { CRYPTO_SHA1, CRYPTO_SHA256, CRYPTO_SHA512 };

/* From the kernel; waits only while the box has just booted and has gathered none yet. */
void crypto_random(void *out, size_t len);

/* Bytes of a hash. */
size_t crypto_hash_len(enum crypto_hash hash);
void crypto_digest(enum crypto_hash hash, const void *data, size_t len, uint8_t *out);
/* RFC 2104. */
void crypto_hmac(enum crypto_hash hash, const void *key, size_t key_len, const void *data, size_t len,
                 uint8_t *out);
/* PBKDF2 with HMAC (RFC 8018 §5.2). */
void crypto_pbkdf2(enum crypto_hash hash, const void *password, size_t password_len, const void *salt,
                   size_t salt_len, unsigned rounds, uint8_t *out, size_t out_len);

/* Takes the same time wherever they differ. */
bool crypto_equal(const void *a, const void *b, size_t len);

/* RFC 4648 §4, with padding; to be freed. */
char *crypto_base64(const void *data, size_t len);
/* 0 and the number of bytes, -EINVAL when text is no base64, -EMSGSIZE when out is too small. */
int crypto_base64_decode(const char *text, uint8_t *out, size_t size, size_t *len);
/* The same of RFC 4648 §5 without padding, as tokens have it. */
int crypto_base64url_decode(struct bytes text, uint8_t *out, size_t size, size_t *len);

#endif
