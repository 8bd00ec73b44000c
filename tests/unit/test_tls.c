/* SPDX-License-Identifier: Apache-2.0 */
/* TLS as a server, against openssl's s_client, and between two of ours: what must be accepted, what must be
 * refused, what is then said, and that nothing is lost or believed that was damaged on the way. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "tls_world.h"

static void server_error(const char *cert, const char *key, const char *ca, const char *expected)
{
    struct tls_server_config config = {file(cert), file(key), ca ? file(ca) : NULL};
    struct tls_context *t = NULL;
    char error[300] = "", all[400];

    assert_true(tls_server_new(&t, &config, error, sizeof(error)) < 0);
    assert_null(t);
    snprintf(all, sizeof(all), "%s/%s", tls_dir, expected);
    if (strncmp(error, all, strlen(all)))
        fail_msg("\"%s\" does not begin with \"%s\"", error, all);
}

static void says_what_is_wrong_with_files(void **state)
{
    (void)state;
    server_error("none.pem", "right.key", NULL, "none.pem: cannot be read: No such file");
    server_error("right.pem", "none.key", NULL, "none.key: cannot be read: No such file");
    server_error("none.pem", "none.key", "right.pem",
                 "none.pem: cannot be read: No such file or directory; ");
    server_error("right.pem", "right.key", "none.ca", "none.ca: cannot be read: No such file");
    server_error("broken.pem", "right.key", NULL, "broken.pem: is not a PEM certificate");
    server_error("right.key", "right.key", NULL, "right.key: is not a PEM certificate");
    server_error("right.pem", "right.pem", NULL, "right.pem: is not a PEM private key");
    server_error("right.pem", "client.key", NULL, "client.key: is not the key of the certificate in");
    server_error("right.pem", "locked.key", NULL,
                 "locked.key: is encrypted; a key without a pass phrase is needed");
    server_error("right.pem", "right.key", "log", "log: is not a PEM certificate");
    tls_context_free(NULL);
}

/* --- we are the server --- */

static size_t echo(struct end *e, const uint8_t *data, size_t len)
{
    end_send(e, data, len);
    return len;
}

static void echoing(struct end *e)
{
    e->take = echo;
}

static uint16_t serve(const char *name, const char *client_ca)
{
    w.tls = server_context(name, client_ca);
    w.on_accept = echoing;
    return world_listen(&w);
}

#define S_CLIENT "exec openssl s_client -connect 127.0.0.1:%u -CAfile ca.pem -verify_return_error "

static void serve_with(const char *name, const char *options, const char *version)
{
    struct child c;

    child_start(&c, S_CLIENT "-servername mq.example.com -verify_hostname mq.example.com %s",
                serve(name, NULL), options);
    PUMP_UNTIL(&w, w.accepted && (w.accepted->open || w.accepted->closed));
    assert_string_equal(w.accepted->why, "");
    child_say(&c, "hello there\n");
    PUMP_UNTIL(&w, child_said(&c, "hello there"));
    assert_memory_equal(conn_cipher(w.accepted->conn), version, strlen(version));
    child_say(&c, "Q\n");
    PUMP_UNTIL(&w, w.accepted->conn == NULL);
    assert_string_equal(w.accepted->why, "closed by the peer");
    child_stop(&c);
    listener_close(w.listener);
    w.listener = NULL;
    tls_context_free(w.tls);
    w.tls = NULL;
    w.accepted = NULL;
}

static void serves_a_client(void **state)
{
    (void)state;
    serve_with("right", "-tls1_2", "TLSv1.2 TLS-ECDHE-ECDSA-");
    serve_with("rsa", "-tls1_2", "TLSv1.2 TLS-ECDHE-RSA-");
    serve_with("right", "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
               "TLSv1.2 TLS-ECDHE-ECDSA-WITH-CHACHA20");
    serve_with("right", "", !strcmp(tls_newest(), "1.3") ? "TLSv1.3 TLS1-3-" : "TLSv1.2 ");
}

static void refuse_client(const char *options, const char *why)
{
    struct child c;
    char all[300];

    child_start(&c, S_CLIENT "%s", listener_port(w.listener), options);
    w.accepted = NULL;
    PUMP_UNTIL(&w, w.accepted && w.accepted->closed);
    snprintf(all, sizeof(all), "TLS handshake: %s", why);
    assert_string_equal(w.accepted->why, all);
    assert_false(w.accepted->open);
    /* It hears of it. (mbedtls seals an alert with a key that a TLS 1.3 client has put away already.) */
    PUMP_UNTIL(&w, child_said(&c, !strcmp(tls_newest(), "1.2") ? "alert" : "error:"));
    child_stop(&c);
    PUMP_UNTIL(&w, w.accepted->conn == NULL);
}

