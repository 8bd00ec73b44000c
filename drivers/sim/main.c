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

#include "drivers/sim/sim.h"
#include "version.h"

static const char usage[] = "usage: sluice-sim FILE [--link PATH] [--log FILE] [--seed N] [--seconds N]\n"
                            "Plays the serial line that FILE describes, on a pty, until SIGTERM or SIGINT.\n"
                            "  --link PATH    a symbolic link to the pty\n"
                            "  --log FILE     one line for each frame\n"
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
    bool check;
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
            sim_manual(stdout);
            exit(0);
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

int main(int argc, char **argv)
{
    struct arguments a = {0};
    struct sim *s;
    sigset_t signals;
    char error[4096];
    int rc;

    parse(&a, argc, argv);
    block_signals(&signals);
    rc = a.check ? sim_check(a.file, error, sizeof(error))
                 : sim_open(&s, a.file, &a.options, error, sizeof(error));
    if (rc < 0)
        fprintf(stderr, "%s\n", error);
    if (rc < 0 || a.check)
        return rc ? 1 : 0;
    rc = a.link ? make_link(a.link, sim_tty(s)) : 0;
    if (rc == 0) {
        rc = play(s, &a, &signals);
        if (a.link)
            unlink(a.link);
    }
    sim_close(s);
    return rc ? 1 : 0;
}
