/* SPDX-License-Identifier: Apache-2.0 */
/* Opening requests and frames of WebSocket (RFC 6455; MQTT 5.0, chapter 6), without a connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/http.h"
#include "net/ws.h"

#define HOST "Host: box:8080\r\n"
#define UP   "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define KEY  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define V13  "Sec-WebSocket-Version: 13\r\n"
#define MQTT "Sec-WebSocket-Protocol: mqtt\r\n"
#define GET  "GET /mqtt HTTP/1.1\r\n"

static char *const pages[] = {"https://hmi.example.com", NULL};
static char *const all_pages[] = {"*", NULL};
static char *const on_loopback[] = {NULL};

/* The status of the answer to a request that comes in pieces of a size; the answer in *out. */
static unsigned ask(const char *request, size_t piece, char *const *origins, struct buf *out)
{
    const struct ws_config config = {origins == on_loopback ? NULL : (char **)(uintptr_t)origins,
                                     origins == on_loopback};
    struct http_head *h = http_head_new();
    size_t len = strlen(request), used;
    unsigned status = 0, said;
    const char *why = NULL;

    for (size_t at = 0; at < len && !status; at += used) {
        size_t size = piece < len - at ? piece : len - at;
        status = http_head_feed(h, (const uint8_t *)request + at, size, &used, &why);
        assert_true(used <= size);
    }
    assert_int_not_equal(status, 0);
    out->len = 0;
    if (status != 200) {
        assert_non_null(why);
        http_answer(out, status, "", why);
    } else {
        bool agreed = ws_answer(h, &config, out, &why);
        assert_true(agreed == !why);
    }
    http_head_free(h);
    buf_u8(out, 0);
    assert_int_equal(sscanf((const char *)out->data, "HTTP/1.1 %u ", &said), 1);
    return said;
}

static const struct {
    const char *request;
    unsigned status;
    char *const *origins;
} requests[] = {
    {GET HOST UP KEY V13 MQTT "\r\n", 101, NULL},
    {"GET /mqtt?token=1 HTTP/1.1\r\n" HOST UP KEY V13 MQTT "\r\n", 101, NULL},
    {GET "host: box\r\nUPGRADE: h2c, WebSocket\r\nconnection: upgrade\r\n" KEY V13 MQTT "\r\n", 101, NULL},
    {GET HOST UP KEY V13 "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: x , mqtt\r\n\r\n", 101,
     NULL},
    {GET HOST UP KEY V13 "Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n", 101, NULL},
    {GET HOST UP KEY V13 "\r\n", 400, NULL},
    {GET HOST UP KEY V13 "Sec-WebSocket-Protocol: MQTT, mqttx\r\n\r\n", 400, NULL},
    {"GET / HTTP/1.1\r\n" HOST UP KEY V13 MQTT "\r\n", 404, NULL},
    {"GET /mqtt/ HTTP/1.1\r\n" HOST UP KEY V13 MQTT "\r\n", 404, NULL},
    {"POST /mqtt HTTP/1.1\r\n" HOST UP KEY V13 MQTT "Content-Length: 5\r\n\r\n", 405, NULL},
    {"HEAD /mqtt HTTP/1.1\r\n" HOST "\r\n", 405, NULL},
    {GET HOST "\r\n", 426, NULL},
    {GET HOST "Upgrade: websocket\r\n" KEY V13 MQTT "\r\n", 426, NULL},
    {GET HOST "Connection: upgrade\r\n" KEY V13 MQTT "\r\n", 426, NULL},
    {"GET /mqtt HTTP/1.0\r\n" HOST UP KEY V13 MQTT "\r\n", 505, NULL},
    {GET HOST UP KEY "Sec-WebSocket-Version: 8\r\n" MQTT "\r\n", 426, NULL},
    {GET HOST UP KEY MQTT "\r\n", 426, NULL},
    {GET UP KEY V13 MQTT "\r\n", 400, NULL},
    {GET HOST UP V13 MQTT "\r\n", 400, NULL},
    {GET HOST UP KEY KEY V13 MQTT "\r\n", 400, NULL},
    {GET HOST UP "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ\r\n" V13 MQTT "\r\n", 400, NULL},
    {GET HOST UP "Sec-WebSocket-Key: c2hvcnQ=\r\n" V13 MQTT "\r\n", 400, NULL},
    {GET HOST UP KEY V13 MQTT "Origin: http://box:8080\r\n\r\n", 101, NULL},
    {GET HOST UP KEY V13 MQTT "Origin: http://evil.example.com\r\n\r\n", 403, NULL},
    {GET HOST UP KEY V13 MQTT "Origin: http://evilbox:8080\r\n\r\n", 403, NULL},
    {GET HOST UP KEY V13 MQTT "Origin: null\r\n\r\n", 403, NULL},
    {GET HOST UP KEY V13 MQTT "Origin: https://HMI.example.com\r\n\r\n", 101, pages},
    {GET HOST UP KEY V13 MQTT "Origin: http://hmi.example.com\r\n\r\n", 403, pages},
    {GET HOST UP KEY V13 MQTT "Origin: http://box:8080\r\n\r\n", 403, pages},
    {GET HOST UP KEY V13 MQTT "\r\n", 101, pages},
    {GET HOST UP KEY V13 MQTT "Origin: http://evil.example.com\r\n\r\n", 101, all_pages},
    {GET HOST UP KEY V13 MQTT "Origin: http://box:8080\r\n\r\n", 403, on_loopback},
    {GET "Host: localhost:80\r\n" UP KEY V13 MQTT "Origin: http://localhost:80\r\n\r\n", 101, on_loopback},
    {GET "Host: [::1]\r\n" UP KEY V13 MQTT "Origin: https://[::1]\r\n\r\n", 101, on_loopback},
    {GET "Host: localhost.x\r\n" UP KEY V13 MQTT "Origin: https://localhost.x\r\n\r\n", 403, on_loopback},
    {GET HOST UP KEY V13 MQTT "\r\n", 101, on_loopback},
    {GET "Host: a\r\n b\r\n\r\n", 400, NULL},
    {"\x10\x0c\x00\x04MQTT\x04\x02", 400, NULL},
    {"GET /mqtt SIP/2.0\r\n\r\n", 400, NULL},
    {"GET /mqtt HTTP/1.1\nHost: a\n\n", 426, NULL},
    {GET "Ho(st: a\r\n\r\n", 400, NULL},
};

