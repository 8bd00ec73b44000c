/* SPDX-License-Identifier: Apache-2.0 */
/* Serial ports, on ptys: opened for one alone, set, let go; and what cannot be a port says why. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "drivers/port.h"

struct pair {
    int master;
    char name[64];
};

static struct pair new_pair(void)
{
    struct pair p;
    int slave;

    assert_int_equal(openpty(&p.master, &slave, p.name, NULL, NULL), 0);
    close(slave);
    return p;
}

static int open_it(struct port *p, const char *spec, const char *format, char error[256])
{
    struct port_settings s = {.spec = spec, .baud = 19200};

    for (const struct serial_format *f = serial_formats; f->name; f++)
        if (!strcmp(f->name, format))
            s.format = f;
    error[0] = 0;
    return port_open(p, &s, error, 256);
}

static void a_pty_carries_every_byte(void **state)
{
    struct pair pair = new_pair();
    struct port p;
    char error[256];
    uint8_t out[256], in[256];

    (void)state;
    assert_int_equal(open_it(&p, pair.name, "8N1", error), 0);
    assert_false(p.parity_lost);
    for (int i = 0; i < 256; i++)
        out[i] = (uint8_t)i;
    /* No byte is special to the line discipline, in either direction. */
    assert_int_equal(write(p.fd, out, 256), 256);
    assert_int_equal(read(pair.master, in, 256), 256);
    assert_memory_equal(in, out, 256);
    assert_int_equal(write(pair.master, out, 256), 256);
    assert_int_equal(read(p.fd, in, 256), 256);
    assert_memory_equal(in, out, 256);
    assert_true(read(p.fd, in, 256) <= 0);
    port_close(&p);
    close(pair.master);
}

static void a_pty_takes_no_parity_and_says_so(void **state)
{
    struct pair pair = new_pair();
    struct port p;
    char error[256];

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(open_it(&p, pair.name, "8E1", error), 0);
        assert_true(p.parity_lost);
        port_close(&p);
    }
    close(pair.master);
}

static void a_port_belongs_to_one(void **state)
{
    struct pair pair = new_pair();
    struct port p, q;
    char error[256];

    (void)state;
    assert_int_equal(open_it(&p, pair.name, "8N1", error), 0);
    assert_true(open_it(&q, pair.name, "8N1", error) < 0);
    assert_non_null(strstr(error, "in use by another program"));
    assert_int_equal(q.fd, -1);
    pid_t child = fork();
    if (!child)
        _exit(open_it(&q, pair.name, "8N1", error) < 0 && strstr(error, "in use") ? 0 : 1);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    port_close(&p);
    assert_int_equal(open_it(&q, pair.name, "8N1", error), 0);
    port_close(&q);
    close(pair.master);
}

static void what_is_no_port_says_why(void **state)
{
    struct port p;
    char error[256], file[] = "/tmp/test_port_XXXXXX";
    int fd = mkstemp(file);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(open_it(&p, "/dev/ttyNOT0", "8N1", error), -ENOENT);
    assert_non_null(strstr(error, "/dev/ttyNOT0: No such file"));
    assert_true(open_it(&p, file, "8N1", error) < 0);
    assert_non_null(strstr(error, "not a serial port"));
    assert_true(open_it(&p, "/dev/null", "8N1", error) < 0);
    assert_non_null(strstr(error, "/dev/null"));
    assert_true(open_it(&p, "usb:ffff:ffff:none", "8N1", error) < 0);
    assert_non_null(strstr(error, "usb:ffff:ffff:none"));
    assert_true(open_it(&p, "ttyS0", "8N1", error) < 0);
    close(fd);
    unlink(file);
}

static void kinds_are_known_by_how_they_begin(void **state)
{
    const char *rest;
    char error[256];

    (void)state;
    assert_string_equal(port_kind_of("/dev/ttyS0", &rest)->prefix, "/");
    assert_string_equal(rest, "/dev/ttyS0");
    const struct port_kind *usb = port_kind_of("usb:0403:6001:A50285BI", &rest);
    assert_string_equal(rest, "0403:6001:A50285BI");
    assert_int_equal(usb->check(rest, error, sizeof error), 0);
    assert_int_equal(usb->check("0403:6001", error, sizeof error), 0);
    assert_true(usb->check("ftdi", error, sizeof error) < 0);
    assert_null(port_kind_of("ttyS0", &rest));
    assert_null(port_kind_of("", &rest));
    char *spec = port_spec_resolve("sim:line.conf", "/etc/sluice/conf.d/a.conf");
    assert_string_equal(spec, "sim:/etc/sluice/conf.d/line.conf");
    free(spec);
    spec = port_spec_resolve("sim:/tmp/line.conf", "/etc/sluice/a.conf");
    assert_string_equal(spec, "sim:/tmp/line.conf");
    free(spec);
    spec = port_spec_resolve("/dev/ttyS0", "/etc/sluice/a.conf");
    assert_string_equal(spec, "/dev/ttyS0");
    free(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pty_carries_every_byte),
        cmocka_unit_test(a_pty_takes_no_parity_and_says_so),
        cmocka_unit_test(a_port_belongs_to_one),
        cmocka_unit_test(what_is_no_port_says_why),
        cmocka_unit_test(kinds_are_known_by_how_they_begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
