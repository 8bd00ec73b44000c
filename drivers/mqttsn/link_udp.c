/* SPDX-License-Identifier: Apache-2.0 */
/* UDP, IPv4 and IPv6, and a multicast group of the same port. The group has a socket of its own, so that it
 * is known what came by it. */
#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "drivers/mqttsn/link.h"

enum {
    DATAGRAM = 65536,
    DATAGRAM_MOST = 65507, /* of IPv4; the standard's packets could have 65,535 */
    BATCH = 16,
    BUFFER = 1 << 20
};

union place {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct udp_socket {
    struct udp_link *link;
    uv_poll_t poll;
    int fd;
    unsigned
        batch; /* datagrams of the next read: the kernel looks in vain for a second one where there is one */
    bool polls, wants_room, to_all;
};

struct udp_link {
    struct link link;
    struct udp_socket own, group;
    union place group_at;
    sa_family_t family;
    unsigned handles;
    bool closed;
    uint64_t send_errors;
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    union place from[BATCH];
    uint8_t *memory; /* BATCH datagrams */
};

static size_t size_of(const union place *p)
{
    return p->any.sa_family == AF_INET ? sizeof(p->v4) : sizeof(p->v6);
}

/* "192.0.2.7" or "2001:db8::1", with or without brackets. */
static int parse_host(const char *text, size_t len, union place *out)
{
    char host[64];

    memset(out, 0, sizeof(*out));
    if (len > 1 && text[0] == '[' && text[len - 1] == ']')
        text++, len -= 2;
    if (!len || len >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, len);
    host[len] = 0;
    if (inet_pton(AF_INET, host, &out->v4.sin_addr) == 1)
        out->any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1)
        out->any.sa_family = AF_INET6;
    else
        return -EINVAL;
    return 0;
}

/* Both families have their port in the same place. */
static void set_port(union place *p, uint16_t port)
{
    p->v4.sin_port = htons(port);
}

static int parse(const char *spec, union place *out)
{
    const char *rest = spec + strlen("udp:"), *colon = strrchr(rest, ':');
    char *end;

    if (!colon || parse_host(rest, (size_t)(colon - rest), out))
        return -EINVAL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (!colon[1] || *end || !port || port > 65535)
        return -EINVAL;
    set_port(out, (uint16_t)port);
    return 0;
}

static bool is_multicast(const union place *p)
{
    return p->any.sa_family == AF_INET ? IN_MULTICAST(ntohl(p->v4.sin_addr.s_addr))
                                       : IN6_IS_ADDR_MULTICAST(&p->v6.sin6_addr);
}

static int check(const struct link_settings *s, char *error, size_t size)
{
    union place at, group;

    if (parse(s->spec, &at) || is_multicast(&at)) {
        snprintf(error, size,
                 "\"%s\" is no place for datagrams; write udp:ADDRESS:PORT, like udp:0.0.0.0:10000 or "
                 "udp:[::]:10000",
                 s->spec);
        return -EINVAL;
    }
    if (s->multicast && (parse_host(s->multicast, strlen(s->multicast), &group) || !is_multicast(&group))) {
        snprintf(error, size, "\"%s\" is no multicast group; write one like 225.1.1.1 or ff02::1:1",
                 s->multicast);
        return -EINVAL;
    }
    return 0;
}

static bool is_local(const struct link_settings *s)
{
    union place at;

    if (parse(s->spec, &at))
        return false;
    return at.any.sa_family == AF_INET ? ntohl(at.v4.sin_addr.s_addr) >> 24 == 127
                                       : IN6_IS_ADDR_LOOPBACK(&at.v6.sin6_addr);
}

/* ---- reading ---- */

static struct link_place place_of(const union place *p)
{
    struct link_place out = {.scope = p->any.sa_family == AF_INET6 ? p->v6.sin6_scope_id : 0};

    address_set(&out.at, &p->any);
    return out;
}

