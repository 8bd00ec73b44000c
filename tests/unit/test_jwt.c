/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens and their signatures, of keys that openssl has made: what is right, and that any change makes it
 * wrong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "broker/jwt.h"

static const char secret[] = "0123456789abcdef0123456789abcdef";
static const char rsa[] = "-----BEGIN PUBLIC KEY-----\n"
                          "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAoxINBjRM04QEZtzzmclk\n"
                          "3eWAdaCH2aZj2QL1eKf35vPUwlxHKm0qjav0yr4fZLsf1d9HTKSGUx7L19sIlIr7\n"
                          "MAU400CfAJu3qpKOg9U6yyZyhcTRzTqrZ/DMkI4o7szNO2ahglz7Mp5T9z9bERWD\n"
                          "SGXgtzAmIJdnXzF3SrS9T5wowLcevKFGHjMg451/diWplINoWP4ceSxJ4pnYzBmX\n"
                          "ZWw97L5Uv8YvE4KlCK/yJc7219DUQV3+o3Ld/p+jlCmqhS3oPkls5xCxXmoggSED\n"
                          "5aY+e5ELPorC03SkF2oN124EcblFbNBRCmM+Rw4Ihl31kyKZ2cd0WEOrowHmWFJi\n"
                          "ZQIDAQAB\n"
                          "-----END PUBLIC KEY-----\n";
static const char ec[] = "-----BEGIN PUBLIC KEY-----\n"
                         "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYLMSOAxm2V1JRbMNvZ8l1uYZt3l5\n"
                         "BCV+tj2S1hsLNQaEuat2e5sUNRE5z++GfgaL07FMBBlRPTF2DIfVnZhfDw==\n"
                         "-----END PUBLIC KEY-----\n";
static const struct {
    enum signature_kind kind;
    const char *key, *token;
} samples[] = {
    {SIGNATURE_HS256, secret,
     "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.ArYAibI1dlEDn27QomKqp1zyziq6"
     "-wQFXqVftb2VgKM"},
    {SIGNATURE_RS256, rsa,
     "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.lmkqgdpYh07s45X1xHv2diSX5zHB"
     "1WxShXR1Gdl5400V2UBd2kBuIOyxyOTAIPETkTtbetMPuTubNntKf9xno7ZBse2eDNwzuwJlV7gRjTh4pLpstpYo0P"
     "Gpp59Oc-ijib1HGp--6S0nJhWS38o6YoTAAovxM10xCtjdE7OWACYcxVnEUjl6mNA-8SfF10psW1_NaaFXggA3PB7S"
     "UgbP4LzHCThC-ojFmp9KfwmXv0kse6A8jgencT343V1VJkD7EZSZll5H1QOwyzhXAdovyYzw9oZKGrXyDQre_5H1tE"
     "LEDhDkSkXTwgJiyX3gFrpgI9hBCGnth0r9TWqxVLd80Q"},
    {SIGNATURE_ES256, ec,
     "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.PzZUZw8s2XjUTTX6iTh1BI2RpycB"
     "o_MZsdRE4rnR98XRX4_nB1N1zv44_1FVdZvqeuGyCP5UdiyYMu91L2usRw"},
};

static bool is_signed(const char *token, const char *key)
{
    const char *why;
    struct jwt t;
    bool ok = !jwt_parse(&t, bytes_of(token), &why) &&
              signature_ok(t.kind, bytes_of(key), t.data, (struct bytes){t.signature, t.signature_len});

    jwt_free(&t);
    return ok;
}

static void test_signatures(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        assert_null(signature_key_wrong(samples[i].kind, bytes_of(samples[i].key)));
        assert_true(is_signed(samples[i].token, samples[i].key));
    }
}

