/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

enum { BACKLOG = 1024 };

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
    union {
        uv_handle_t any;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } handle;
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

/* libuv sheds peers by itself when descriptors run out (it keeps one in reserve), but says nothing. So see
 * after each accept whether one more would have been there. */
static void watch_descriptors(struct listener *l)
{
    uv_os_fd_t fd;

    if (uv_fileno(&l->handle.any, &fd))
        return;
    int probe = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    bool exhausted = probe < 0;
    if (probe >= 0)
        close(probe);
    if (exhausted && !l->exhausted)
        log_error("listener %s: no file descriptors are left, further peers are turned away", l->bind);
    if (!exhausted && l->exhausted)
        log_info("listener %s: peers are accepted again", l->bind);
    l->exhausted = exhausted;
}

static void on_connection(uv_stream_t *server, int status)
{
    struct listener *l = container_of(server, struct listener, handle.stream);

    if (status) {
        log_warn("listener %s: accept: %s", l->bind, uv_strerror(status));
        return;
    }
    l->taker(l->arg, server);
    if (!uv_is_closing(&l->handle.any))
        watch_descriptors(l);
}

static int open_inet(struct listener *l, struct place *p)
{
    uint16_t port = p->addr.v6.sin6_port;
    int err = uv_tcp_bind(&l->handle.tcp, &p->addr.any, 0);

    if (err && p->any) {
        uv_ip4_addr("0.0.0.0", ntohs(port), &p->addr.v4);
        err = uv_tcp_bind(&l->handle.tcp, &p->addr.any, 0);
    }
    return err;
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
    err = uv_pipe_open(&l->handle.pipe, fd);
    if (err)
        close(fd);
    return err;
}

int listener_probe(const char *bind_to)
{
    struct place p;
    int err = parse(bind_to, &p), on = 1;

    if (err || p.path)
        return err;
    int family = p.addr.any.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return p.any ? 0 : -errno; /* then it is IPv4 alone */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    socklen_t size = family == AF_INET ? sizeof(p.addr.v4) : sizeof(p.addr.v6);
    if (bind(fd, &p.addr.any, size) || listen(fd, 1))
        err = -errno;
    close(fd);
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
    err = p.path ? uv_pipe_init(loop, &l->handle.pipe, 0) : uv_tcp_init(loop, &l->handle.tcp);
    if (!err)
        err = p.path ? open_unix(l, &p) : open_inet(l, &p);
    if (!err)
        err = uv_listen(&l->handle.stream, BACKLOG, on_connection);
    if (err) {
        log_error("listener %s: %s", bind, uv_strerror(err));
        listener_close(l);
        return err;
    }
    *out = l;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct listener *l = container_of(handle, struct listener, handle.any);

    free(l->bind);
    free(l->path);
    free(l);
}

void listener_close(struct listener *l)
{
    if (!l)
        return;
    if (l->path)
        unlink(l->path);
    uv_close(&l->handle.any, on_closed);
}

uint16_t listener_port(const struct listener *l)
{
    struct sockaddr_storage addr;
    int len = sizeof(addr);

    if (l->handle.any.type != UV_TCP || uv_tcp_getsockname(&l->handle.tcp, (struct sockaddr *)&addr, &len))
        return 0;
    return ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
                                            : ((struct sockaddr_in *)&addr)->sin_port);
}
