/* SPDX-License-Identifier: Apache-2.0 */
/* The one process of a small ARM machine: drives a transceiver in each way over real drivers (PL011, PL061)
 * and says what came of it on the first PCI port. test_transceiver.py builds and reads it. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include "drivers/port.h"

/* Paths are enough, and this machine's ttys need no library. */
extern const struct port_kind port_path;
const struct port_kind *const port_kinds[] = {&port_path, NULL};

int serial_open(struct port *p, const struct port_settings *s, const char *path, char *error, size_t size)
{
    struct termios t;

    (void)s;
    p->fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (p->fd < 0 || tcgetattr(p->fd, &t)) {
        snprintf(error, size, "%s: %m", path);
        return -1;
    }
    cfmakeraw(&t);
    cfsetspeed(&t, B19200);
    t.c_cflag |= CLOCAL | CREAD;
    return tcsetattr(p->fd, TCSANOW, &t);
}

int serial_set(struct port *p, const struct port_settings *s, char *error, size_t size)
{
    (void)p, (void)s, (void)error, (void)size;
    return 0;
}

void serial_close(struct port *p)
{
    close(p->fd);
}

static int out;

static void say(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vdprintf(out, fmt, args);
    va_end(args);
    tcdrain(out);
}

/* Sends two frames, whose first byte names the way. */
static void try(const char *name, char first, const struct rs485_settings *rs485)
{
    struct port_settings s = {
        .spec = "/dev/ttyAMA0", .baud = 19200, .format = &serial_formats[0], .rs485 = *rs485};
    const uint8_t frame[8] = {(uint8_t)first, 1, 2, 3, 4, 5, 6, 7};
    struct serial_rs485 now = {0};
    struct port p;
    char error[256] = "";
    uint64_t at_us;

    int err = port_open(&p, &s, error, sizeof error);
    say("%s: open %d %s\n", name, err, error);
    if (err)
        return;
    ioctl(p.fd, TIOCGRS485, &now);
    say("%s: driver %s, flags %#x, before %u, after %u; not kept: %s\n", name, p.facts.driver, now.flags,
        now.delay_rts_before_send, now.delay_rts_after_send, p.facts.rs485_lost);
    for (int i = 0; i < 2; i++) {
        err = port_send(&p, frame, sizeof frame, 520833, &at_us);
        usleep(50000);
    }
    ioctl(p.fd, TIOCGRS485, &now);
    port_facts_count(&p.facts, p.fd);
    say("%s: sent %d, driver counts %u bytes\n", name, err, p.facts.counters.tx);
    int fd = dup(p.fd);
    port_close(&p);
    ioctl(fd, TIOCGRS485, &now);
    say("%s: flags after close %#x\n", name, now.flags);
    close(fd);
}

static const struct rs485_mode *mode_named(const char *name)
{
    const struct rs485_mode *m = rs485_modes;

    while (m->name && strcmp(m->name, name))
        m++;
    return m;
}

int main(void)
{
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sys", "/sys", "sysfs", 0, NULL);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    out = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
    try("kernel", 'K',
        &(struct rs485_settings){
            .mode = mode_named("kernel"), .rts_on_send = true, .before_ms = 2, .after_ms = 1});
    try("terminated", 'T',
        &(struct rs485_settings){
            .mode = mode_named("kernel"), .rts_on_send = false, .rx_during_tx = true, .terminate = true});
    try("rts", 'R', &(struct rs485_settings){.mode = mode_named("rts"), .rts_on_send = true, .before_ms = 1});
    try("gpio", 'G',
        &(struct rs485_settings){.mode = mode_named("gpio"), .gpio = "gpiochip0:5", .before_ms = 1});
    try("low", 'L',
        &(struct rs485_settings){.mode = mode_named("gpio"), .gpio = "/dev/gpiochip0:6", .active_low = true});
    try("unnamed", 'X', &(struct rs485_settings){.mode = mode_named("gpio"), .gpio = "gpiochip0:RS485_DE"});
    try("beyond", 'X', &(struct rs485_settings){.mode = mode_named("gpio"), .gpio = "gpiochip0:8"});
    say("==end\n");
    sync();
    reboot(RB_POWER_OFF);
    return 0;
}
