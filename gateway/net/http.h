/* SPDX-License-Identifier: Apache-2.0 */
/* The head of an HTTP/1 request, read from bytes as they come, and answers to it. Pure but for memory: no
 * I/O, no log. What is kept of a request that has not come to its end is bounded by HTTP_HEAD_MOST; its body
 * is not read. The owner of the head frees it; texts taken from it live as long. Any thread, one at a time.
 */
#ifndef SLUICE_NET_HTTP_H
#define SLUICE_NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum { HTTP_HEAD_MOST = 8192, HTTP_FIELDS_MOST = 64 };

struct http_head;

struct http_head *http_head_new(void);
void http_head_free(struct http_head *h); /* NULL is fine */

/* Takes bytes of the peer until the head is whole. 0: more is needed; 200: it is whole, and *used bytes of
 * data were its; else the status of a refusal, and *why says what is wrong. Not to be called again after
 * anything but 0. */
unsigned http_head_feed(struct http_head *h, const uint8_t *data, size_t len, size_t *used, const char **why);

/* "GET". */
const char *http_method(const struct http_head *h);
/* What is asked for, up to "?". */
struct bytes http_path(const struct http_head *h);
/* HTTP/1.1 or a later 1.x. */
bool http_is_1_1(const struct http_head *h);
/* How often the field is there; *value (may be NULL): of the first. name in any case. */
size_t http_field(const struct http_head *h, const char *name, struct bytes *value);
/* True when a list of words, in one field or more of that name, has this one. any_case: of the word. */
bool http_has_word(const struct http_head *h, const char *name, const char *word, bool any_case);

/* A whole answer with a text, after which the connection ends. fields: further lines, each with its \r\n. */
void http_answer(struct buf *out, unsigned status, const char *fields, const char *text);

#endif
