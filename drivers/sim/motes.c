/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/motes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "drivers/sim/motes_private.h"

enum { EVENTS = 256, TOOK_MOST = 4 << 20 };

/* A packet that is late on its way, in either direction. */
struct late {
    bool up;
    size_t len;
    uint8_t data[];
};

/* What is to happen, as a heap by time. What a mote had in mind before stays in it and is then passed over.
 */
struct entry {
    uint64_t at;
    struct sim_mote *mote;
    struct late *late; /* NULL: the mote is due */
};

struct agenda {
    struct entry *list;
    size_t count, cap;
};

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void swap(struct entry *a, struct entry *b)
{
    struct entry c = *a;

    *a = *b;
    *b = c;
}

static void agenda_put(struct agenda *a, struct entry e)
{
    if (a->count == a->cap) {
        a->cap = a->cap ? 2 * a->cap : 1024;
        a->list = mem_resize(a->list, a->cap * sizeof(a->list[0]));
    }
    size_t at = a->count++;
    a->list[at] = e;
    for (; at && a->list[(at - 1) / 2].at > a->list[at].at; at = (at - 1) / 2)
        swap(&a->list[at], &a->list[(at - 1) / 2]);
}

static struct entry agenda_take(struct agenda *a)
{
    struct entry first = a->list[0];

    a->list[0] = a->list[--a->count];
    for (size_t at = 0, kid; (kid = 2 * at + 1) < a->count; at = kid) {
        if (kid + 1 < a->count && a->list[kid + 1].at < a->list[kid].at)
            kid++;
        if (a->list[at].at <= a->list[kid].at)
            break;
        swap(&a->list[at], &a->list[kid]);
    }
    return first;
}

/* ---- what befalls packets ---- */

static struct sim_motes *motes_of(const struct sim_mote *m)
{
    return container_of(m->world, struct sim_motes, world);
}

static void pass(struct sim_motes *s, struct sim_mote *m, bool up, const uint8_t *packet, size_t len)
{
    if (up)
        s->conf.way->send(s, m, packet, len);
    else
        sim_mote_hear(m, now_us(), packet, len);
}

static void delay(struct sim_motes *s, struct sim_mote *m, bool up, const uint8_t *packet, size_t len)
{
    struct late *late = mem_alloc(sizeof(*late) + len);

    late->up = up;
    late->len = len;
    memcpy(late->data, packet, len);
    s->delayed++;
    agenda_put(s->agenda,
               (struct entry){now_us() + 1 + sim_chance_below(&s->chance, s->conf.late_us), m, late});
}

static void befall(struct sim_motes *s, struct sim_mote *m, bool up, const uint8_t *packet, size_t len)
{
    if (sim_chance_ppm(&s->chance, s->conf.lose_ppm)) {
        s->lost_on_the_way++;
        return;
    }
    if (sim_chance_ppm(&s->chance, s->conf.twice_ppm)) {
        s->doubled++;
        pass(s, m, up, packet, len);
    }
    if (sim_chance_ppm(&s->chance, s->conf.late_ppm))
        delay(s, m, up, packet, len);
    else
        pass(s, m, up, packet, len);
}

void sim_motes_heard(struct sim_motes *s, struct sim_mote *m, const uint8_t *packet, size_t len)
{
    befall(s, m, false, packet, len);
}

static void on_send(struct sim_mote *m, const uint8_t *packet, size_t len)
{
    befall(motes_of(m), m, true, packet, len);
}

static void on_move(struct sim_mote *m)
{
    struct sim_motes *s = motes_of(m);

    s->conf.way->move(s, m);
}

static void on_due(struct sim_mote *m)
{
    agenda_put(motes_of(m)->agenda, (struct entry){m->due, m, NULL});
}

/* ---- what comes of it ---- */

static void log_line(const struct sim_motes *s, uint64_t at_us, const char *what, const struct sim_mote *m)
{
    fprintf(s->log, "%" PRIu64 ",%s,%s,", at_us - s->start_us, what, m->id);
}

static void on_acknowledged(struct sim_mote *m, uint64_t at_us, uint32_t n, uint64_t took_us)
{
    struct sim_motes *s = motes_of(m);

    if (s->took_count == s->took_cap && s->took_cap < TOOK_MOST) {
        s->took_cap = s->took_cap ? 2 * s->took_cap : 1024;
        s->took_us = mem_resize(s->took_us, s->took_cap * sizeof(s->took_us[0]));
    }
    if (s->took_count < s->took_cap)
        s->took_us[s->took_count++] = took_us < UINT32_MAX ? (uint32_t)took_us : UINT32_MAX;
    if (!s->log)
        return;
    log_line(s, at_us, "acknowledged", m);
    fprintf(s->log, "%" PRIu32 ",%" PRIu64 "\n", n, took_us);
}