static void judges_requests(void **state)
{
    static const size_t pieces[] = {1, 2, 7, 64, 100000};
    struct buf answer = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
        for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
            unsigned status = ask(requests[i].request, pieces[k], requests[i].origins, &answer);
            if (status != requests[i].status)
                fail_msg("request %zu in pieces of %zu: %u, not %u", i, pieces[k], status,
                         requests[i].status);
        }
    buf_free(&answer);
}

/* The key and its answer are those of RFC 6455 §1.3. */
static void answers_with_proof_and_subprotocol(void **state)
{
    struct buf answer = {0};

    (void)state;
    ask(GET HOST UP KEY V13 "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n\r\n", 1000, NULL, &answer);
    assert_string_equal(answer.data, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                     "Connection: Upgrade\r\n"
                                     "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                                     "Sec-WebSocket-Protocol: mqtt\r\n\r\n");
    ask(GET HOST UP KEY V13 "Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n", 1000, NULL, &answer);
    assert_non_null(strstr((const char *)answer.data, "Sec-WebSocket-Protocol: mqttv3.1\r\n"));
    buf_free(&answer);
}

static unsigned feed(const char *text, size_t len, size_t *taken)
{
    struct http_head *h = http_head_new();
    const char *why;
    size_t used;
    unsigned status = 0;

    *taken = 0;
    while (!status && *taken < len) {
        status = http_head_feed(h, (const uint8_t *)text + *taken, len - *taken < 999 ? len - *taken : 999,
                                &used, &why);
        *taken += used;
    }
    http_head_free(h);
    return status;
}

static void keeps_a_bounded_head(void **state)
{
    struct buf text = {0};
    size_t taken;

    (void)state;
    buf_printf(&text, GET "X: ");
    while (text.len < 100000)
        buf_u8(&text, 'x');
    assert_int_equal(feed((char *)text.data, text.len, &taken), 431);
    assert_in_range(taken, HTTP_HEAD_MOST - 999, HTTP_HEAD_MOST);
    text.len = HTTP_HEAD_MOST - 4;
    buf_printf(&text, "\r\n\r\nrest");
    assert_int_equal(feed((char *)text.data, text.len, &taken), 200);
    assert_int_equal(taken, HTTP_HEAD_MOST);
    text.len = 0;
    buf_printf(&text, GET);
    for (unsigned i = 0; i <= HTTP_FIELDS_MOST; i++)
        buf_printf(&text, "a%u: b\r\n", i);
    buf_printf(&text, "\r\n");
    assert_int_equal(feed((char *)text.data, text.len, &taken), 431);
    buf_free(&text);
}

/* ---- frames ---- */

static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};

