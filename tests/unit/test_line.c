/* SPDX-License-Identifier: Apache-2.0 */
/* A whole line on its thread, against the simulator on a pty: readings, dead devices, a vanished port, a loop
 * that does not take its mail, and an end in the middle of it all. Waits for things to happen, never for a
 * time. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drivers/modbus/device.h"
#include "drivers/modbus/poller.h"
#include "service.h"

extern const struct service service_lines;

#define SIM                                                                                                  \
    "baud = 115200; format = \"8N1\"; strict = true; stations = ("                                           \
    "{ name = \"a\"; unit = 1; turnaround_us = 500; holding = ( { at = 0; count = 8; constant = 7; spread "  \
    "= 1; },"                                                                                                \
    "  { at = 40; type = \"float32\"; order = \"CDAB\"; constant = 21.5; } ); coil = ( { at = 3; constant "  \
    "= 1; } ); },"                                                                                           \
    "{ name = \"b\"; unit = 2; input = ( { at = 0; type = \"int16\"; constant = -3; } ); } );\n"

#define LINE                                                                                                 \
    "lines = ( { name = \"l\"; protocol = \"modbus-rtu\"; port = \"sim:line.conf\"; baud = 115200; format "  \
    "= \"8N1\";"                                                                                             \
    "  timing = { response = \"30ms\"; holdoff = \"10ms\"; turnaround = \"1ms\"; }; dead = { probe_first = " \
    "\"100ms\"; }; } );\n"                                                                                   \
    "devices = ( { name = \"a\"; line = \"l\"; unit = 1; groups = { fast = { every = \"60ms\"; points = ("   \
    "  { name = \"x\"; at = \"holding:2\"; type = \"uint16\"; scale = 0.1; },"                               \
    "  { name = \"f\"; at = \"holding:40\"; type = \"float32\"; order = \"CDAB\"; },"                        \
    "  { name = \"c\"; at = \"coil:3\"; }, { name = \"no\"; at = \"holding:999\"; type = \"int16\"; } ); };" \
    "  slow = { every = \"80ms\"; points = ( { name = \"y\"; at = \"holding:7\"; type = \"int16\"; } ); }; " \
    "}; },"                                                                                                  \
    "{ name = \"b\"; line = \"l\"; unit = 2; groups = { g = { every = \"70ms\"; points = ("                  \
    "  { name = \"z\"; at = \"input:0\"; type = \"int16\"; } ); }; }; },"                                    \
    "{ name = \"gone\"; line = \"l\"; unit = 9; groups = { g = { every = \"70ms\"; points = ("               \
    "  { name = \"z\"; at = \"input:0\"; type = \"int16\"; } ); }; }; } );\n"

struct world {
    char dir[64];
    struct conf *conf;
    struct modbus_line *m;
    struct poller *poller;
    struct line line;
    struct modbus_counts counts;
    enum device_state states[3];
    unsigned readings[3], open, down, learnt;
    char why[160];
};

static void put(const char *dir, const char *name, const char *text)
{
    char *path = mem_format("%s/%s", dir, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    free(path);
}

static void wake(void *arg)
{
    (void)arg;
}

static void open_world(struct world *w, const char *port)
{
    char *path, *text = mem_strdup(LINE);

    memset(w, 0, sizeof *w);
    strcpy(w->dir, "/tmp/test_line_XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    put(w->dir, "line.conf", SIM);
    if (port) {
        char *at = strstr(text, "sim:line.conf");
        char *changed = mem_format("%.*s%s%s", (int)(at - text), text, port, at + strlen("sim:line.conf"));
        free(text);
        text = changed;
    }
    put(w->dir, "site.conf", text);
    free(text);
    path = mem_format("%s/site.conf", w->dir);
    w->conf = conf_load(path, &service_lines.rows, 1, NULL);
    free(path);
    service_lines.check(w->conf, NULL);
    conf_report(w->conf, stderr);
    assert_int_equal(conf_errors(w->conf), 0);
    const struct conf_node *root = conf_root(w->conf);
    const struct conf_node *devices[3] = {conf_at(root, "devices", 0), conf_at(root, "devices", 1),
                                          conf_at(root, "devices", 2)};
    struct driver_conf conf = {conf_at(root, "lines", 0), devices, 3};
    w->m = modbus_line_new(&conf);
    conf_free(w->conf); /* the line does not need it any more */
    assert_int_equal(poller_new(&w->poller, w->m, NULL), 0);
    w->line = (struct line){.name = w->m->name,
                            .settings = {.spec = w->m->port, .baud = w->m->baud, .format = w->m->format},
                            .ops = &poller_ops,
                            .arg = w->poller};
    assert_int_equal(line_start(&w->line, wake, NULL), 0);
}

