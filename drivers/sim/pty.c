/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/pty.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int make_raw(int fd, unsigned baud)
{
    struct termios2 t;

    if (ioctl(fd, TCGETS2, &t) < 0)
        return -errno;
    t.c_iflag = t.c_oflag = t.c_lflag = 0;
    t.c_cflag = CS8 | CREAD | CLOCAL | BOTHER;
    t.c_ispeed = t.c_ospeed = baud;
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    return ioctl(fd, TCSETS2, &t) < 0 ? -errno : 0;
}

static int open_ends(struct sim_pty *p, unsigned baud)
{
    p->fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (p->fd < 0 || grantpt(p->fd) < 0 || unlockpt(p->fd) < 0 ||
        ptsname_r(p->fd, p->path, sizeof(p->path)) != 0)
        return -errno;
    p->slave = open(p->path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (p->slave < 0)
        return -errno;
    return make_raw(p->slave, baud);
}

int sim_pty_open(struct sim_pty *p, unsigned baud)
{
    *p = (struct sim_pty){.fd = -1, .watch = -1, .slave = -1};
    int rc = open_ends(p, baud);

    if (rc == 0) {
        p->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (p->watch < 0 || inotify_add_watch(p->watch, p->path, IN_OPEN | IN_CLOSE) < 0)
            rc = -errno;
    }
    if (rc < 0)
        sim_pty_close(p);
    return rc;
}

void sim_pty_watched(struct sim_pty *p)
{
    _Alignas(struct inotify_event) char events[1024];
    uint32_t seen = 0;
    ssize_t size;

    while ((size = read(p->watch, events, sizeof(events))) > 0)
        for (char *at = events; at < events + size;) {
            const struct inotify_event *e = (const void *)at;
            seen |= e->mask;
            at += sizeof(*e) + e->len;
        }
    if (seen & IN_CLOSE)
        ioctl(p->slave, TIOCNXCL);
    if (seen & IN_OPEN)
        ioctl(p->slave, TCFLSH, TCIFLUSH);
}

unsigned sim_pty_baud(const struct sim_pty *p)
{
    struct termios2 t;

    return ioctl(p->fd, TCGETS2, &t) < 0 ? 0 : t.c_ospeed;
}

void sim_pty_close(struct sim_pty *p)
{
    int *fds[] = {&p->fd, &p->watch, &p->slave};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}
