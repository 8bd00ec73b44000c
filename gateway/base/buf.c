/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

void buf_grow(struct buf *b, size_t more)
{
    size_t cap = b->cap ? b->cap * 2 : 256;

    if (cap < b->len + more)
        cap = b->len + more;
    b->data = mem_resize(b->data, cap);
    b->cap = cap;
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void buf_u32(struct buf *b, uint32_t v)
{
    buf_u16(b, (uint16_t)(v >> 16));
    buf_u16(b, (uint16_t)v);
}

void buf_u64(struct buf *b, uint64_t v)
{
    buf_u32(b, (uint32_t)(v >> 32));
    buf_u32(b, (uint32_t)v);
}

void buf_consume(struct buf *b, size_t len)
{
    if (len < b->len)
        memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    char *text = mem_vformat(fmt, args);
    va_end(args);
    size_t len = strlen(text);
    memcpy(buf_extend(b, len + 1), text, len + 1);
    b->len--;
    free(text);
}

uint32_t cursor_u32(struct cursor *c)
{
    uint32_t high = cursor_u16(c);

    return high << 16 | cursor_u16(c);
}

uint64_t cursor_u64(struct cursor *c)
{
    uint64_t high = cursor_u32(c);

    return high << 32 | cursor_u32(c);
}
