/* SPDX-License-Identifier: Apache-2.0 */
#include "powercut_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SECTOR = 512 };

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

/* A change of names that was not synced: to becomes inode's name (or nobody's), from ends to be one. */
struct renaming {
    struct renaming *next;
    char from[PATH_SIZE], to[PATH_SIZE];
    struct inode *inode;
};

char dir[PATH_SIZE];
size_t dir_len;
struct name *names;
bool watching;

static char image[PATH_SIZE];
static uint64_t cut_at, calls, chance_state;
static unsigned inodes;
static struct name *durable;
static struct renaming *renamings;

_Noreturn void give_up(const char *what)
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

struct inode *make_inode(void)
{
    struct inode *inode = need(calloc(1, sizeof(*inode)));

    inode->id = ++inodes;
    inode->last = &inode->first;
    syscall(SYS_close, open_durable(inode));
    return inode;
}

void add_change(struct inode *inode, const void *data, uint64_t len, uint64_t at)
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

void sync_inode(struct inode *inode)
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

struct name **find_name(struct name **list, const char *path)
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

void add_renaming(const char *from, const char *to, struct inode *inode)
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
void sync_folder(const char *folder)
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

void count_call(void)
{
    if (++calls == cut_at)
        cut();
}

/* --- beginning --- */

void copy_in(const char *full, const char *path)
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
