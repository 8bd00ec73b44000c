/* SPDX-License-Identifier: Apache-2.0 */
/* A load generator for any MQTT 3.1.1 broker on loopback: publishers and subscribers of one process on one
 * epoll, no library of ours or anybody's but for TLS, so that it favours nobody. It counts what arrives,
 * checks order and repeats by sequence numbers, and prints one JSON line. How much processor time the broker
 * took is the harness's to read. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load_options.h"
#include "load_tls.h"

enum {
    ROOM = 2 * MOST_SIZE, /* of the read buffer that all peers share */
    SAMPLES = 1 << 20,
    HEAD = LEAST_SIZE, /* of a payload: time, sequence, publisher */
    UNDER_WAY = 10000,
    UNDER_WAY_BYTES = 4 << 20,
    TEXT = 64,
};

struct peer {
    int fd, index;
    bool publisher, want_write, ready, dirty;
    struct tls *tls;
    uint8_t *rest; /* of a packet that is not whole yet */
    size_t rest_len;
    uint8_t *out;
    size_t out_len, out_at, out_cap;
    uint16_t next_id;
    uint32_t unacked;
    uint64_t sent;  /* publisher: sequence of the last */
    uint64_t *last; /* subscriber: last sequence seen of each publisher */
};

static struct peer *peers, **dirty;
static uint8_t in[ROOM];
static int dirty_count, epoll_fd;
static bool answered; /* the PINGREQ at the end */
static uint64_t sent, received, expected_per_send = 1, reordered, repeated, bad;
static uint64_t samples_seen, started_ns;
static uint32_t *samples; /* latencies in µs */

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint8_t *room(struct peer *p, size_t size)
{
    if (!p->dirty) {
        p->dirty = true;
        dirty[dirty_count++] = p;
    }
    if (p->out_len + size > p->out_cap) {
        p->out_cap = (p->out_len + size) * 2;
        p->out = realloc(p->out, p->out_cap);
        if (!p->out)
            die("memory");
    }
    uint8_t *at = p->out + p->out_len;
    p->out_len += size;
    return at;
}

static void watch(struct peer *p)
{
    bool want = p->out_at < p->out_len;

    if (want == p->want_write)
        return;
    p->want_write = want;
    struct epoll_event e = {.events = EPOLLIN | (want ? EPOLLOUT : 0), .data.ptr = p};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, p->fd, &e);
}

