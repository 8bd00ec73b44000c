/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens of any bytes. Input that begins with { is taken for JSON, apart at the first zero into header and
 * claims, and wrapped into a token first, so that mutations reach the claims. What is taken has what its
 * users rely on. */
#include <stdlib.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "broker/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_base64url(struct buf *out, const uint8_t *data, size_t len)
{
    char *text = crypto_base64(data, len);

    for (char *c = text; *c && *c != '='; c++)
        buf_u8(out, (uint8_t)(*c == '+' ? '-' : *c == '/' ? '_' : *c));
    free(text);
}

static void walk(const struct jwt *t, const char *name)
{
    const char *text;
    int64_t seconds;
    bool wrong;
    int i = 0;

    while ((text = jwt_at(t, name, i, &wrong)) && !wrong) {
        if (!jwt_names(t, name, text))
            abort();
        i++;
    }
    if (i > 64 || (jwt_time(t, name, &seconds) && (seconds < 0 || !jwt_has(t, name))))
        abort();
}

static void check(struct bytes token)
{
    static const char *const names[] = {"sub", "aud", "exp", "nbf", "publ", "subs"};
    const char *why = NULL;
    struct jwt t;

    if (!jwt_parse(&t, token, &why)) {
        if (!t.signature_len || t.signature_len > sizeof(t.signature) || t.data.len >= token.len ||
            t.data.data != token.data || !jwt_text(t.header, "alg"))
            abort();
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            walk(&t, names[i]);
        /* of nobody's key */
        if (signature_ok(SIGNATURE_HS256, bytes_of("0123456789abcdef0123456789abcdef"), bytes_of("other"),
                         (struct bytes){t.signature, t.signature_len}))
            abort();
    } else if (!why) {
        abort();
    }
    jwt_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    struct buf token = {0};

    if (size && data[0] == '{' && zero) {
        put_base64url(&token, data, (size_t)(zero - data));
        buf_u8(&token, '.');
        put_base64url(&token, zero + 1, size - (size_t)(zero - data) - 1);
        buf_append(&token, ".AAAA", 5);
    } else {
        buf_append(&token, data, size);
    }
    uint8_t *exact = malloc(token.len ? token.len : 1); /* ends where the token ends */
    if (!exact)
        abort();
    if (token.len)
        memcpy(exact, token.data, token.len);
    check((struct bytes){exact, token.len});
    free(exact);
    buf_free(&token);
    return 0;
}