/* A character of each part in turn. */
static void test_any_change_is_seen(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        size_t len = strlen(samples[i].token);
        char *copy = mem_strdup(samples[i].token);
        for (size_t at = 0; at + 1 < len;
             at += samples[i].kind == SIGNATURE_HS256 ? 1 : 7) { /* the last one has spare bits */
            copy[at] = samples[i].token[at] == 'A' ? 'B' : 'A';
            assert_false(is_signed(copy, samples[i].key));
            copy[at] = samples[i].token[at];
        }
        assert_true(is_signed(copy, samples[i].key));
        free(copy);
    }
}

static void test_parts_of_a_token(void **state)
{
    int64_t exp = 0;
    const char *why;
    struct jwt t;

    (void)state;
    assert_int_equal(jwt_parse(&t, bytes_of(samples[0].token), &why), 0);
    assert_int_equal(t.kind, SIGNATURE_HS256);
    assert_string_equal(jwt_text(t.claims, "sub"), "ann");
    assert_null(jwt_text(t.claims, "exp"));
    assert_true(jwt_time(&t, "exp", &exp));
    assert_true(exp == 4102444800);
    assert_false(jwt_time(&t, "sub", &exp));
    assert_false(jwt_has(&t, "aud"));
    assert_true(jwt_names(&t, "sub", "ann"));
    assert_false(jwt_names(&t, "sub", "an"));
    assert_int_equal(t.signature_len, 32);
    jwt_free(&t);
}

static void test_cut_tokens(void **state)
{
    const char *why;
    struct jwt t;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        for (size_t len = 0; len < strlen(samples[i].token); len++) {
            uint8_t *cut = malloc(len + 1); /* of just that size, for the sanitizer */
            assert_non_null(cut);
            memcpy(cut, samples[i].token, len);
            if (!jwt_parse(&t, (struct bytes){cut, len}, &why))
                assert_false(signature_ok(t.kind, bytes_of(samples[i].key), t.data,
                                          (struct bytes){t.signature, t.signature_len}));
            jwt_free(&t);
            free(cut);
        }
    }
}

static void test_keys(void **state)
{
    (void)state;
    assert_non_null(signature_key_wrong(SIGNATURE_HS256, bytes_of(rsa)));
    assert_non_null(signature_key_wrong(SIGNATURE_HS256, bytes_of(ec)));
    assert_non_null(signature_key_wrong(SIGNATURE_HS256, bytes_of("0123456789abcdef0123456789abcde")));
    assert_non_null(signature_key_wrong(SIGNATURE_RS256, bytes_of(ec)));
    assert_non_null(signature_key_wrong(SIGNATURE_RS256, bytes_of(secret)));
    assert_non_null(signature_key_wrong(SIGNATURE_ES256, bytes_of(rsa)));
    assert_non_null(signature_key_wrong(SIGNATURE_ES256, bytes_of("")));
}

static void test_base64url(void **state)
{
    static const char *const wrong[] = {"=",      "Zg==",   "Zg=",   "Z",     "Zm9vY",
                                        "Zm9v+A", "Zm9v/A", "Zm 9v", "Zm9v\n"};
    uint8_t out[8];
    size_t len;

    (void)state;
    assert_int_equal(crypto_base64url_decode(bytes_of("-_8"), out, sizeof(out), &len), 0);
    assert_int_equal(len, 2);
    assert_memory_equal(out, "\xfb\xff", 2);
    assert_int_equal(crypto_base64url_decode(bytes_of(""), out, sizeof(out), &len), 0);
    assert_int_equal(len, 0);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(crypto_base64url_decode(bytes_of(wrong[i]), out, sizeof(out), &len), -EINVAL);
    assert_int_equal(
        crypto_base64url_decode((struct bytes){(const uint8_t *)"Zg\0a", 4}, out, sizeof(out), &len),
        -EINVAL);
    assert_int_equal(crypto_base64url_decode(bytes_of("Zm9vYmFyYmF6"), out, sizeof(out), &len), -EMSGSIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_any_change_is_seen),
        cmocka_unit_test(test_parts_of_a_token),
        cmocka_unit_test(test_cut_tokens),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_base64url),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
