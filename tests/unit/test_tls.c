/* SPDX-License-Identifier: Apache-2.0 */
/* TLS against a real peer, openssl's s_client and s_server, with certificates made on the spot: what must be
 * accepted, what must be refused, and what is then said. */
#include "net_world.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

static struct world w;
static char dir[] = "/tmp/test_tls.XXXXXX";
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

/* NAME.pem and NAME.key; "other" is another plant's CA. */
static const char make_certificates[] =
    "set -e; cd $DIR; exec >log 2>&1\n"
    "touch index.txt; echo 01 >serial\n"
    "cat >ca.cnf <<END\n"
    "[ca]\ndefault_ca=it\n"
    "[it]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=any\nunique_subject="
    "no\n"
    "[any]\ncommonName=supplied\n"
    "END\n"
    "ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "
    "\"/CN=$2\""
    " -keyout $1.key -out $1.pem; }\n"
    "cert() { ca=$1 name=$2 subject=$3 names=$4 from=$5 to=$6\n"
    "  openssl req -newkey ${KEY:-ec -pkeyopt ec_paramgen_curve:prime256v1} -nodes -subj \"/CN=$subject\" "
    "-keyout $name.key"
    " -out $name.csr\n"
    "  : >$name.ext; test -z \"$names\" || echo subjectAltName=$names >$name.ext\n"
    "  openssl ca -batch -notext -config ca.cnf -cert $ca.pem -keyfile $ca.key -in $name.csr -out $name.pem"
    " -extfile $name.ext -startdate ${from:-20250101000000Z} -enddate ${to:-20490101000000Z}; }\n"
    "ca ca 'plant CA'; ca other 'other CA'\n"
    "cert ca right mq.example.com DNS:mq.example.com,IP:127.0.0.1\n"
    "KEY=rsa:2048 cert ca rsa mq.example.com DNS:mq.example.com\n"
    "cert ca elsewhere elsewhere DNS:other.example,DNS:www.other.example\n"
    "cert ca expired mq.example.com DNS:mq.example.com 20250101000000Z 20260102000000Z\n"
    "cert ca future mq.example.com DNS:mq.example.com 20480101000000Z\n"
    "cert ca client plant7\n"
    "cert other stranger stranger\n"
    "openssl ec -in right.key -aes128 -passout pass:secret -out locked.key\n"
    "head -c 300 right.pem >broken.pem\n"
    "cat ca.pem other.pem >both.pem\n";

static const char *file(const char *name)
{
    static char path[8][64];
    static int turn;

    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
    return path[turn];
}

static int make_all(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    setenv("DIR", dir, 1);
    if (system(make_certificates) == 0)
        return 0;
    return system("cat $DIR/log >&2; false");
}

static int remove_all(void **state)
{
    (void)state;
    return system("rm -r $DIR");
}

