/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "drivers/sim/motes.h"
#include "drivers/sim/sim.h"
#include "version.h"

static const char usage[] =
    "usage: sluice-sim [motes] FILE [--link PATH] [--log FILE] [--seed N] [--seconds N]\n"
    "Plays the serial line that FILE describes, on a pty, until SIGTERM or SIGINT; with\n"
    "motes: MQTT-SN motes, on UDP or behind a line.\n"
    "  --link PATH    a symbolic link to the pty\n"
    "  --log FILE     one line for each frame, or for each message of a mote\n"
    "  --seed N       of all chance; the same seed makes the same faults\n"
    "  --seconds N    end by itself after so long\n"
    "  --check        only look for mistakes in FILE\n"
    "  --manual       print what FILE may hold\n"
    "  --help         this text\n"
    "  --version\n"
    "SIGUSR1 prints the counters; they are printed at the end, too.\n";

struct arguments {
    const char *file, *link;
    struct sim_options options;
    uint64_t seconds; /* 0: no end */
    bool check, manual, motes;
};

static uint64_t number(const char *text, const char *option)
{
    char *end;

    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-') {
        fprintf(stderr, "sluice-sim: --%s takes a number, not \"%s\"\n", option, text);
        exit(2);
    }
    return n;
}

static void parse(struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"link", required_argument, NULL, 'l'},
        {"log", required_argument, NULL, 'o'},
        {"seed", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'},
        {"check", no_argument, NULL, 'c'},
        {"manual", no_argument, NULL, 'm'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };

    for (int c; (c = getopt_long(argc, argv, "hv", options, NULL)) != -1;)
        switch (c) {
        case 'l':
            a->link = optarg;
            break;
        case 'o':
            a->options.log = optarg;
            break;
        case 's':
            a->options.seed = number(optarg, "seed");
            break;
        case 't':
            a->seconds = number(optarg, "seconds");
            break;
        case 'c':
            a->check = true;
            break;
        case 'm':
            a->manual = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        case 'v':
            puts("sluice-sim " SLUICE_VERSION);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    a->motes = optind < argc && !strcmp(argv[optind], "motes");
    optind += a->motes;
    if (a->manual)
        return;
    if (optind + 1 != argc) {
        fputs(usage, stderr);
        exit(2);
    }
    a->file = argv[optind];
}

/* A link of an earlier run is replaced; anything else is not. */
static int make_link(const char *path, const char *tty)
{
    char old[8];

    if (readlink(path, old, sizeof(old)) >= 0)
        unlink(path);
    if (symlink(tty, path) == 0)
        return 0;
    fprintf(stderr, "sluice-sim: %s: cannot make the link: %s\n", path, strerror(errno));
    return -errno;
}

/* Until a signal ends it, or the time is over. */
static void wait_end(struct sim *s, const sigset_t *signals, uint64_t seconds)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t end = now.tv_sec + (time_t)seconds;
    long end_ns = now.tv_nsec;
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        struct timespec left = {end - now.tv_sec, end_ns - now.tv_nsec};
        if (left.tv_nsec < 0) {
            left.tv_sec--;
            left.tv_nsec += 1000000000;
        }
        if (seconds && left.tv_sec < 0)
            return;
        int sig = seconds ? sigtimedwait(signals, NULL, &left) : sigwaitinfo(signals, NULL);
        if (sig == SIGTERM || sig == SIGINT)
            return;
        if (sig == SIGUSR1)
            sim_summary(s, stderr);
    }
}

static void block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
}

/* Plays until the end. */
static int play(struct sim *s, const struct arguments *a, const sigset_t *signals)
{
    int rc = sim_start(s);

    if (rc < 0) {
        fprintf(stderr, "sluice-sim: cannot start: %s\n", strerror(-rc));
        return rc;
    }
    printf("%s seed %" PRIu64 "\n", a->link ? a->link : sim_tty(s), sim_seed(s));
    fflush(stdout);
    wait_end(s, signals, a->seconds);
    sim_stop(s);
    sim_summary(s, stderr);
    return 0;
}

static int play_line(const struct arguments *a, const sigset_t *signals)
{
    struct sim *s;
    char error[4096];
    int rc = sim_open(&s, a->file, &a->options, error, sizeof(error));

    if (rc < 0) {
        fprintf(stderr, "%s\n", error);
        return rc;
    }
    rc = a->link ? make_link(a->link, sim_tty(s)) : 0;
    if (rc == 0) {
        rc = play(s, a, signals);
        if (a->link)
            unlink(a->link);
    }
    sim_close(s);
    return rc;
}

static int play_motes(const struct arguments *a, const sigset_t *signals)
{
    struct sim_motes *s;
    char error[4096];
    int rc = sim_motes_open(&s, a->file, &a->options, error, sizeof(error));

    if (rc < 0) {
        fprintf(stderr, "%s\n", error);
        return rc;
    }
    if (a->link && sim_motes_place(s)[0] != '/') {
        fprintf(stderr, "sluice-sim: --link is for motes behind a line\n");
        rc = -EINVAL;
    } else if (a->link) {
        rc = make_link(a->link, sim_motes_place(s));
    }
    if (rc == 0) {
        printf("%s seed %" PRIu64 "\n", a->link ? a->link : sim_motes_place(s), sim_motes_seed(s));
        fflush(stdout);
        rc = sim_motes_run(s, a->seconds, signals);
        sim_motes_summary(s, stderr);
        if (a->link)
            unlink(a->link);
    }
    sim_motes_close(s);
    return rc;
}

/* What plays: a line with stations, or motes. */
static const struct {
    int (*play)(const struct arguments *a, const sigset_t *signals);
    int (*check)(const char *file, char *error, size_t size);
    void (*manual)(FILE *out);
} plays[] = {{play_line, sim_check, sim_manual}, {play_motes, sim_motes_check, sim_motes_manual}};

int main(int argc, char **argv)
{
    struct arguments a = {0};
    sigset_t signals;
    char error[4096];

    parse(&a, argc, argv);
    if (a.manual) {
        plays[a.motes].manual(stdout);
        return 0;
    }
    if (a.check) {
        int rc = plays[a.motes].check(a.file, error, sizeof(error));
        if (rc < 0)
            fprintf(stderr, "%s\n", error);
        return rc ? 1 : 0;
    }
    block_signals(&signals);
    return plays[a.motes].play(&a, &signals) ? 1 : 0;
}