/* first: FIN, RSV and opcode; length in its shortest form. */
static void frame(struct buf *b, uint8_t first, const void *data, size_t len)
{
    buf_u8(b, first);
    if (len < 126) {
        buf_u8(b, (uint8_t)(0x80 | len));
    } else if (len < 65536) {
        buf_u8(b, 0x80 | 126);
        buf_u16(b, (uint16_t)len);
    } else {
        buf_u8(b, 0x80 | 127);
        buf_u64(b, len);
    }
    buf_append(b, mask, 4);
    for (size_t i = 0; i < len; i++)
        buf_u8(b, ((const uint8_t *)data)[i] ^ mask[i % 4]);
}

/* Reads frames in pieces of a size; what came out is added to got. */
static void read_in_pieces(struct ws_stream *s, const struct buf *frames, size_t piece, struct buf *got)
{
    for (size_t at = 0; at < frames->len && !s->close; at += piece) {
        size_t len = piece < frames->len - at ? piece : frames->len - at;
        uint8_t *copy = mem_alloc(len); /* ends where the piece ends */
        memcpy(copy, frames->data + at, len);
        size_t kept = ws_read(s, copy, len);
        assert_true(kept <= len);
        buf_append(got, copy, kept);
        free(copy);
    }
}

/* [MQTT-6.0.0-2]: what is in frames is one stream, however it is cut. */
static void gives_the_stream_of_any_frames(void **state)
{
    static const size_t sizes[] = {1, 0, 5, 125, 126, 127, 4000, 4096, 5000, 65535, 65536, 100000, 2};
    static const size_t pieces[] = {1, 2, 3, 13, 1000, 4096, 65536, 1000000};
    struct buf frames = {0}, all = {0}, got = {0};
    struct ws_stream s = {0};

    (void)state;
    for (unsigned i = 0; i < 3 * ARRAY_SIZE(sizes); i++) {
        size_t len = sizes[i % ARRAY_SIZE(sizes)], from = all.len;
        for (size_t k = 0; k < len; k++)
            buf_u8(&all, (uint8_t)(k * 7 + i));
        /* Single messages, then one in three fragments with a control frame between. */
        uint8_t first = i % 5 < 3 ? 0x82 : i % 5 == 3 ? 0x02 : 0x80;
        frame(&frames, first, all.data + from, len);
        if (i % 5 == 3) {
            frame(&frames, 0x89, "between", 7);
            frame(&frames, 0x00, "", 0);
        }
    }
    frame(&frames, 0x80, "", 0);
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        got.len = 0;
        read_in_pieces(&s, &frames, pieces[i], &got);
        if (i == 0 && s.close)
            fail_msg("%u: %s", s.close, s.why);
        assert_int_equal(s.close, 0);
        assert_int_equal(got.len, all.len);
        assert_memory_equal(got.data, all.data, all.len);
        assert_null(s.frame);
        assert_false(s.in_message);
    }
    ws_stream_free(&s);
    buf_free(&frames);
    buf_free(&all);
    buf_free(&got);
}

