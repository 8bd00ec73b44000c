/* SPDX-License-Identifier: Apache-2.0 */
/* Where connections come from and go to: look-up, connect, time-outs, Unix sockets; listeners and their
 * trouble. */
#include "net_world.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"

static struct world w;
static char dir[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/test_net_places.XXXXXX");
    assert_non_null(mkdtemp(dir));
    world_open(&w);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_close(&w);
    assert_int_equal(rmdir(dir), 0); /* every socket file is gone */
    return 0;
}

static const char *in_dir(const char *prefix, const char *name)
{
    static char path[2][128];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof(path[turn]), "%s%s/%s", prefix, dir, name);
    return path[turn];
}

/* A port of 127.0.0.1 at which nobody listens. */
static uint16_t closed_port(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    close(fd);
    return ntohs(addr.sin_port);
}

static void names_who_refuses(void **state)
{
    char expected[100];
    uint16_t port = closed_port();

    (void)state;
    struct end *e = end_connect(&w, "127.0.0.1", port);
    PUMP_UNTIL(&w, e->conn == NULL);
    assert_false(e->open);
    snprintf(expected, sizeof(expected), "connect to 127.0.0.1:%u: connection refused", port);
    assert_string_equal(e->why, expected);
}

/* Stands before the C library's: names of the test have addresses of its choice. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    struct addrinfo *second = NULL;

    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node && !strcmp(node, "no-such-host.test"))
        return EAI_NONAME;
    if (node && !strcmp(node, "slow.test"))
        usleep(400000);
    if (!node || strcmp(node, "two.test"))
        return real(node && !strcmp(node, "slow.test") ? "127.0.0.1" : node, service, hints, out);
    int err = real("127.0.0.77", service, hints, out);
    if (!err)
        err = real("127.0.0.1", service, hints, &second);
    if (!err)
        (*out)->ai_next = second;
    return err;
}

static void names_what_has_no_address(void **state)
{
    (void)state;
    struct end *e = end_connect(&w, "no-such-host.test", 1883);
    PUMP_UNTIL(&w, e->conn == NULL);
    assert_string_equal(e->why, "look-up of no-such-host.test: unknown node or service");
}

static void does_not_wait_for_a_slow_look_up(void **state)
{
    struct conn_target target = {.host = "slow.test", .port = 1, .timeout_ms = 50};

    (void)state;
    struct end *late = end_connect_to(&w, &target);
    struct end *closed = end_connect_to(&w, &target);
    struct end *queued[8]; /* more than the pool has threads: these can be cancelled */
    for (unsigned i = 0; i < ARRAY_SIZE(queued); i++)
        queued[i] = end_connect_to(&w, &target);
    world_turns(&w, 1);
    conn_close(closed->conn);
    conn_close(queued[7]->conn);
    assert_true(closed->closed && queued[7]->closed);
    PUMP_UNTIL(&w, late->closed);
    assert_string_equal(late->why, "look-up of slow.test: timed out");
    PUMP_UNTIL(&w, net_count(w.net) == 0);
}

static void tries_all_addresses_of_a_name(void **state)
{
    (void)state;
    uint16_t port = world_listen(&w); /* at 127.0.0.77 nobody listens */
    struct end *e = end_connect(&w, "two.test", port);
    PUMP_UNTIL(&w, e->open || e->closed);
    assert_string_equal(e->why, "");
    e = end_connect(&w, "two.test", closed_port());
    PUMP_UNTIL(&w, e->closed);
    assert_memory_equal(e->why, "connect to 127.0.0.77:", 22);
    assert_non_null(strstr(e->why, "refused; connect to 127.0.0.1:"));
}

/* A listening socket whose backlog is full drops what comes. */
static void gives_up_at_a_black_hole(void **state)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof(addr);
    int hole = socket(AF_INET, SOCK_STREAM, 0), plugs[8];

    (void)state;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(hole, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(hole, 0), 0);
    assert_int_equal(getsockname(hole, (struct sockaddr *)&addr, &len), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(plugs); i++) {
        plugs[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(plugs[i], (struct sockaddr *)&addr, sizeof(addr));
    }
    struct conn_target target = {.host = "127.0.0.1", .port = ntohs(addr.sin_port), .timeout_ms = 300};
    struct end *e = end_connect_to(&w, &target);
    struct end *closed = end_connect_to(&w, &target);
    world_turns(&w, 3);
    conn_close(closed->conn);
    PUMP_UNTIL(&w, !e->conn && !closed->conn);
    assert_non_null(strstr(e->why, ": timed out"));
    assert_memory_equal(e->why, "connect to 127.0.0.1:", 21);
    assert_false(closed->has_why);
    for (unsigned i = 0; i < ARRAY_SIZE(plugs); i++)
        close(plugs[i]);
    close(hole);
}

