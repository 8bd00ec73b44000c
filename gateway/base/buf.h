/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes on their way out (struct buf, grows by doubling) and bytes that came from outside (struct cursor,
 * reads big-endian and never past the end). A cursor that was asked for more than there is fails for good and
 * gives zeroes, so one test at the end of a parse is enough. Owned by whoever embeds them; not locked. */
#ifndef SLUICE_BASE_BUF_H
#define SLUICE_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A range of somebody else's memory. data may be NULL only when len is 0. */
struct bytes {
    const uint8_t *data;
    size_t len;
};

static inline struct bytes bytes_of(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (!a.len || !memcmp(a.data, b.data, a.len));
}

struct buf {
    uint8_t *data;
    size_t len, cap;
};

void buf_grow(struct buf *b, size_t more);
void buf_free(struct buf *b);

/* Room for size bytes at the end; the caller fills them all. */
static inline uint8_t *buf_extend(struct buf *b, size_t size)
{
    if (b->cap - b->len < size)
        buf_grow(b, size);
    uint8_t *at = b->data + b->len;
    b->len += size;
    return at;
}

static inline void buf_append(struct buf *b, const void *data, size_t len)
{
    if (len)
        memcpy(buf_extend(b, len), data, len);
}

static inline void buf_u8(struct buf *b, uint8_t v)
{
    *buf_extend(b, 1) = v;
}

static inline void buf_u16(struct buf *b, uint16_t v)
{
    uint8_t *p = buf_extend(b, 2);

    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);

/* Drops len bytes at the front. */
void buf_consume(struct buf *b, size_t len);

/* Appends text; no terminating zero is counted in len, but one stands behind it. */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct cursor {
    const uint8_t *at, *end;
    bool failed;
};

static inline struct cursor cursor_of(const void *data, size_t len)
{
    return (struct cursor){data, (const uint8_t *)data + len, false};
}

static inline size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* The next len bytes, or NULL and failure. */
static inline const uint8_t *cursor_take(struct cursor *c, size_t len)
{
    if (c->failed || cursor_left(c) < len) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *p = c->at;
    c->at += len;
    return p;
}

static inline uint8_t cursor_u8(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 1);

    return p ? p[0] : 0;
}

static inline uint16_t cursor_u16(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 2);

    return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);

static inline struct bytes cursor_bytes(struct cursor *c, size_t len)
{
    const uint8_t *p = cursor_take(c, len);

    return (struct bytes){p, p ? len : 0};
}

#endif
