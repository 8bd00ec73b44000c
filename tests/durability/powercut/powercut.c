/* SPDX-License-Identifier: Apache-2.0 */
/* A power cut for one process, by LD_PRELOAD. It watches the files below POWERCUT_DIR and keeps, in
 * POWERCUT_IMAGE, what a disk is bound to have of them: what was synced, and names once their folder was. At
 * call number POWERCUT_AT (of those that change or sync something) it adds a random part of what was not
 * synced, in torn 512-byte sectors, with POWERCUT_SEED as the chance's seed, leaves the result in
 * POWERCUT_IMAGE/tree and kills the process. Folders count as durable when they are made. Nothing is really
 * synced, which makes it fast. stdio writes behind its back and shared writable mappings are not seen; the
 * latter end the process. Children are not watched. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "powercut_disk.h"

enum { MAX_FD = 65536 };

struct open_file {
    struct inode *inode;
    char *folder; /* of a folder, its path below POWERCUT_DIR */
};

static struct open_file files[MAX_FD];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* --- paths --- */

/* True when the path lies in POWERCUT_DIR; out is what comes behind it ("" for the folder itself). */
static bool below_dir(int at, const char *path, char out[PATH_SIZE])
{
    char joined[2 * PATH_SIZE], link[64], folder[PATH_MAX], *slash;
    ssize_t len = 0;

    if (!watching)
        return false;
    if (*path != '/') {
        snprintf(link, sizeof(link), at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
        len = readlink(link, joined, PATH_SIZE);
        if (len < 0)
            return false;
        joined[len++] = '/';
    }
    snprintf(joined + len, sizeof(joined) - (size_t)len, "%s", path);
    if (!realpath(joined, folder)) {
        slash = strrchr(joined, '/');
        char *last = strdup(slash + 1);
        *slash = '\0';
        bool found = realpath(*joined ? joined : "/", folder);
        size_t used = found ? strlen(folder) : 0;
        snprintf(folder + used, sizeof(folder) - used, "/%s", last);
        free(last);
        if (!found)
            return false;
    }
    if (strncmp(folder, dir, dir_len) || (folder[dir_len] != '/' && folder[dir_len]))
        return false;
    return snprintf(out, PATH_SIZE, "%s", folder[dir_len] ? folder + dir_len + 1 : "") < PATH_SIZE;
}

static struct inode *inode_of(int fd)
{
    return watching && fd >= 0 && fd < MAX_FD ? files[fd].inode : NULL;
}

static void forget_fd(int fd)
{
    if (fd < 0 || fd >= MAX_FD)
        return;
    free(files[fd].folder);
    files[fd] = (struct open_file){0};
}

/* --- the calls --- */

static int opened(int at, const char *path, int flags, mode_t mode)
{
    char below[PATH_SIZE];
    struct stat st;

    pthread_mutex_lock(&lock);
    bool ours = below_dir(at, path, below);
    struct name *known = ours ? *find_name(&names, below) : NULL;
    if (ours && ((flags & O_CREAT && !known) || (flags & O_TRUNC && known)))
        count_call();
    int fd = (int)syscall(SYS_openat, at, path, flags, mode), err = errno;
    if (ours && fd >= 0 && fd < MAX_FD && !fstat(fd, &st)) {
        forget_fd(fd);
        if (S_ISDIR(st.st_mode))
            files[fd].folder = strdup(below);
        else if (S_ISREG(st.st_mode)) {
            if (!known)
                add_renaming("", below, make_inode());
            files[fd].inode = (*find_name(&names, below))->inode;
            if (flags & O_TRUNC)
                add_change(files[fd].inode, NULL, 0, 0);
        }
    }
    pthread_mutex_unlock(&lock);
    errno = err;
    return fd;
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)) ? va_arg(args, mode_t) : 0;
}

#define OPEN(symbol)                                                                                         \
    int symbol(const char *path, int flags, ...)                                                             \
    {                                                                                                        \
        va_list args;                                                                                        \
        va_start(args, flags);                                                                               \
        mode_t mode = mode_of(flags, args);                                                                  \
        va_end(args);                                                                                        \
        return opened(AT_FDCWD, path, flags, mode);                                                          \
    }
#define OPENAT(symbol)                                                                                       \
    int symbol(int at, const char *path, int flags, ...)                                                     \
    {                                                                                                        \
        va_list args;                                                                                        \
        va_start(args, flags);                                                                               \
        mode_t mode = mode_of(flags, args);                                                                  \
        va_end(args);                                                                                        \
        return opened(at, path, flags, mode);                                                                \
    }

OPEN(open)
OPEN(open64)
OPEN(__open_2)
OPEN(__open64_2)
OPENAT(openat)
OPENAT(openat64)
OPENAT(__openat_2)
OPENAT(__openat64_2)

