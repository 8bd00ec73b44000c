/* SPDX-License-Identifier: Apache-2.0 */
/* The PROXY protocol on connections, alone and under WebSocket. */
#include "net_world.h"

#include <unistd.h>

#include "base/mem.h"
#include "net/proxy.h"
#include "net/ws.h"

#define V1 "PROXY TCP4 192.0.2.7 198.51.100.1 51234 8883\r\n"
#define CN                                                                                                   \
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x1c\xc0\x00\x02\x07\xc6\x33\x64\x01\xc8\x22\x22\xb3\x20\x00\x0d\x07\0" \
    "\0\0\0\x22\x00\x05scada"

static struct world w;
static struct network lan, other;
static struct proxy_config config;

static int set_up(void **state)
{
    (void)state;
    world_open(&w);
    config = (struct proxy_config){0};
    w.proxy = &config;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

static void announces_the_peer(void **state)
{
    static const struct {
        const char *header;
        size_t len;
        const char *peer, *name;
    } rows[] = {
        {V1, sizeof(V1) - 1, "192.0.2.7:51234", NULL},
        {CN, sizeof(CN) - 1, "192.0.2.7:51234", "scada"},
        {"PROXY UNKNOWN\r\n", 15, "127.0.0.1:", NULL},
    };
    static const size_t pieces[] = {1, 7, 1000};

    (void)state;
    uint16_t port = world_listen(&w);
    for (size_t i = 0; i < ARRAY_SIZE(rows) * ARRAY_SIZE(pieces); i++) {
        size_t row = i / ARRAY_SIZE(pieces), piece = pieces[i % ARRAY_SIZE(pieces)];
        struct buf all = {0};
        char peer[64], name[64];
        buf_append(&all, rows[row].header, rows[row].len);
        buf_append(&all, "data", 4);
        unsigned before = w.accepts;
        int fd = raw_connect(port, 0);
        for (size_t at = 0; at < all.len; at += piece) {
            raw_write(fd, all.data + at, piece < all.len - at ? piece : all.len - at);
            world_turns(&w, 3);
        }
        PUMP_UNTIL(&w, w.accepts > before && w.accepted->got.len == 4);
        struct end *e = w.accepted;
        assert_true(end_got(e, "data"));
        conn_peer(e->conn, peer);
        assert_memory_equal(peer, rows[row].peer, strlen(rows[row].peer));
        assert_true(conn_peer_name(e->conn, name, sizeof(name)) == (rows[row].name != NULL));
        if (rows[row].name)
            assert_string_equal(name, rows[row].name);
        assert_false(conn_peer_name(e->conn, name, 3)); /* no half name */
        end_say(e, "answer");
        struct buf got = {0};
        PUMP_UNTIL(&w, (raw_read(fd, &got), got.len == 6));
        buf_free(&got);
        buf_free(&all);
        close(fd);
        PUMP_UNTIL(&w, e->closed);
        conn_peer(e->conn, peer);
        assert_memory_equal(peer, rows[row].peer, strlen(rows[row].peer));
    }
}

static void refuses_what_is_no_header(void **state)
{
    static const struct {
        const char *bytes, *why;
    } rows[] = {
        {"\x10\x0c\x00\x04MQTT", "PROXY handshake: the connection does not begin with a PROXY header"},
        {"PROXY TCP4 192.0.2.7\r\n", "PROXY handshake: an address or port that is none"},
    };

    (void)state;
    uint16_t port = world_listen(&w);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        unsigned before = w.accepts;
        struct buf got = {0};
        int fd = raw_connect(port, 0);
        raw_write(fd, rows[i].bytes, strlen(rows[i].bytes + 4) + 4);
        PUMP_UNTIL(&w, w.accepts > before && w.accepted->closed);
        assert_string_equal(w.accepted->why, rows[i].why);
        PUMP_UNTIL(&w, !raw_read(fd, &got));
        assert_int_equal(got.len, 0);
        buf_free(&got);
        close(fd);
    }
}

static void only_from_who_may_announce(void **state)
{
    struct network both[2];

    (void)state;
    assert_int_equal(network_parse("10.0.0.0/8", &other), 0);
    assert_int_equal(network_parse("127.0.0.0/8", &lan), 0);
    config = (struct proxy_config){&other, 1};
    uint16_t port = world_listen(&w);
    int fd = raw_connect(port, 0);
    raw_write(fd, V1 "data", sizeof(V1) + 3);
    PUMP_UNTIL(&w, w.accepted && w.accepted->closed);
    assert_false(w.accepted->open);
    assert_string_equal(w.accepted->why, "PROXY handshake: not one of proxy_from");
    close(fd);
    both[0] = other;
    both[1] = lan;
    config = (struct proxy_config){both, 2};
    fd = raw_connect(port, 0);
    raw_write(fd, V1 "data", sizeof(V1) + 3);
    PUMP_UNTIL(&w, w.accepts == 2 && w.accepted->got.len == 4);
    close(fd);
}

static void carries_other_layers(void **state)
{
    static const struct ws_config ws;
    static const char all[] =
        V1 "GET /mqtt HTTP/1.1\r\nHost: box\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Protocol: mqtt\r\n\r\n\x82\x84\0\0\0\0data";
    struct buf got = {0};
    char peer[64];

    (void)state;
    w.ws = &ws;
    int fd = raw_connect(world_listen(&w), 0);
    raw_write(fd, all, sizeof(all) - 1);
    PUMP_UNTIL(&w, w.accepted && w.accepted->got.len == 4);
    conn_peer(w.accepted->conn, peer);
    assert_string_equal(peer, "192.0.2.7:51234");
    end_say(w.accepted, "bye");
    conn_close(w.accepted->conn);
    PUMP_UNTIL(&w, !raw_read(fd, &got));
    assert_memory_equal(got.data + got.len - 9,
                        "\x82\x03"
                        "bye\x88\x02\x03\xe8",
                        9);
    buf_free(&got);
    close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(announces_the_peer),
        TEST(refuses_what_is_no_header),
        TEST(only_from_who_may_announce),
        TEST(carries_other_layers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
