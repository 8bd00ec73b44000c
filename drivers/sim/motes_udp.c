/* SPDX-License-Identifier: Apache-2.0 */
/* Motes on UDP: each has a socket of its own, since its port is who it is; one that moves takes another. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "drivers/sim/motes_private.h"

enum { SPARE = 32, LARGEST = 65536 };

static int resolve(struct sim_motes *s, char *error, size_t size)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    struct addrinfo *found;
    int rc = getaddrinfo(s->conf.host, s->conf.port, &hints, &found);

    if (rc) {
        snprintf(error, size, "%s: %s", s->conf.host, gai_strerror(rc));
        return -EHOSTUNREACH;
    }
    memcpy(&s->gateway, found->ai_addr, found->ai_addrlen);
    s->gateway_len = found->ai_addrlen;
    freeaddrinfo(found);
    snprintf(s->place, sizeof(s->place), "udp %s port %s", s->conf.host, s->conf.port);
    return 0;
}

static int open_udp(struct sim_motes *s, char *error, size_t size)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return -errno;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < s->conf.mote_count + SPARE) {
        snprintf(error, size, "%zu motes need as many open files, and only %llu are allowed (ulimit -n)",
                 s->conf.mote_count, (unsigned long long)files.rlim_cur);
        return -EMFILE;
    }
    return resolve(s, error, size);
}

static void add(struct sim_motes *s, struct sim_mote *m, int *err)
{
    m->at = socket(s->gateway.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *err = m->at < 0 || connect(m->at, (const void *)&s->gateway, s->gateway_len) < 0
               ? -errno
               : sim_motes_watch(s, m->at, m);
}

/* A gateway that is not there is as good as a packet that was lost. */
static void send_udp(struct sim_motes *s, struct sim_mote *m, const uint8_t *packet, size_t len)
{
    if (m->at >= 0 && send(m->at, packet, len, 0) < 0)
        s->lost_on_the_way++;
}

static void move(struct sim_motes *s, struct sim_mote *m)
{
    int err, old = m->at;

    add(s, m, &err); /* first, so that it is another port */
    if (old >= 0)
        close(old);
    if (err)
        fprintf(stderr, "sluice-sim: a mote has no socket: %s\n", strerror(-err));
}

static void readable(struct sim_motes *s, void *of, uint64_t now_us)
{
    static uint8_t packet[LARGEST];
    struct sim_mote *m = of;

    (void)now_us;
    for (ssize_t len; (len = recv(m->at, packet, sizeof(packet), 0)) >= 0;)
        sim_motes_heard(s, m, packet, (size_t)len);
}

static void close_udp(struct sim_motes *s)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->motes[i].at >= 0)
            close(s->motes[i].at);
}

const struct sim_mote_way sim_motes_udp = {
    .open = open_udp, .add = add, .send = send_udp, .move = move, .readable = readable, .close = close_udp};