static void check_reading(const struct modbus_post *post)
{
    const struct reading_point *p = post->points;

    assert_true(p[0].quality != QUALITY_GOOD); /* of a simulated line nothing is */
    if (post->device == 0 && post->group == 0 && quality_has_value(p[0].quality)) {
        assert_int_equal(p[0].value.i, 9);
        assert_int_equal(p[0].value.decimals, 1);
    }
    if (post->device == 0 && post->group == 0) {
        assert_true(!quality_has_value(p[1].quality) || p[1].value.d == 21.5);
        assert_true(!quality_has_value(p[2].quality) || p[2].value.b);
        assert_true(!quality_has_value(p[3].quality));
        assert_true(p[3].quality != QUALITY_EXCEPTION || p[3].detail == 2);
    }
    if (post->device == 0 && post->group == 1)
        assert_true(!quality_has_value(p[0].quality) || p[0].value.i == 14);
    if (post->device == 1)
        assert_true(!quality_has_value(p[0].quality) || p[0].value.i == -3);
    if (post->device == 2)
        assert_true(!quality_has_value(p[0].quality));
}

static void take_one(struct world *w, struct modbus_post *post)
{
    w->counts = post->line;
    switch (post->kind) {
    case POST_READING:
        w->readings[post->device]++;
        check_reading(post);
        break;
    case POST_STATE:
        w->states[post->device] = post->state;
        break;
    case POST_ORDER:
    case POST_RAW:
        fail_msg("no order was given");
        break;
    case POST_LEARNT:
        w->learnt++;
        assert_int_equal(post->device, 0);
        break;
    case POST_LINE:
        w->open += post->open;
        w->down += !post->open;
        memcpy(w->why, post->reason, sizeof w->why);
        break;
    }
    modbus_post_free(post);
}

static void take(struct world *w)
{
    struct list mail = LIST_INIT(mail);

    mailbox_wait(&w->line.mail, &mail, 0);
    for (struct list *it; (it = list_pop(&mail));)
        take_one(w, list_entry(it, struct modbus_post, link));
}

static void close_world(struct world *w)
{
    struct list mail = LIST_INIT(mail);

    line_stop(&w->line);
    line_join(&w->line);
    assert_true(line_ended(&w->line));
    mailbox_take(&w->line.mail, &mail);
    for (struct list *it; (it = list_pop(&mail));)
        take_one(w, list_entry(it, struct modbus_post, link));
    line_free(&w->line);
    poller_free(w->poller);
    modbus_line_free(w->m);
    char *command = mem_format("rm -r %s", w->dir);
    assert_int_equal(system(command), 0);
    free(command);
}

static void devices_are_read_and_the_silent_one_dies(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, NULL);
    /* On a busy machine a unit may be stale for a moment. */
    while (w.readings[0] < 40 || w.readings[1] < 20 || w.states[0] != DEVICE_ONLINE ||
           w.states[1] != DEVICE_ONLINE || w.states[2] != DEVICE_DEAD)
        take(&w);
    assert_true(w.counts.timeouts >= 3);
    assert_true(w.counts.exceptions > 0);
    assert_int_equal(w.counts.skipped, 0);
    assert_true(w.open >= 1);
    close_world(&w);
}

static void a_loop_that_takes_nothing_stops_no_bus(void **state)
{
    struct world w;
    unsigned before;

    (void)state;
    open_world(&w, NULL);
    while (mailbox_room(&w.line.mail))
        usleep(1000);
    /* Full: polls are skipped, and go on when there is room. */
    usleep(100000);
    take(&w);
    assert_true(w.readings[0] > 10);
    before = w.readings[0];
    while (w.readings[0] < before + 10)
        take(&w);
    assert_true(w.counts.skipped > 0);
    close_world(&w);
}

static void a_line_ends_in_the_middle_of_an_exchange(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        struct world w;
        open_world(&w, NULL);
        usleep((useconds_t)(i * 7000));
        close_world(&w);
    }
}

static void a_port_that_is_not_there_is_told_and_awaited(void **state)
{
    struct world w;

    (void)state;
    open_world(&w, "/dev/ttyNOT0");
    while (!w.down || w.states[0] != DEVICE_DEAD || w.states[2] != DEVICE_DEAD)
        take(&w);
    assert_non_null(strstr(w.why, "/dev/ttyNOT0: No such file"));
    assert_int_equal(w.readings[0], 0);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_read_and_the_silent_one_dies),
        cmocka_unit_test(a_loop_that_takes_nothing_stops_no_bus),
        cmocka_unit_test(a_line_ends_in_the_middle_of_an_exchange),
        cmocka_unit_test(a_port_that_is_not_there_is_told_and_awaited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
