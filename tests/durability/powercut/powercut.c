/* SPDX-License-Identifier: Apache-2.0 */
/* A power cut for one process, by LD_PRELOAD. It watches the files below POWERCUT_DIR and keeps, in
 * POWERCUT_IMAGE, what a disk is bound to have of them: what was synced, and names once their folder was. At
 * call number POWERCUT_AT (of those that change or sync something) it adds a random part of what was not
 * synced, in torn 512-byte sectors, with POWERCUT_SEED as the chance's seed, leaves the result in
 * POWERCUT_IMAGE/tree and kills the process. Folders count as durable when they are made. Nothing is really
 * synced, which makes it fast. stdio writes behind its back and shared writable mappings are not seen; the
 * latter end the process. Children are not watched. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SECTOR = 512, MAX_FD = 65536, PATH_SIZE = 1024 };

/* A write (data) or a new size (no data) that was not synced. */
struct change {
    struct change *next;
    uint8_t *data;
    uint64_t at, len;
};

struct inode {
    unsigned id; /* its durable bytes are POWERCUT_IMAGE/inodes/{id} */
    struct change *first, **last;
};

struct name {
    struct name *next;
    char path[PATH_SIZE]; /* below POWERCUT_DIR */
    struct inode *inode;
};

/* A change of names that was not synced: to becomes inode's name (or nobody's), from ends to be one. */
struct renaming {
    struct renaming *next;
    char from[PATH_SIZE], to[PATH_SIZE];
    struct inode *inode;
};

struct open_file {
    struct inode *inode;
    char *folder; /* of a folder, its path below POWERCUT_DIR */
};

static char dir[PATH_SIZE], image[PATH_SIZE];
static size_t dir_len;
static uint64_t cut_at, calls, chance_state;
static unsigned inodes;
static struct name *names, *durable;
static struct renaming *renamings;
static struct open_file files[MAX_FD];
static bool watching;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static _Noreturn void give_up(const char *what)
{
    dprintf(2, "powercut: %s: %s\n", what, strerror(errno));
    _exit(120);
}

static void *need(void *p)
{
    if (!p)
        give_up("memory");
    return p;
}

static uint64_t chance(uint64_t below)
{
    uint64_t z = chance_state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

/* The system's own calls, past those below. */
static int sys_open(const char *path, int flags)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

static void sys_write_all(int fd, const uint8_t *data, uint64_t len, uint64_t at)
{
    while (len) {
        long n = syscall(SYS_pwrite64, fd, data, len, at);
        if (n <= 0)
            give_up("image");
        data += n;
        at += (uint64_t)n;
        len -= (uint64_t)n;
    }
}

/* --- files --- */

static int open_durable(const struct inode *inode)
{
    char path[PATH_SIZE + 32];

    snprintf(path, sizeof(path), "%s/inodes/%u", image, inode->id);
    int fd = sys_open(path, O_RDWR | O_CREAT);
    if (fd < 0)
        give_up(path);
    return fd;
}

static struct inode *make_inode(void)
{
    struct inode *inode = need(calloc(1, sizeof(*inode)));

    inode->id = ++inodes;
    inode->last = &inode->first;
    syscall(SYS_close, open_durable(inode));
    return inode;
}

static void add_change(struct inode *inode, const void *data, uint64_t len, uint64_t at)
{
    struct change *c = need(calloc(1, sizeof(*c)));

    c->at = at;
    c->len = len;
    if (data) {
        c->data = need(malloc(len ? len : 1));
        memcpy(c->data, data, len);
    }
    *inode->last = c;
    inode->last = &c->next;
}

static void drop_changes(struct inode *inode)
{
    for (struct change *c = inode->first, *next; c; c = next) {
        next = c->next;
        free(c->data);
        free(c);
    }
    inode->first = NULL;
    inode->last = &inode->first;
}

static void write_sectors(int fd, const struct change *c, bool all)
{
    for (uint64_t at = c->at, end = c->at + c->len; at < end;) {
        uint64_t next = (at / SECTOR + 1) * SECTOR;
        if (next > end)
            next = end;
        if (all || chance(2))
            sys_write_all(fd, c->data + (at - c->at), next - at, at);
        at = next;
    }
}

static void apply(int fd, const struct change *c, bool all)
{
    if (c->data)
        write_sectors(fd, c, all);
    else if (all || chance(2))
        if (syscall(SYS_ftruncate, fd, c->len))
            give_up("image");
}

static void sync_inode(struct inode *inode)
{
    if (!inode->first)
        return;
    int fd = open_durable(inode);
    for (const struct change *c = inode->first; c; c = c->next)
        apply(fd, c, true);
    syscall(SYS_close, fd);
    drop_changes(inode);
}

/* What a disk may have of changes that nobody synced: nothing, all, the older ones, or any sectors. */
static void tear_inode(struct inode *inode)
{
    uint64_t way = chance(4), count = 0, whole;
    int fd = open_durable(inode);

    for (const struct change *c = inode->first; c; c = c->next)
        count++;
    whole = way == 0 ? 0 : way == 1 ? count : way == 2 ? chance(count + 1) : 0;
    for (const struct change *c = inode->first; c; c = c->next) {
        if (whole) {
            apply(fd, c, true);
            whole--;
        } else if (way == 3) {
            apply(fd, c, false);
        } else if (way == 2) {
            apply(fd, c, false); /* the one that was being written */
            break;
        }
    }
    syscall(SYS_close, fd);
}

/* --- names --- */

static struct name **find_name(struct name **list, const char *path)
{
    while (*list && strcmp((*list)->path, path))
        list = &(*list)->next;
    return list;
}

static void set_name(struct name **list, const char *path, struct inode *inode)
{
    struct name **at = find_name(list, path), *old = *at;

    if (old && !inode) {
        *at = old->next;
        free(old);
        return;
    }
    if (!inode)
        return;
    if (!old) {
        old = *at = need(calloc(1, sizeof(*old)));
        snprintf(old->path, sizeof(old->path), "%s", path);
    }
    old->inode = inode;
}

static void add_renaming(const char *from, const char *to, struct inode *inode)
{
    struct renaming *r = need(calloc(1, sizeof(*r))), **last = &renamings;

    snprintf(r->from, sizeof(r->from), "%s", from);
    snprintf(r->to, sizeof(r->to), "%s", to);
    r->inode = inode;
    while (*last)
        last = &(*last)->next;
    *last = r;
    if (*from)
        set_name(&names, from, NULL);
    if (*to)
        set_name(&names, to, inode);
}

static void make_durable(const struct renaming *r)
{
    if (*r->from)
        set_name(&durable, r->from, NULL);
    if (*r->to)
        set_name(&durable, r->to, r->inode);
}

static bool is_in(const char *path, const char *folder)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;

    return *path && len == strlen(folder) && !strncmp(path, folder, len);
}