static void flush(struct peer *p)
{
    while (p->out_at < p->out_len) {
        const uint8_t *from = p->out + p->out_at;
        size_t len = p->out_len - p->out_at;
        ssize_t n = p->tls ? tls_send(p->tls, from, len) : send(p->fd, from, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            die("send");
        p->out_at += (size_t)n;
    }
    if (p->out_at == p->out_len)
        p->out_at = p->out_len = 0;
    watch(p);
}

static void flush_all(void)
{
    int kept = 0;

    for (int i = 0; i < dirty_count; i++) {
        struct peer *p = dirty[i];
        flush(p);
        if (p->out_len)
            dirty[kept++] = p;
        else
            p->dirty = false;
    }
    dirty_count = kept;
}

static size_t put_length(uint8_t *at, size_t n)
{
    size_t i = 0;

    do {
        at[i] = (uint8_t)(n & 127);
        n >>= 7;
        if (n)
            at[i] |= 128;
        i++;
    } while (n);
    return i;
}

static void put_packet(struct peer *p, uint8_t first, const uint8_t *body, size_t len)
{
    uint8_t head[5] = {first};

    size_t head_len = 1 + put_length(head + 1, len);
    uint8_t *at = room(p, head_len + len);

    memcpy(at, head, head_len);
    if (len)
        memcpy(at + head_len, body, len);
}

/* Client identifiers have 23 bytes, the most that every 3.1.1 server must take. */
static void say_connect(struct peer *p)
{
    uint8_t body[TEXT] = {0, 4, 'M', 'Q', 'T', 'T', 4, opt.persistent && !p->publisher ? 0 : 2, 0, 0, 0, 23};
    int len = snprintf((char *)body + 12, 24, "load-%s-%c", opt.prefix, p->publisher ? 'p' : 's');

    snprintf((char *)body + 12 + len, 24, "%0*d", 23 - len, p->index);
    put_packet(p, 0x10, body, 12 + 23);
}

static int topic(char *out, uint64_t index)
{
    return opt.pairs || opt.topics
               ? snprintf(out, TEXT - 8, "%s/%llu/level", opt.prefix, (unsigned long long)index)
               : snprintf(out, TEXT - 8, "%s/x/level", opt.prefix);
}

static void say_subscribe(struct peer *p)
{
    uint8_t body[TEXT] = {0, 1};
    char *at = (char *)body + 4;
    int len = opt.pairs ? topic(at, (uint64_t)p->index) : snprintf(at, TEXT - 8, "%s/#", opt.prefix);

    body[3] = (uint8_t)len;
    body[4 + len] = (uint8_t)opt.qos;
    put_packet(p, 0x82, body, 5 + (size_t)len);
}

static void say_publish(struct peer *p)
{
    char name[TEXT];
    uint64_t now = now_ns(), seq = ++p->sent;
    int topic_len = topic(name, opt.topics ? seq % (uint64_t)opt.topics : (uint64_t)p->index);
    size_t len = 2 + (size_t)topic_len + (opt.qos ? 2 : 0) + (size_t)opt.size;
    uint8_t head[5] = {(uint8_t)(0x30 | opt.qos << 1 | opt.retain)};
    size_t head_len = 1 + put_length(head + 1, len);
    uint8_t *at = room(p, head_len + len);
    uint32_t who = (uint32_t)p->index;

    memcpy(at, head, head_len);
    at += head_len;
    *at++ = 0;
    *at++ = (uint8_t)topic_len;
    memcpy(at, name, (size_t)topic_len);
    at += topic_len;
    if (opt.qos) {
        p->next_id = p->next_id == 65535 ? 1 : (uint16_t)(p->next_id + 1);
        *at++ = (uint8_t)(p->next_id >> 8);
        *at++ = (uint8_t)p->next_id;
        p->unacked++;
    }
    memcpy(at, &now, 8);
    memcpy(at + 8, &seq, 8);
    memcpy(at + 16, &who, 4);
    memset(at + HEAD, 'x', (size_t)opt.size - HEAD);
    sent++;
}

static void say_ack(struct peer *p, uint8_t first, const uint8_t *id)
{
    uint8_t bytes[4] = {first, 2, id[0], id[1]};

    memcpy(room(p, 4), bytes, 4);
}

static void arrived(struct peer *p, uint8_t first, const uint8_t *body, size_t len)
{
    size_t topic_len = (size_t)(body[0] << 8 | body[1]);
    int qos = first >> 1 & 3;
    const uint8_t *payload = body + 2 + topic_len + (qos ? 2 : 0);
    uint64_t then, seq;
    uint32_t who;

    if (len != 2 + topic_len + (qos ? 2 : 0) + (size_t)opt.size) {
        bad++;
        return;
    }
    memcpy(&then, payload, 8);
    memcpy(&seq, payload + 8, 8);
    memcpy(&who, payload + 16, 4);
    if (qos && !opt.no_ack)
        say_ack(p, qos == 1 ? 0x40 : 0x50, payload - 2);
    if (who >= (uint32_t)(opt.publishers ? opt.publishers : 1)) {
        bad++;
        return;
    }
    if (!(first & 1)) { /* retained ones come in no order */
        repeated += seq == p->last[who];
        reordered += seq < p->last[who];
        p->last[who] = seq;
    }
    received++;
    samples[samples_seen++ % SAMPLES] = (uint32_t)((now_ns() - then) / 1000);
}

static void take_packet(struct peer *p, uint8_t first, const uint8_t *body, size_t len)
{
    switch (first >> 4) {
    case 2:
        if (body[1])
            die("CONNACK refuses");
        if (p->publisher)
            p->ready = true;
        else
            say_subscribe(p);
        break;
    case 9:
        p->ready = true;
        break;
    case 3:
        arrived(p, first, body, len);
        break;
    case 4:
    case 7:
        p->unacked--;
        break;
    case 5:
        say_ack(p, 0x62, body);
        break;
    case 6:
        say_ack(p, 0x70, body);
        break;
    case 13:
        answered = true;
        break;
    default:
        die("unexpected packet");
    }
}

static size_t take_packets(struct peer *p, size_t len)
{
    size_t done = 0;

    while (len - done >= 2) {
        size_t size = 0, at = done + 1;
        int shift = 0;
        do {
            if (at == len)
                return done;
            size |= (size_t)(in[at] & 127) << shift;
            shift += 7;
        } while (in[at++] & 128);
        if (len - at < size)
            return done;
        take_packet(p, in[done], in + at, size);
        done = at + size;
    }
    return done;
}

static bool read_once(struct peer *p)
{
    size_t kept = p->rest_len;

    if (kept)
        memcpy(in, p->rest, kept);
    ssize_t n = p->tls ? tls_recv(p->tls, in + kept, ROOM - kept) : recv(p->fd, in + kept, ROOM - kept, 0);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0)
        die("the broker closed a connection");
    size_t len = kept + (size_t)n, done = take_packets(p, len);
    if (done == ROOM)
        die("packet too large");
    p->rest_len = len - done;
    if (p->rest_len) {
        p->rest = realloc(p->rest, p->rest_len);
        if (!p->rest)
            die("memory");
        memcpy(p->rest, in + done, p->rest_len);
    }
    return true;
}

