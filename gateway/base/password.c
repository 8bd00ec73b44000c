/* SPDX-License-Identifier: Apache-2.0 */
#include "base/password.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

enum { SALT_LEN = 16, SALT_LEAST = 8, TRIAL_COUNT = 4000, TRIALS = 3 };

static const char ours[] = "$pbkdf2-sha512$";
static const char mosquittos[] = "$7$";

/* The part of text up to the byte end, which is skipped; NULL when there is none that fits. The last part
 * ends with the text (end 0). */
static const char *take_part(const char *text, char end, char *out, size_t size)
{
    size_t len = strcspn(text, "$:");

    if (text[len] != end || !len || len >= size)
        return NULL;
    memcpy(out, text, len);
    out[len] = 0;
    return text + len + (end != 0);
}

static const char *take_count(const char *text, char end, unsigned *count)
{
    char digits[10];

    text = take_part(text, end, digits, sizeof(digits));
    if (!text || digits[0] == '0' || digits[strspn(digits, "0123456789")])
        return NULL;
    unsigned long value = strtoul(digits, NULL, 10);
    *count = (unsigned)value;
    return value <= PASSWORD_COUNT_MOST ? text : NULL;
}

static const char *take_bytes(const char *text, char end, uint8_t *out, size_t size, size_t *len)
{
    char part[128];

    text = take_part(text, end, part, sizeof(part));
    if (!text || crypto_base64_decode(part, out, size, len) != 0)
        return NULL;
    return text;
}

int password_parse(struct password_entry *out, const char *text, const char **why)
{
    size_t hash_len = 0;

    memset(out, 0, sizeof(*out));
    if (!strncmp(text, ours, strlen(ours))) {
        text += strlen(ours);
    } else if (!strncmp(text, mosquittos, strlen(mosquittos))) {
        text += strlen(mosquittos);
    } else {
        *why = "begins neither with $pbkdf2-sha512$ nor with mosquitto's $7$";
        return -EINVAL;
    }
    const char *at = take_count(text, '$', &out->count);
    if (at)
        at = take_bytes(at, '$', out->salt, sizeof(out->salt), &out->salt_len);
    if (at)
        at = take_bytes(at, 0, out->hash, sizeof(out->hash), &hash_len);
    if (at && out->salt_len >= SALT_LEAST && hash_len == sizeof(out->hash))
        return 0;
    *why = "is damaged: a count, a salt and a hash belong between the $";
    return -EINVAL;
}

static void hash_password(const struct password_entry *e, struct bytes password, uint8_t *out)
{
    crypto_pbkdf2(CRYPTO_SHA512, password.data, password.len, e->salt, e->salt_len, e->count, out,
                  CRYPTO_SHA512_LEN);
}

bool password_matches(const struct password_entry *e, struct bytes password)
{
    uint8_t hash[CRYPTO_SHA512_LEN];

    hash_password(e, password, hash);
    return crypto_equal(hash, e->hash, sizeof(hash));
}

char *password_make(struct bytes password, unsigned count)
{
    struct password_entry e = {.count = count, .salt_len = SALT_LEN};

    crypto_random(e.salt, SALT_LEN);
    hash_password(&e, password, e.hash);
    char *salt = crypto_base64(e.salt, SALT_LEN), *hash = crypto_base64(e.hash, sizeof(e.hash));
    char *text = mem_format("%s%u$%s$%s", ours, count, salt, hash);
    free(salt);
    free(hash);
    return text;
}

static uint64_t cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

unsigned password_calibrate(unsigned ms)
{
    struct password_entry e = {.count = TRIAL_COUNT, .salt_len = SALT_LEN};
    uint64_t best = UINT64_MAX;
    uint8_t hash[CRYPTO_SHA512_LEN];

    /* The quickest of some trials, by the thread's own time: a busy box must not make weak entries. */
    for (int i = 0; i < TRIALS; i++) {
        uint64_t begin = cpu_ns();
        hash_password(&e, bytes_of("calibration"), hash);
        uint64_t took = cpu_ns() - begin;
        best = took && took < best ? took : best;
    }
    uint64_t count = (uint64_t)ms * 1000000u * TRIAL_COUNT / best;
    return (unsigned)(count < PASSWORD_COUNT_LEAST  ? PASSWORD_COUNT_LEAST
                      : count > PASSWORD_COUNT_MOST ? PASSWORD_COUNT_MOST
                                                    : count);
}

/* ---- SCRAM ---- */

const char *scram_name(enum crypto_hash hash)
{
    return hash == CRYPTO_SHA1 ? "SCRAM-SHA-1" : "SCRAM-SHA-256";
}

int scram_parse(struct scram_verifier *out, const char *text, const char **why)
{
    char name[16];
    size_t stored = 0, server = 0;
    const char *at = take_part(text, '$', name, sizeof(name));

    memset(out, 0, sizeof(*out));
    out->hash = CRYPTO_SHA256;
    if (at && !strcmp(name, scram_name(CRYPTO_SHA1))) {
        out->hash = CRYPTO_SHA1;
    } else if (!at || strcmp(name, scram_name(CRYPTO_SHA256)) != 0) {
        *why = "begins neither with SCRAM-SHA-256$ nor with SCRAM-SHA-1$";
        return -EINVAL;
    }
    at = take_count(at, ':', &out->count);
    if (at)
        at = take_bytes(at, '$', out->salt, sizeof(out->salt), &out->salt_len);
    if (at)
        at = take_bytes(at, ':', out->stored, sizeof(out->stored), &stored);
    if (at)
        at = take_bytes(at, 0, out->server, sizeof(out->server), &server);
    size_t len = crypto_hash_len(out->hash);
    if (at && out->salt_len >= SALT_LEAST && stored == len && server == len)
        return 0;
    *why = "is damaged: COUNT:SALT$STORED:SERVER belongs behind the mechanism's name";
    return -EINVAL;
}

void scram_derive(struct scram_verifier *out, enum crypto_hash hash, struct bytes password, unsigned count,
                  const struct bytes *salt)
{
    uint8_t salted[CRYPTO_SHA256_LEN], client[CRYPTO_SHA256_LEN];
    size_t len = crypto_hash_len(hash);

    memset(out, 0, sizeof(*out));
    out->hash = hash;
    out->count = count;
    out->salt_len = salt ? salt->len : SALT_LEN;
    if (salt)
        memcpy(out->salt, salt->data, salt->len);
    else
        crypto_random(out->salt, SALT_LEN);
    crypto_pbkdf2(hash, password.data, password.len, out->salt, out->salt_len, count, salted, len);
    crypto_hmac(hash, salted, len, "Client Key", 10, client);
    crypto_digest(hash, client, len, out->stored);
    crypto_hmac(hash, salted, len, "Server Key", 10, out->server);
    explicit_bzero(salted, sizeof(salted));
    explicit_bzero(client, sizeof(client));
}

char *scram_text(const struct scram_verifier *v)
{
    size_t len = crypto_hash_len(v->hash);
    char *salt = crypto_base64(v->salt, v->salt_len), *stored = crypto_base64(v->stored, len),
         *server = crypto_base64(v->server, len);
    char *text = mem_format("%s$%u:%s$%s:%s", scram_name(v->hash), v->count, salt, stored, server);

    free(salt);
    free(stored);
    free(server);
    return text;
}
