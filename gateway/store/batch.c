/* SPDX-License-Identifier: Apache-2.0 */
#include "store/batch.h"

#include <stdlib.h>

#include "base/mem.h"

enum { KEPT_ARENA = 1 << 20, KEPT_BODIES = 1024 };

static uint32_t add_body(struct batch *b, const struct store_body *body)
{
    if (b->body_count == b->body_room) {
        b->body_room = b->body_room ? b->body_room * 2 : 16;
        b->bodies = mem_resize(b->bodies, b->body_room * sizeof(*b->bodies));
    }
    b->bodies[b->body_count++] = *body;
    b->body_bytes += body->data.len;
    return (uint32_t)b->body_count;
}

struct op *batch_add(struct batch *b, const struct op *like, struct bytes name, struct bytes value,
                     const struct store_body *body)
{
    size_t size = (sizeof(struct op) + name.len + value.len + 7) & ~(size_t)7;
    uint8_t *at = buf_extend(&b->arena, size);
    struct op *op = (struct op *)(void *)at;

    *op = *like;
    op->name_len = (uint32_t)name.len;
    op->value_len = (uint32_t)value.len;
    op->size = (uint32_t)size;
    op->body = body && body->id ? add_body(b, body) : 0;
    if (name.len)
        memcpy(at + sizeof(*op), name.data, name.len);
    if (value.len)
        memcpy(at + sizeof(*op) + name.len, value.data, value.len);
    b->count++;
    return op;
}

void batch_release_bodies(struct batch *b)
{
    for (size_t i = 0; i < b->body_count; i++)
        if (b->bodies[i].release)
            b->bodies[i].release(b->bodies[i].owner);
    b->body_count = 0;
    b->body_bytes = 0;
}

void batch_reset(struct batch *b, store_ticket ticket)
{
    if (b->arena.cap > KEPT_ARENA)
        buf_free(&b->arena);
    if (b->body_room > KEPT_BODIES) {
        free(b->bodies);
        b->bodies = NULL;
        b->body_room = 0;
    }
    b->arena.len = 0;
    b->count = 0;
    b->body_count = 0;
    b->body_bytes = 0;
    b->wanted = false;
    b->tries = 0;
    b->ticket = ticket;
    b->serial++;
}

void batch_free(struct batch *b)
{
    buf_free(&b->arena);
    free(b->bodies);
    *b = (struct batch){0};
}
