/* SPDX-License-Identifier: Apache-2.0 */
/* sluiced: options, configuration, services in order, the end of the turn, orderly stop. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "net/conn.h"
#include "notify.h"
#include "service.h"
#include "store/store.h"
#include "version.h"

enum { STOP_MS = 1900, STOP_TICK_MS = 10, TURN_ROUNDS = 4, MOST_SERVICES = 32 };

static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};
static const struct conf_row main_rows[] = {
    {"site", CONF_NAME, CONF_REQUIRED, .help = "name of this site; a part of every topic"},
    {"root", CONF_STRING, .min = 1, .max = 1024, .help = "begins every topic; sluice/{site} unless given"},
    {"log", CONF_CHOICE, .def = "info", .choices = log_levels, .help = "least urgent lines that are written"},
    {0},
};

static struct {
    struct gateway gw;
    uv_loop_t loop;
    uv_prepare_t turn;
    uv_idle_t again; /* runs while a turn left something for the next */
    uv_signal_t signals[3];
    uv_timer_t alive, stopping;
    char *root, *conf_path;
    size_t started; /* services */
    uint64_t stop_by_us;
    bool ending;
    int result;
} self;

static size_t service_count(void)
{
    size_t n = 0;

    while (services[n])
        n++;
    return n;
}

static size_t row_tables(const struct conf_row *out[MOST_SERVICES + 1])
{
    size_t n = 0;

    out[n++] = main_rows;
    for (size_t i = 0; services[i]; i++)
        if (services[i]->rows)
            out[n++] = services[i]->rows;
    return n;
}

/* ---- configuration ---- */

static void check_root(struct conf *c)
{
    const struct conf_node *root = conf_get(conf_root(c), "root");

    if (root && (strpbrk(root->s, "+#") || root->s[0] == '$' || root->s[strlen(root->s) - 1] == '/'))
        conf_error(c, root,
                   "\"%s\" cannot begin topics; write it without + and #, a leading $ or a slash at the end",
                   root->s);
}

static struct conf *load(const char *path, FILE *report)
{
    const struct conf_row *tables[MOST_SERVICES + 1];
    struct conf *c = conf_load(path, tables, row_tables(tables), features_absent);

    check_root(c); /* also of a tree that has mistakes: whoever mends them wants to know them all */
    for (size_t i = 0; services[i]; i++)
        if (services[i]->check)
            services[i]->check(c, report);
    return c;
}

/* What cannot change while the daemon runs. */
static void check_fixed(struct conf *next)
{
    static const char *const fixed[] = {"site", "root", "state_dir", "store"};

    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
        const struct conf_node *was = conf_get(conf_root(self.gw.conf), fixed[i]);
        const struct conf_node *is = conf_get(conf_root(next), fixed[i]);
        if (!conf_same(was, is))
            conf_error(next, is,
                       "%s cannot change while the daemon runs; restart it, or put back what was there%s%s",
                       fixed[i], was && was->s ? ": " : "", was && was->s ? was->s : "");
    }
}

static void log_report(void *arg, bool is_error, const char *text)
{
    (void)arg;
    log_line(is_error ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "%s", text);
}

static void apply_log_level(const struct conf *c)
{
    log_open((enum log_level)conf_int(conf_root(c), "log"));
}

static int reload(struct gateway *gw, void (*emit)(void *arg, bool is_error, const char *text), void *arg)
{
    struct conf *next = load(self.conf_path, NULL);
    int worst = 0;

    if (!conf_errors(next))
        check_fixed(next);
    conf_each_report(next, log_report, NULL);
    if (emit)
        conf_each_report(next, emit, arg);
    if (conf_errors(next)) {
        log_error("configuration: refused, the one in force stays");
        conf_free(next);
        return -EINVAL;
    }
    notify_reloading();
    for (size_t i = 0; i < self.started; i++) {
        int err = services[i]->reload ? services[i]->reload(gw, next) : 0;
        if (err) {
            log_error("%s: goes on as before: %s", services[i]->name, strerror(-err));
            worst = err;
        }
    }
    conf_free(gw->conf);
    gw->conf = next;
    gw->loaded_us = clock_boot_us();
    apply_log_level(next);
    log_info("configuration: in force");
    notify_ready();
    return worst;
}

/* ---- the turn ---- */

static void on_again(uv_idle_t *idle)
{
    (void)idle; /* that it is active keeps the loop from sleeping */
}

static void end_turn(uv_prepare_t *prepare)
{
    struct gateway *gw = &self.gw;
    bool more = true;

    (void)prepare;
    if (!gw->broker)
        return;
    /* What a flush or a burial brings about (a will, a freed window) belongs to this turn too, within reason.
     */
    for (int i = 0; i < TURN_ROUNDS && more; i++) {
        broker_wake(gw->broker);
        store_submit(gw->store);
        net_flush(gw->net, store_done_ticket(gw->store));
        net_bury(gw->net);
        more = broker_waking(gw->broker) || net_waiting(gw->net);
    }
    if (more)
        uv_idle_start(&self.again, on_again);
    else
        uv_idle_stop(&self.again);
}

/* ---- end ---- */

static void close_own_handles(void)
{
    uv_handle_t *own[] = {(uv_handle_t *)&self.turn,       (uv_handle_t *)&self.again,
                          (uv_handle_t *)&self.signals[0], (uv_handle_t *)&self.signals[1],
                          (uv_handle_t *)&self.signals[2], (uv_handle_t *)&self.alive,
                          (uv_handle_t *)&self.stopping};

    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        uv_close(own[i], NULL);
}

