/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of others are found in the bytes of a line, however these come; and what frames say, in words.
 * Section numbers are those of Modbus Application Protocol 1.1b3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drivers/modbus/crc.h"
#include "drivers/modbus/decode.h"
#include "drivers/modbus/sniff.h"

/* ---- finding frames ---- */

/* A line's bytes, and where its frames end. */
struct wire {
    uint8_t data[4096];
    size_t len, frames;
};

static void add(struct wire *w, const void *pdu, size_t len)
{
    memcpy(w->data + w->len, pdu, len);
    w->len += crc_append(w->data + w->len, len);
    w->frames++;
}

#define ADD(w, ...) add(w, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* What a master and three units say to each other, of every shape that has a length. */
static void converse(struct wire *w)
{
    ADD(w, 1, 3, 0, 100, 0, 2);
    ADD(w, 1, 3, 4, 0, 215, 1, 44);
    ADD(w, 7, 1, 0, 0, 0, 19);
    ADD(w, 7, 1, 3, 0xcd, 0x6b, 5);
    ADD(w, 1, 16, 0, 1, 0, 2, 4, 0, 10, 1, 2);
    ADD(w, 1, 16, 0, 1, 0, 2);
    ADD(w, 2, 3, 0, 0, 0, 1);
    ADD(w, 2, 0x83, 2);
    ADD(w, 1, 22, 0, 4, 0, 0xf2, 0, 0x25);
    ADD(w, 1, 22, 0, 4, 0, 0xf2, 0, 0x25);
    ADD(w, 3, 17);
    ADD(w, 3, 17, 3, 'a', 'b', 0xff);
    ADD(w, 1, 23, 0, 3, 0, 2, 0, 14, 0, 1, 2, 0, 255);
    ADD(w, 1, 23, 4, 0, 1, 0, 2);
    ADD(w, 0, 6, 0, 1, 0, 3);
}

static struct sniff fresh(void)
{
    struct sniff s;

    sniff_init(&s, rtu_timing(19200, 10));
    return s;
}

struct found {
    size_t frames, frame_bytes, noise_bytes;
};

static void take(struct sniff *s, uint64_t now_us, struct found *f)
{
    for (struct sniff_piece p; (p = sniff_next(s, now_us)).data.len;) {
        f->frames += p.frame;
        *(p.frame ? &f->frame_bytes : &f->noise_bytes) += p.data.len;
        assert_true(p.first_us <= p.last_us);
        if (p.frame)
            assert_true(crc_good(p.data.data, p.data.len));
    }
}

/* In pieces of random length, without a single gap. */
static struct found listen_to(const uint8_t *data, size_t len)
{
    struct sniff s = fresh();
    struct found f = {0};
    uint64_t now = 1000000;

    for (size_t at = 0; at < len;) {
        size_t part = 1 + (size_t)rand() % 40;
        part = part < len - at ? part : len - at;
        part = part < sniff_room(&s) ? part : sniff_room(&s);
        now += rtu_wire_us(&s.timing, part);
        sniff_feed(&s, data + at, part, now);
        take(&s, 0, &f);
        at += part;
    }
    take(&s, now + 1000000, &f);
    return f;
}

static void frames_without_gaps_are_told_apart(void **state)
{
    struct wire w = {.len = 0};

    (void)state;
    srand(1);
    for (int i = 0; i < 10; i++)
        converse(&w);
    for (int i = 0; i < 100; i++) {
        struct found f = listen_to(w.data, w.len);
        assert_int_equal(f.frames, w.frames);
        assert_int_equal(f.noise_bytes, 0);
    }
}

static void it_may_begin_anywhere(void **state)
{
    struct wire w = {.len = 0};

    (void)state;
    srand(2);
    for (int i = 0; i < 10; i++)
        converse(&w);
    for (size_t from = 0; from < 200; from++) {
        struct found f = listen_to(w.data + from, w.len - from);
        assert_int_equal(f.frame_bytes + f.noise_bytes, w.len - from);
        /* what is lost is at most the frame in which it began and what could hide in the length that a wrong
         * beginning claims */
        assert_true(f.noise_bytes <= RTU_FRAME_MAX + 20);
        assert_true(f.frames >= w.frames / 2);
    }
}

static void damage_costs_little_more_than_what_is_damaged(void **state)
{
    struct wire w = {.len = 0};

    (void)state;
    srand(3);
    for (int i = 0; i < 10; i++)
        converse(&w);
    for (int i = 0; i < 300; i++) {
        struct wire bad = w;
        bad.data[rand() % (int)w.len] ^= (uint8_t)(1 << rand() % 8);
        struct found f = listen_to(bad.data, bad.len);
        assert_int_equal(f.frame_bytes + f.noise_bytes, w.len);
        assert_true(f.frames < w.frames);
        assert_true(f.frames >= w.frames / 2);
    }
}

static void after_a_gap_nothing_is_kept(void **state)
{
    struct sniff s = fresh();
    struct found f = {0};
    struct wire w = {.len = 0};

    (void)state;
    ADD(&w, 1, 3, 0, 100, 0, 2);
    sniff_feed(&s, w.data, 5, 1000);
    take(&s, 2000, &f);
    assert_int_equal(f.noise_bytes, 0);
    assert_in_range(sniff_wake_us(&s), 1001, 100000);
    take(&s, sniff_wake_us(&s), &f);
    assert_int_equal(f.noise_bytes, 5);
    assert_int_equal(sniff_wake_us(&s), 0);
    sniff_feed(&s, w.data, w.len, 200000);
    take(&s, 200000, &f);
    assert_int_equal(f.frames, 1);
}