static void refuses_targets_that_are_none(void **state)
{
    static const struct conn_events none;
    struct conn c = {0}, untouched = {0};
    char longish[200];

    (void)state;
    memset(longish, 'x', sizeof(longish));
    longish[sizeof(longish) - 1] = 0;
    const struct conn_target targets[] = {
        {.port = 1, .timeout_ms = 1},
        {.host = "a", .path = "b", .timeout_ms = 1},
        {.host = "127.0.0.1", .port = 1},
        {.path = longish, .timeout_ms = 1},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(targets); i++)
        assert_true(conn_connect(&c, w.net, &targets[i], &none) < 0);
    assert_memory_equal(&c, &untouched, sizeof(c));
}

static void taker(void *arg, const struct accepted *a)
{
    (void)arg;
    (void)a;
    fail();
}

static void speaks_through_unix_sockets(void **state)
{
    struct conn_target target = {.path = in_dir("", "a.sock"), .timeout_ms = 5000};
    struct end *e;
    char name[64];

    (void)state;
    e = end_connect_to(&w, &target);
    PUMP_UNTIL(&w, e->conn == NULL);
    assert_non_null(strstr(e->why, "a.sock: no such file or directory"));

    world_listen_at(&w, in_dir("unix:", "a.sock"));
    assert_int_equal(listener_port(w.listener), 0);
    struct stat st;
    assert_int_equal(stat(target.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    e = end_connect_to(&w, &target);
    PUMP_UNTIL(&w, e->open && w.accepted && w.accepted->open);
    end_say(e, "ping");
    PUMP_UNTIL(&w, end_got(w.accepted, "ping"));
    conn_peer(w.accepted->conn, name);
    assert_string_equal(name, "unix");
    conn_peer(e->conn, name);
    assert_string_equal(name, "unix");
    conn_close(e->conn);
    PUMP_UNTIL(&w, !e->conn && !w.accepted->conn);
}

static void replaces_a_stale_socket_only(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct listener *l = NULL;

    (void)state;
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/b.sock", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    close(fd);
    world_listen_at(&w, in_dir("unix:", "b.sock")); /* stale */
    assert_int_equal(listener_open(&l, &w.loop, in_dir("unix:", "b.sock"), taker, &l), -EADDRINUSE);
    assert_null(l);
    assert_int_equal(access(addr.sun_path, F_OK), 0);

    const char *file = in_dir("", "precious");
    close(open(file, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(listener_open(&l, &w.loop, in_dir("unix:", "precious"), taker, &l), -EEXIST);
    assert_int_equal(unlink(in_dir("", "precious")), 0);
    assert_int_equal(listener_open(&l, &w.loop, in_dir("unix:", "no/such/dir"), taker, &l), -ENOENT);
}

static void parses_places(void **state)
{
    static const struct {
        const char *bind;
        int result;
        bool loopback;
    } cases[] = {
        {"127.0.0.1:1883", 0, true},
        {"127.1.2.3:1", 0, true},
        {"[::1]:1883", 0, true},
        {"unix:/run/x", 0, true},
        {"0.0.0.0:1883", 0, false},
        {"*:8883", 0, false},
        {"[::]:65535", 0, false},
        {"192.0.2.1:0", 0, false},
        {"1883", -EINVAL, false},
        {"127.0.0.1", -EINVAL, false},
        {":1883", -EINVAL, false},
        {"127.0.0.1:", -EINVAL, false},
        {"127.0.0.1:65536", -EINVAL, false},
        {"127.0.0.1:-1", -EINVAL, false},
        {"127.0.0.1:1x", -EINVAL, false},
        {"::1:1883", -EINVAL, false},
        {"[::1:1883", -EINVAL, false},
        {"[]:1", -EINVAL, false},
        {"[:1", -EINVAL, false},
        {"[127.0.0.1]:1", -EINVAL, false},
        {"localhost:1883", -EINVAL, false},
        {"unix:", -EINVAL, false},
        {"", -EINVAL, false},
        {"127.0.0.1:99999999999999999999", -EINVAL, false},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        bool loopback = !cases[i].loopback;
        if (listener_parse(cases[i].bind, &loopback) != cases[i].result)
            fail_msg("%s", cases[i].bind);
        if (!cases[i].result && loopback != cases[i].loopback)
            fail_msg("loopback: %s", cases[i].bind);
    }
}

static void says_when_a_place_is_taken(void **state)
{
    struct listener *l = NULL;
    char bind[32];

    (void)state;
    snprintf(bind, sizeof(bind), "127.0.0.1:%u", world_listen(&w));
    assert_int_equal(listener_open(&l, &w.loop, bind, taker, &l), -EADDRINUSE);
    assert_int_equal(listener_open(&l, &w.loop, "192.0.2.77:1883", taker, &l), -EADDRNOTAVAIL);
    assert_int_equal(listener_open(&l, &w.loop, "nonsense", taker, &l), -EINVAL);
    listener_close(l);
}

static void listens_at_all_addresses(void **state)
{
    (void)state;
    world_listen_at(&w, "*:0");
    struct end *e = end_connect(&w, "127.0.0.1", listener_port(w.listener));
    PUMP_UNTIL(&w, e->open && w.accepts == 1);
    char name[64];
    conn_peer(w.accepted->conn, name);
    assert_memory_equal(name, "127.0.0.1:", 10); /* not ::ffff:127.0.0.1 */
}

/* --- no descriptors left --- */

static unsigned count_in_log(FILE *log, const char *text)
{
    char line[300];
    unsigned count = 0;

    rewind(log);
    while (fgets(line, sizeof(line), log))
        count += strstr(line, text) != NULL;
    return count;
}

static unsigned turns;

static void count_turn(uv_check_t *check)
{
    (void)check;
    turns++;
}

static void sheds_peers_when_descriptors_run_out(void **state)
{
    enum { PEERS = 12, ROOM = 5 };
    struct rlimit was, low;
    int fds[PEERS], kept_stderr = dup(2);
    struct sockaddr_in addr = {.sin_family = AF_INET};
    FILE *log = tmpfile();
    uv_check_t check;

    (void)state;
    addr.sin_port = htons(world_listen(&w));
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    dup2(fileno(log), 2);
    for (int i = 0; i < PEERS; i++)
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    getrlimit(RLIMIT_NOFILE, &was);
    low = was;
    low.rlim_cur = (rlim_t)fds[PEERS - 1] + 1 + ROOM;
    setrlimit(RLIMIT_NOFILE, &low);
    for (int i = 0; i < PEERS; i++)
        connect(fds[i], (struct sockaddr *)&addr, sizeof(addr));
    unsigned ended = 0;
    for (int i = 0; i < PEERS; i++) {
        struct buf b = {0};
        PUMP_UNTIL(&w, w.accepts >= ROOM);
        world_turns(&w, 5);
        ended += !raw_read(fds[i], &b);
    }
    assert_int_equal(w.accepts, ROOM);
    assert_int_equal(ended, PEERS - ROOM);
    assert_int_equal(count_in_log(log, "no file descriptors are left"), 1);
    /* The loop sleeps meanwhile: it turns only when the test's own timer ticks. */
    uv_check_init(&w.loop, &check);
    uv_check_start(&check, count_turn);
    unsigned ticks = 0;
    turns = 0;
    PUMP_UNTIL(&w, ++ticks > 20);
    assert_true(turns <= 30);
    uv_close((uv_handle_t *)&check, NULL);
    setrlimit(RLIMIT_NOFILE, &was);
    for (int i = 0; i < PEERS; i++)
        close(fds[i]);
    struct end *e = end_connect(&w, "127.0.0.1", ntohs(addr.sin_port));
    PUMP_UNTIL(&w, e->open && w.accepts == ROOM + 1);
    assert_int_equal(count_in_log(log, "no file descriptors are left"), 1);
    assert_int_equal(count_in_log(log, "accepted again"), 1);
    dup2(kept_stderr, 2);
    close(kept_stderr);
    fclose(log);
    world_turns(&w, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(names_who_refuses),
        T(names_what_has_no_address),
        T(does_not_wait_for_a_slow_look_up),
        T(tries_all_addresses_of_a_name),
        T(gives_up_at_a_black_hole),
        T(refuses_targets_that_are_none),
        T(speaks_through_unix_sockets),
        T(replaces_a_stale_socket_only),
        T(parses_places),
        T(says_when_a_place_is_taken),
        T(listens_at_all_addresses),
        T(sheds_peers_when_descriptors_run_out),
    };
    return cmocka_run_group_tests_name("net places", tests, NULL, NULL);
}