static void on_lost(struct sim_mote *m, uint64_t at_us, uint32_t n)
{
    struct sim_motes *s = motes_of(m);

    if (!s->log)
        return;
    log_line(s, at_us, "lost", m);
    fprintf(s->log, "%" PRIu32 ",\n", n);
}

static void on_received(struct sim_mote *m, uint64_t at_us, uint8_t qos, struct bytes data)
{
    struct sim_motes *s = motes_of(m);

    if (!s->log)
        return;
    log_line(s, at_us, "received", m);
    fprintf(s->log, "%u,", qos);
    for (size_t i = 0; i < data.len; i++)
        fprintf(s->log, "%02x", data.data[i]);
    fputc('\n', s->log);
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint32_t percentile(const struct sim_motes *s, unsigned per_mille)
{
    return s->took_count ? s->took_us[(s->took_count - 1) * per_mille / 1000] : 0;
}

static void print_counts(const char *name, const struct sim_mote_counts *c, FILE *out)
{
    fprintf(out, "%s:", name);
#define X(field) fprintf(out, " " #field "=%" PRIu64, c->field);
    SIM_MOTE_COUNTS(X)
#undef X
    fputc('\n', out);
}

static void add_counts(struct sim_mote_counts *to, const struct sim_mote_counts *c)
{
#define X(field) to->field += c->field;
    SIM_MOTE_COUNTS(X)
#undef X
}

void sim_motes_summary(const struct sim_motes *s, FILE *out)
{
    struct sim_mote_counts all = {0};

    for (size_t i = 0; i < s->conf.plan_count; i++)
        add_counts(&all, &s->conf.plans[i].counts);
    print_counts("motes", &all, out);
    if (s->took_count)
        qsort(s->took_us, s->took_count, sizeof(s->took_us[0]), compare);
    fprintf(out, "round_trip_us: count=%zu p50=%u p90=%u p99=%u p999=%u most=%u\n", s->took_count,
            percentile(s, 500), percentile(s, 900), percentile(s, 990), percentile(s, 999),
            percentile(s, 1000));
    fprintf(out, "on_the_way: lost=%" PRIu64 " doubled=%" PRIu64 " late=%" PRIu64 "\n", s->lost_on_the_way,
            s->doubled, s->delayed);
    if (s->conf.way == &sim_motes_line)
        fprintf(out,
                "line: octets_up=%" PRIu64 " octets_down=%" PRIu64 " noise=%" PRIu64 " most_ahead_us=%" PRIu64
                "\n",
                s->line.octets_up, s->line.octets_down, s->line.noise, s->line.most_ahead_us);
    for (size_t i = 0; s->conf.plan_count > 1 && i < s->conf.plan_count; i++)
        print_counts(s->conf.plans[i].name, &s->conf.plans[i].counts, out);
    fflush(out);
    if (s->log)
        fflush(s->log);
}

/* ---- time ---- */

int sim_motes_watch(struct sim_motes *s, int fd, void *of)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = of};

    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

/* Returns when something is to happen next. */
static uint64_t do_due(struct sim_motes *s)
{
    uint64_t now = now_us(), line = s->conf.way->run ? s->conf.way->run(s, now) : UINT64_MAX;

    for (int i = 0; i < EVENTS && s->agenda->count && s->agenda->list[0].at <= now; i++) {
        struct entry e = agenda_take(s->agenda);
        if (e.late) {
            pass(s, e.mote, e.late->up, e.late->data, e.late->len);
            free(e.late);
        } else if (e.at == e.mote->due) {
            sim_mote_run(e.mote, now);
        }
    }
    uint64_t next = s->agenda->count ? s->agenda->list[0].at : UINT64_MAX;
    if (s->conf.way->run)
        line = s->conf.way->run(s, now);
    return next < line ? next : line;
}

/* False: it is to end. */
static bool on_signal(struct sim_motes *s, int fd)
{
    struct signalfd_siginfo info;

    if (read(fd, &info, sizeof(info)) != sizeof(info) || info.ssi_signo != SIGUSR1)
        return false;
    sim_motes_summary(s, stderr);
    return true;
}

