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

#include "base/mem.h"
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
    assert_false(p.facts.parity_lost);
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
        assert_true(p.facts.parity_lost);
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

/* ---- RS-485 ---- */

/* From a line of configuration, as the drivers read it. */
static struct rs485_settings rs485_of(const char *text)
{
    static const struct conf_row rows[] = {
        {"rs485", CONF_GROUP, .def = "", .rows = rs485_rows, .help = "test"},
        {0},
    };
    const struct conf_row *const tables[] = {rows};
    char file[] = "/tmp/test_port_XXXXXX";
    struct rs485_settings s;
    int fd = mkstemp(file);

    assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    struct conf *c = conf_load_alone(file, tables, 1, NULL);
    rs485_check(c, conf_get(conf_root(c), "rs485"), true);
    if (conf_errors(c))
        conf_report(c, stderr);
    assert_int_equal(conf_errors(c), 0);
    rs485_read(&s, conf_get(conf_root(c), "rs485"));
    conf_free(c);
    unlink(file);
    return s;
}

static void what_a_driver_did_not_keep_is_told(void **state)
{
    struct serial_rs485 wanted = {.flags =
                                      SER_RS485_ENABLED | SER_RS485_RTS_ON_SEND | SER_RS485_TERMINATE_BUS,
                                  .delay_rts_before_send = 5,
                                  .delay_rts_after_send = 1},
                        kept = wanted;
    char text[160];

    (void)state;
    rs485_lost(&wanted, &kept, text, sizeof text);
    assert_string_equal(text, "");
    kept.flags = SER_RS485_ENABLED | SER_RS485_RTS_AFTER_SEND;
    kept.delay_rts_before_send = 0;
    rs485_lost(&wanted, &kept, text, sizeof text);
    assert_string_equal(text, "rts_on_send, RTS at rest, terminate, delay_before (0 ms in place of 5)");
    kept = (struct serial_rs485){0};
    rs485_lost(&wanted, &kept, text, sizeof text);
    assert_non_null(strstr(text, "the mode itself"));
}

/* A pty has neither driver nor RTS: each mode says so, and what to use, and the port is free again. */
static void a_mode_that_cannot_be_says_what_to_use(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"rs485 = { mode = \"kernel\"; };",
         "use rs485.mode \"rts\" or \"gpio\" for a transceiver on such a line"},
        {"rs485 = { mode = \"rts\"; delay_before = \"1ms\"; };", "choose another rs485.mode"},
        {"rs485 = { mode = \"gpio\"; gpio = \"sluice-no-chip:1\"; };", "/dev/sluice-no-chip: No such file"},
        {"rs485 = { mode = \"gpio\"; gpio = \"/dev/null:1\"; };", "not a GPIO chip"},
    };
    struct pair pair = new_pair();
    struct port p;
    char error[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct port_settings s = {.spec = pair.name, .baud = 9600, .format = &serial_formats[0]};
        s.rs485 = rs485_of(cases[i].text);
        assert_true(port_open(&p, &s, error, sizeof error) < 0);
        if (!strstr(error, cases[i].says))
            fail_msg("%s", error);
        assert_int_equal(p.fd, -1);
    }
    assert_int_equal(open_it(&p, pair.name, "8N1", error), 0);
    assert_string_equal(p.facts.rs485, "none");
    uint64_t at_us;
    uint8_t in[8];
    assert_int_equal(port_send(&p, "frame", 5, 1000000, &at_us), 0);
    assert_int_equal(read(pair.master, in, sizeof in), 5);
    port_close(&p);
    close(pair.master);
}

static void gpio_lines_are_named_with_their_chip(void **state)
{
    (void)state;
    assert_true(gpio_is_spec("gpiochip0:17"));
    assert_true(gpio_is_spec("/dev/gpiochip2:RS485_DE"));
    assert_false(gpio_is_spec("gpiochip0"));
    assert_false(gpio_is_spec("gpiochip0:"));
    assert_false(gpio_is_spec(":17"));
}

