/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures of tokens, as RFC 7518 §3 names them, over mbedtls. A key is for one algorithm alone: a secret
 * for HS256, a public key as PEM for RS256 and ES256. Keys are borrowed and nothing is kept, so any number of
 * threads may check at once. Holds on any bytes. */
#ifndef SLUICE_BASE_SIGNATURE_H
#define SLUICE_BASE_SIGNATURE_H

#include <stdbool.h>

#include "base/buf.h"

enum signature_kind { SIGNATURE_HS256, SIGNATURE_RS256, SIGNATURE_ES256 };
/* The names, in that order; ends with NULL. */
extern const char *const signature_names[];

/* NULL, or why key cannot be one for that algorithm, for people. Text is one with a zero behind its len. */
const char *signature_key_wrong(enum signature_kind kind, struct bytes key);
/* Has key signed data? As above. */
bool signature_ok(enum signature_kind kind, struct bytes key, struct bytes data, struct bytes signature);

#endif
