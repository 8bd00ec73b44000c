/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http.h"

#include <http_parser.h>
#include <stdlib.h>
#include <strings.h>

#include "base/mem.h"

struct part {
    uint16_t at, len; /* in what was kept */
};

struct http_head {
    http_parser parser;
    struct buf kept;
    const char *why;
    unsigned refusal;
    bool whole, after_value;
    unsigned count; /* of fields */
    struct part target;
    struct part names[HTTP_FIELDS_MOST], values[HTTP_FIELDS_MOST];
};

struct http_head *http_head_new(void)
{
    struct http_head *h = mem_alloc(sizeof(*h));

    http_parser_init(&h->parser, HTTP_REQUEST);
    h->parser.data = h;
    return h;
}

void http_head_free(struct http_head *h)
{
    if (!h)
        return;
    buf_free(&h->kept);
    free(h);
}

static int refuse(struct http_head *h, unsigned status, const char *why)
{
    h->refusal = status;
    h->why = why;
    return 1;
}

/* A text may come in pieces, which follow each other but for a value that is folded over lines. */
static int extend(struct http_head *h, struct part *p, const char *at, size_t len)
{
    size_t from = (size_t)((const uint8_t *)at - h->kept.data);

    if (!p->len)
        p->at = (uint16_t)from;
    if ((size_t)p->at + p->len != from)
        return refuse(h, 400, "a header field that goes on in the next line");
    p->len = (uint16_t)(p->len + len);
    return 0;
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct http_head *h = parser->data;

    return extend(h, &h->target, at, len);
}

static int on_name(http_parser *parser, const char *at, size_t len)
{
    struct http_head *h = parser->data;

    if (h->after_value || !h->count) {
        if (h->count == HTTP_FIELDS_MOST)
            return refuse(h, 431, "too many header fields");
        h->count++;
    }
    h->after_value = false;
    return extend(h, &h->names[h->count - 1], at, len);
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
    struct http_head *h = parser->data;

    h->after_value = true;
    return extend(h, &h->values[h->count - 1], at, len);
}

/* 2: neither a body nor another request follows, so that the parser stops here. */
static int on_whole(http_parser *parser)
{
    struct http_head *h = parser->data;

    h->whole = true;
    return 2;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_whole,
};

unsigned http_head_feed(struct http_head *h, const uint8_t *data, size_t len, size_t *used, const char **why)
{
    size_t before = h->kept.len, room = HTTP_HEAD_MOST - before;
    size_t taken = len < room ? len : room;

    buf_append(&h->kept, data, taken);
    size_t parsed = http_parser_execute(&h->parser, &settings, (const char *)h->kept.data + before, taken);
    *used = parsed;
    if (h->refusal || (!h->whole && HTTP_PARSER_ERRNO(&h->parser) != HPE_OK)) {
        *why = h->refusal ? h->why : http_errno_description(HTTP_PARSER_ERRNO(&h->parser));
        return h->refusal ? h->refusal : 400;
    }
    if (h->whole)
        return 200;
    if (h->kept.len < HTTP_HEAD_MOST)
        return 0;
    *why = "a header over 8 kB";
    return 431;
}

static struct bytes text_of(const struct http_head *h, struct part p)
{
    return (struct bytes){h->kept.data + p.at, p.len};
}

const char *http_method(const struct http_head *h)
{
    return http_method_str((enum http_method)h->parser.method);
}

struct bytes http_path(const struct http_head *h)
{
    struct bytes path = text_of(h, h->target);
    const uint8_t *query = path.len ? memchr(path.data, '?', path.len) : NULL;

    if (query)
        path.len = (size_t)(query - path.data);
    return path;
}

bool http_is_1_1(const struct http_head *h)
{
    return h->parser.http_major == 1 && h->parser.http_minor >= 1;
}

static bool is(struct bytes text, const char *other, bool any_case)
{
    return text.len == strlen(other) && !(any_case ? strncasecmp((const char *)text.data, other, text.len)
                                                   : memcmp(text.data, other, text.len));
}

size_t http_field(const struct http_head *h, const char *name, struct bytes *value)
{
    size_t found = 0;

    for (unsigned i = 0; i < h->count; i++)
        if (is(text_of(h, h->names[i]), name, true) && !found++ && value)
            *value = text_of(h, h->values[i]);
    return found;
}

/* The next word of a list with commas. */
static bool next_word(struct bytes *list, struct bytes *word)
{
    struct cursor c = cursor_of(list->data, list->len);

    while (cursor_left(&c) && strchr(", \t", *c.at))
        cursor_u8(&c);
    word->data = c.at;
    while (cursor_left(&c) && *c.at != ',')
        cursor_u8(&c);
    word->len = (size_t)(c.at - word->data);
    *list = (struct bytes){c.at, cursor_left(&c)};
    while (word->len && strchr(" \t", word->data[word->len - 1]))
        word->len--;
    return word->len > 0;
}

bool http_has_word(const struct http_head *h, const char *name, const char *word, bool any_case)
{
    for (unsigned i = 0; i < h->count; i++) {
        struct bytes list = text_of(h, h->values[i]), one;
        if (!is(text_of(h, h->names[i]), name, true))
            continue;
        while (next_word(&list, &one))
            if (is(one, word, any_case))
                return true;
    }
    return false;
}

void http_answer(struct buf *out, unsigned status, const char *fields, const char *text)
{
    buf_printf(out,
               "HTTP/1.1 %u %s\r\n%sContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n"
               "Connection: close\r\n\r\n%s\n",
               status, http_status_str((enum http_status)status), fields, strlen(text) + 1, text);
}
