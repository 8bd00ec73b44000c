/* SPDX-License-Identifier: Apache-2.0 */
/* TLS as a client, against openssl's s_server: which servers are accepted, which are refused, and what is
 * then said. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "tls_world.h"

static time_t fake_time; /* for us, not for openssl */

/* These stand before the C library's, for us and for mbedtls. */
int clock_gettime(clockid_t id, struct timespec *out)
{
    int result = (int)syscall(SYS_clock_gettime, id, out);

    if (id == CLOCK_REALTIME && fake_time)
        out->tv_sec = fake_time;
    return result;
}

time_t time(time_t *out)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

static uint16_t child_port(struct child *c)
{
    PUMP_UNTIL(&w, child_said(c, "ACCEPT ") && strchr(strstr((char *)c->said.data, "ACCEPT "), '\n'));
    const char *line = strstr((char *)c->said.data, "ACCEPT ");
    return (uint16_t)atoi(strchr(line, ':') + 1);
}

#define S_SERVER_TELLING "exec openssl s_server -accept 127.0.0.1:0 "
#define S_SERVER         S_SERVER_TELLING "-rev "

static void use_server(const char *options, const char *ca, const char *own, const char *name)
{
    struct tls_context *t = client_context(ca, own, NULL);
    struct child c;
    char cn[40];

    child_start(&c, S_SERVER "%s", options);
    struct end *e = end_tls(child_port(&c), t, name);
    tls_context_free(t); /* the connection has its own reference */
    PUMP_UNTIL(&w, e->open || e->closed);
    assert_string_equal(e->why, "");
    end_say(e, "drawer\n");
    PUMP_UNTIL(&w, end_got(e, "reward\n"));
    assert_memory_equal(conn_cipher(e->conn), "TLSv1.", 6);
    assert_true(conn_peer_name(e->conn, cn, sizeof(cn)));
    assert_string_equal(cn, "mq.example.com");
    conn_close(e->conn);
    PUMP_UNTIL(&w, e->conn == NULL);
    child_stop(&c);
}

static void uses_a_server(void **state)
{
    (void)state;
    use_server("-tls1_2 -cert right.pem -key right.key", "ca.pem", NULL, "mq.example.com");
    use_server("-cert right.pem -key right.key", "both.pem", NULL, "mq.example.com");
    use_server("-cert rsa.pem -key rsa.key", "ca.pem", NULL, "MQ.example.COM");
    use_server("-cert right.pem -key right.key", "ca.pem", NULL, "127.0.0.1");
    use_server("-cert right.pem -key right.key", "ca.pem", NULL, NULL);
    use_server("-cert right.pem -key right.key -CAfile ca.pem -Verify 2 -verify_return_error", "ca.pem",
               "client", "mq.example.com");
    /* Only who asks for the name gets the right one. */
    use_server(
        "-cert elsewhere.pem -key elsewhere.key -servername mq.example.com -cert2 right.pem -key2 right.key",
        "ca.pem", NULL, "mq.example.com");
}

static void refuse_server(const char *options, const char *ca, const char *name, const char *why)
{
    struct tls_context *t = client_context(ca, NULL, NULL);
    struct child c;

    child_start(&c, S_SERVER "%s", options);
    struct end *e = end_tls(child_port(&c), t, name);
    tls_context_free(t);
    PUMP_UNTIL(&w, e->conn == NULL);
    assert_string_equal(e->why, why);
    assert_false(e->open);
    child_stop(&c);
}