/* The first count are as they were after a read. */
static void prepare(struct udp_link *l, int count)
{
    for (int i = 0; i < count; i++) {
        l->parts[i] = (struct iovec){l->memory + i * DATAGRAM, DATAGRAM};
        l->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &l->from[i],
            .msg_namelen = sizeof(l->from[i]),
            .msg_iov = &l->parts[i],
            .msg_iovlen = 1,
        };
    }
}

/* One batch; the loop comes back when there is more, and others had their turn. */
static void read_some(struct udp_socket *s)
{
    struct udp_link *l = s->link;

    int count = recvmmsg(s->fd, l->messages, s->batch, MSG_DONTWAIT, NULL);
    s->batch = count == (int)s->batch ? BATCH : 1;
    for (int i = 0; i < count && !l->closed; i++) {
        struct link_place from = place_of(&l->from[i]);
        l->link.events->on_packet(l->link.arg, &from,
                                  (struct bytes){l->parts[i].iov_base, l->messages[i].msg_len}, s->to_all);
    }
    prepare(l, count);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void listen_to(struct udp_socket *s)
{
    uv_poll_start(&s->poll, UV_READABLE | (s->wants_room ? UV_WRITABLE : 0), on_poll);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct udp_socket *s = container_of(poll, struct udp_socket, poll);

    if (events & UV_WRITABLE) {
        s->wants_room = false;
        listen_to(s);
        s->link->link.events->on_room(s->link->link.arg);
    }
    if (status || events & UV_READABLE) /* an error is taken off the socket by reading */
        read_some(s);
}

/* ---- writing ---- */

static bool write_to(struct udp_socket *s, const union place *to, struct bytes packet)
{
    ssize_t n = sendto(s->fd, packet.data, packet.len, MSG_DONTWAIT, &to->any, (socklen_t)size_of(to));

    if (n >= 0)
        return true;
    if (errno == EAGAIN || errno == ENOBUFS) {
        s->wants_room = true;
        listen_to(s);
        return false;
    }
    s->link->send_errors++;
    return true;
}

static bool udp_send(struct link *link, const struct link_place *to, struct bytes packet)
{
    struct udp_link *l = container_of(link, struct udp_link, link);
    union place p;

    memset(&p, 0, sizeof(p));
    if (l->family == AF_INET) {
        p.v4.sin_family = AF_INET;
        memcpy(&p.v4.sin_addr, to->at.ip, 4);
    } else {
        p.v6.sin6_family = AF_INET6;
        p.v6.sin6_scope_id = to->scope;
        bool mapped = to->at.family == AF_INET;
        if (mapped)
            memset(p.v6.sin6_addr.s6_addr + 10, 0xff, 2);
        memcpy(p.v6.sin6_addr.s6_addr + (mapped ? 12 : 0), to->at.ip, mapped ? 4 : 16);
    }
    set_port(&p, to->at.port);
    return write_to(&l->own, &p, packet);
}

static bool udp_shout(struct link *link, struct bytes packet)
{
    struct udp_link *l = container_of(link, struct udp_link, link);

    return !l->group.polls || write_to(&l->group, &l->group_at, packet);
}

static uint64_t airtime_us(const struct link *link, size_t bytes)
{
    (void)link, (void)bytes;
    return 0;
}

/* ---- opening and closing ---- */

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) ? -errno : 0;
}

