/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/sim_conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/mem.h"

static const char *const formats[] = {"8N1", "8N2", "8E1", "8O1", NULL};
static const uint8_t format_bits[] = {10, 11, 11, 11};

static const struct conf_row station_rows[] = {
    {.name = "name",
     .type = CONF_NAME,
     .flags = CONF_REQUIRED,
     .help = "What the log and the summary call it"},
    {.name = "kind",
     .type = CONF_CHOICE,
     .def = "modbus",
     .choices = sim_station_names,
     .help = "What it is"},
    {.name = "turnaround_us",
     .type = CONF_INT,
     .def = "0",
     .max = 60e6,
     .help = "Time from the silence after a request to the reply, in microseconds"},
    {.name = "jitter_us", .type = CONF_INT, .def = "0", .max = 60e6, .help = "Up to so much more, by chance"},
    {.name = "faults",
     .type = CONF_LIST,
     .rows = sim_fault_rows,
     .help = "What goes wrong with this station"},
    {0},
};

const struct conf_row sim_conf_rows[] = {
    {.name = "baud",
     .type = CONF_INT,
     .def = "19200",
     .min = 50,
     .max = 4000000,
     .help = "Speed of the line; a master at another speed is not understood"},
    {.name = "format",
     .type = CONF_CHOICE,
     .def = "8E1",
     .choices = formats,
     .help = "Sets the length of a character; a pty has no parity"},
    {.name = "any_baud", .type = CONF_BOOL, .def = "false", .help = "Understand masters at any speed"},
    {.name = "strict",
     .type = CONF_BOOL,
     .def = "false",
     .help = "Do not understand requests that come before 3.5 characters of silence"},
    {.name = "echo",
     .type = CONF_BOOL,
     .def = "false",
     .help = "The master hears itself, as with some adapters"},
    {.name = "seed",
     .type = CONF_INT,
     .def = "0",
     .max = 9e15,
     .help = "Of all chance; 0: a fresh one at each run"},
    {.name = "log", .type = CONF_PATH, .help = "File for a log of all frames"},
    {.name = "faults", .type = CONF_LIST, .rows = sim_fault_rows, .help = "What goes wrong with everybody"},
    {.name = "stations",
     .type = CONF_LIST,
     .flags = CONF_REQUIRED,
     .rows = station_rows,
     .kind_key = "kind",
     .kind_rows = sim_station_rows,
     .help = "Who is on the line"},
    {0},
};

static uint64_t fresh_seed(void)
{
    uint32_t seed = 0;

    while (!seed)
        if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
            seed = 1;
    return seed;
}

uint64_t sim_conf_seed(uint64_t given, const struct conf_node *root)
{
    if (!given)
        given = (uint64_t)conf_int(root, "seed");
    return given ? given : fresh_seed();
}

static void take_options(struct sim_conf *c, const struct conf_node *root)
{
    const char *log = conf_string(root, "log");

    c->options.baud = (unsigned)conf_int(root, "baud");
    c->options.char_bits = format_bits[conf_int(root, "format")];
    c->options.strict = conf_bool(root, "strict");
    c->options.echo = conf_bool(root, "echo");
    c->any_baud = conf_bool(root, "any_baud");
    c->options.seed = sim_conf_seed(c->options.seed, root);
    c->log = log ? mem_strdup(log) : NULL;
}

static struct sim_line *make_line(struct sim_conf *c, struct conf *conf)
{
    const struct conf_node *root = conf_root(conf);

    take_options(c, root);
    struct sim_line *l = sim_line_new(&c->options);
    sim_line_fault(l, sim_faults_load(conf, root));
    for (size_t i = 0; i < conf_count(root, "stations"); i++)
        sim_line_add(l, sim_station_load(conf, conf_at(root, "stations", i)));
    return l;
}

struct mistakes {
    char *text;
    size_t size, len;
};

static void add_mistake(void *arg, bool is_error, const char *text)
{
    struct mistakes *m = arg;

    if (!is_error || m->len >= m->size)
        return;
    int len = snprintf(m->text + m->len, m->size - m->len, "%s%s", m->len ? "\n" : "", text);
    m->len += len > 0 ? (size_t)len : 0;
}

int sim_conf_mistakes(const struct conf *conf, char *error, size_t size)
{
    struct mistakes mistakes = {error, size, 0};

    conf_each_report(conf, add_mistake, &mistakes);
    return conf_errors(conf) ? -EINVAL : 0;
}

int sim_conf_load(struct sim_conf *c, struct sim_line **out, const char *file, char *error, size_t size)
{
    const struct conf_row *const tables[] = {sim_conf_rows};
    struct conf *conf =
        c->text ? conf_load_text(file, c->text, tables, 1) : conf_load_alone(file, tables, 1, NULL);

    *out = conf_errors(conf) ? NULL : make_line(c, conf);
    int rc = sim_conf_mistakes(conf, error, size);
    if (rc) {
        sim_line_free(*out);
        *out = NULL;
    }
    conf_free(conf);
    return rc;
}

void sim_conf_free(struct sim_conf *c)
{
    free(c->log);
    c->log = NULL;
}