static void refuses_servers(void **state)
{
    char why[200];

    (void)state;
    snprintf(why, sizeof(why), "TLS handshake: certificate of mq.example.com is not signed by %s/other.pem",
             tls_dir);
    refuse_server("-cert right.pem -key right.key", "other.pem", "mq.example.com", why);
    refuse_server("-cert elsewhere.pem -key elsewhere.key", "ca.pem", "mq.example.com",
                  "TLS handshake: certificate is for other.example, www.other.example, not mq.example.com");
    refuse_server("-cert right.pem -key right.key", "ca.pem", "example.com",
                  "TLS handshake: certificate is for mq.example.com, 127.0.0.1, not example.com");
    refuse_server("-cert right.pem -key right.key", "ca.pem", "127.0.0.2",
                  "TLS handshake: certificate is for mq.example.com, 127.0.0.1, not 127.0.0.2");
    refuse_server("-cert expired.pem -key expired.key", "ca.pem", "mq.example.com",
                  "TLS handshake: certificate of mq.example.com expired 2026-01-02");
    refuse_server(
        "-cert future.pem -key future.key", "ca.pem", "mq.example.com",
        "TLS handshake: certificate of mq.example.com is not valid before 2048-01-01; is the clock right?");
}

static void server_refuses_us(const char *options, const char *own)
{
    struct tls_context *t = client_context("ca.pem", own, NULL);
    struct child c;

    child_start(&c,
                S_SERVER "-cert right.pem -key right.key -CAfile ca.pem -Verify 2 -verify_return_error %s",
                options);
    struct end *e = end_tls(child_port(&c), t, "mq.example.com");
    tls_context_free(t);
    PUMP_UNTIL(&w, e->conn == NULL);
    /* TLS 1.3 tells it only after the handshake. */
    if (!strstr(e->why, "the peer refused: "))
        fail_msg("%s", e->why);
    child_stop(&c);
}

static void tells_why_a_server_refuses_us(void **state)
{
    (void)state;
    server_refuses_us("-tls1_2", NULL);
    server_refuses_us("-tls1_2", "stranger");
    server_refuses_us("", NULL);
    server_refuses_us("", "stranger");
}

/* A box without a battery clock must be able to connect before it knows the time, and only then. */
static void takes_any_date_while_the_clock_is_unset(void **state)
{
    struct tls_context *t = client_context("ca.pem", NULL, NULL);
    int kept = dup(2);
    FILE *log = tmpfile();
    struct child c;
    char text[2000] = "";

    (void)state;
    child_start(&c, S_SERVER "-cert right.pem -key right.key");
    uint16_t port = child_port(&c);
    dup2(fileno(log), 2);
    fake_time = 1000;
    for (int i = 0; i < 2; i++) {
        struct end *e = end_tls(port, t, "mq.example.com");
        PUMP_UNTIL(&w, e->open || e->closed);
        assert_string_equal(e->why, "");
        conn_abort(e->conn);
    }
    struct end *e = end_tls(port, t, "another.example");
    PUMP_UNTIL(&w, e->closed); /* whose it is still matters */
    assert_string_equal(e->why,
                        "TLS handshake: certificate is for mq.example.com, 127.0.0.1, not another.example");
    fake_time = 4000000000; /* 2096 */
    tls_context_free(t);
    t = client_context("ca.pem", NULL, NULL); /* without the session that could be resumed */
    e = end_tls(port, t, "mq.example.com");
    PUMP_UNTIL(&w, e->closed);
    assert_non_null(strstr(e->why, " expired 20"));
    fake_time = 0;
    dup2(kept, 2);
    close(kept);
    rewind(log);
    text[fread(text, 1, sizeof(text) - 1, log)] = 0;
    const char *said = strstr(text, "the clock is not set");
    assert_non_null(said);
    assert_null(strstr(said + 1, "the clock is not set"));
    fclose(log);
    tls_context_free(t);
    child_stop(&c);
}

static void asks_for_a_protocol(void **state)
{
    struct tls_context *t = client_context("ca.pem", NULL, "mqtt");
    struct child c;

    (void)state;
    child_start(&c, S_SERVER_TELLING "-cert right.pem -key right.key -alpn x-amzn-mqtt-ca,mqtt");
    struct end *e = end_tls(child_port(&c), t, "mq.example.com");
    PUMP_UNTIL(&w, e->open || e->closed);
    assert_string_equal(e->why, "");
    PUMP_UNTIL(&w, child_said(&c, "ALPN protocols selected: mqtt"));
    tls_context_free(t);
    child_stop(&c);
}

