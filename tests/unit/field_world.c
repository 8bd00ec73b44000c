/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/field_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "service.h"

extern const struct service service_lines;

/* ---- the wire and the clock ---- */

/* What is there by now, or comes in the next while: at most until until_us. */
static void hear(struct field_world *w, struct exchange *x, uint64_t until_us)
{
    struct sim_byte bytes[300];
    uint64_t step = 1 + (uint64_t)rand() % w->lump_us;
    uint64_t to = w->now_us + step < until_us ? w->now_us + step : until_us;
    size_t got = sim_exchange(w->sim, w->now_us, NULL, 0, to, bytes, ARRAY_SIZE(bytes));

    w->now_us = to;
    for (size_t i = 0; i < got; i++)
        exchange_bytes(x, &bytes[i].value, 1, w->now_us);
}

static uint64_t now(void *arg)
{
    return ((struct field_world *)arg)->now_us;
}

/* Orders that a test gives are there at the next step. */
static int run(void *arg, struct exchange *x, bool yields)
{
    struct field_world *w = arg;
    uint64_t until, sent_us = 0;

    for (enum exchange_what what; (what = exchange_step(x, w->now_us, &until)) != EXCHANGE_DONE;) {
        if (w->tick)
            w->tick(w);
        if (yields && !sent_us && !list_empty(&w->orders))
            return 1;
        if (what == EXCHANGE_SEND) {
            sent_us = w->now_us;
            sim_exchange(w->sim, w->now_us, x->frame, x->frame_len, w->now_us, NULL, 0);
            exchange_sent(x, w->now_us);
        } else {
            hear(w, x, until > w->now_us ? until : w->now_us + 1);
        }
    }
    w->last[w->exchanges % FIELD_EXCHANGES].sent_us = sent_us;
    w->last[w->exchanges++ % FIELD_EXCHANGES].done_us = x->done_us;
    return 0;
}

static int listen_on(void *arg, struct exchange *x, uint64_t until_us)
{
    struct field_world *w = arg;
    uint64_t wake_us;

    while (w->now_us < until_us && list_empty(&w->orders)) {
        exchange_step(x, w->now_us, &wake_us);
        hear(w, x, wake_us > w->now_us && wake_us < until_us ? wake_us : until_us);
    }
    exchange_step(x, w->now_us, &wake_us);
    return 0;
}

static void take_orders(void *arg, struct list *out)
{
    list_splice(out, &((struct field_world *)arg)->orders);
}

static const struct poller_io io = {now, run, listen_on, take_orders, NULL, NULL};

/* ---- open, run, close ---- */

static char *write_file(const char *dir, const char *name, const char *text)
{
    char *path = mem_format("%s/%s", dir, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static struct modbus_line *make_line(const char *path)
{
    struct conf *c = conf_load(path, &service_lines.rows, 1, NULL);
    const struct conf_node *devices[64];
    struct driver_conf conf = {.devices = devices};

    service_lines.check(c, NULL);
    if (conf_errors(c))
        conf_report(c, stderr);
    assert_int_equal(conf_errors(c), 0);
    conf.line = conf_at(conf_root(c), "lines", 0);
    conf.device_count = conf_count(conf_root(c), "devices");
    assert_true(conf.device_count <= ARRAY_SIZE(devices));
    for (size_t i = 0; i < conf.device_count; i++)
        devices[i] = conf_at(conf_root(c), "devices", i);
    struct modbus_line *m = modbus_line_new(&conf);
    conf_free(c);
    return m;
}

void field_world_open(struct field_world *w, const char *sim, const char *line, const char *devices,
                      uint64_t seed)
{
    char dir[] = "/tmp/field_world_XXXXXX", error[2048] = "";
    struct sim_options options = {.seed = seed};
    char *text =
        mem_format("lines = ( { name = \"l\"; protocol = \"modbus-rtu\"; port = \"/dev/null\"; %s } );\n"
                   "devices = ( %s );\n",
                   line, devices);

    assert_non_null(mkdtemp(dir));
    char *sim_path = write_file(dir, "line.sim", sim), *conf_path = write_file(dir, "site.conf", text);
    *w = (struct field_world){.now_us = 1000000, .lump_us = 500};
    list_init(&w->orders);
    if (sim_open_virtual(&w->sim, sim_path, &options, error, sizeof error))
        fail_msg("%s", error);
    w->m = make_line(conf_path);
    assert_int_equal(poller_new(&w->poller, w->m, NULL), 0);
    mailbox_init(&w->mail, 256, NULL, NULL);
    srand((unsigned)seed);
    poller_open(w->poller, &io, w, &w->mail);
    unlink(sim_path);
    unlink(conf_path);
    rmdir(dir);
    free(sim_path);
    free(conf_path);
    free(text);
}

static void take(struct field_world *w, bool tell)
{
    struct list mail = LIST_INIT(mail);

    mailbox_take(&w->mail, &mail);
    for (struct list *it; (it = list_pop(&mail));) {
        struct modbus_post *post = list_entry(it, struct modbus_post, link);
        if (tell)
            w->post(w, post);
        modbus_post_free(post);
    }
}

void field_world_run(struct field_world *w, uint64_t until_us)
{
    while (w->now_us < until_us) {
        assert_int_equal(poller_step(w->poller), 0);
        take(w, true);
    }
}

void field_world_close(struct field_world *w)
{
    take(w, false);
    poller_free(w->poller);
    modbus_line_free(w->m);
    mailbox_destroy(&w->mail);
    sim_close(w->sim);
}
