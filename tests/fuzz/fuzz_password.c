/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of users as they stand in files: what is taken is within its bounds, and a verifier that is written
 * again is the same. */
#include <stdlib.h>

#include "base/mem.h"
#include "base/password.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct scram_verifier *a, const struct scram_verifier *b)
{
    size_t len = crypto_hash_len(a->hash);

    return a->hash == b->hash && a->count == b->count && a->salt_len == b->salt_len &&
           !memcmp(a->salt, b->salt, a->salt_len) && !memcmp(a->stored, b->stored, len) &&
           !memcmp(a->server, b->server, len);
}

static void check_verifier(const char *text)
{
    struct scram_verifier v, again;
    const char *why = NULL;

    if (scram_parse(&v, text, &why)) {
        if (!why)
            abort();
        return;
    }
    if (v.salt_len < 8 || v.salt_len > sizeof(v.salt) || !v.count || v.count > PASSWORD_COUNT_MOST)
        abort();
    char *written = scram_text(&v);
    if (scram_parse(&again, written, &why) || !same(&v, &again))
        abort();
    free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_strndup((const char *)data, size);
    struct password_entry e;
    const char *why = NULL;

    if (!password_parse(&e, text, &why)) {
        if (e.salt_len < 8 || e.salt_len > sizeof(e.salt) || !e.count || e.count > PASSWORD_COUNT_MOST)
            abort();
    } else if (!why) {
        abort();
    }
    check_verifier(text);
    free(text);
    return 0;
}
