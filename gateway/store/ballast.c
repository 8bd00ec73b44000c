/* SPDX-License-Identifier: Apache-2.0 */
#include "store/ballast.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char name[] = "ballast";

uint64_t ballast_room(int dir_fd)
{
    struct statvfs fs;

    return fstatvfs(dir_fd, &fs) ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize;
}

bool ballast_release(int dir_fd)
{
    return !unlinkat(dir_fd, name, 0);
}

bool ballast_make(int dir_fd, uint64_t bytes)
{
    struct stat st;

    if (!bytes)
        ballast_release(dir_fd);
    if (!bytes || (!fstatat(dir_fd, name, &st, 0) && (uint64_t)st.st_size == bytes))
        return true;
    ballast_release(dir_fd);
    if (ballast_room(dir_fd) / 3 < bytes)
        return false;
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    /* Without fallocate (some flash file systems) this writes the blocks, which is what is wanted there. */
    int err = posix_fallocate(fd, 0, (off_t)bytes);
    close(fd);
    if (err)
        ballast_release(dir_fd);
    return !err;
}