/* ---- facts ---- */

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* A tree as an adapter has it in /sys; the tty itself is a pty. */
static void an_adapter_is_told_not_to_keep_bytes_back(void **state)
{
    struct pair pair = new_pair();
    struct port_facts f = {.rs485 = "none"};
    char top[] = "/tmp/test_port_XXXXXX", path[256], text[256];
    const char *name = strrchr(pair.name, '/') + 1;
    int fd = open(pair.name, O_RDWR | O_NOCTTY);

    (void)state;
    assert_non_null(mkdtemp(top));
    snprintf(path, sizeof path,
             "mkdir -p %s/class/tty/%s/device %s/bus/ftdi_sio && ln -s ../../../../bus/ftdi_sio "
             "%s/class/tty/%s/device/driver",
             top, name, top, top, name);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, "%s/class/tty/%s/device/latency_timer", top, name);
    put(path, "16\n");
    port_facts_find(&f, fd, pair.name, top);
    assert_true(f.known);
    assert_string_equal(f.path, pair.name);
    assert_string_equal(f.driver, "ftdi_sio");
    assert_int_equal(f.latency_was_ms, 16);
    assert_int_equal(f.latency_ms, 1);
    assert_false(f.low_latency); /* which the driver of a pty does not know */
    port_facts_text(&f, text, sizeof text);
    assert_non_null(strstr(text, "driver ftdi_sio, keeps bytes back for 1 ms at most (before: 16)"));
    assert_false(f.counted);
    unlink(path);
    f = (struct port_facts){.rs485 = "rts"};
    port_facts_find(&f, fd, pair.name, top);
    assert_int_equal(f.latency_ms, -1);
    snprintf(path, sizeof path, "rm -r %s", top);
    assert_int_equal(system(path), 0);
    close(fd);
    close(pair.master);
}

/* As Linux has it since 6.5: the tty's device belongs to the serial core, and so does that one's parent. */
static void the_driver_is_not_the_serial_cores(void **state)
{
    struct pair pair = new_pair();
    struct port_facts f = {.rs485 = "none"};
    char top[] = "/tmp/test_port_XXXXXX", text[1024];
    const char *name = strrchr(pair.name, '/') + 1;
    int fd = open(pair.name, O_RDWR | O_NOCTTY);

    (void)state;
    assert_non_null(mkdtemp(top));
    snprintf(text, sizeof text,
             "cd %s && mkdir -p devices/00:00/00:00:0/00:00:0.0 bus/pnp/drivers/serial "
             "bus/serial-base/drivers/port class/tty/%s && "
             "ln -s ../../../../bus/serial-base devices/00:00/00:00:0/00:00:0.0/subsystem && "
             "ln -s ../../../../bus/serial-base/drivers/port devices/00:00/00:00:0/00:00:0.0/driver && "
             "ln -s ../../../bus/serial-base devices/00:00/00:00:0/subsystem && "
             "ln -s ../../bus/pnp devices/00:00/subsystem && ln -s ../../bus/pnp/drivers/serial "
             "devices/00:00/driver && "
             "ln -s ../../../devices/00:00/00:00:0/00:00:0.0 class/tty/%s/device",
             top, name, name);
    assert_int_equal(system(text), 0);
    port_facts_find(&f, fd, pair.name, top);
    assert_string_equal(f.driver, "serial");
    assert_int_equal(f.latency_ms, -1);
    snprintf(text, sizeof text, "rm -r %s", top);
    assert_int_equal(system(text), 0);
    close(fd);
    close(pair.master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pty_carries_every_byte),
        cmocka_unit_test(a_pty_takes_no_parity_and_says_so),
        cmocka_unit_test(a_port_belongs_to_one),
        cmocka_unit_test(what_is_no_port_says_why),
        cmocka_unit_test(kinds_are_known_by_how_they_begin),
        cmocka_unit_test(what_a_driver_did_not_keep_is_told),
        cmocka_unit_test(a_mode_that_cannot_be_says_what_to_use),
        cmocka_unit_test(gpio_lines_are_named_with_their_chip),
        cmocka_unit_test(an_adapter_is_told_not_to_keep_bytes_back),
        cmocka_unit_test(the_driver_is_not_the_serial_cores),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
