/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of the standards: FIPS 180-4, RFC 4231, RFC 4648; PBKDF2 with HMAC-SHA-512 as other programs
 * compute it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/mem.h"

static void expect_hex(const uint8_t *data, size_t len, const char *wanted)
{
    char hex[2 * CRYPTO_SHA512_LEN + 1];

    for (size_t i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", data[i]);
    assert_string_equal(hex, wanted);
}

static void test_hashes(void **state)
{
    uint8_t out[CRYPTO_SHA512_LEN];

    (void)state;
    crypto_digest(CRYPTO_SHA1, "abc", 3, out);
    expect_hex(out, crypto_hash_len(CRYPTO_SHA1), "a9993e364706816aba3e25717850c26c9cd0d89d");
    crypto_digest(CRYPTO_SHA256, "abc", 3, out);
    expect_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    crypto_digest(CRYPTO_SHA256, "", 0, out);
    expect_hex(out, crypto_hash_len(CRYPTO_SHA256),
               "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    crypto_digest(CRYPTO_SHA512, "abc", 3, out);
    expect_hex(out, 64,
               "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
               "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
}

/* RFC 4231 §4.3, and §4.7 with a key longer than a block. */
static void test_hmac(void **state)
{
    uint8_t out[CRYPTO_SHA256_LEN], key[131];
    const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";

    (void)state;
    crypto_hmac(CRYPTO_SHA256, "Jefe", 4, "what do ya want for nothing?", 28, out);
    expect_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    crypto_hmac(CRYPTO_SHA256, key, sizeof(key), text, strlen(text), out);
    expect_hex(out, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void test_pbkdf2(void **state)
{
    uint8_t out[CRYPTO_SHA512_LEN];

    (void)state;
    crypto_pbkdf2(CRYPTO_SHA512, "password", 8, "salt", 4, 1, out, 64);
    expect_hex(out, 64,
               "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252"
               "c02d470a285a0501bad999bfe943c08f050235d7d68b1da55e63f73b60a57fce");
    crypto_pbkdf2(CRYPTO_SHA512, "password", 8, "salt", 4, 4096, out, 64);
    expect_hex(out, 64,
               "d197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5"
               "143f30602641b3d55cd335988cb36b84376060ecd532e039b742a239434af2d5");
}

static void test_equal(void **state)
{
    (void)state;
    assert_true(crypto_equal("same", "same", 4));
    assert_false(crypto_equal("same", "samf", 4));
    assert_false(crypto_equal("same", "tame", 4));
    assert_true(crypto_equal("a", "b", 0));
}

static void test_base64(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    static const char *const wrong[] = {"Zg=", "Zg", "Z===", "Zm9v\n", "Zm 9", "Zm9*", "Zg==Zg=="};
    uint8_t out[16];
    size_t len;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        char *text = crypto_base64(pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(text, pairs[i][1]);
        assert_int_equal(crypto_base64_decode(text, out, sizeof(out), &len), 0);
        assert_int_equal(len, strlen(pairs[i][0]));
        assert_memory_equal(out, pairs[i][0], len);
        free(text);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(crypto_base64_decode(wrong[i], out, sizeof(out), &len), -EINVAL);
    assert_int_equal(crypto_base64_decode("Zm9vYmFy", out, 5, &len), -EMSGSIZE);
}

static void test_random(void **state)
{
    uint8_t a[4096] = {0}, b[4096] = {0};
    size_t zeroes = 0;

    (void)state;
    crypto_random(a, sizeof(a));
    crypto_random(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    for (size_t i = 0; i < sizeof(a); i++)
        zeroes += !a[i];
    assert_true(zeroes < 100); /* 16 are expected */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hashes), cmocka_unit_test(test_hmac),   cmocka_unit_test(test_pbkdf2),
        cmocka_unit_test(test_equal),  cmocka_unit_test(test_base64), cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