/* A character at 115200 baud takes 87 µs, so milliseconds would not do. */
static int wait_until(struct sim_motes *s, uint64_t until, struct epoll_event *events)
{
    uint64_t now = now_us(), left = until > now ? until - now : 0;
    struct timespec t = {(time_t)(left / 1000000), (long)(left % 1000000 * 1000)};

    return epoll_pwait2(s->epoll, events, EVENTS, until == UINT64_MAX ? NULL : &t, NULL);
}

int sim_motes_run(struct sim_motes *s, uint64_t seconds, const sigset_t *signals)
{
    struct epoll_event events[EVENTS];
    uint64_t end = seconds ? now_us() + seconds * 1000000 : UINT64_MAX;
    int fd = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
    int rc = fd < 0 ? -errno : sim_motes_watch(s, fd, &fd);

    prctl(PR_SET_TIMERSLACK, 1000);
    while (rc == 0 && now_us() < end) {
        uint64_t next = do_due(s);
        int count = wait_until(s, next < end ? next : end, events);
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr != &fd)
                s->conf.way->readable(s, events[i].data.ptr, now_us());
            else if (!on_signal(s, fd))
                end = 0;
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

/* ---- beginning and end ---- */

static int add_motes(struct sim_motes *s)
{
    int err = 0;

    for (size_t p = 0; p < s->conf.plan_count && !err; p++)
        for (size_t i = 0; i < s->conf.plans[p].count && !err; i++) {
            struct sim_mote *m = &s->motes[s->count++];
            m->at = -1;
            m->node = (uint16_t)s->count;
            s->conf.way->add(s, m, &err);
            sim_mote_init(m, &s->conf.plans[p], &s->world, i, s->start_us);
        }
    return err;
}

static int open_log(struct sim_motes *s, const char *path)
{
    if (!path)
        return 0;
    s->log = fopen(path, "we");
    if (!s->log)
        return -errno;
    fputs("us,what,mote,number_or_qos,took_us_or_data\n", s->log);
    return 0;
}

static int begin(struct sim_motes *s, const char *log, char *error, size_t size)
{
    *error = 0;
    s->world = (struct sim_mote_world){.chance = &s->chance,
                                       .send = on_send,
                                       .move = s->conf.way->move ? on_move : NULL,
                                       .acknowledged = on_acknowledged,
                                       .lost = on_lost,
                                       .received = on_received,
                                       .due = on_due};
    s->chance.state = s->conf.seed;
    s->start_us = now_us();
    s->motes = mem_alloc((s->conf.mote_count + 1) * sizeof(s->motes[0]));
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    int err = s->epoll < 0 ? -errno : open_log(s, log);
    if (!err)
        err = s->conf.way->open(s, error, size);
    if (!err)
        err = add_motes(s);
    if (err && !*error)
        snprintf(error, size, "cannot begin: %s", strerror(-err));
    return err;
}

int sim_motes_open(struct sim_motes **out, const char *file, const struct sim_options *options, char *error,
                   size_t size)
{
    struct sim_motes *s = mem_alloc(sizeof(*s));

    s->epoll = -1;
    s->line.pty = (struct sim_pty){.fd = -1, .watch = -1, .slave = -1};
    s->agenda = mem_alloc(sizeof(*s->agenda));
    s->conf.seed = options->seed;
    int err = sim_motes_conf_load(&s->conf, file, error, size);
    if (!err)
        err = begin(s, options->log ? options->log : s->conf.log, error, size);
    if (err) {
        sim_motes_close(s);
        s = NULL;
    }
    *out = s;
    return err;
}

int sim_motes_check(const char *file, char *error, size_t size)
{
    struct sim_motes_conf conf = {0};
    int err = sim_motes_conf_load(&conf, file, error, size);

    sim_motes_conf_free(&conf);
    return err;
}

void sim_motes_manual(FILE *out)
{
    const struct conf_row *const tables[] = {sim_motes_rows};

    conf_manual(tables, 1, out);
}

const char *sim_motes_place(const struct sim_motes *s)
{
    return s->place;
}

uint64_t sim_motes_seed(const struct sim_motes *s)
{
    return s->conf.seed;
}

void sim_motes_close(struct sim_motes *s)
{
    if (!s)
        return;
    if (s->conf.way)
        s->conf.way->close(s);
    for (size_t i = 0; i < s->count; i++)
        sim_mote_free(&s->motes[i]);
    while (s->agenda->count)
        free(agenda_take(s->agenda).late);
    free(s->agenda->list);
    free(s->agenda);
    free(s->motes);
    free(s->took_us);
    if (s->log)
        fclose(s->log);
    if (s->epoll >= 0)
        close(s->epoll);
    sim_motes_conf_free(&s->conf);
    free(s);
}
