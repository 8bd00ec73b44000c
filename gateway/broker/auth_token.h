/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration of tokens and their checking share: keys. */
#ifndef SLUICE_BROKER_AUTH_TOKEN_H
#define SLUICE_BROKER_AUTH_TOKEN_H

#include "base/buf.h"
#include "base/conf.h"

enum { TOKEN_KEYS_MOST = 16 };

/* The key of one element of `keys`, with a zero behind it that is not counted. 0, or -E… and why, for people.
 */
int token_key_read(const struct conf_node *key, struct buf *out, const char **why);

#endif
