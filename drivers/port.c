/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/port.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

const struct serial_format serial_formats[] = {
    {"8N1", 'N', 1, 10}, {"8E1", 'E', 1, 11}, {"8O1", 'O', 1, 11}, {"8N2", 'N', 2, 11}, {NULL, 0, 0, 0},
};

const char *const serial_format_names[] = {"8N1", "8E1", "8O1", "8N2", NULL};

const struct port_kind *port_kind_of(const char *spec, const char **rest)
{
    for (const struct port_kind *const *k = port_kinds; *k; k++) {
        size_t len = strlen((*k)->prefix);
        if (strncmp(spec, (*k)->prefix, len))
            continue;
        *rest = (*k)->prefix[0] == '/' ? spec : spec + len;
        return *k;
    }
    return NULL;
}

char *port_spec_resolve(const char *spec, const char *named_in)
{
    const char *rest;
    const struct port_kind *kind = port_kind_of(spec, &rest);

    if (!kind || !kind->file || rest[0] == '/')
        return mem_strdup(spec);
    char *file = mem_strdup(named_in);
    char *out = mem_format("%s%s/%s", kind->prefix, dirname(file), rest);
    free(file);
    return out;
}

int port_open(struct port *p, const struct port_settings *s, char *error, size_t size)
{
    const char *rest;
    const struct port_kind *kind = port_kind_of(s->spec, &rest);

    *p = (struct port){.fd = -1, .kind = kind};
    if (!kind) {
        snprintf(error, size, "%s is no port", s->spec);
        return -EINVAL;
    }
    int err = kind->open(p, s, rest, error, size);
    if (err)
        p->fd = -1;
    return err;
}

void port_close(struct port *p)
{
    if (p->kind && p->fd >= 0)
        p->kind->close(p);
    p->fd = -1;
}

int port_set(struct port *p, const struct port_settings *s, char *error, size_t size)
{
    if (p->kind->set)
        return p->kind->set(p, s, error, size);
    snprintf(error, size, "the speed of %s is set where the line is", s->spec);
    return -ENOTSUP;
}

/* A USB adapter that comes late has no node yet, so nothing is asked before the path is opened. */
static int open_path(struct port *p, const struct port_settings *s, const char *rest, char *error,
                     size_t size)
{
    return port_open_tty(p, s, rest, error, size);
}

const struct port_kind port_path = {
    .prefix = "/",
    .what = "a path such as \"/dev/ttyS0\"",
    .open = open_path,
    .close = port_close_tty,
    .tty = true,
    .set = port_set_tty,
};

static bool is_pty(const struct stat *st)
{
    unsigned kind = major(st->st_rdev);

    return kind >= 136 && kind <= 143; /* Documentation/admin-guide/devices.txt: UNIX98 PTY slaves */
}

static speed_t speed_of(uint32_t baud)
{
    static const struct {
        uint32_t baud;
        speed_t speed;
    } speeds[] = {{1200, B1200},     {2400, B2400},     {4800, B4800},    {9600, B9600},
                  {19200, B19200},   {38400, B38400},   {57600, B57600},  {115200, B115200},
                  {230400, B230400}, {460800, B460800}, {921600, B921600}};

    for (size_t i = 0; i < ARRAY_SIZE(speeds); i++)
        if (speeds[i].baud == baud)
            return speeds[i].speed;
    return B38400;
}

/* The kernel clears parity on a pty, and glibc calls it an error when nothing else was to be changed; so a
 * pty is set without. Its speed is only a word for the other side. */
static int set_pty(struct port *p, const struct port_settings *s)
{
    struct termios t;

    if (tcgetattr(p->fd, &t))
        return -errno;
    cfmakeraw(&t);
    t.c_cflag |= CLOCAL | CREAD;
    t.c_cflag &= ~(tcflag_t)(CSTOPB | CRTSCTS);
    if (s->format->stop_bits == 2)
        t.c_cflag |= CSTOPB;
    t.c_cc[VMIN] = 0;
    t.c_cc[VTIME] = 0;
    cfsetispeed(&t, speed_of(s->baud));
    cfsetospeed(&t, speed_of(s->baud));
    p->facts.parity_lost = s->format->parity != 'N';
    return tcsetattr(p->fd, TCSANOW, &t) ? -errno : 0;
}

