/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON Web Token in compact form (RFC 7515, RFC 7519), taken apart: its algorithm, claims and signature,
 * which nobody has checked yet. Strict where others are lenient: members that are there twice, zeroes in
 * texts, critical headers and unknown algorithms ("none") are refused. Holds on any bytes. Any thread. */
#ifndef SLUICE_BROKER_JWT_H
#define SLUICE_BROKER_JWT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/signature.h"

enum { JWT_MOST = 16384, JWT_SIGNATURE_MOST = 1024 };

struct cJSON;
struct jwt {
    enum signature_kind kind;
    struct cJSON *header, *claims; /* objects */
    struct bytes data;             /* of the token: what is signed */
    uint8_t signature[JWT_SIGNATURE_MOST];
    size_t signature_len;
};

/* 0, or -EINVAL and what is wrong, for the log. token must outlive out. jwt_free in any case. */
int jwt_parse(struct jwt *out, struct bytes token, const char **why);
void jwt_free(struct jwt *t);

/* A text of the claims or the header; NULL: there is none of that name. */
const char *jwt_text(const struct cJSON *object, const char *name);
/* Seconds since 1970; false: there is none, or it is no such number. */
bool jwt_time(const struct jwt *t, const char *name, int64_t *seconds);
bool jwt_has(const struct jwt *t, const char *name);
/* name is text or a list of texts, and text is among them. */
bool jwt_names(const struct jwt *t, const char *name, const char *text);
/* The text of that index of name, which is a text or a list; NULL: no further one. *wrong: it is no text. */
const char *jwt_at(const struct jwt *t, const char *name, int index, bool *wrong);

#endif