static void on_readable(struct peer *p)
{
    while (read_once(p) && p->tls)
        ;
}

/* timeout_ns: at most a second. */
static void poll_once(uint64_t timeout_ns)
{
    struct timespec wait = {0, (long)timeout_ns};
    struct epoll_event events[256];
    int n = epoll_pwait2(epoll_fd, events, 256, &wait, NULL);

    for (int i = 0; i < n; i++)
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            on_readable(events[i].data.ptr);
    flush_all();
}

static void open_peer(struct peer *p, bool publisher, int index)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    int one = 1;

    p->publisher = publisher;
    p->index = index;
    p->last = calloc((size_t)(opt.publishers ? opt.publishers : 1), sizeof(*p->last));
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(p->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        die("connect");
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (opt.tls && !(p->tls = tls_open(p->fd)))
        die("TLS");
    fcntl(p->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->fd, &e);
    say_connect(p);
    flush_all();
    while (!p->ready)
        poll_once(100000000);
}

static struct peer *publisher(int i)
{
    return &peers[opt.subscribers + i];
}

static bool all_sent(void)
{
    return opt.count && sent >= opt.count;
}

static uint64_t most_under_way(void)
{
    uint64_t most = UNDER_WAY > expected_per_send * 50 ? UNDER_WAY : expected_per_send * 50;
    uint64_t fit = (uint64_t)(UNDER_WAY_BYTES / opt.size) * (expected_per_send ? expected_per_send : 1);

    return most < fit ? most : fit;
}

/* Saturated: as much as windows and what may be under way allow. */
static void fill(void)
{
    /* Who acknowledges nothing still receives its window. */
    uint64_t under_way = expected_per_send ? sent * expected_per_send - received : 0;
    uint64_t most = most_under_way();
    bool any = true;

    for (int round = 0; any && round < 64; round++) {
        any = false;
        for (int i = 0; i < opt.publishers && under_way < most && !all_sent(); i++) {
            struct peer *p = publisher(i);
            if (p->out_len > 65536 || (opt.qos && p->unacked >= (uint32_t)opt.window))
                continue;
            say_publish(p);
            under_way += expected_per_send;
            any = true;
        }
    }
    flush_all();
    poll_once(any ? 0 : 1000000);
}

