/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of Modbus TCP, as masters send them and devices answer them, and of RTU over TCP: a frame lies
 * within what came, asks for more at any place before its end, and what is framed again is the same. What a
 * request says that it touches lies within its table, and its answer has a length that a serial line can
 * carry. */
#include <stdlib.h>

#include "drivers/modbus/raw.h"
#include "drivers/modbus/serve_framing.h"
#include "drivers/modbus/tcp_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_shape(struct bytes pdu)
{
    struct raw_shape s;

    if (raw_shape(pdu, &s))
        return;
    if (s.range_count > 2 || s.reply_len > RTU_FRAME_MAX)
        abort();
    for (unsigned i = 0; i < s.range_count; i++)
        if (!s.ranges[i].count || s.ranges[i].first + s.ranges[i].count > 0x10000)
            abort();
}

static void check_answer(const struct tcp_frame *f)
{
    static const uint8_t read[] = {3, 0, 0, 0, 2}, write[] = {6, 0, 1, 0, 2};
    uint8_t exception = 0;

    tcp_frame_judge(f, f->unit, (struct bytes){read, 5}, 4, &exception);
    tcp_frame_judge(f, f->unit, (struct bytes){write, 5}, 0, &exception);
    tcp_frame_judge_open(f, f->unit, 43, &exception);
}

static int next(const struct serve_framing *how, const uint8_t *data, size_t size, struct tcp_frame *f)
{
    int len = how->next(data, size, f);

    if (len <= 0)
        return len;
    if ((size_t)len > size || f->pdu.len < 1 || f->pdu.len > TCP_PDU_MAX || f->pdu.data < data ||
        f->pdu.data + f->pdu.len > data + len)
        abort();
    return len;
}

static void check_frame(const struct serve_framing *how, const uint8_t *data, size_t len,
                        const struct tcp_frame *f)
{
    struct tcp_frame part;
    struct buf again = {0};

    for (size_t i = 0; i < len; i++) {
        uint8_t *copy = malloc(i ? i : 1);
        if (!copy)
            abort();
        if (i)
            memcpy(copy, data, i);
        if (next(how, copy, i, &part) != 0)
            abort();
        free(copy);
    }
    how->put(&again, f->id, f->unit, f->pdu);
    if (again.len != len || memcmp(again.data, data, len) != 0)
        abort();
    buf_free(&again);
}

static void check_stream(const struct serve_framing *how, const uint8_t *data, size_t size)
{
    struct tcp_frame f;

    for (int len; (len = next(how, data, size, &f)) > 0; data += len, size -= (size_t)len) {
        check_frame(how, data, (size_t)len, &f);
        check_shape(f.pdu);
        check_answer(&f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (unsigned i = 0; serve_framing_names[i]; i++)
        check_stream(&serve_framings[i], data, size);
    return 0;
}