static void resume_with(const char *options)
{
    struct tls_context *t = client_context("ca.pem", NULL, NULL);
    struct child c;

    child_start(&c, S_SERVER_TELLING "-cert right.pem -key right.key %s", options);
    uint16_t port = child_port(&c);
    for (int i = 0; i < 2; i++) {
        c.said.len = 0;
        struct end *e = end_tls(port, t, "mq.example.com");
        PUMP_UNTIL(&w, e->open || e->closed);
        assert_string_equal(e->why, "");
        child_say(&c, "a word\n"); /* comes after the tickets of TLS 1.3 */
        PUMP_UNTIL(&w, end_got(e, "a word\n") && child_said(&c, "enegotiation"));
        assert_int_equal(child_said(&c, "Reused session-id"), i);
        conn_close(e->conn);
        PUMP_UNTIL(&w, e->conn == NULL);
    }
    /* Another name's session is not used. */
    struct end *e = end_tls(port, t, "127.0.0.1");
    PUMP_UNTIL(&w, e->open || e->closed);
    assert_string_equal(e->why, "");
    tls_context_free(t);
    child_stop(&c);
}

static void resumes_a_session(void **state)
{
    (void)state;
    resume_with("-tls1_2");
    resume_with("-tls1_2 -no_ticket");
    resume_with("");
}

static void waits_for_a_handshake_no_longer_than_it_should(void **state)
{
    struct tls_context *t = client_context("ca.pem", NULL, NULL);

    (void)state;
    struct conn_target target = {.host = "127.0.0.1", .port = world_listen(&w), .tls = t, .timeout_ms = 200};
    struct end *e = end_connect_to(&w, &target);
    struct end *closed = end_connect_to(&w, &target);
    PUMP_UNTIL(&w, w.accepts == 2 && w.accepted->got.len > 0);
    conn_close(closed->conn);
    PUMP_UNTIL(&w, !e->conn && !closed->conn);
    assert_string_equal(e->why, "TLS handshake: timed out");
    tls_context_free(t);
}

static void talking_nonsense(struct end *e)
{
    end_say(e, "\x20\x02\x00\x05 this is not TLS");
}

static void is_not_confused_by_a_plain_server(void **state)
{
    struct tls_context *t = client_context("ca.pem", NULL, NULL);

    (void)state;
    uint16_t port = world_listen(&w);
    w.on_accept = talking_nonsense;
    struct end *e = end_tls(port, t, "x");
    PUMP_UNTIL(&w, e->closed);
    assert_string_equal(e->why, "TLS handshake: the peer does not speak TLS");
    tls_context_free(t);
}

static void tells_truncation_from_an_end(void **state)
{
    struct tls_context *t = client_context("ca.pem", NULL, NULL);
    struct child c;

    (void)state;
    child_start(&c, S_SERVER "-cert right.pem -key right.key");
    struct end *e = end_tls(child_port(&c), t, "mq.example.com");
    PUMP_UNTIL(&w, e->open || e->closed);
    child_stop(&c);
    PUMP_UNTIL(&w, e->closed);
    assert_string_equal(e->why, "the stream ended without TLS close_notify");
    tls_context_free(t);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, tls_set_up, tls_tear_down)
    const struct CMUnitTest tests[] = {
        T(uses_a_server),
        T(refuses_servers),
        T(tells_why_a_server_refuses_us),
        T(takes_any_date_while_the_clock_is_unset),
        T(asks_for_a_protocol),
        T(resumes_a_session),
        T(waits_for_a_handshake_no_longer_than_it_should),
        T(is_not_confused_by_a_plain_server),
        T(tells_truncation_from_an_end),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("tls client", tests, tls_make_all, tls_remove_all);
}