static int open_pty(struct port *p, const struct port_settings *s, const char *path, char *error, size_t size)
{
    p->fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    int err = p->fd < 0 ? -errno : set_pty(p, s);
    if (err)
        snprintf(error, size, "%s: %s", path, strerror(-err));
    return err;
}

static int lock(struct port *p, const char *path, char *error, size_t size)
{
    if (flock(p->fd, LOCK_EX | LOCK_NB)) {
        int err = -errno;
        snprintf(error, size, "%s is in use by another program", path);
        return err;
    }
    if (ioctl(p->fd, TIOCEXCL)) {
        int err = -errno;
        snprintf(error, size, "%s cannot be had for one program alone: %s", path, strerror(-err));
        return err;
    }
    return 0;
}

int port_open_tty(struct port *p, const struct port_settings *s, const char *path, char *error, size_t size)
{
    struct stat st;

    if (stat(path, &st)) {
        int err = -errno;
        snprintf(error, size, "%s: %s", path, strerror(-err));
        return err;
    }
    if (!S_ISCHR(st.st_mode)) {
        snprintf(error, size, "%s is not a serial port", path);
        return -ENOTTY;
    }
    int err = is_pty(&st) ? open_pty(p, s, path, error, size) : serial_open(p, s, path, error, size);
    if (!err)
        err = lock(p, path, error, size);
    if (err == -EBUSY)
        snprintf(error, size, "%s is in use by another program", path);
    if (!err)
        port_facts_find(&p->facts, p->fd, path, "/sys");
    if (!err)
        err = rs485_open(p, &s->rs485, path, error, size);
    if (!err)
        tcflush(p->fd, TCIOFLUSH);
    else
        port_close_tty(p);
    return err;
}

void port_close_tty(struct port *p)
{
    rs485_close(p);
    if (p->fd >= 0)
        ioctl(p->fd, TIOCNXCL);
    if (p->own)
        serial_close(p);
    else if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

/* ---- sending ---- */

#define UNSENT_MOST_US 200000 /* so long after its time the last bit may still be on its way */

static void sleep_until(uint64_t at_us)
{
    const struct timespec at = {(time_t)(at_us / 1000000), (long)(at_us % 1000000 * 1000)};

    while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

/* Not before end_us, for what a driver says may be older than the frame; and not before the UART is empty,
 * where the driver tells. */
static void await_sent(int fd, uint64_t end_us, uint32_t char_us)
{
    unsigned state = 0;

    sleep_until(end_us);
    if (ioctl(fd, TIOCSERGETLSR, &state)) {
        tcdrain(fd);
        return;
    }
    while (!(state & TIOCSER_TEMT) && clock_boot_us() < end_us + UNSENT_MOST_US) {
        sleep_until(clock_boot_us() + char_us / 8);
        ioctl(fd, TIOCSERGETLSR, &state);
    }
}

static int write_all(int fd, const void *data, size_t len)
{
    /* A frame is shorter than any tty's buffer, so a tty that takes only a part is not well. */
    ssize_t sent = write(fd, data, len);

    return sent == (ssize_t)len ? 0 : sent < 0 ? -errno : -EIO;
}

int port_send(struct port *p, const void *data, size_t len, uint32_t char_ns, uint64_t *at_us)
{
    const struct rs485_mode *mode = p->rs485.mode;
    bool ours = mode && mode->drive;
    int err = ours ? mode->drive(p, true) : 0;

    if (ours && p->rs485.before_us)
        sleep_until(clock_boot_us() + p->rs485.before_us);
    if (!err)
        err = write_all(p->fd, data, len);
    *at_us = clock_boot_us() + (ours ? 0 : p->rs485.before_us);
    if (!ours)
        return err;
    if (!err)
        await_sent(p->fd, *at_us + (len * char_ns + 999) / 1000, char_ns / 1000);
    if (!err && p->rs485.after_us)
        sleep_until(clock_boot_us() + p->rs485.after_us);
    int back = mode->drive(p, false);
    return err ? err : back;
}

int port_set_tty(struct port *p, const struct port_settings *s, char *error, size_t size)
{
    struct stat st;

    if (!fstat(p->fd, &st) && !is_pty(&st))
        return serial_set(p, s, error, size);
    int err = set_pty(p, s);
    if (err)
        snprintf(error, size, "%s: %s", s->spec, strerror(-err));
    return err;
}
