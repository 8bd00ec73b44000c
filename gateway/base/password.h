/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a password, as text in a configuration: an entry that a password is checked against
 * ("$pbkdf2-sha512$COUNT$SALT$HASH", or mosquitto's "$7$COUNT$SALT$HASH"), and the verifiers of SCRAM (RFC
 * 5803: "SCRAM-SHA-256$COUNT:SALT$STORED:SERVER"). None can be turned back into the password, and none into
 * another. Parsing holds on any text. Any thread; checking and making take long by design and belong on a
 * worker. */
#ifndef SLUICE_BASE_PASSWORD_H
#define SLUICE_BASE_PASSWORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/crypto.h"

/* Fewer rounds than the least are taken, but nobody should make such entries. */
enum {
    PASSWORD_SALT_MOST = 64,
    PASSWORD_COUNT_MOST = 50000000,
    PASSWORD_COUNT_LEAST = 10000,
    SCRAM_COUNT_LEAST = 4096
};

struct password_entry {
    unsigned count;
    size_t salt_len;
    uint8_t salt[PASSWORD_SALT_MOST];
    uint8_t hash[CRYPTO_SHA512_LEN];
};

/* 0, or -EINVAL and what is wrong, for people: it shows nothing of the entry. */
int password_parse(struct password_entry *out, const char *text, const char **why);
bool password_matches(const struct password_entry *e, struct bytes password);
/* A new entry with a salt of its own. To be freed. */
char *password_make(struct bytes password, unsigned count);
/* The count that takes about ms of this machine. */
unsigned password_calibrate(unsigned ms);

struct scram_verifier {
    enum crypto_hash hash;
    unsigned count;
    size_t salt_len;
    uint8_t salt[PASSWORD_SALT_MOST];
    uint8_t stored[CRYPTO_SHA256_LEN], server[CRYPTO_SHA256_LEN];
};

/* "SCRAM-SHA-1" or "SCRAM-SHA-256". */
const char *scram_name(enum crypto_hash hash);
int scram_parse(struct scram_verifier *out, const char *text, const char **why);
/* RFC 5802 §3. salt NULL: a new one. */
void scram_derive(struct scram_verifier *out, enum crypto_hash hash, struct bytes password, unsigned count,
                  const struct bytes *salt);
/* To be freed. */
char *scram_text(const struct scram_verifier *v);

#endif
