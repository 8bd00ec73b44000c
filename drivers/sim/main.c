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

#include "base/limits.h"
#include "drivers/sim/motes.h"
#include "drivers/sim/profile_line.h"
#include "drivers/sim/sim.h"
#include "version.h"

static const char usage[] =
    "usage: sluice-sim [motes] FILE [--link PATH] [--log FILE] [--seed N] [--seconds N]\n"
    "       sluice-sim --profile NAME [--unit N]... [--with PARAMETER=NUMBER]... [the same]\n"
    "Plays the serial line that FILE describes, on a pty, until SIGTERM or SIGINT; with\n"
    "motes: MQTT-SN motes, on UDP or behind a line.\n"
    "  --link PATH    a symbolic link to the pty\n"
    "  --log FILE     one line for each frame, or for each message of a mote\n"
    "  --seed N       of all chance; the same seed makes the same faults\n"
    "  --seconds N    end by itself after so long\n"
    "  --profile NAME a unit of this kind in place of FILE; again for further kinds\n"
    "  --unit N       its address, 1 unless given; again for further units of the kind\n"
    "  --with P=N     a parameter of the profiles\n"
    "  --profiles P   where profiles are, with colons between folders\n"
    "  --print        only print the description of such a line, for a FILE of one's own\n"
    "  --check        only look for mistakes in FILE\n"
    "  --manual       print what FILE may hold\n"
    "  --help         this text\n"
    "  --version\n"
    "SIGUSR1 prints the counters; they are printed at the end, too.\n";

enum { MOST_UNITS = 247, MOST_PARAMETERS = 64 };

struct arguments {
    const char *file, *link;
    struct sim_options options;
    uint64_t seconds; /* 0: no end */
    bool check, manual, motes, print;
    struct sim_profiles profiles;
    struct sim_unit units[MOST_UNITS];
    struct sim_parameter with[MOST_PARAMETERS];
    const char *profile; /* the one named last */
    bool has_unit;       /* it has been given one */
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

static void wrong_use(const char *what)
{
    fprintf(stderr, "sluice-sim: %s\n%s", what, usage);
    exit(2);
}

static void add_unit(struct arguments *a, uint64_t unit)
{
    if (!a->profile)
        wrong_use("--unit comes behind its --profile");
    if (unit < 1 || unit > MOST_UNITS)
        wrong_use("units are 1 to 247");
    for (size_t i = 0; i < a->profiles.unit_count; i++)
        if (a->units[i].unit == unit)
            wrong_use("a unit is there twice");
    a->units[a->profiles.unit_count++] = (struct sim_unit){a->profile, (unsigned)unit};
    a->has_unit = true;
}

/* The profile before had no unit of its own. */
static void end_profile(struct arguments *a)
{
    if (a->profile && !a->has_unit)
        add_unit(a, 1);
}

static void add_parameter(struct arguments *a, char *text)
{
    char *value = strchr(text, '='), *end = NULL;
    double number = value ? strtod(value + 1, &end) : 0;

    if (!value || end == value + 1 || *end)
        wrong_use("--with takes PARAMETER=NUMBER");
    if (a->profiles.with_count == MOST_PARAMETERS)
        wrong_use("too many parameters");
    *value = 0;
    a->with[a->profiles.with_count++] = (struct sim_parameter){text, number};
}

static void check_words(struct arguments *a, int count, char **words)
{
    end_profile(a);
    a->profiles.units = a->units;
    a->profiles.with = a->with;
    if (a->motes && a->profile)
        wrong_use("motes have no profiles");
    if (count != (a->profile ? 0 : 1))
        wrong_use(a->profile ? "a FILE and --profile exclude each other" : "one FILE, or --profile");
    if (a->print && !a->profile)
        wrong_use("--print goes with --profile");
    a->file = a->profile ? a->profile : words[0];
}

static void parse(struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"link", required_argument, NULL, 'l'},    {"log", required_argument, NULL, 'o'},
        {"seed", required_argument, NULL, 's'},    {"seconds", required_argument, NULL, 't'},
        {"profile", required_argument, NULL, 'p'}, {"unit", required_argument, NULL, 'u'},
        {"with", required_argument, NULL, 'w'},    {"profiles", required_argument, NULL, 'P'},
        {"print", no_argument, NULL, 'x'},         {"check", no_argument, NULL, 'c'},
        {"manual", no_argument, NULL, 'm'},        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},       {NULL, 0, NULL, 0},
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
        case 'p':
            end_profile(a);
            a->profile = optarg;
            a->has_unit = false;
            break;
        case 'u':
            add_unit(a, number(optarg, "unit"));
            break;
        case 'w':
            add_parameter(a, optarg);
            break;
        case 'P':
            a->profiles.path = optarg;
            break;
        case 'x':
            a->print = true;
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
    check_words(a, argc - optind, argv + optind);
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

static int check_line(const struct arguments *a, char *error, size_t size)
{
    return sim_check(a->file, a->options.text, error, size);
}

static int check_motes(const struct arguments *a, char *error, size_t size)
{
    return sim_motes_check(a->file, error, size);
}

/* What plays: a line with stations, or motes. */
static const struct {
    int (*play)(const struct arguments *a, const sigset_t *signals);
    int (*check)(const struct arguments *a, char *error, size_t size);
    void (*manual)(FILE *out);
} plays[] = {{play_line, check_line, sim_manual}, {play_motes, check_motes, sim_motes_manual}};

/* The description of the line that was asked for by profiles; NULL when that cannot be. */
static char *describe(const struct arguments *a)
{
    struct buf text = {0};
    char *wrong = sim_profile_line(&a->profiles, &text);

    if (!wrong)
        return (char *)text.data;
    fprintf(stderr, "sluice-sim: %s\n", wrong);
    free(wrong);
    buf_free(&text);
    return NULL;
}

static int run(const struct arguments *a)
{
    sigset_t signals;
    char error[4096];

    if (a->check) {
        int rc = plays[a->motes].check(a, error, sizeof(error));
        if (rc < 0)
            fprintf(stderr, "%s\n", error);
        return rc ? 1 : 0;
    }
    block_signals(&signals);
    return plays[a->motes].play(a, &signals) ? 1 : 0;
}

int main(int argc, char **argv)
{
    static struct arguments a = {.profiles.path = DEFAULT_PROFILE_PATH};

    parse(&a, argc, argv);
    if (a.manual) {
        plays[a.motes].manual(stdout);
        return 0;
    }
    char *text = a.profile ? describe(&a) : NULL;
    int status = a.profile && !text ? 1 : 0;
    if (a.print && text) {
        fputs(text, stdout);
    } else if (!status) {
        a.options.text = text;
        status = run(&a);
    }
    free(text);
    return status;
}