/* A function of one's own has no length that anybody knows: the gap tells it. */
static void a_gap_ends_what_has_no_known_length(void **state)
{
    struct sniff s = fresh();
    struct found f = {0};
    struct wire w = {.len = 0};

    (void)state;
    ADD(&w, 9, 65, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
    sniff_feed(&s, w.data, w.len, 1000);
    take(&s, sniff_wake_us(&s), &f);
    assert_int_equal(f.frames, 1);
    assert_int_equal(f.frame_bytes, w.len);
}

static void a_line_that_babbles_is_bounded(void **state)
{
    struct sniff s = fresh();
    struct found f = {0};

    (void)state;
    srand(4);
    for (uint64_t i = 0; i < 20000; i++) {
        uint8_t byte = (uint8_t)rand();
        assert_true(sniff_room(&s) > 0);
        sniff_feed(&s, &byte, 1, i * 520);
        take(&s, 0, &f);
    }
    take(&s, UINT64_MAX, &f);
    assert_int_equal(f.frame_bytes + f.noise_bytes, 20000);
    assert_true(f.frames < 20);
}

/* ---- words ---- */

#define PDU(...) ((struct bytes){(const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})})

static const char *said(struct bytes request, struct bytes reply)
{
    static struct buf text;
    struct decode_request asked = {0};

    buf_free(&text);
    text = (struct buf){0};
    if (request.len) {
        asked = decode_remember(1, request);
        if (!reply.len)
            decode_request(request, &text);
    }
    if (reply.len)
        decode_reply(&asked, 1, reply, &text);
    return text.len ? (const char *)text.data : "";
}

static const struct bytes none;

static void requests_are_told(void **state)
{
    (void)state;
    assert_string_equal(said(PDU(3, 0, 100, 0, 2), none), "read holding:100 x2");    /* 6.3 */
    assert_string_equal(said(PDU(2, 1, 0, 0, 1), none), "read discrete:256");        /* 6.2 */
    assert_string_equal(said(PDU(5, 0, 172, 0xff, 0), none), "write coil:172 = on"); /* 6.5 */
    assert_string_equal(said(PDU(5, 0, 172, 0x12, 0), none), "write coil:172 = 4608");
    assert_string_equal(said(PDU(6, 0, 1, 0, 3), none), "write holding:1 = 3"); /* 6.6 */
    assert_string_equal(said(PDU(15, 0, 19, 0, 10, 2, 0xcd, 1), none),
                        "write coil:19 x10 = 10110011 10"); /* 6.11 */
    assert_string_equal(said(PDU(16, 0, 1, 0, 2, 4, 0, 10, 1, 2), none),
                        "write holding:1 x2 = 10 258");           /* 6.12 */
    assert_string_equal(said(PDU(17), none), "report server id"); /* 6.13 */
    assert_string_equal(said(PDU(22, 0, 4, 0, 0xf2, 0, 0x25), none),
                        "mask write holding:4 and 00F2 or 0025"); /* 6.16 */
    assert_string_equal(said(PDU(23, 0, 3, 0, 6, 0, 14, 0, 1, 2, 0, 255), none),
                        "write, then read holding:14 = 255, read holding:3 x6"); /* 6.17 */
    assert_string_equal(said(PDU(43, 14, 1, 0), none),
                        "encapsulated interface: identify, basic, from object 0"); /* 6.21 */
    assert_string_equal(said(PDU(65, 1, 2), none), "function 65 01 02");
    assert_string_equal(said(PDU(3, 0), none), "read holding:0 x0 (cut short)");
}

static void answers_are_told_by_what_was_asked(void **state)
{
    const struct bytes two = PDU(3, 0, 100, 0, 2);

    (void)state;
    assert_string_equal(said(two, PDU(3, 4, 0, 215, 1, 44)), "holding:100 = 215 300");
    assert_string_equal(said(none, PDU(3, 4, 0, 215, 1, 44)), "holding = 215 300");
    assert_string_equal(said(PDU(3, 0, 100, 0, 3), PDU(3, 4, 0, 215, 1, 44)), "holding = 215 300");
    assert_string_equal(said(two, PDU(3, 4, 0, 215)), "holding:100 = (says 4 bytes, has 2) 215");
    assert_string_equal(said(two, PDU(0x83, 2)), "exception 2: illegal data address"); /* 7 */
    assert_string_equal(said(two, PDU(0x83, 99)), "exception 99: unknown");
    assert_string_equal(said(two, PDU(0x83)), "exception 0: unknown (cut short)");
    assert_string_equal(said(PDU(1, 0, 19, 0, 10), PDU(1, 2, 0xcd, 1)), "coil:19 = 10110011 10");
    assert_string_equal(said(PDU(16, 0, 1, 0, 2, 4, 0, 10, 1, 2), PDU(16, 0, 1, 0, 2)), "wrote holding:1 x2");
    assert_string_equal(said(PDU(43, 14, 1, 0), PDU(43, 14, 1, 1, 0, 0, 2, 0, 2, 'A', 'B', 1, 1, 7)),
                        "0=\"AB\", 1=\"?\"");
    assert_string_equal(said(PDU(17), PDU(17, 2, 'x', 0xff)), "report server id = 02 78 FF");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_without_gaps_are_told_apart),
        cmocka_unit_test(it_may_begin_anywhere),
        cmocka_unit_test(damage_costs_little_more_than_what_is_damaged),
        cmocka_unit_test(after_a_gap_nothing_is_kept),
        cmocka_unit_test(a_gap_ends_what_has_no_known_length),
        cmocka_unit_test(a_line_that_babbles_is_bounded),
        cmocka_unit_test(requests_are_told),
        cmocka_unit_test(answers_are_told_by_what_was_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
