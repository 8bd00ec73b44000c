/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator as a whole: its file's mistakes, its log, and a thread that plays on a pty. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>

#include "sim_fixture.h"

/* Opens a file with this text; the mistakes with the file's name taken away. */
static int open_text(struct sim **s, const char *text, const struct sim_options *options, char *error,
                     size_t size)
{
    char path[] = "/tmp/sim_test_XXXXXX", said[4096] = "";

    text_to_file(path, text);
    int rc = sim_open(s, path, options, said, sizeof(said));
    unlink(path);
    size_t len = strlen(path);
    *error = 0;
    for (char *line = strtok(said, "\n"); line; line = strtok(NULL, "\n")) {
        assert_memory_equal(line, path, len);
        strncat(error, line + len, size - strlen(error) - 1);
        strncat(error, "\n", size - strlen(error) - 1);
    }
    return rc;
}

static void mistakes_name_their_line(void **state)
{
    static const struct {
        const char *text, *mistake;
    } table[] = {
        {"baud = 19200;", "stations"},
        {"stations = (\n{ name = \"a\"; } );", ":2: "},
        {"stations = (\n{ name = \"a\"; unit = 0; } );", ":2: "},
        {"stations = (\n{ name = \"a\"; unit = 1; kind = \"robot\"; } );", ":2: "},
        {"baud = 0;\nstations = ( );", ":1: "},
        {"format = \"7E1\";\nstations = ( );", ":1: "},
        {"stations = ( { name = \"a\"; unit = 1;\nholding = ( { at = 65535; type = \"uint32\"; } ); } );",
         ":2: the range ends at address 65536; the last one of a table is 65535"},
        {"stations = ( { name = \"a\"; unit = 1; holding = (\n{ at = 5; count = 4; name = \"x\"; },\n"
         "{ at = 8; } ); } );",
         ":3: addresses 8 to 8 overlap with \"x\", which has 5 to 8"},
        {"stations = ( { name = \"a\"; unit = 1; holding = (\n{ at = 0; value = \"ramp\"; } ); } );", ":2: "},
        {"stations = ( { name = \"a\"; unit = 1; holding = (\n{ at = 0; value = \"sine\"; step = 1; } ); } "
         ");",
         ":2: "},
        {"stations = ( { name = \"a\"; unit = 1;\nfunctions = [ \"3\", \"7\" ]; } );",
         ":2: \"7\" is no function code"},
        {"stations = ( { name = \"a\"; unit = 1; faults = (\n{ kind = \"flip\"; } ); } );", ":2: "},
        {"stations = ( { name = \"a\"; unit = 1; faults = (\n{ kind = \"rust\"; } ); } );", ":2: "},
        {"faults = (\n{ kind = \"silence\"; from = \"5s\"; until = \"4s\"; } );\nstations = ( );",
         ":2: \"until\" must come after \"from\""},
        {"faults = (\n{ kind = \"silence\"; until = \"4s\"; every = \"3s\"; } );\nstations = ( );",
         ":2: \"every\""},
        {"faults = (\n{ kind = \"late\"; on = \"request\"; } );\nstations = ( );",
         ":2: a fault of kind \"late\""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct sim *s;
        char error[4096];

        assert_int_equal(open_text(&s, table[i].text, NULL, error, sizeof(error)), -EINVAL);
        assert_null(s);
        if (!strstr(error, table[i].mistake))
            fail_msg("\"%s\": %s", table[i].text, error);
    }
}

static void missing_file_is_an_error(void **state)
{
    struct sim *s;
    char error[200];

    (void)state;
    assert_true(sim_open(&s, "/nonexistent/line.conf", NULL, error, sizeof(error)) < 0);
    assert_non_null(strstr(error, "/nonexistent/line.conf"));
}

static void unwritable_log_is_an_error(void **state)
{
    struct sim *s;
    char error[4096], path[] = "/tmp/sim_test_XXXXXX";
    struct sim_options options = {.log = "/nonexistent/frames.csv"};

    (void)state;
    text_to_file(path, "stations = ( );");
    assert_int_equal(sim_open(&s, path, &options, error, sizeof(error)), -ENOENT);
    assert_non_null(strstr(error, "/nonexistent/frames.csv"));
    unlink(path);
}

static const char slave[] = "stations = ( { name = \"s\"; unit = 1; holding = ("
                            "{ at = 0; name = \"n\"; type = \"uint16\"; value = \"counter\"; } ); } );";

static void log_tells_each_frame(void **state)
{
    struct fixture f;
    char path[] = "/tmp/sim_test_XXXXXX", conf[] = "/tmp/sim_test_XXXXXX", error[200], text[4096];
    struct sim_options options = {.seed = 77, .log = path};

    (void)state;
    text_to_file(path, "");
    text_to_file(conf, slave);
    f = (struct fixture){.now_us = 1000000};
    assert_int_equal(sim_open_virtual(&f.sim, conf, &options, error, sizeof(error)), 0);
    assert_int_equal(sim_seed(f.sim), 77);
    exchange(&f, "01 03 0000 0001", 500000);
    exchange(&f, "01 03 0009 0001", 500000);
    sim_close(f.sim);
    FILE *log = fopen(path, "r");
    text[fread(text, 1, sizeof(text) - 1, log)] = 0;
    fclose(log);
    unlink(path);
    unlink(conf);
    assert_non_null(strstr(text, "seed 77, 19200 baud, 11 bits a character, silence 2005 us\n"
                                 "start_us,end_us,who,unit,hex,notes\n"
                                 "1000000,1004583,master,1,010300000001840a,\n"
                                 "1006588,1010598,s,1,0103020000b844,n#0=0\n"
                                 "1500000,1504583,master,1,010300090001"));
    assert_non_null(strstr(text, ",silence=489401\n"));
    assert_non_null(strstr(text, ",exception=2\n"));
}

static int open_tty(const struct sim *s, speed_t speed)
{
    int fd = open(sim_tty(s), O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios t;

    assert_true(fd >= 0);
    tcgetattr(fd, &t);
    cfmakeraw(&t);
    cfsetspeed(&t, speed);
    tcsetattr(fd, TCSANOW, &t);
    return fd;
}

/* Reads len bytes, or what comes until limit_ms of nothing have gone by. */
static size_t read_some(int fd, uint8_t *out, size_t len, int limit_ms)
{
    size_t got = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};

    while (got < len && poll(&p, 1, limit_ms) > 0) {
        ssize_t n = read(fd, out + got, len - got);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    return got;
}

static const uint8_t one[8] = {0x01, 0x03, 0x00, 0x00, 0x00, 0x01, 0x84, 0x0a};

/* Asks for the counter; -1 when no whole reply came. */
static int ask(int fd, int limit_ms)
{
    uint8_t reply[7];

    if (write(fd, one, sizeof(one)) != sizeof(one) || read_some(fd, reply, 7, limit_ms) != 7)
        return -1;
    if (!sim_rtu_whole((struct bytes){reply, 7}))
        return -1;
    usleep(10000);
    return reply[3] << 8 | reply[4];
}

static void pty_carries_the_line(void **state)
{
    struct sim *s;
    char error[4096];
    struct sim_counts counts;

    (void)state;
    assert_int_equal(open_text(&s, slave, NULL, error, sizeof(error)), 0);
    assert_int_equal(sim_start(s), 0);
    int fd = open_tty(s, B19200);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(ask(fd, 10000), i);
        sim_counts(s, &counts); /* while the thread plays on */
        assert_int_equal(counts.requests, i + 1);
    }
    close(fd);
    /* A master that comes back finds the line as it was. */
    fd = open_tty(s, B19200);
    assert_int_equal(ask(fd, 10000), 10);
    close(fd);
    sim_stop(s);
    sim_counts(s, &counts);
    assert_int_equal(counts.requests, 11);
    assert_int_equal(counts.overruns, 0);
    assert_int_equal(counts.short_silences, 0);
    sim_close(s);
}

/* Waits for what the simulator's thread does next, at most ten seconds. */
static bool comes_true(bool (*is)(int fd), int fd)
{
    for (int i = 0; i < 10000; i++, usleep(1000))
        if (is(fd))
            return true;
    return false;
}

static bool is_free(int fd)
{
    int exclusive = -1;

    return ioctl(fd, TIOCGEXCL, &exclusive) == 0 && !exclusive;
}

static bool is_empty(int fd)
{
    int unread = -1;

    return ioctl(fd, FIONREAD, &unread) == 0 && !unread;
}

static bool has_reply(int fd)
{
    int unread = -1;

    return ioctl(fd, FIONREAD, &unread) == 0 && unread == 7;
}

/* As with a real port: a master that was killed leaves neither a lock nor half a reply. Only who may override
 * the lock can look at it from outside, so a second descriptor, opened before, does. */
static void closed_port_forgets(void **state)
{
    struct sim *s;
    char error[4096];

    (void)state;
    assert_int_equal(open_text(&s, slave, NULL, error, sizeof(error)), 0);
    assert_int_equal(sim_start(s), 0);
    int witness = open_tty(s, B19200), fd = open_tty(s, B19200);
    assert_int_equal(ask(fd, 10000), 0);
    assert_int_equal(ioctl(fd, TIOCEXCL), 0);
    assert_false(is_free(witness));
    assert_int_equal(write(fd, one, sizeof(one)), sizeof(one));
    assert_true(comes_true(has_reply, witness));
    close(fd);
    assert_true(comes_true(is_free, witness));
    fd = open_tty(s, B19200);
    assert_true(comes_true(is_empty, fd));
    assert_int_equal(ask(fd, 10000), 2);
    close(fd);
    close(witness);
    sim_close(s);
}

static void pace_on_the_pty_is_no_faster_than_the_wire(void **state)
{
    struct sim *s;
    char error[4096];
    struct timespec a, b;
    uint8_t reply[255], request[] = {0x01, 0x03, 0x00, 0x00, 0x00, 0x7d, 0x85, 0xeb};

    (void)state;
    assert_int_equal(open_text(&s,
                               "baud = 19200; stations = ( { name = \"s\"; unit = 1; holding = ("
                               "{ at = 0; count = 125; } ); } );",
                               NULL, error, sizeof(error)),
                     0);
    assert_int_equal(sim_start(s), 0);
    int fd = open_tty(s, B19200);
    clock_gettime(CLOCK_MONOTONIC, &a);
    assert_int_equal(write(fd, request, 8), 8);
    assert_int_equal(read_some(fd, reply, 255, 10000), 255);
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_true(sim_rtu_whole((struct bytes){reply, 255}));
    uint64_t took = (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000 + (uint64_t)b.tv_nsec - (uint64_t)a.tv_nsec;
    /* Never earlier: that holds on a busy machine too. */
    assert_true(took >= 263 * sim_char_ns(s) + sim_silence_ns(s));
    close(fd);
    sim_close(s);
}

static void wrong_speed_is_not_understood(void **state)
{
    struct sim *s;
    char error[4096];
    struct sim_counts counts;

    (void)state;
    assert_int_equal(open_text(&s, slave, NULL, error, sizeof(error)), 0);
    assert_int_equal(sim_start(s), 0);
    int fd = open_tty(s, B9600);
    assert_int_equal(ask(fd, 100), -1);
    sim_counts(s, &counts);
    assert_int_equal(counts.wrong_speed, 1);
    assert_int_equal(counts.broken, 1);
    close(fd);
    sim_close(s);
}

static void stop_and_start_again(void **state)
{
    struct sim *s;
    char error[4096];

    (void)state;
    assert_int_equal(open_text(&s, slave, NULL, error, sizeof(error)), 0);
    sim_stop(s); /* before the start: nothing */
    for (int i = 0; i < 20; i++) {
        assert_int_equal(sim_start(s), 0);
        sim_stop(s);
        sim_stop(s);
    }
    sim_close(s);
    sim_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_name_their_line),
        cmocka_unit_test(missing_file_is_an_error),
        cmocka_unit_test(unwritable_log_is_an_error),
        cmocka_unit_test(log_tells_each_frame),
        cmocka_unit_test(pty_carries_the_line),
        cmocka_unit_test(closed_port_forgets),
        cmocka_unit_test(pace_on_the_pty_is_no_faster_than_the_wire),
        cmocka_unit_test(wrong_speed_is_not_understood),
        cmocka_unit_test(stop_and_start_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
