/* SPDX-License-Identifier: Apache-2.0 */
/* A load generator for any MQTT 3.1.1 broker on loopback: publishers and subscribers of one process on one
 * epoll, no library of ours or anybody's, so that it favours nobody. It counts what arrives, checks order and
 * repeats by sequence numbers, and prints one JSON line. How much processor time the broker took is the
 * harness's to read. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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

enum { ROOM = 1 << 18, SAMPLES = 1 << 20, HEAD = 20 /* of a payload: time, sequence, publisher, magic */ };

struct peer {
    int fd, index;
    bool publisher, want_write, ready;
    uint8_t in[ROOM];
    size_t in_len;
    uint8_t *out;
    size_t out_len, out_at, out_cap;
    uint16_t next_id;
    uint32_t unacked;
    uint64_t sent;  /* publisher: sequence of the last */
    uint64_t *last; /* subscriber: last sequence seen of each publisher */
};

static struct {
    int port, publishers, subscribers, qos, window, size;
    double rate, seconds;
    bool pairs, persistent, setup_only;
    const char *prefix;
} opt = {
    .port = 1883, .publishers = 1, .subscribers = 1, .window = 20, .size = 64, .seconds = 5, .prefix = "b"};

static struct peer *peers;
static int peer_count, epoll_fd;
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

static void put(struct peer *p, const void *data, size_t size)
{
    memcpy(room(p, size), data, size);
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
        ssize_t n = send(p->fd, p->out + p->out_at, p->out_len - p->out_at, MSG_NOSIGNAL);
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

    put(p, head, 1 + put_length(head + 1, len));
    put(p, body, len);
}

static void say_connect(struct peer *p)
{
    uint8_t body[64] = {0, 4, 'M', 'Q', 'T', 'T', 4, opt.persistent && !p->publisher ? 0 : 2, 0, 0};
    int len = snprintf((char *)body + 12, 40, "load-%s-%c%d", opt.prefix, p->publisher ? 'p' : 's', p->index);

    body[11] = (uint8_t)len;
    put_packet(p, 0x10, body, 12 + (size_t)len);
}

static int topic(char *out, size_t size, int index)
{
    return snprintf(out, size, opt.pairs ? "%s/%d/level" : "%s/x/level", opt.prefix, index);
}

static void say_subscribe(struct peer *p)
{
    uint8_t body[64] = {0, 1};
    int len = opt.pairs ? topic((char *)body + 4, 50, p->index)
                        : snprintf((char *)body + 4, 50, "%s/#", opt.prefix);

    body[3] = (uint8_t)len;
    body[4 + len] = (uint8_t)opt.qos;
    put_packet(p, 0x82, body, 5 + (size_t)len);
}

static void say_publish(struct peer *p)
{
    char name[64];
    int topic_len = topic(name, sizeof(name), p->index);
    size_t len = 2 + (size_t)topic_len + (opt.qos ? 2 : 0) + (size_t)opt.size;
    uint8_t head[5] = {(uint8_t)(0x30 | opt.qos << 1)};
    size_t head_len = 1 + put_length(head + 1, len);
    uint8_t *at = room(p, head_len + len);
    uint64_t now = now_ns(), seq = ++p->sent;
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

    put(p, bytes, 4);
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
    if (qos)
        say_ack(p, qos == 1 ? 0x40 : 0x50, payload - 2);
    if (who >= (uint32_t)opt.publishers) {
        bad++;
        return;
    }
    if (seq == p->last[who])
        repeated++;
    else if (seq < p->last[who])
        reordered++;
    p->last[who] = seq;
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
    default:
        die("unexpected packet");
    }
}

static size_t take_packets(struct peer *p)
{
    size_t done = 0;

    while (p->in_len - done >= 2) {
        size_t size = 0, at = done + 1;
        int shift = 0;
        do {
            if (at == p->in_len)
                return done;
            size |= (size_t)(p->in[at] & 127) << shift;
            shift += 7;
        } while (p->in[at++] & 128);
        if (p->in_len - at < size)
            return done;
        take_packet(p, p->in[done], p->in + at, size);
        done = at + size;
    }
    return done;
}