/* Services end one after the other, the last to start first: the bridges say goodbye while the broker still
 * runs. */
static void on_stopping(uv_timer_t *t)
{
    static bool told;

    (void)t;
    while (self.started) {
        const struct service *s = services[self.started - 1];
        if (!told && s->stop)
            s->stop(&self.gw);
        told = true;
        if (s->stopped && !s->stopped(&self.gw))
            break;
        told = false;
        self.started--;
    }
    if (!self.started) {
        net_free(self.gw.net);
        close_own_handles();
    } else if (clock_boot_us() > self.stop_by_us) {
        log_error("%s: did not end in time", services[self.started - 1]->name);
        if (self.gw.store)
            store_close(self.gw.store, 100);
        _exit(1);
    }
}

static void begin_stop(const char *why)
{
    if (self.ending)
        return;
    self.ending = true;
    log_info("ending: %s", why);
    notify_stopping();
    self.stop_by_us = clock_boot_us() + STOP_MS * 1000;
    uv_timer_start(&self.stopping, on_stopping, 0, STOP_TICK_MS);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)handle;
    if (number != SIGHUP)
        begin_stop(number == SIGTERM ? "SIGTERM" : "SIGINT");
    else if (!self.ending)
        reload(&self.gw, NULL, NULL);
}

static void on_alive(uv_timer_t *t)
{
    (void)t;
    notify_alive();
}

/* ---- start ---- */

static void prepare_loop(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&self.loop);
    uv_prepare_init(&self.loop, &self.turn);
    uv_idle_init(&self.loop, &self.again);
    uv_timer_init(&self.loop, &self.alive);
    uv_timer_init(&self.loop, &self.stopping);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        uv_signal_init(&self.loop, &self.signals[i]);
        uv_signal_start(&self.signals[i], on_signal, numbers[i]);
    }
    uv_prepare_start(&self.turn, end_turn);
    uint64_t alive_us = notify_watchdog_interval_us();
    if (alive_us)
        uv_timer_start(&self.alive, on_alive, 0, alive_us / 1000);
}

static void start_services(void)
{
    size_t count = service_count();

    for (; self.started < count; self.started++) {
        const struct service *s = services[self.started];
        int err = s->start ? s->start(&self.gw) : 0;
        if (!err)
            continue;
        log_error("%s: cannot start: %s", s->name, strerror(-err));
        self.result = 1;
        self.started++; /* what of it began ends in order too */
        begin_stop("a service could not start");
        return;
    }
    log_info("sluiced " SLUICE_VERSION ": site %s, start %u", conf_string(conf_root(self.gw.conf), "site"),
             self.gw.boot);
    notify_ready();
}

static int run(struct conf *c)
{
    const struct conf_node *root = conf_root(c);

    if (conf_string(root, "root"))
        self.root = mem_strdup(conf_string(root, "root"));
    else
        self.root = mem_format("sluice/%s", conf_string(root, "site"));
    prepare_loop();
    self.gw = (struct gateway){.loop = &self.loop,
                               .conf = c,
                               .net = net_new(&self.loop),
                               .root = self.root,
                               .conf_path = self.conf_path,
                               .started_us = clock_boot_us(),
                               .loaded_us = clock_boot_us(),
                               .reload = reload};
    start_services();
    uv_run(&self.loop, UV_RUN_DEFAULT);
    uv_loop_close(&self.loop);
    conf_free(self.gw.conf);
    free(self.root);
    free(self.conf_path);
    log_info("ended");
    return self.result;
}

/* ---- options ---- */

static const char usage[] =
    "usage: sluiced [-c FILE] [--check FILE] [--manual] [--version] [--help]\n"
    "  -c, --config FILE   run with this configuration (" DEFAULT_CONFIG
    ") and FILE's conf.d/*.conf, in the foreground\n"
    "      --check FILE    tell every mistake in a configuration, and each line's predicted load; run "
    "nothing\n"
    "      --manual        print all settings as markdown\n"
    "      --version       print the version\n"
    "SIGHUP reloads the configuration (a wrong one is refused whole), SIGTERM ends within 2 s.\n";

static int check_only(const char *path)
{
    struct conf *c = load(path, stdout);
    size_t errors = conf_errors(c);

    conf_report(c, stderr);
    if (!errors)
        printf("%s: right\n", path);
    conf_free(c);
    return errors ? 1 : 0;
}

static int manual(void)
{
    const struct conf_row *tables[MOST_SERVICES + 1];

    conf_manual(tables, row_tables(tables), stdout);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"check", required_argument, NULL, 'k'},
        {"manual", no_argument, NULL, 'm'},       {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    const char *path = DEFAULT_CONFIG;
    int option;

    mem_tune();
    log_open(LOG_LEVEL_INFO);
    while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'k':
            return check_only(optarg);
        case 'm':
            return manual();
        case 'v':
            puts("sluiced " SLUICE_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fputs(usage, stderr);
        return 2;
    }
    struct conf *c = load(path, NULL);
    conf_each_report(c, log_report, NULL);
    if (conf_errors(c)) {
        log_error("configuration: %s: not started", path);
        conf_free(c);
        return 2;
    }
    apply_log_level(c);
    self.conf_path = mem_strdup(path);
    return run(c);
}