/* Sends what is due, then sleeps until the next one is, but for what arrives. */
static void pace(uint64_t now)
{
    static int turn;
    uint64_t due = (uint64_t)((double)(now - started_ns) / 1e9 * opt.rate);

    while (sent < due) {
        say_publish(publisher(turn));
        turn = (turn + 1) % opt.publishers;
    }
    flush_all();
    uint64_t next = started_ns + (uint64_t)((double)(sent + 1) / opt.rate * 1e9);
    now = now_ns();
    poll_once(next <= now ? 0 : next - now < 900000 ? next - now : 900000);
}

static bool acknowledged(void)
{
    for (int i = 0; opt.qos && i < opt.publishers; i++)
        if (publisher(i)->unacked)
            return false;
    return true;
}

/* What is under way may arrive as long as anything does, and for five seconds more. What nobody receives or
 * acknowledges is known to be done by the answer to a PINGREQ. */
static void settle(void)
{
    uint64_t expected = opt.receive ? opt.receive : sent * expected_per_send, seen = received;

    for (uint64_t end = now_ns() + 5000000000u; received < expected && now_ns() < end;) {
        poll_once(20000000);
        if (received != seen)
            end = now_ns() + 5000000000u;
        seen = received;
    }
    for (uint64_t end = now_ns() + 5000000000u; !acknowledged() && now_ns() < end;)
        poll_once(20000000);
    if (opt.publishers && !expected) {
        put_packet(publisher(0), 0xc0, NULL, 0);
        flush_all();
        while (!answered)
            poll_once(20000000);
    }
}

static void run(void)
{
    uint64_t end = started_ns + (uint64_t)(opt.seconds * 1e9);

    for (uint64_t now = started_ns; opt.publishers && now < end && !all_sent(); now = now_ns()) {
        if (opt.rate > 0)
            pace(now);
        else
            fill();
    }
    settle();
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void report(uint64_t elapsed_ns)
{
    size_t n = samples_seen < SAMPLES ? samples_seen : SAMPLES;

    qsort(samples, n, sizeof(*samples), by_value);
    printf("{\"sent\":%llu,\"received\":%llu,\"expected\":%llu,\"seconds\":%.3f,\"p50_us\":%u,\"p99_us\":%u,"
           "\"reordered\":%llu,\"repeated\":%llu,\"bad\":%llu}\n",
           (unsigned long long)sent, (unsigned long long)received,
           (unsigned long long)(sent * expected_per_send), (double)elapsed_ns / 1e9, n ? samples[n / 2] : 0,
           n ? samples[n * 99 / 100] : 0, (unsigned long long)reordered, (unsigned long long)repeated,
           (unsigned long long)bad);
    fflush(stdout);
}

static void open_peers(void)
{
    int all = opt.subscribers + opt.publishers;

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    peers = calloc((size_t)all + 1, sizeof(*peers));
    dirty = calloc((size_t)all + 1, sizeof(*dirty));
    samples = calloc(SAMPLES, sizeof(*samples));
    if (!peers || !dirty || !samples)
        die("memory");
    for (int i = 0; i < all; i++)
        open_peer(&peers[i], i >= opt.subscribers, i < opt.subscribers ? i : i - opt.subscribers);
}

int main(int argc, char **argv)
{
    take_options(argc, argv);
    expected_per_send = opt.no_ack ? 0 : opt.pairs ? opt.subscribers > 0 : (uint64_t)opt.subscribers;
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    open_peers();
    if (opt.go) {
        puts("ready");
        fflush(stdout);
        if (getchar() == EOF)
            return 0;
    }
    started_ns = now_ns();
    run();
    report(now_ns() - started_ns);
    while (opt.go && getchar() != EOF)
        ;
    return 0;
}
