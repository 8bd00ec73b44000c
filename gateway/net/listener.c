/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/conn.h"

enum { BACKLOG = 1024, ACCEPTS_A_TURN = 64 };

struct place {
    const char *path; /* NULL: addr */
    bool any;         /* "*": IPv6 and IPv4, or IPv4 alone where the kernel has no IPv6 */
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } addr;
};

struct listener {
    uv_poll_t poll;
    int fd;
    int reserve; /* given up for a moment, when no descriptors are left, to turn a peer away */
    char *bind, *path;
    listener_taker *taker;
    void *arg;
    bool exhausted;
};

static int parse_port(const char *text, uint16_t *port)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value > 65535)
        return -EINVAL;
    *port = (uint16_t)value;
    return 0;
}

static int parse_inet(const char *bind, struct place *p)
{
    const char *colon = strrchr(bind, ':');
    char host[INET6_ADDRSTRLEN + 2];
    uint16_t port;

    if (!colon || (size_t)(colon - bind) >= sizeof(host) || parse_port(colon + 1, &port))
        return -EINVAL;
    size_t len = (size_t)(colon - bind);
    memcpy(host, bind, len);
    host[len] = 0;
    p->any = !strcmp(host, "*");
    if (p->any)
        return uv_ip6_addr("::", port, &p->addr.v6) ? -EINVAL : 0;
    if (len < 2 || host[0] != '[')
        return uv_ip4_addr(host, port, &p->addr.v4) ? -EINVAL : 0;
    if (host[len - 1] != ']')
        return -EINVAL;
    host[len - 1] = 0;
    return uv_ip6_addr(host + 1, port, &p->addr.v6) ? -EINVAL : 0;
}

static int parse(const char *bind, struct place *p)
{
    memset(p, 0, sizeof(*p));
    if (strncmp(bind, "unix:", 5))
        return parse_inet(bind, p);
    p->path = bind + 5;
    if (!*p->path || strlen(p->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return -EINVAL;
    return 0;
}

static bool is_loopback(const struct place *p)
{
    if (p->path)
        return true;
    if (p->addr.any.sa_family == AF_INET)
        return ntohl(p->addr.v4.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&p->addr.v6.sin6_addr);
}

int listener_parse(const char *bind, bool *loopback)
{
    struct place p;
    int err = parse(bind, &p);

    if (!err && loopback)
        *loopback = is_loopback(&p);
    return err;
}

static int reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* A peer whom nobody accepts would wait for ever, and wake us all the time. False when nobody waits: the
 * kernel looks for a descriptor first. */
static bool turn_away(struct listener *l)
{
    close(l->reserve);
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    l->reserve = reserve();
    if (fd >= 0 && !l->exhausted)
        log_error("listener %s: no file descriptors are left, further peers are turned away", l->bind);
    l->exhausted |= fd >= 0;
    return fd >= 0;
}

/* False when nobody waits. */
static bool accept_one(struct listener *l)
{
    struct sockaddr_storage addr = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof(addr);
    struct accepted a = {.fd = accept4(l->fd, (struct sockaddr *)&addr, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)};

    if (a.fd >= 0) {
        if (l->exhausted)
            log_info("listener %s: peers are accepted again", l->bind);
        l->exhausted = false;
        address_set(&a.peer, (struct sockaddr *)&addr);
        l->taker(l->arg, &a);
    } else if (errno == EMFILE || errno == ENFILE) {
        return turn_away(l);
    } else if (errno != ECONNABORTED) {
        if (errno != EAGAIN)
            log_warn("listener %s: accept: %s", l->bind, strerror(errno));
        return false;
    }
    return true;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct listener *l = container_of(poll, struct listener, poll);

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN && !uv_is_closing((uv_handle_t *)poll) && accept_one(l); i++)
        ;
}

/* What is accepted inherits TCP_NODELAY. */
static int bind_inet(const struct place *p)
{
    int family = p->addr.any.sa_family, on = 1, off = 0;
    socklen_t size = family == AF_INET ? sizeof(p->addr.v4) : sizeof(p->addr.v6);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (!bind(fd, &p->addr.any, size))
        return fd;
    int err = -errno;
    close(fd);
    return err;
}

static int open_inet(struct place *p)
{
    int fd = bind_inet(p);

    if (fd < 0 && p->any) {
        uv_ip4_addr("0.0.0.0", ntohs(p->addr.v6.sin6_port), &p->addr.v4);
        fd = bind_inet(p);
    }
    return fd;
}

/* Removes a socket that nobody listens on any more; anything else stays. */
static int clear_stale(const struct sockaddr_un *addr)
{
    struct stat st;

    if (lstat(addr->sun_path, &st))
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int err = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? errno : 0;
    close(fd);
    if (err != ECONNREFUSED)
        return -EADDRINUSE;
    return unlink(addr->sun_path) ? -errno : 0;
}

static int open_unix(struct listener *l, const struct place *p)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    memcpy(addr.sun_path, p->path, strlen(p->path));
    int err = clear_stale(&addr);
    if (err)
        return err;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    /* Closed to all until the mode is what it should be. */
    fchmod(fd, 0);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || chmod(p->path, 0660)) {
        err = -errno;
        close(fd);
        return err;
    }
    l->path = mem_strdup(p->path);
    return fd;
}

int listener_probe(const char *bind_to)
{
    struct place p;
    int err = parse(bind_to, &p);

    if (err || p.path)
        return err;
    int fd = open_inet(&p);
    if (fd < 0)
        return fd;
    if (listen(fd, 1))
        err = -errno;
    close(fd);
    return err;
}

static void listener_free(struct listener *l)
{
    free(l->bind);
    free(l->path);
    free(l);
}

static int start(struct listener *l, uv_loop_t *loop, struct place *p)
{
    l->fd = p->path ? open_unix(l, p) : open_inet(p);
    if (l->fd < 0)
        return l->fd;
    l->reserve = reserve();
    int err = l->reserve < 0 || listen(l->fd, BACKLOG) ? -errno : uv_poll_init(loop, &l->poll, l->fd);
    if (!err)
        return uv_poll_start(&l->poll, UV_READABLE, on_ready);
    close(l->fd);
    if (l->reserve >= 0)
        close(l->reserve);
    if (l->path)
        unlink(l->path);
    return err;
}

int listener_open(struct listener **out, uv_loop_t *loop, const char *bind, listener_taker *taker, void *arg)
{
    struct place p;
    int err = parse(bind, &p);

    if (err) {
        log_error("listener %s: not an address; use \"127.0.0.1:1883\", \"[::1]:1883\", \"*:1883\" or "
                  "\"unix:/path\"",
                  bind);
        return err;
    }
    struct listener *l = mem_alloc(sizeof(*l));
    l->bind = mem_strdup(bind);
    l->taker = taker;
    l->arg = arg;
    err = start(l, loop, &p);
    if (err) {
        log_error("listener %s: %s", bind, uv_strerror(err));
        listener_free(l);
        return err;
    }
    *out = l;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    listener_free(container_of((uv_poll_t *)handle, struct listener, poll));
}

void listener_close(struct listener *l)
{
    if (!l)
        return;
    if (l->path)
        unlink(l->path);
    uv_close((uv_handle_t *)&l->poll, on_closed);
    close(l->fd);
    close(l->reserve);
}

uint16_t listener_port(const struct listener *l)
{
    struct sockaddr_storage addr;
    socklen_t size = sizeof(addr);
    struct address bound = {0};

    if (!getsockname(l->fd, (struct sockaddr *)&addr, &size))
        address_set(&bound, (struct sockaddr *)&addr);
    return bound.port;
}
