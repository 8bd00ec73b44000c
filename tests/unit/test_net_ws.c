/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket on connections: the other side is a plain socket of the test. */
#include "net_world.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/http.h"
#include "net/layer.h"
#include "net/ws.h"

static struct world w;
static const struct ws_config config;

static const char request[] =
    "GET /mqtt HTTP/1.1\r\nHost: box\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: mqtt\r\n\r\n";

static int set_up(void **state)
{
    (void)state;
    world_open(&w);
    w.ws = &config;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

/* What we have said to it, taken apart. */
struct side {
    int fd;
    struct buf raw;     /* not yet taken apart */
    struct buf got;     /* of messages */
    struct buf control; /* of Pong and Close, with their opcodes in front */
    size_t frames, longest;
    bool answered, over;
};

static void side_free(struct side *s)
{
    close(s->fd);
    buf_free(&s->raw);
    buf_free(&s->got);
    buf_free(&s->control);
}

/* Takes the first frame apart; false when it is not whole. */
static bool next_frame(struct side *s)
{
    struct cursor c = cursor_of(s->raw.data, s->raw.len);
    uint8_t first = cursor_u8(&c), size = cursor_u8(&c);
    uint64_t len = size == 127 ? cursor_u64(&c) : size == 126 ? cursor_u16(&c) : size;
    const uint8_t *data = cursor_take(&c, (size_t)len);

    if (!data)
        return false;
    assert_int_equal(first & 0xf0, 0x80);
    assert_int_equal(size & 0x80, 0);
    if (first == 0x82) {
        s->frames++;
        s->longest = len > s->longest ? (size_t)len : s->longest;
        buf_append(&s->got, data, (size_t)len);
    } else {
        buf_u8(&s->control, first & 15);
        buf_append(&s->control, data, (size_t)len);
    }
    buf_consume(&s->raw, (size_t)(c.at - s->raw.data));
    return true;
}

static void side_read(struct side *s)
{
    if (!s->over)
        s->over = !raw_read(s->fd, &s->raw);
    if (!s->answered) {
        const uint8_t *end = s->raw.len ? memmem(s->raw.data, s->raw.len, "\r\n\r\n", 4) : NULL;
        if (!end)
            return;
        s->answered = true;
        assert_memory_equal(s->raw.data, "HTTP/1.1 101 ", 13);
        buf_consume(&s->raw, (size_t)(end + 4 - s->raw.data));
    }
    while (next_frame(s))
        ;
}

/* first: FIN and opcode. The mask is zeroes. */
static void say(struct side *s, uint8_t first, const void *data, size_t len)
{
    struct buf b = {0};

    buf_u8(&b, first);
    buf_u8(&b, (uint8_t)(0x80 | (len < 126 ? len : 126)));
    if (len >= 126)
        buf_u16(&b, (uint16_t)len);
    buf_u32(&b, 0);
    buf_append(&b, data, len);
    raw_write(s->fd, b.data, b.len);
    buf_free(&b);
}

static struct end *side_open(struct side *s, int receive_buffer)
{
    unsigned before = w.accepts;

    *s = (struct side){
        .fd = raw_connect(w.listener ? listener_port(w.listener) : world_listen(&w), receive_buffer)};
    raw_write(s->fd, request, sizeof(request) - 1);
    PUMP_UNTIL(&w, w.accepts > before && w.accepted->open && (side_read(s), s->answered));
    return w.accepted;
}

static size_t echo(struct end *e, const uint8_t *data, size_t len)
{
    end_send(e, data, len);
    return len;
}

static void echoes_messages_of_any_cut(void **state)
{
    enum { SIZE = 1 << 20 };
    struct side s;
    struct end *e = side_open(&s, 0);
    uint8_t *sent = mem_alloc(SIZE);
    bool begun = false;

    (void)state;
    e->take = echo;
    for (size_t i = 0; i < SIZE; i++)
        sent[i] = (uint8_t)(i * 7 + i / 251);
    for (size_t at = 0, chunk = 1; at < SIZE; chunk = chunk * 5 % 19973 + 1) {
        size_t len = chunk < SIZE - at ? chunk : SIZE - at;
        bool last = chunk % 3 != 0 || at + len == SIZE;
        say(&s, (uint8_t)((last ? 0x80 : 0) | (begun ? 0 : 2)), sent + at, len);
        begun = !last;
        at += len;
        PUMP_UNTIL(&w, (side_read(&s), s.got.len == at));
    }
    assert_memory_equal(s.got.data, sent, SIZE);
    assert_int_equal(s.control.len, 0);
    assert_int_equal(conn_backlog(e->conn), 0);
    /* Nothing stays behind at an idle connection. */
    assert_null(e->conn->in.data);
    assert_null(e->conn->out.data);
    free(sent);
    side_free(&s);
}

static void frames_follow_the_request_at_once(void **state)
{
    struct side s = {.fd = raw_connect(world_listen(&w), 0)};
    struct buf b = {0};

    (void)state;
    buf_append(&b, request, sizeof(request) - 1);
    buf_append(&b, "\x82\x85\0\0\0\0hello", 11);
    raw_write(s.fd, b.data, b.len);
    PUMP_UNTIL(&w, w.accepted && w.accepted->got.len == 5);
    assert_true(end_got(w.accepted, "hello"));
    buf_free(&b);
    side_free(&s);
}

/* Packets of 6 MB to a peer that reads nothing at first: our layer takes no second copy of them, and they
 * leave in frames of a bounded size. */
static void a_slow_reader_gets_all_in_frames(void **state)
{
    enum { SIZE = 6 << 20, PACKETS = 3 };
    struct side s;
    struct end *e = side_open(&s, 65536);
    uint8_t *packet = mem_alloc(SIZE);

    (void)state;
    e->conn->high = 1000000;
    for (int i = 0; i < PACKETS; i++) {
        memset(packet, i + 1, SIZE);
        end_send(e, packet, SIZE);
        world_turns(&w, 3);
        assert_in_range(conn_backlog(e->conn), (size_t)i * SIZE, (size_t)(i + 1) * SIZE + 1000);
    }
    conn_close(e->conn); /* the Close comes after all of it */
    PUMP_UNTIL(&w, (side_read(&s), s.control.len > 0));
    assert_int_equal(s.got.len, PACKETS * SIZE);
    for (size_t i = 0; i < s.got.len; i += 4095)
        assert_int_equal(s.got.data[i], i / SIZE + 1);
    assert_in_range(s.longest, 1000, 65536);
    assert_int_equal(s.control.len, 3);
    assert_memory_equal(s.control.data, "\x08\x03\xe8", 3);
    PUMP_UNTIL(&w, (side_read(&s), s.over));
    free(packet);
    side_free(&s);
}

static void tells_when_drained(void **state)
{
    struct side s;
    struct end *e = side_open(&s, 4096);
    uint8_t *packet = mem_alloc(5000000);

    (void)state;
    e->conn->high = 1000000;
    end_send(e, packet, 5000000);
    world_turns(&w, 10);
    assert_int_equal(e->drains, 0);
    PUMP_UNTIL(&w, (side_read(&s), s.got.len == 5000000));
    PUMP_UNTIL(&w, e->drains == 1);
    assert_int_equal(conn_backlog(e->conn), 0);
    free(packet);
    side_free(&s);
}

/* Who pings and does not read makes us keep one Pong. */
static void keeps_one_pong_for_who_does_not_read(void **state)
{
    struct side s;
    struct end *e = side_open(&s, 4096);
    uint8_t *packet = mem_alloc(8000000);
    char body[125] = {0};

    (void)state;
    say(&s, 0x89, "are you there", 13);
    PUMP_UNTIL(&w, (side_read(&s), s.control.len == 14));
    assert_memory_equal(s.control.data,
                        "\x0a"
                        "are you there",
                        14);
    end_send(e, packet, 8000000);
    world_turns(&w, 10);
    size_t before = conn_backlog(e->conn);
    for (int i = 0; i < 2000; i++) {
        body[0] = (char)i;
        say(&s, 0x89, body, sizeof(body));
        world_turns(&w, 1);
    }
    assert_in_range(conn_backlog(e->conn), before - 100000, before + 1000);
    PUMP_UNTIL(&w, (side_read(&s), s.got.len == 8000000));
    say(&s, 0x89, "last", 4);
    PUMP_UNTIL(&w, (side_read(&s),
                    s.control.len >= 5 && !memcmp(s.control.data + s.control.len - 5, "\x0alast", 5)));
    assert_in_range(s.control.len, 14 + 5, 14 + 126 * 20);
    assert_true(e->open && !e->closed);
    free(packet);
    side_free(&s);
}

static const struct {
    const char *bytes;
    size_t len;
    const char *close; /* that we send */
    size_t close_len;
    const char *why;
} ends[] = {
    {"\x88\x80\0\0\0", 6, "\x08", 1, "closed by the peer"},
    {"\x88\x82\0\0\0\0\x03\xe8", 8, "\x08\x03\xe8", 3, "closed by the peer"},
    {"\x88\x82\0\0\0\0\x03\xe9", 8, "\x08\x03\xe9", 3, "closed by the peer, WebSocket code 1001"},
    {"\x81\x81\0\0\0\0x", 7, "\x08\x03\xeb", 3, "WebSocket: a text message where only binary ones may be"},
    {"\x82\x01x", 3, "\x08\x03\xea", 3, "WebSocket: a frame that is not masked"},
};

static void closes_with_a_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        struct side s;
        struct end *e = side_open(&s, 0);
        say(&s, 0x82, "data", 4);
        raw_write(s.fd, ends[i].bytes, ends[i].len);
        PUMP_UNTIL(&w, e->closed);
        assert_true(end_got(e, "data"));
        assert_string_equal(e->why, ends[i].why);
        PUMP_UNTIL(&w, (side_read(&s), s.over));
        assert_int_equal(s.control.len, ends[i].close_len);
        assert_memory_equal(s.control.data, ends[i].close, ends[i].close_len);
        side_free(&s);
    }
}