int creat(const char *path, mode_t mode)
{
    return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode)
{
    return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int close(int fd)
{
    pthread_mutex_lock(&lock);
    if (watching)
        forget_fd(fd);
    int result = (int)syscall(SYS_close, fd), err = errno;
    pthread_mutex_unlock(&lock);
    errno = err;
    return result;
}

/* The change is made known first: a cut in the call may find any part of it. */
static ssize_t wrote(int fd, const void *data, size_t len, off_t at)
{
    pthread_mutex_lock(&lock);
    long n = syscall(SYS_pwrite64, fd, data, len, at);
    int err = errno;
    if (n > 0)
        add_change(inode_of(fd), data, (uint64_t)n, (uint64_t)at);
    count_call();
    pthread_mutex_unlock(&lock);
    errno = err;
    return n;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
    return inode_of(fd) ? wrote(fd, data, len, at) : syscall(SYS_pwrite64, fd, data, len, at);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return pwrite64(fd, data, len, at);
}

ssize_t write(int fd, const void *data, size_t len)
{
    if (!inode_of(fd))
        return syscall(SYS_write, fd, data, len);
    bool append = fcntl(fd, F_GETFL) & O_APPEND;
    off_t at = lseek(fd, 0, append ? SEEK_END : SEEK_CUR);
    ssize_t n = wrote(fd, data, len, at);
    if (n > 0)
        lseek(fd, at + n, SEEK_SET);
    return n;
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    ssize_t all = 0;

    if (!inode_of(fd))
        return syscall(SYS_writev, fd, iov, count);
    for (int i = 0; i < count; i++) {
        ssize_t n = write(fd, iov[i].iov_base, iov[i].iov_len);
        if (n < 0)
            return all ? all : n;
        all += n;
    }
    return all;
}

static int resized(int fd, uint64_t size)
{
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_ftruncate, fd, size), err = errno;
    if (!result && inode_of(fd))
        add_change(inode_of(fd), NULL, size, 0);
    if (inode_of(fd))
        count_call();
    pthread_mutex_unlock(&lock);
    errno = err;
    return result;
}

int ftruncate64(int fd, off64_t size)
{
    return resized(fd, (uint64_t)size);
}

int ftruncate(int fd, off_t size)
{
    return resized(fd, (uint64_t)size);
}

static int allocated(int fd, int mode, off_t at, off_t len)
{
    struct stat st;

    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_fallocate, fd, mode, at, len), err = errno;
    if (!result && inode_of(fd) && !fstat(fd, &st))
        add_change(inode_of(fd), NULL, (uint64_t)st.st_size, 0);
    if (inode_of(fd))
        count_call();
    pthread_mutex_unlock(&lock);
    errno = err;
    return result;
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    return allocated(fd, mode, at, len);
}

int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
    return allocated(fd, mode, at, len);
}

int posix_fallocate(int fd, off_t at, off_t len)
{
    return allocated(fd, 0, at, len) ? errno : 0;
}

int posix_fallocate64(int fd, off64_t at, off64_t len)
{
    return allocated(fd, 0, at, len) ? errno : 0;
}

static int synced(int fd, long call)
{
    if (!watching || fd < 0 || fd >= MAX_FD || (!files[fd].inode && !files[fd].folder))
        return (int)syscall(call, fd);
    pthread_mutex_lock(&lock);
    count_call();
    if (files[fd].inode)
        sync_inode(files[fd].inode);
    else
        sync_folder(files[fd].folder);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd)
{
    return synced(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return synced(fd, SYS_fdatasync);
}

int unlinkat(int at, const char *path, int flags)
{
    char below[PATH_SIZE];

    pthread_mutex_lock(&lock);
    bool ours = !(flags & AT_REMOVEDIR) && below_dir(at, path, below) && *find_name(&names, below);
    if (ours)
        count_call();
    int result = (int)syscall(SYS_unlinkat, at, path, flags), err = errno;
    if (ours && !result)
        add_renaming(below, "", NULL);
    pthread_mutex_unlock(&lock);
    errno = err;
    return result;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

/* One end outside: the file comes in as it is, or is gone for us. */
static int renamed(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    char old[PATH_SIZE] = "", new[PATH_SIZE] = "", full[2 * PATH_SIZE];

    pthread_mutex_lock(&lock);
    bool ours = below_dir(from_at, from, old), arrives = below_dir(to_at, to, new);
    struct name *n = ours ? *find_name(&names, old) : NULL;
    struct inode *inode = n ? n->inode : NULL;
    if (ours || arrives)
        count_call();
    int result = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags), err = errno;
    if (!result && inode)
        add_renaming(old, arrives ? new : "", arrives ? inode : NULL);
    else if (!result && arrives) {
        snprintf(full, sizeof(full), "%s/%s", dir, new);
        copy_in(full, new);
    }
    pthread_mutex_unlock(&lock);
    errno = err;
    return result;
}

int rename(const char *from, const char *to)
{
    return renamed(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_at, const char *from, int to_at, const char *to)
{
    return renamed(from_at, from, to_at, to, 0);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    return renamed(from_at, from, to_at, to, flags);
}

void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t at)
{
    if (inode_of(fd) && flags & MAP_SHARED && prot & PROT_WRITE) {
        errno = ENOTSUP;
        give_up("a shared writable mapping");
    }
    return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, at);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t at)
{
    return mmap64(addr, len, prot, flags, fd, at);
}