#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *name, *bytes;
    size_t len;
    unsigned code;
    bool ours;
} ends[] = {
    {"text", BYTES("\x81\x80mask"), 1003, true},
    {"not masked", BYTES("\x82\x01x"), 1002, true},
    {"not masked and empty", BYTES("\x82\x00"), 1002, true},
    {"RSV1", BYTES("\xc2\x80mask"), 1002, true},
    {"RSV3", BYTES("\x92\x80mask"), 1002, true},
    {"opcode 3", BYTES("\x83\x80mask"), 1002, true},
    {"opcode 11", BYTES("\x8b\x80mask"), 1002, true},
    {"opcode 15", BYTES("\x8f\x80mask"), 1002, true},
    {"continuation of nothing", BYTES("\x80\x80mask"), 1002, true},
    {"message within another", BYTES("\x02\x80mask\x82\x80mask"), 1002, true},
    {"text within another", BYTES("\x02\x80mask\x81\x80mask"), 1003, true},
    {"ping in pieces", BYTES("\x09\x80mask"), 1002, true},
    {"ping of 126 bytes",
     BYTES("\x89\xfe\x00\x7emask"
           "0123456789"),
     1002, true},
    {"length 5 in two bytes", BYTES("\x82\xfe\x00\x05maskxxxxx"), 1002, true},
    {"length 5 in eight bytes", BYTES("\x82\xff\0\0\0\0\0\0\0\x05maskxxxxx"), 1002, true},
    {"length with the top bit", BYTES("\x82\xff\x80\0\0\0\0\0\0\x05maskxxxxx"), 1002, true},
    {"close", BYTES("\x88\x80mask"), 1005, false},
    {"close 1000", BYTES("\x88\x82\0\0\0\0\x03\xe8"), 1000, false},
    {"close 1001 with words",
     BYTES("\x88\x86\0\0\0\0\x03\xe9"
           "away"),
     1001, false},
    {"close 4999", BYTES("\x88\x82\0\0\0\0\x13\x87"), 4999, false},
    {"close of one byte", BYTES("\x88\x81\0\0\0\0\x03"), 1002, true},
    {"close 1005", BYTES("\x88\x82\0\0\0\0\x03\xed"), 1002, true},
    {"close 1006", BYTES("\x88\x82\0\0\0\0\x03\xee"), 1002, true},
    {"close 1015", BYTES("\x88\x82\0\0\0\0\x03\xf7"), 1002, true},
    {"close 999", BYTES("\x88\x82\0\0\0\0\x03\xe7"), 1002, true},
    {"close 5000", BYTES("\x88\x82\0\0\0\0\x13\x88"), 1002, true},
};

static void ends_with_the_right_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        for (size_t piece = 1; piece <= 64; piece *= 4) {
            struct ws_stream s = {0};
            struct buf frames = {0}, got = {0};
            frame(&frames, 0x82, "before", 6);
            buf_append(&frames, ends[i].bytes, ends[i].len);
            frame(&frames, 0x82, "after", 5);
            read_in_pieces(&s, &frames, piece, &got);
            if (s.close != ends[i].code || (s.why != NULL) != ends[i].ours)
                fail_msg("%s in pieces of %zu: %u %s", ends[i].name, piece, s.close, s.why ? s.why : "");
            assert_int_equal(got.len, 6);
            assert_null(s.frame);
            ws_stream_free(&s);
            buf_free(&frames);
            buf_free(&got);
        }
}

static void answers_the_last_ping(void **state)
{
    struct ws_stream s = {0};
    struct buf frames = {0}, got = {0};
    char longest[125];

    (void)state;
    memset(longest, 'p', sizeof(longest));
    frame(&frames, 0x89, "one", 3);
    frame(&frames, 0x8a, "unasked", 7);
    frame(&frames, 0x89, longest, 125);
    read_in_pieces(&s, &frames, 11, &got);
    assert_int_equal(s.close, 0);
    assert_int_equal(got.len, 0);
    assert_int_equal(s.pong.len, 127);
    assert_memory_equal(s.pong.data, "\x8a\x7d", 2);
    assert_memory_equal(s.pong.data + 2, longest, 125);
    ws_stream_free(&s);
    buf_free(&frames);
    buf_free(&got);
}

static void writes_frames(void **state)
{
    struct buf b = {0};

    (void)state;
    ws_binary(&b, 125);
    ws_binary(&b, 126);
    ws_binary(&b, 65536);
    ws_close(&b, 1002);
    ws_close(&b, 1005);
    assert_int_equal(b.len, 2 + 4 + 10 + 4 + 2);
    assert_memory_equal(b.data,
                        "\x82\x7d"
                        "\x82\x7e\x00\x7e"
                        "\x82\x7f\0\0\0\0\0\1\0\0"
                        "\x88\x02\x03\xea"
                        "\x88\x00",
                        b.len);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_requests),
        cmocka_unit_test(answers_with_proof_and_subprotocol),
        cmocka_unit_test(keeps_a_bounded_head),
        cmocka_unit_test(gives_the_stream_of_any_frames),
        cmocka_unit_test(ends_with_the_right_code),
        cmocka_unit_test(answers_the_last_ping),
        cmocka_unit_test(writes_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
