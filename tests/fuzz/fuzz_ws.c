/* SPDX-License-Identifier: Apache-2.0 */
/* A WebSocket connection: the opening request, and what follows it in frames. The first byte says in what
 * pieces the rest comes; cut otherwise it must give the same answer, the same bytes and the same end, or
 * refuse both times: of two mistakes, which one is seen first depends on the pieces. Frames are read also
 * when the request is refused. */
#include <stdlib.h>

#include "net/http.h"
#include "net/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    unsigned status;
    struct buf answer, got, pong;
    struct ws_stream s;
};

/* In place on a copy that ends where the piece ends. */
static size_t read_piece(struct ws_stream *s, const uint8_t *data, size_t len, struct buf *got)
{
    uint8_t *copy = malloc(len);

    if (!copy)
        abort();
    memcpy(copy, data, len);
    size_t kept = ws_read(s, copy, len);
    if (kept > len)
        abort();
    buf_append(got, copy, kept);
    free(copy);
    return kept;
}

static size_t shake(struct outcome *o, const uint8_t *data, size_t size, size_t piece)
{
    static const struct ws_config config;
    struct http_head *h = http_head_new();
    const char *why = NULL;
    size_t at = 0;

    while (at < size && !o->status) {
        size_t len = piece < size - at ? piece : size - at, used = len;
        o->status = http_head_feed(h, data + at, len, &used, &why);
        if (used > len)
            abort();
        at += used;
    }
    if (o->status == 200 && ws_answer(h, &config, &o->answer, &why) == (why != NULL))
        abort();
    if (o->status && o->status != 200 && !why)
        abort();
    http_head_free(h);
    return at;
}

static void run(struct outcome *o, const uint8_t *data, size_t size, size_t piece)
{
    size_t at = shake(o, data, size, piece);

    if (o->status && o->status != 200) { /* where a refusal stops depends on the pieces */
        o->status = 400;
        at = 0;
    }
    while (at < size && !o->s.close) {
        size_t len = piece < size - at ? piece : size - at;
        read_piece(&o->s, data + at, len, &o->got);
        at += len;
    }
    if (o->s.close && o->s.frame)
        abort();
    if (o->s.pong.len > 127)
        abort();
}

static void forget(struct outcome *o)
{
    ws_stream_free(&o->s);
    buf_free(&o->answer);
    buf_free(&o->got);
}

static bool same(const struct buf *a, const struct buf *b)
{
    return bytes_equal((struct bytes){a->data, a->len}, (struct bytes){b->data, b->len});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole = {0}, pieces = {0};

    if (!size)
        return 0;
    run(&whole, data + 1, size - 1, size);
    run(&pieces, data + 1, size - 1, (size_t)data[0] + 1);
    if (whole.status != pieces.status || whole.s.close != pieces.s.close ||
        !same(&whole.answer, &pieces.answer) || !same(&whole.got, &pieces.got) ||
        !same(&whole.s.pong, &pieces.s.pong) || whole.s.in_message != pieces.s.in_message)
        abort();
    forget(&whole);
    forget(&pieces);
    return 0;
}