static int set_up(void **state)
{
    (void)state;
    fake_time = 0;
    world_open(&w);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

/* --- the openssl command as a peer --- */

struct child {
    pid_t pid;
    int in, out;
    struct buf said; /* ends with a zero that is not counted */
};

static void child_start(struct child *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void child_start(struct child *c, const char *fmt, ...)
{
    int in[2], out[2];
    va_list args;

    va_start(args, fmt);
    char *command = mem_vformat(fmt, args);
    va_end(args);
    memset(c, 0, sizeof(*c));
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    c->pid = fork();
    if (!c->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(out[1], 2);
        assert_int_equal(chdir(dir), 0);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    free(command);
    close(in[0]);
    close(out[1]);
    c->in = in[1];
    c->out = out[0];
    fcntl(c->out, F_SETFL, O_NONBLOCK);
}

static bool child_said(struct child *c, const char *text)
{
    char chunk[4096];
    ssize_t len;

    while ((len = read(c->out, chunk, sizeof(chunk))) > 0)
        buf_append(&c->said, chunk, (size_t)len);
    buf_u8(&c->said, 0);
    c->said.len--;
    return strstr((char *)c->said.data, text);
}

static void child_say(struct child *c, const char *text)
{
    assert_int_equal(write(c->in, text, strlen(text)), strlen(text));
}

static void child_stop(struct child *c)
{
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    close(c->in);
    close(c->out);
    buf_free(&c->said);
}

/* --- contexts --- */

static struct tls_context *server_context(const char *name, const char *client_ca)
{
    char cert[64], key[64], error[300] = "";
    struct tls_context *t = NULL;

    snprintf(cert, sizeof(cert), "%s/%s.pem", dir, name);
    snprintf(key, sizeof(key), "%s/%s.key", dir, name);
    struct tls_server_config config = {cert, key, client_ca ? file(client_ca) : NULL};
    if (tls_server_new(&t, &config, error, sizeof(error)))
        fail_msg("%s", error);
    return t;
}

static struct tls_context *client_context(const char *ca, const char *name, const char *alpn)
{
    char cert[64], key[64], error[300] = "";
    struct tls_context *t = NULL;

    snprintf(cert, sizeof(cert), "%s/%s.pem", dir, name ? name : "");
    snprintf(key, sizeof(key), "%s/%s.key", dir, name ? name : "");
    struct tls_client_config config = {file(ca), name ? cert : NULL, name ? key : NULL, alpn};
    if (tls_client_new(&t, &config, error, sizeof(error)))
        fail_msg("%s", error);
    return t;
}

static void server_error(const char *cert, const char *key, const char *ca, const char *expected)
{
    struct tls_server_config config = {file(cert), file(key), ca ? file(ca) : NULL};
    struct tls_context *t = NULL;
    char error[300] = "", all[400];

    assert_true(tls_server_new(&t, &config, error, sizeof(error)) < 0);
    assert_null(t);
    snprintf(all, sizeof(all), "%s/%s", dir, expected);
    if (strncmp(error, all, strlen(all)))
        fail_msg("\"%s\" does not begin with \"%s\"", error, all);
}

static void says_what_is_wrong_with_files(void **state)
{
    (void)state;
    server_error("none.pem", "right.key", NULL, "none.pem: cannot be read: No such file");
    server_error("right.pem", "none.key", NULL, "none.key: cannot be read: No such file");
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
    snprintf(why, sizeof(why), "certificate of stranger is not signed by %s/ca.pem", dir);
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

/* --- we are the client --- */

static uint16_t child_port(struct child *c)
{
    PUMP_UNTIL(&w, child_said(c, "ACCEPT ") && strchr(strstr((char *)c->said.data, "ACCEPT "), '\n'));
    const char *line = strstr((char *)c->said.data, "ACCEPT ");
    return (uint16_t)atoi(strchr(line, ':') + 1);
}

static struct end *end_tls(uint16_t port, struct tls_context *t, const char *name)
{
    struct conn_target target = {
        .host = "127.0.0.1", .port = port, .tls = t, .server_name = name, .timeout_ms = 20000};

    return end_connect_to(&w, &target);
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
             dir);
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
            if (!damage(client, server, &chance, &until[0]) | !damage(server, client, &chance, &until[1]))
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
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(says_what_is_wrong_with_files),
        T(serves_a_client),
        T(knows_clients_by_certificate),
        T(refuses_what_is_old_or_no_tls),
        T(shakes_hands_a_byte_at_a_time),
        T(uses_a_server),
        T(refuses_servers),
        T(tells_why_a_server_refuses_us),
        T(takes_any_date_while_the_clock_is_unset),
        T(asks_for_a_protocol),
        T(resumes_a_session),
        T(waits_for_a_handshake_no_longer_than_it_should),
        T(is_not_confused_by_a_plain_server),
        T(tells_truncation_from_an_end),
        T(notices_damage),
        T(carries_much_both_ways),
        T(speaks_first),
        T(holds_and_closes_as_without_tls),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("tls", tests, make_all, remove_all);
}
