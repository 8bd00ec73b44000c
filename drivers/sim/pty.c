/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/pty.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
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

int sim_pty_open(char *path, size_t size, unsigned baud)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return -errno;
    if (grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, path, size) != 0)
        rc = -errno;
    else
        rc = make_raw(fd, baud);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fd;
}

unsigned sim_pty_baud(int fd)
{
    struct termios2 t;

    return ioctl(fd, TCGETS2, &t) < 0 ? 0 : t.c_ospeed;
}