static void on_readable(struct peer *p)
{
    ssize_t n = recv(p->fd, p->in + p->in_len, ROOM - p->in_len, 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        die("the broker closed a connection");
    p->in_len += (size_t)n;
    size_t done = take_packets(p);
    memmove(p->in, p->in + done, p->in_len - done);
    p->in_len -= done;
}

static void poll_once(int timeout_ms)
{
    struct epoll_event events[256];
    int n = epoll_wait(epoll_fd, events, 256, timeout_ms);

    for (int i = 0; i < n; i++) {
        struct peer *p = events[i].data.ptr;
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            on_readable(p);
    }
    for (int i = 0; i < peer_count; i++)
        if (peers[i].out_at < peers[i].out_len)
            flush(&peers[i]);
}

static void open_peer(struct peer *p, bool publisher, int index)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    int one = 1;

    p->publisher = publisher;
    p->index = index;
    p->last = calloc((size_t)opt.publishers, sizeof(*p->last));
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(p->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        die("connect");
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    fcntl(p->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->fd, &e);
    say_connect(p);
    flush(p);
    while (!p->ready)
        poll_once(1000);
}

/* Saturated: as much as windows and 10,000 messages under way allow. */
static void fill(void)
{
    uint64_t under_way = sent * expected_per_send - received;
    uint64_t most = 10000 > expected_per_send * 50 ? 10000 : expected_per_send * 50;

    for (int round = 0; round < 64; round++) {
        bool any = false;
        for (int i = 0; i < opt.publishers && under_way < most; i++) {
            struct peer *p = &peers[opt.subscribers + i];
            if (p->out_len > 65536 || (opt.qos && p->unacked >= (uint32_t)opt.window))
                continue;
            say_publish(p);
            under_way += expected_per_send;
            any = true;
        }
        if (!any)
            break;
    }
}

static void run(void)
{
    uint64_t end = started_ns + (uint64_t)(opt.seconds * 1e9), now = started_ns;
    int turn = 0;

    while (now < end) {
        if (opt.rate > 0) {
            uint64_t due = (uint64_t)((double)(now - started_ns) / 1e9 * opt.rate);
            while (sent < due) {
                struct peer *p = &peers[opt.subscribers + turn];
                turn = (turn + 1) % opt.publishers;
                say_publish(p);
            }
        } else {
            fill();
        }
        for (int i = 0; i < opt.publishers; i++)
            if (peers[opt.subscribers + i].out_len)
                flush(&peers[opt.subscribers + i]);
        if (opt.rate > 0) { /* sleep until the next is due, but for what arrives */
            struct timespec wait = {0, 0};
            uint64_t next = started_ns + (uint64_t)((double)(sent + 1) / opt.rate * 1e9);
            now = now_ns();
            if (next > now)
                wait.tv_nsec = (long)(next - now < 900000 ? next - now : 900000);
            struct epoll_event events[256];
            int n = epoll_pwait2(epoll_fd, events, 256, &wait, NULL);
            for (int i = 0; i < n; i++) {
                on_readable(events[i].data.ptr);
                flush(events[i].data.ptr);
            }
        } else {
            poll_once(received < sent * expected_per_send ? 100 : 0);
        }
        now = now_ns();
    }
    /* What is under way may arrive, for at most five seconds more. */
    for (end = now + 5000000000u; received < sent * expected_per_send && now_ns() < end;)
        poll_once(20);
    for (end = now_ns() + 1000000000u; opt.qos && now_ns() < end;) {
        uint32_t open = 0;
        for (int i = 0; i < opt.publishers; i++)
            open += peers[opt.subscribers + i].unacked;
        if (!open)
            break;
        poll_once(20);
    }
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
}

static const char usage[] =
    "usage: load [--port P] [--pubs N] [--subs N] [--pairs] [--qos Q] [--window W] [--rate R] [--seconds S] "
    "[--size B]\n"
    "            [--persistent] [--prefix TEXT] [--go]\n"
    "Publishers to topics that all subscribers take, or with --pairs each to one of its own. --rate 0: "
    "saturated.\n"
    "--go: when all are connected, prints \"ready\" and waits for a line on standard input.\n";

int main(int argc, char **argv)
{
    static const struct option options[] = {{"port", 1, NULL, 'p'},   {"pubs", 1, NULL, 'n'},
                                            {"subs", 1, NULL, 'm'},   {"pairs", 0, NULL, 'a'},
                                            {"qos", 1, NULL, 'q'},    {"window", 1, NULL, 'w'},
                                            {"rate", 1, NULL, 'r'},   {"seconds", 1, NULL, 's'},
                                            {"size", 1, NULL, 'b'},   {"persistent", 0, NULL, 'e'},
                                            {"prefix", 1, NULL, 'x'}, {"go", 0, NULL, 'g'},
                                            {NULL, 0, NULL, 0}};
    bool go = false;
    int o;

    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (o) {
        case 'p':
            opt.port = atoi(optarg);
            break;
        case 'n':
            opt.publishers = atoi(optarg);
            break;
        case 'm':
            opt.subscribers = atoi(optarg);
            break;
        case 'a':
            opt.pairs = true;
            break;
        case 'q':
            opt.qos = atoi(optarg);
            break;
        case 'w':
            opt.window = atoi(optarg);
            break;
        case 'r':
            opt.rate = atof(optarg);
            break;
        case 's':
            opt.seconds = atof(optarg);
            break;
        case 'b':
            opt.size = atoi(optarg);
            break;
        case 'e':
            opt.persistent = true;
            break;
        case 'x':
            opt.prefix = optarg;
            break;
        case 'g':
            go = true;
            break;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (opt.size < HEAD || opt.publishers < 1 || opt.subscribers < 0) {
        fputs(usage, stderr);
        return 2;
    }
    if (opt.pairs)
        opt.subscribers = opt.publishers;
    expected_per_send = opt.pairs ? 1 : (uint64_t)opt.subscribers;
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    peer_count = opt.subscribers + opt.publishers;
    peers = calloc((size_t)peer_count, sizeof(*peers));
    samples = calloc(SAMPLES, sizeof(*samples));
    if (!peers || !samples)
        die("memory");
    for (int i = 0; i < peer_count; i++)
        peers[i].fd = -1;
    int all = peer_count;
    peer_count = 0;
    for (int i = 0; i < all; i++) {
        peer_count = i + 1;
        open_peer(&peers[i], i >= opt.subscribers, i < opt.subscribers ? i : i - opt.subscribers);
    }
    if (go) {
        puts("ready");
        fflush(stdout);
        if (getchar() == EOF)
            return 0;
    }
    started_ns = now_ns();
    run();
    report(now_ns() - started_ns);
    return 0;
}