static void knows_clients_by_certificate(void **state)
{
    struct child c;
    char name[20], tiny[4], why[200];

    (void)state;
    uint16_t port = serve("right", "ca.pem");
    child_start(&c, S_CLIENT "-cert client.pem -key client.key", port);
    PUMP_UNTIL(&w, w.accepted && (w.accepted->open || w.accepted->closed));
    assert_string_equal(w.accepted->why, "");
    assert_true(conn_peer_name(w.accepted->conn, name, sizeof(name)));
    assert_string_equal(name, "plant7");
    assert_false(conn_peer_name(w.accepted->conn, tiny, sizeof(tiny)));
    child_stop(&c);
    PUMP_UNTIL(&w, w.accepted->conn == NULL);
    assert_string_equal(w.accepted->why, "the stream ended without TLS close_notify");

    refuse_client("", "the peer sent no certificate");
    snprintf(why, sizeof(why), "certificate of stranger is not signed by %s/ca.pem", tls_dir);
    refuse_client("-cert stranger.pem -key stranger.key", why);
    refuse_client("-cert expired.pem -key expired.key", "certificate of mq.example.com expired 2026-01-02");
}

static void refuses_what_is_old_or_no_tls(void **state)
{
    static const char mqtt[] = "\x10\x10\0\4MQTT\4\2\0\x3c\0\4abcd";

    (void)state;
    uint16_t port = serve("right", NULL);
    refuse_client("-tls1_1 -cipher DEFAULT@SECLEVEL=0", "no TLS version in common");
    for (int i = 0; i < 3; i++) {
        struct buf got = {0};
        int fd = raw_connect(port, 0);
        w.accepted = NULL;
        PUMP_UNTIL(&w, w.accepted);
        if (i == 0)
            raw_write(fd, mqtt, sizeof(mqtt) - 1);
        else if (i == 1)
            raw_write(fd, "\x16\x03\x01", 3);
        if (i)
            shutdown(fd, SHUT_WR);
        PUMP_UNTIL(&w, w.accepted->closed);
        assert_string_equal(w.accepted->why, i ? "TLS handshake: closed by the peer"
                                               : "TLS handshake: the peer does not speak TLS");
        PUMP_UNTIL(&w, !raw_read(fd, &got));
        buf_free(&got);
        close(fd);
    }
}

/* Carries bytes between a client and our server, from the client one at a time. */
static void relay(int from_client, int to_server, bool bytewise)
{
    uint8_t chunk[4096];
    ssize_t len = recv(from_client, chunk, bytewise ? 1 : sizeof(chunk), 0);

    if (len > 0)
        raw_write(to_server, chunk, (size_t)len);
    len = recv(to_server, chunk, sizeof(chunk), 0);
    if (len > 0)
        raw_write(from_client, chunk, (size_t)len);
}

