/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/sim.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "drivers/sim/frame_log.h"
#include "drivers/sim/pty.h"
#include "drivers/sim/sim_conf.h"

enum { CHUNK = 512 };

struct sim {
    struct sim_conf conf;
    struct sim_frame_log *log;
    struct sim_pty pty;
    int wake;
    pthread_t thread;
    bool running, stopping;
    uint64_t start_ns;    /* of CLOCK_MONOTONIC: the line's time 0 */
    pthread_mutex_t lock; /* guards line */
    struct sim_line *line;
};

static uint64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void write_log(void *arg, const struct sim_frame *frame)
{
    sim_frame_log_write(((struct sim *)arg)->log, frame);
}

static int open_log(struct sim *s, const char *path, char *error, size_t size)
{
    int rc = path ? sim_frame_log_open(&s->log, path) : 0;

    if (rc < 0)
        snprintf(error, size, "%s: cannot be written: %s", path, strerror(-rc));
    return rc;
}

static int open_pty(struct sim *s, const char *file, char *error, size_t size)
{
    int rc = sim_pty_open(&s->pty, s->conf.options.baud);

    if (rc == 0 && (s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        rc = -errno;
    if (rc < 0)
        snprintf(error, size, "%s: no pty to be had: %s", file, strerror(-rc));
    return rc;
}

static int sim_new(struct sim **out, const char *file, const struct sim_options *options, bool pty,
                   char *error, size_t size)
{
    struct sim *s = mem_alloc(sizeof(*s));
    int rc;

    *out = NULL;
    s->wake = -1;
    s->pty = (struct sim_pty){.fd = -1, .watch = -1, .slave = -1};
    pthread_mutex_init(&s->lock, NULL);
    s->conf.options.seed = options ? options->seed : 0;
    s->conf.text = options ? options->text : NULL;
    s->conf.options.log = write_log;
    s->conf.options.log_arg = s;
    rc = sim_conf_load(&s->conf, &s->line, file, error, size);
    if (rc == 0)
        rc = open_log(s, options && options->log ? options->log : s->conf.log, error, size);
    if (rc == 0 && pty)
        rc = open_pty(s, file, error, size);
    if (rc < 0)
        sim_close(s);
    else
        *out = s;
    return rc;
}

int sim_open(struct sim **out, const char *file, const struct sim_options *options, char *error, size_t size)
{
    return sim_new(out, file, options, true, error, size);
}

int sim_open_virtual(struct sim **out, const char *file, const struct sim_options *options, char *error,
                     size_t size)
{
    int rc = sim_new(out, file, options, false, error, size);

    if (rc == 0)
        sim_frame_log_start((*out)->log, sim_line_timing((*out)->line), sim_seed(*out));
    return rc;
}

int sim_check(const char *file, const char *text, char *error, size_t size)
{
    struct sim_conf conf = {.text = text};
    struct sim_line *line;
    int rc = sim_conf_load(&conf, &line, file, error, size);

    sim_line_free(line);
    sim_conf_free(&conf);
    return rc;
}

void sim_manual(FILE *out)
{
    const struct conf_row *const tables[] = {sim_conf_rows};

    conf_manual(tables, 1, out);
}

const char *sim_tty(const struct sim *s)
{
    return s->pty.path;
}

uint64_t sim_seed(const struct sim *s)
{
    return s->conf.options.seed;
}

uint64_t sim_char_ns(const struct sim *s)
{
    return sim_line_timing(s->line)->char_ns;
}

uint64_t sim_silence_ns(const struct sim *s)
{
    return sim_line_timing(s->line)->silence_ns;
}

/* Plays until now and passes on what is due. Returns when to come back, in the line's time. */
static uint64_t deliver(struct sim *s)
{
    struct sim_arrival arrivals[CHUNK];
    uint8_t bytes[CHUNK];
    size_t count;
    uint64_t next;

    pthread_mutex_lock(&s->lock);
    count = sim_line_take(s->line, monotonic_ns() - s->start_ns, arrivals, CHUNK);
    for (size_t i = 0; i < count; i++)
        bytes[i] = arrivals[i].value;
    ssize_t written = count ? write(s->pty.fd, bytes, count) : 0;
    sim_line_counts(s->line)->overruns += count - (written < 0 ? 0 : (size_t)written);
    next = sim_line_next(s->line);
    pthread_mutex_unlock(&s->lock);
    return next;
}

static void receive(struct sim *s)
{
    uint8_t bytes[CHUNK];
    ssize_t count = read(s->pty.fd, bytes, sizeof(bytes));

    if (count <= 0)
        return;
    pthread_mutex_lock(&s->lock);
    uint64_t now = monotonic_ns() - s->start_ns;
    if (!s->conf.any_baud && sim_pty_baud(&s->pty) != s->conf.options.baud) {
        sim_line_counts(s->line)->wrong_speed++;
        for (ssize_t i = 0; i < count; i++)
            bytes[i] ^= 0xA5;
    }
    sim_line_send(s->line, now, bytes, (size_t)count);
    pthread_mutex_unlock(&s->lock);
}

/* Sleeps until the line's time next_ns or until the master does something. */
static void wait_master(struct sim *s, uint64_t next_ns)
{
    struct pollfd fds[] = {{.fd = s->wake, .events = POLLIN},
                           {.fd = s->pty.watch, .events = POLLIN},
                           {.fd = s->pty.fd, .events = POLLIN}};
    uint64_t now = monotonic_ns() - s->start_ns;
    uint64_t wait = next_ns > now ? next_ns - now : 0;
    struct timespec timeout = {(time_t)(wait / 1000000000), (long)(wait % 1000000000)};

    if (ppoll(fds, ARRAY_SIZE(fds), next_ns == UINT64_MAX ? NULL : &timeout, NULL) <= 0)
        return;
    if (fds[1].revents)
        sim_pty_watched(&s->pty);
    if (fds[2].revents)
        receive(s);
}

static void *play(void *arg)
{
    struct sim *s = arg;
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    clock_be_punctual();
    pthread_setname_np(pthread_self(), "sim");
    while (!__atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE))
        wait_master(s, deliver(s));
    return NULL;
}

int sim_start(struct sim *s)
{
    uint64_t none;

    while (read(s->wake, &none, sizeof(none)) > 0)
        ;
    s->stopping = false;
    if (!s->start_ns) { /* the line's time never goes back */
        sim_frame_log_start(s->log, sim_line_timing(s->line), sim_seed(s));
        s->start_ns = monotonic_ns();
    }
    int rc = pthread_create(&s->thread, NULL, play, s);
    s->running = rc == 0;
    return -rc;
}

void sim_stop(struct sim *s)
{
    uint64_t one = 1;

    if (!s->running)
        return;
    __atomic_store_n(&s->stopping, true, __ATOMIC_RELEASE);
    while (write(s->wake, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    pthread_join(s->thread, NULL);
    s->running = false;
}

void sim_close(struct sim *s)
{
    if (!s)
        return;
    sim_stop(s);
    sim_pty_close(&s->pty);
    if (s->wake >= 0)
        close(s->wake);
    sim_line_free(s->line);
    sim_frame_log_close(s->log);
    sim_conf_free(&s->conf);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

size_t sim_exchange(struct sim *s, uint64_t now_us, const uint8_t *request, size_t len, uint64_t until_us,
                    struct sim_byte *reply, size_t room)
{
    size_t count = 0;

    pthread_mutex_lock(&s->lock);
    sim_line_send(s->line, now_us * 1000, request, len);
    for (struct sim_arrival a; count < room && sim_line_take(s->line, until_us * 1000, &a, 1);)
        reply[count++] = (struct sim_byte){(a.at_ns + 999) / 1000, a.value};
    pthread_mutex_unlock(&s->lock);
    return count;
}

void sim_counts(struct sim *s, struct sim_counts *line)
{
    pthread_mutex_lock(&s->lock);
    *line = *sim_line_counts(s->line);
    pthread_mutex_unlock(&s->lock);
}

bool sim_station(struct sim *s, size_t index, const char **name, struct sim_counts *counts)
{
    pthread_mutex_lock(&s->lock);
    const struct sim_station *station = sim_line_station(s->line, index);
    if (station) {
        *name = station->name;
        *counts = station->counts;
    }
    pthread_mutex_unlock(&s->lock);
    return station != NULL;
}

static const struct {
    const char *name;
    size_t offset;
    bool of_line;
} fields[] = {
    {"requests", offsetof(struct sim_counts, requests), false},
    {"replies", offsetof(struct sim_counts, replies), false},
    {"exceptions", offsetof(struct sim_counts, exceptions), false},
    {"unanswered", offsetof(struct sim_counts, unanswered), false},
    {"faults", offsetof(struct sim_counts, faults), false},
    {"undetectable", offsetof(struct sim_counts, undetectable), false},
    {"unknown", offsetof(struct sim_counts, unknown), true},
    {"broken", offsetof(struct sim_counts, broken), true},
    {"short_silences", offsetof(struct sim_counts, short_silences), true},
    {"long_gaps", offsetof(struct sim_counts, long_gaps), true},
    {"collisions", offsetof(struct sim_counts, collisions), true},
    {"wrong_speed", offsetof(struct sim_counts, wrong_speed), true},
    {"bytes_heard", offsetof(struct sim_counts, bytes_heard), true},
    {"bytes_sent", offsetof(struct sim_counts, bytes_sent), true},
    {"overruns", offsetof(struct sim_counts, overruns), true},
};

static void print_counts(const char *name, const struct sim_counts *c, bool of_line, FILE *out)
{
    fprintf(out, "%s:", name);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if (of_line || !fields[i].of_line)
            fprintf(out, " %s=%" PRIu64, fields[i].name,
                    *(const uint64_t *)(const void *)((const char *)c + fields[i].offset));
    fputc('\n', out);
}

void sim_summary(struct sim *s, FILE *out)
{
    struct sim_counts counts;
    const char *name;

    sim_counts(s, &counts);
    print_counts("line", &counts, true, out);
    for (size_t i = 0; sim_station(s, i, &name, &counts); i++)
        print_counts(name, &counts, false, out);
    fflush(out);
}