static void ends_without_a_close(void **state)
{
    struct side s;
    struct end *e = side_open(&s, 0);

    (void)state;
    raw_write(s.fd, "\x82\x85\0\0\0\0he", 8);
    side_free(&s);
    PUMP_UNTIL(&w, e->closed);
    assert_string_equal(e->why, "closed by the peer");
    assert_true(end_got(e, "he"));
}

static size_t take_and_close(struct end *e, const uint8_t *data, size_t len)
{
    (void)data;
    conn_close(e->conn);
    return len;
}

/* DISCONNECT and Close come together. */
static void the_owner_closes_while_it_reads(void **state)
{
    struct side s;
    struct end *e = side_open(&s, 0);

    (void)state;
    e->take = take_and_close;
    raw_write(s.fd, "\x82\x82\0\0\0\0\xe0\0\x88\x80\0\0\0", 14);
    PUMP_UNTIL(&w, e->closed);
    assert_false(e->has_why);
    PUMP_UNTIL(&w, (side_read(&s), s.over));
    assert_int_equal(s.control.data[0], 8);
    side_free(&s);
}

static void refuses_what_is_no_handshake(void **state)
{
    static const struct {
        const char *request, *answer, *why;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 Not Found\r\n",
         "WebSocket handshake: nothing is here; MQTT over WebSocket is at /mqtt"},
        {"GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n",
         "WebSocket handshake: this place speaks MQTT over WebSocket alone"},
        {"\x10\x0c", "HTTP/1.1 400 Bad Request\r\n", "WebSocket handshake: invalid HTTP method"},
    };

    (void)state;
    uint16_t port = world_listen(&w);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf got = {0};
        unsigned before = w.accepts;
        int fd = raw_connect(port, 0);
        raw_write(fd, rows[i].request, strlen(rows[i].request));
        PUMP_UNTIL(&w, w.accepts > before && w.accepted->closed);
        struct end *e = w.accepted;
        assert_false(e->open);
        assert_string_equal(e->why, rows[i].why);
        PUMP_UNTIL(&w, !raw_read(fd, &got));
        assert_memory_equal(got.data, rows[i].answer, strlen(rows[i].answer));
        buf_free(&got);
        close(fd);
    }
}