static void shakes_hands_a_byte_at_a_time(void **state)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t size = sizeof(addr);
    struct child c;
    int one = 1;

    (void)state;
    int front = socket(AF_INET, SOCK_STREAM, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(front, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(front, 1), 0);
    assert_int_equal(getsockname(front, (struct sockaddr *)&addr, &size), 0);
    uint16_t port = serve("right", "ca.pem");
    child_start(&c, S_CLIENT "-cert client.pem -key client.key", ntohs(addr.sin_port));
    int client = accept4(front, NULL, NULL, SOCK_NONBLOCK);
    int server = raw_connect(port, 0);
    setsockopt(server, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
    world_guard(&w, __FILE__, __LINE__, "a slow handshake");
    while (!w.accepted || !w.accepted->open) {
        relay(client, server, true);
        world_turns(&w, 1);
        assert_true(!w.accepted || !w.accepted->closed);
    }
    child_say(&c, "slow but sure\n");
    while (!child_said(&c, "slow but sure")) {
        relay(client, server, true);
        world_turns(&w, 1);
    }
    uv_timer_stop(&w.guard);
    child_stop(&c);
    close(front);
    close(client);
    close(server);
}

/* --- both sides are ours --- */

static void tls_pair(struct end **near, struct end **far, struct tls_context *t)
{
    *near = end_tls(listener_port(w.listener), t, "mq.example.com");
    PUMP_UNTIL(&w, (*near)->closed || ((*near)->open && w.accepted && w.accepted->open));
    assert_string_equal((*near)->why, "");
    *far = w.accepted;
}

static void carries_much_both_ways(void **state)
{
    enum { SIZE = 3000000 };
    struct tls_context *t = client_context("ca.pem", "client", NULL);
    struct end *near, *far;
    uint8_t *sent = mem_alloc(SIZE);
    size_t at = 0;

    (void)state;
    serve("right", "ca.pem");
    tls_pair(&near, &far, t);
    near->conn->high = 100000;
    for (size_t i = 0; i < SIZE; i++)
        sent[i] = (uint8_t)(i * 13 + i / 257);
    for (size_t chunk = 1; at < SIZE; chunk = chunk * 7 % 99991 + 1) {
        size_t len = chunk < SIZE - at ? chunk : SIZE - at;
        end_send(near, sent + at, len);
        at += len;
        if (chunk % 3)
            world_turns(&w, 1);
        if (chunk % 5 == 0)
            conn_pause(far->conn);
        else
            conn_resume(far->conn);
    }
    conn_resume(far->conn);
    PUMP_UNTIL(&w, near->got.len == SIZE);
    assert_memory_equal(near->got.data, sent, SIZE);
    PUMP_UNTIL(&w, near->drains > 0);
    assert_int_equal(conn_backlog(near->conn), 0);
    conn_close(near->conn);
    PUMP_UNTIL(&w, far->conn == NULL);
    assert_string_equal(far->why, "closed by the peer");
    free(sent);
    tls_context_free(t);
}

static void say_hello(struct end *e)
{
    end_say(e, "hello");
}

static void hello_when_open(struct end *e)
{
    e->opened = say_hello;
}

/* What is said in on_open leaves with the end of the handshake. */
static void speaks_first(void **state)
{
    struct tls_context *t = client_context("ca.pem", NULL, NULL);

    (void)state;
    serve("right", NULL);
    w.on_accept = hello_when_open;
    struct end *e = end_tls(listener_port(w.listener), t, "mq.example.com");
    hello_when_open(e);
    PUMP_UNTIL(&w, end_got(e, "hello") && end_got(w.accepted, "hello"));
    tls_context_free(t);
}

static void holds_and_closes_as_without_tls(void **state)
{
    struct tls_context *t = client_context("ca.pem", NULL, NULL);
    struct end *near, *far;

    (void)state;
    serve("right", NULL);
    w.on_accept = NULL;
    tls_pair(&near, &far, t);
    end_hold(near, 1, "held ");
    end_say(near, "free ");
    PUMP_UNTIL(&w, end_got(far, "free "));
    end_hold(near, 2, "never ");
    w.committed = 1;
    conn_close(near->conn);
    PUMP_UNTIL(&w, far->closed);
    assert_true(end_got(far, "free held "));
    assert_string_equal(far->why, "closed by the peer");

    tls_pair(&near, &far, t);
    conn_abort(far->conn);
    PUMP_UNTIL(&w, near->closed);
    assert_true(near->has_why);
    tls_context_free(t);
}

/* Bytes are flipped, dropped and cut off on the way, at any place of handshake and data: both sides must
 * notice. */
static bool damage(int from, int to, uint32_t *chance, size_t *until)
{
    uint8_t chunk[4096];
    ssize_t len = recv(from, chunk, sizeof(chunk), 0);

    if (len <= 0)
        return len < 0;
    if (*until < (size_t)len) {
        *chance = *chance * 1664525u + 1013904223u;
        if (*chance >> 30 == 0)
            len = (ssize_t)*until + 1;
        chunk[*until] ^= (uint8_t)(1u << (*chance >> 20 & 7));
        *until = SIZE_MAX;
    } else if (*until != SIZE_MAX) {
        *until -= (size_t)len;
    }
    raw_write(to, chunk, (size_t)len);
    return true;
}

static void notices_damage(void **state)
{
    struct tls_context *t = client_context("ca.pem", "client", NULL);
    uint32_t chance = 42;

    (void)state;
    uint16_t port = serve("right", "ca.pem");
    for (size_t place = 0; place < 4000; place += 53) {
        struct sockaddr_in addr = {.sin_family = AF_INET};
        socklen_t size = sizeof(addr);
        size_t until[2] = {place % 2 ? place : SIZE_MAX, place % 2 ? SIZE_MAX : place};
        int front = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), client = -1;
        addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        assert_int_equal(bind(front, (struct sockaddr *)&addr, sizeof(addr)), 0);
        assert_int_equal(listen(front, 1), 0);
        assert_int_equal(getsockname(front, (struct sockaddr *)&addr, &size), 0);
        w.accepted = NULL;
        struct end *e = end_tls(ntohs(addr.sin_port), t, "mq.example.com");
        int server = raw_connect(port, 0);
        PUMP_UNTIL(&w,
                   w.accepted && (client >= 0 || (client = accept4(front, NULL, NULL, SOCK_NONBLOCK)) >= 0));
        struct end *far = w.accepted;
        for (int i = 0; i < 60 && !(e->closed && far->closed); i++) {
            if (e->open && !e->closed)
                end_say(
                    e, "a line that is echoed, so that there is something to damage after the handshake too");
            world_turns(&w, 1);
            bool there = damage(client, server, &chance, &until[0]);
            bool back = damage(server, client, &chance, &until[1]);
            if (!there || !back)
                break;
        }
        close(front);
        close(client);
        close(server);
        PUMP_UNTIL(&w, !e->conn && !far->conn);
        assert_true(e->has_why && far->has_why);
        /* What got through is what was sent. */
        if (e->got.len)
            assert_memory_equal(e->got.data, "a line that is echoed", e->got.len < 21 ? e->got.len : 21);
    }
    tls_context_free(t);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, tls_set_up, tls_tear_down)
    const struct CMUnitTest tests[] = {
        T(says_what_is_wrong_with_files),
        T(serves_a_client),
        T(knows_clients_by_certificate),
        T(refuses_what_is_old_or_no_tls),
        T(shakes_hands_a_byte_at_a_time),
        T(carries_much_both_ways),
        T(speaks_first),
        T(holds_and_closes_as_without_tls),
        T(notices_damage),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("tls", tests, tls_make_all, tls_remove_all);
}
