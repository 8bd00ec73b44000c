/* SPDX-License-Identifier: Apache-2.0 */
/* One client that publishes at QoS 1 and waits for each acknowledgement: sequential mqtt|mqtt-sn PORT COUNT
 * SIZE. Prints microseconds of the round trip as JSON. MQTT over TCP (3.1.1) or MQTT-SN 1.2 over UDP, both on
 * loopback. `sequential floor PORT` is the least that could answer it: a loop of epoll_wait, recvfrom and
 * sendto that keeps nothing and knows nobody. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int fd;
static uint8_t in[4096];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void open_socket(int type, int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, type, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)))
        fail("connect");
    if (type == SOCK_STREAM)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* Sends, and waits for an answer of this size whose byte at `at` is this one. */
static void ask(const void *data, size_t len, size_t answer, size_t at, uint8_t type)
{
    if (send(fd, data, len, 0) != (ssize_t)len)
        fail("send");
    for (size_t got = 0; got < answer;) {
        ssize_t n = recv(fd, in + got, sizeof(in) - got, 0);
        if (n <= 0)
            fail("recv");
        got += (size_t)n;
    }
    if (in[at] != type) {
        fprintf(stderr, "another answer than expected\n");
        exit(1);
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void serve(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)}, from;
    struct epoll_event event = {.events = EPOLLIN};
    int waiting = epoll_create1(0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || epoll_ctl(waiting, EPOLL_CTL_ADD, fd, &event))
        fail("bind");
    for (;;) {
        socklen_t size = sizeof(from);
        epoll_wait(waiting, &event, 1, -1);
        if (recvfrom(fd, in, sizeof(in), 0, (struct sockaddr *)&from, &size) < 2)
            continue;
        uint8_t answer[7] = {in[1] == 4 ? 3 : 7, (uint8_t)(in[1] + 1), 0, 1, in[5], in[6], 0};
        if (in[1] == 4)
            answer[2] = 0;
        sendto(fd, answer, answer[0], 0, (struct sockaddr *)&from, size);
    }
}

int main(int argc, char **argv)
{
    static uint8_t packet[300];
    size_t len, id_at;
    bool sn = argc == 5 && !strcmp(argv[1], "mqtt-sn");

    if (argc == 3 && !strcmp(argv[1], "floor"))
        serve(atoi(argv[2]));
    if (argc != 5 || atoi(argv[4]) > 200) {
        fprintf(stderr, "usage: sequential mqtt|mqtt-sn PORT COUNT SIZE, or sequential floor PORT\n");
        return 2;
    }
    size_t count = strtoul(argv[3], NULL, 10), size = strtoul(argv[4], NULL, 10);
    open_socket(sn ? SOCK_DGRAM : SOCK_STREAM, atoi(argv[2]));
    if (sn) {
        ask("\x0a\x04\x04\x01\x00\x00"
            "mote",
            10, 3, 1, 0x05);
        ask("\x09\x0a\x00\x00\x00\x01"
            "a/b",
            9, 7, 1, 0x0b);
        const uint8_t head[7] = {(uint8_t)(7 + size), 0x0c, 0x20, in[2], in[3]};
        memcpy(packet, head, sizeof(head));
        id_at = 5;
        len = 7 + size;
    } else {
        ask("\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04"
            "mote",
            18, 4, 0, 0x20);
        const uint8_t head[9] = {0x32, (uint8_t)(7 + size), 0, 3, 'a', '/', 'b'};
        memcpy(packet, head, sizeof(head));
        id_at = 7;
        len = 9 + size;
        if (size > 120)
            return 2;
    }
    uint32_t *took = calloc(count, sizeof(*took));
    for (size_t i = 0; i < count; i++) {
        packet[id_at] = (uint8_t)((1 + i % 65535) >> 8);
        packet[id_at + 1] = (uint8_t)(1 + i % 65535);
        uint64_t begin = now_ns();
        ask(packet, len, sn ? 7 : 4, sn ? 1 : 0, sn ? 0x0d : 0x40);
        took[i] = (uint32_t)(now_ns() - begin);
    }
    qsort(took, count, sizeof(*took), by_size);
    printf("{\"p50_us\": %.1f, \"p99_us\": %.1f}\n", took[count / 2] / 1e3, took[count * 99 / 100] / 1e3);
    return 0;
}