static void keeps_little_before_the_handshake(void **state)
{
    struct buf got = {0}, much = {0};

    (void)state;
    int fd = raw_connect(world_listen(&w), 0);
    buf_printf(&much, "GET /mqtt HTTP/1.1\r\nX: ");
    while (much.len < 3 * HTTP_HEAD_MOST)
        buf_u8(&much, 'x');
    for (size_t at = 0; at < much.len; at += 512) {
        raw_write(fd, much.data + at, 512);
        world_turns(&w, 2);
    }
    PUMP_UNTIL(&w, w.accepted && w.accepted->closed);
    assert_string_equal(w.accepted->why, "WebSocket handshake: a header over 8 kB");
    PUMP_UNTIL(&w, !raw_read(fd, &got));
    assert_memory_equal(got.data, "HTTP/1.1 431 ", 13);
    buf_free(&got);
    buf_free(&much);
    close(fd);
}

static void the_owner_gives_up_before_it_is_open(void **state)
{
    (void)state;
    int fd = raw_connect(world_listen(&w), 0);
    raw_write(fd, request, 100);
    PUMP_UNTIL(&w, w.accepted);
    world_turns(&w, 5);
    conn_close(w.accepted->conn);
    PUMP_UNTIL(&w, !w.accepted->conn);
    close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(echoes_messages_of_any_cut),
        TEST(frames_follow_the_request_at_once),
        TEST(a_slow_reader_gets_all_in_frames),
        TEST(tells_when_drained),
        TEST(keeps_one_pong_for_who_does_not_read),
        TEST(closes_with_a_code),
        TEST(ends_without_a_close),
        TEST(the_owner_closes_while_it_reads),
        TEST(refuses_what_is_no_handshake),
        TEST(keeps_little_before_the_handshake),
        TEST(the_owner_gives_up_before_it_is_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