static int open_socket(struct udp_socket *s, uv_loop_t *loop, const union place *at)
{
    s->fd = socket(at->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return -errno;
    set(s->fd, SOL_SOCKET, SO_RCVBUF, BUFFER);
    set(s->fd, IPPROTO_IP, IP_FREEBIND, 1); /* an interface may come later */
    if (s->to_all)
        set(s->fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (at->any.sa_family == AF_INET6)
        set(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, s->to_all);
    int err = bind(s->fd, &at->any, (socklen_t)size_of(at)) ? -errno : uv_poll_init(loop, &s->poll, s->fd);
    if (err) {
        close(s->fd);
        return err;
    }
    s->polls = true;
    s->link->handles++;
    listen_to(s);
    return 0;
}

static int join(struct udp_link *l, unsigned interface)
{
    int fd = l->group.fd, err;

    if (l->group_at.any.sa_family == AF_INET) {
        struct ip_mreqn m = {.imr_multiaddr = l->group_at.v4.sin_addr, .imr_ifindex = (int)interface};
        err = setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m));
        if (!err && interface)
            err = setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof(m));
    } else {
        struct ipv6_mreq m = {.ipv6mr_multiaddr = l->group_at.v6.sin6_addr, .ipv6mr_interface = interface};
        err = setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m));
        if (!err && interface)
            err = setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface, sizeof(interface));
    }
    return err ? -errno : 0;
}

static int open_group(struct udp_link *l, uv_loop_t *loop, const struct link_settings *s)
{
    unsigned interface = s->interface ? if_nametoindex(s->interface) : 0;

    if (s->interface && !interface)
        return -errno;
    int err = open_socket(&l->group, loop, &l->group_at);
    return err ? err : join(l, interface);
}

static void on_closed(uv_handle_t *h)
{
    struct udp_socket *s = container_of((uv_poll_t *)h, struct udp_socket, poll);
    struct udp_link *l = s->link;

    if (--l->handles)
        return;
    free(l->memory);
    free(l);
}

/* The port is free at once: a line that was changed opens it anew in this very turn. */
static void end_socket(struct udp_socket *s)
{
    if (!s->polls)
        return;
    s->polls = false;
    uv_close((uv_handle_t *)&s->poll, on_closed);
    close(s->fd);
}

static void udp_close(struct link *link)
{
    struct udp_link *l = container_of(link, struct udp_link, link);
    bool none = !l->handles;

    l->closed = true;
    end_socket(&l->group);
    end_socket(&l->own);
    if (!none)
        return;
    free(l->memory);
    free(l);
}

extern const struct link_kind link_udp;

static int udp_open(struct link **out, uv_loop_t *loop, const struct link_settings *s, char *error,
                    size_t size)
{
    struct udp_link *l = mem_alloc(sizeof(*l));
    union place at;

    l->link = (struct link){.kind = &link_udp, .most = DATAGRAM_MOST, .local = is_local(s)};
    l->own.link = l->group.link = l;
    l->own.batch = l->group.batch = 1;
    l->group.to_all = true;
    l->memory = mem_alloc(BATCH * DATAGRAM);
    prepare(l, BATCH);
    int err = parse(s->spec, &at);
    l->family = at.any.sa_family;
    if (!err)
        err = open_socket(&l->own, loop, &at);
    if (err)
        snprintf(error, size, "%s: %s", s->spec, strerror(-err));
    if (!err && s->multicast) {
        parse_host(s->multicast, strlen(s->multicast), &l->group_at);
        l->group_at.v4.sin_port = at.v4.sin_port;
        if (l->group_at.any.sa_family == AF_INET6 && s->interface)
            l->group_at.v6.sin6_scope_id = if_nametoindex(s->interface);
        err = open_group(l, loop, s);
        if (err)
            snprintf(error, size, "group %s%s%s: %s", s->multicast, s->interface ? " on " : "",
                     s->interface ? s->interface : "", strerror(-err));
    }
    if (err)
        udp_close(&l->link);
    else
        *out = &l->link;
    return err;
}

static void status(const struct link *link, cJSON *into)
{
    cJSON_AddNumberToObject(into, "send_errors",
                            (double)((const struct udp_link *)(const void *)link)->send_errors);
}

const struct link_kind link_udp = {
    .prefix = "udp:",
    .what = "udp:ADDRESS:PORT",
    .check = check,
    .is_local = is_local,
    .open = udp_open,
    .send = udp_send,
    .shout = udp_shout,
    .airtime_us = airtime_us,
    .status = status,
    .close = udp_close,
};
