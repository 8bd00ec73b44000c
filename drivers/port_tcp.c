/* SPDX-License-Identifier: Apache-2.0 */
/* "rtu+tcp:HOST:PORT": a serial line behind a device server, which passes its bytes on as they are. Addresses
 * are numbers, as looking a name up may take as long as it likes and the line's thread must end when it is
 * told. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "drivers/port.h"

enum { CONNECT_MS = 3000, LOOK_MS = 50 };

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool read_port(const char *text, uint16_t *out)
{
    char *end;
    long port = strtol(text, &end, 10);

    *out = htons((uint16_t)port);
    return text[0] >= '0' && text[0] <= '9' && !*end && port >= 1 && port <= 65535;
}

/* "192.0.2.7:4001" or "[2001:db8::7]:4001". Its length, 0 when it is none. */
static socklen_t read_address(const char *rest, union address *out)
{
    const char *colon = strrchr(rest, ':');
    char host[64];
    uint16_t port;

    *out = (union address){0};
    if (!colon || !read_port(colon + 1, &port) || (size_t)(colon - rest) >= sizeof host)
        return 0;
    snprintf(host, sizeof host, "%.*s", (int)(colon - rest), rest);
    size_t len = strlen(host);
    if (host[0] == '[' && len > 2 && host[len - 1] == ']') {
        host[len - 1] = 0;
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = port;
        return inet_pton(AF_INET6, host + 1, &out->v6.sin6_addr) == 1 ? sizeof out->v6 : 0;
    }
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = port;
    return inet_pton(AF_INET, host, &out->v4.sin_addr) == 1 ? sizeof out->v4 : 0;
}

static int check_tcp(const char *rest, char *error, size_t size)
{
    union address a;

    if (read_address(rest, &a))
        return 0;
    snprintf(error, size,
             "rtu+tcp: needs an address in numbers and a port, as in \"rtu+tcp:192.0.2.7:4001\" or "
             "\"rtu+tcp:[2001:db8::7]:4001\"");
    return -EINVAL;
}

/* 0 once connected, or -E…. */
static int await(int fd, const struct port_settings *s)
{
    int err = -ETIMEDOUT;
    socklen_t len = sizeof err;

    for (int waited = 0; waited < CONNECT_MS; waited += LOOK_MS) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (s->give_up && atomic_load(s->give_up))
            return -ECANCELED;
        if (poll(&p, 1, LOOK_MS) <= 0)
            continue;
        return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) ? -errno : -err;
    }
    return err;
}

static int open_tcp(struct port *p, const struct port_settings *s, const char *rest, char *error, size_t size)
{
    union address a;
    int on = 1, err = check_tcp(rest, error, size);
    socklen_t len = read_address(rest, &a);

    if (err)
        return err;
    p->fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0)
        err = -errno;
    else if (connect(p->fd, &a.any, len))
        err = errno == EINPROGRESS ? await(p->fd, s) : -errno;
    if (err) {
        snprintf(error, size, "%s: %s", rest, strerror(-err));
        if (p->fd >= 0)
            close(p->fd);
        return err;
    }
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(p->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return 0;
}

static void close_tcp(struct port *p)
{
    close(p->fd);
}

const struct port_kind port_tcp = {
    .prefix = "rtu+tcp:",
    .what = "a line behind a device server such as \"rtu+tcp:192.0.2.7:4001\"",
    .check = check_tcp,
    .open = open_tcp,
    .close = close_tcp,
};
