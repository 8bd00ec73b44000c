/* SPDX-License-Identifier: Apache-2.0 */
/* Puts a mote that speaks UDP on a Modbus line, by the reference node: bus_node TTY UNIT PORT. What comes to
 * 127.0.0.1:PORT goes up, in order; what comes down goes to whoever has sent there last. An example of what a
 * device does with node.h, and the other end of the tests. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "drivers/mqttsn/node/node.h"

enum { QUEUE = 64, SILENCE_US = 1750 };

struct mote {
    int fd;
    struct sockaddr_in peer;
    struct {
        uint8_t data[NODE_PACKET_MAX];
        size_t len;
    } queue[QUEUE];
    unsigned first, count;
};

static uint32_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint32_t)((uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
}

/* From the socket into the queue, while it has room. */
static void fill(struct mote *m)
{
    while (m->count < QUEUE) {
        unsigned at = (m->first + m->count) % QUEUE;
        socklen_t len = sizeof(m->peer);
        ssize_t count = recvfrom(m->fd, m->queue[at].data, NODE_PACKET_MAX, MSG_DONTWAIT,
                                 (struct sockaddr *)&m->peer, &len);
        if (count <= 0)
            return;
        m->queue[at].len = (size_t)count;
        m->count++;
    }
}

static void refill(struct node *n, struct mote *m)
{
    fill(m);
    if (m->count && node_send(n, m->queue[m->first].data, m->queue[m->first].len)) {
        m->first = (m->first + 1) % QUEUE;
        m->count--;
    }
    n->more = m->count > 0;
}

static bool on_packet(void *arg, const uint8_t *packet, size_t len)
{
    struct mote *m = arg;

    return sendto(m->fd, packet, len, 0, (struct sockaddr *)&m->peer, sizeof(m->peer)) == (ssize_t)len;
}

static int open_tty(const char *path)
{
    struct termios t;
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK);

    if (fd >= 0 && !tcgetattr(fd, &t)) {
        cfmakeraw(&t);
        tcsetattr(fd, TCSANOW, &t);
    }
    return fd;
}

static int open_udp(const char *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return bind(fd, (struct sockaddr *)&at, sizeof(at)) ? -1 : fd;
}

static int serve(struct node *n, struct mote *m, int tty)
{
    uint8_t data[NODE_FRAME_MAX], frame[NODE_FRAME_MAX];
    struct pollfd fds[2] = {{.fd = tty, .events = POLLIN}, {.fd = m->fd, .events = POLLIN}};

    for (;;) {
        fds[1].events = m->count < QUEUE ? POLLIN : 0;
        poll(fds, 2, n->rx_len ? 1 : -1);
        ssize_t count = read(tty, data, sizeof(data));
        if (!count || fds[0].revents & (POLLHUP | POLLERR))
            return 0;
        if (count > 0)
            node_feed(n, data, (size_t)count, now_us());
        refill(n, m);
        size_t len = node_step(n, now_us(), frame);
        if (len && write(tty, frame, len) != (ssize_t)len)
            return 1;
    }
}

int main(int argc, char **argv)
{
    static struct mote m;

    if (argc != 4) {
        fprintf(stderr, "bus_node TTY UNIT PORT\n");
        return 2;
    }
    struct node n = {.unit = (uint8_t)atoi(argv[2]),
                     .function = 65,
                     .silence_us = SILENCE_US,
                     .on_packet = on_packet,
                     .arg = &m};
    int tty = open_tty(argv[1]);
    m.fd = open_udp(argv[3]);
    if (tty < 0 || m.fd < 0) {
        perror("bus_node");
        return 1;
    }
    return serve(&n, &m, tty);
}