/* A rename touches two folders and is one step of the file system's journal. */
static void sync_folder(const char *folder)
{
    for (struct renaming **at = &renamings, *r; (r = *at);) {
        if (!is_in(r->from, folder) && !is_in(r->to, folder)) {
            at = &r->next;
            continue;
        }
        make_durable(r);
        *at = r->next;
        free(r);
    }
}

/* --- the cut --- */

static void make_folders(char *path)
{
    for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        syscall(SYS_mkdirat, AT_FDCWD, path, 0700);
        *slash = '/';
    }
}

static void build_tree(void)
{
    char from[2 * PATH_SIZE], to[2 * PATH_SIZE + 8];

    snprintf(to, sizeof(to), "%s/tree/", image);
    make_folders(to);
    for (const struct name *n = durable; n; n = n->next) {
        snprintf(from, sizeof(from), "%s/inodes/%u", image, n->inode->id);
        snprintf(to, sizeof(to), "%s/tree/%s", image, n->path);
        make_folders(to);
        if (syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0))
            give_up(to);
    }
}

static _Noreturn void cut(void)
{
    uint64_t count = 0, kept;

    for (const struct renaming *r = renamings; r; r = r->next)
        count++;
    kept = chance(count + 1); /* a journal keeps their order */
    for (const struct renaming *r = renamings; r && kept; r = r->next, kept--)
        make_durable(r);
    /* One that has two names still loses its changes once. */
    for (const struct name *n = durable; n; n = n->next)
        if (n->inode->first) {
            tear_inode(n->inode);
            drop_changes(n->inode);
        }
    build_tree();
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static void count_call(void)
{
    if (++calls == cut_at)
        cut();
}

/* --- beginning --- */

static void copy_in(const char *full, const char *path)
{
    struct inode *inode = make_inode();
    int from = sys_open(full, O_RDONLY), to = open_durable(inode);
    static uint8_t block[65536];
    uint64_t at = 0;
    long n;

    while (from >= 0 && (n = syscall(SYS_read, from, block, sizeof(block))) > 0) {
        sys_write_all(to, block, (uint64_t)n, at);
        at += (uint64_t)n;
    }
    syscall(SYS_close, from);
    syscall(SYS_close, to);
    set_name(&names, path, inode);
    set_name(&durable, path, inode);
}

static void scan(const char *below)
{
    char full[2 * PATH_SIZE], path[PATH_SIZE];
    struct stat st;

    snprintf(full, sizeof(full), "%s/%s", dir, below);
    DIR *d = opendir(full);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (snprintf(path, sizeof(path), "%s%s%s", below, *below ? "/" : "", e->d_name) >= PATH_SIZE)
            give_up("path");
        snprintf(full, sizeof(full), "%s/%s", dir, path);
        if (lstat(full, &st))
            continue;
        if (S_ISDIR(st.st_mode))
            scan(path);
        else if (S_ISREG(st.st_mode))
            copy_in(full, path);
    }
    if (d)
        closedir(d);
}

static uint64_t number(const char *name)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *d = getenv("POWERCUT_DIR"), *i = getenv("POWERCUT_IMAGE");
    char path[2 * PATH_SIZE];

    if (!d || !i)
        return;
    if (!realpath(d, dir))
        snprintf(dir, sizeof(dir), "%s", d);
    snprintf(image, sizeof(image), "%s", i);
    dir_len = strlen(dir);
    cut_at = number("POWERCUT_AT");
    chance_state = number("POWERCUT_SEED");
    snprintf(path, sizeof(path), "%s/inodes/", image);
    make_folders(path);
    scan("");
    unsetenv("POWERCUT_DIR");
    unsetenv("LD_PRELOAD");
    watching = true;
}

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
