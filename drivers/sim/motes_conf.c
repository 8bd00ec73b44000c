/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "drivers/sim/motes_private.h"
#include "drivers/sim/sim_conf.h"

static const char *const qualities[] = {"-1", "0", "1", "2", NULL}, *const two_bits[] = {"0", "1", "2", NULL};
static const char *const formats[] = {"8N1", "8E1", "8O1", "8N2", NULL};

static const struct conf_row will_rows[] = {
    {.name = "topic",
     .type = CONF_STRING,
     .flags = CONF_REQUIRED,
     .help = "Its topic; {id} is the mote's id"},
    {.name = "message", .type = CONF_STRING, .def = "gone", .help = "What it says"},
    {.name = "qos", .type = CONF_CHOICE, .def = "1", .choices = two_bits, .help = "Its quality"},
    {.name = "retain", .type = CONF_BOOL, .def = "false", .help = "Keep it"},
    {0},
};

static const struct conf_row mote_rows[] = {
    {.name = "name", .type = CONF_NAME, .flags = CONF_REQUIRED, .help = "What the summary calls them"},
    {.name = "count", .type = CONF_INT, .def = "1", .min = 1, .max = 100000, .help = "How many there are"},
    {.name = "id",
     .type = CONF_STRING,
     .min = 1,
     .max = 200,
     .help = "Their ids; {n} is 0, 1, …; name-{n} when not given"},
    {.name = "topic",
     .type = CONF_STRING,
     .def = "{id}/value",
     .min = 1,
     .max = 200,
     .help = "What they publish under; {id}, {n}. A name of two characters is a short one"},
    {.name = "topic_id",
     .type = CONF_INT,
     .def = "0",
     .max = 65534,
     .help = "A predefined id in its place; 0: none"},
    {.name = "qos",
     .type = CONF_CHOICE,
     .def = "1",
     .choices = qualities,
     .help = "Quality of what they publish"},
    {.name = "retain", .type = CONF_BOOL, .def = "false", .help = "Ask to keep what they publish"},
    {.name = "every",
     .type = CONF_DURATION,
     .def = "1s",
     .min = 1,
     .max = 1e9,
     .help = "Time between messages"},
    {.name = "size",
     .type = CONF_INT,
     .def = "16",
     .min = 1,
     .max = 4000,
     .help = "Octets of a message: its id, its number, and dots"},
    {.name = "subscribe", .type = CONF_STRINGS, .help = "Up to 8 filters; {id} is the mote's id"},
    {.name = "subscribe_qos",
     .type = CONF_CHOICE,
     .def = "1",
     .choices = two_bits,
     .help = "Quality that they ask for"},
    {.name = "clean", .type = CONF_BOOL, .def = "false", .help = "Forget the session at each connection"},
    {.name = "keepalive",
     .type = CONF_DURATION,
     .def = "60s",
     .max = 65535000,
     .help = "Promised at the connection, in whole seconds"},
    {.name = "will", .type = CONF_GROUP, .rows = will_rows, .help = "What is said when they are lost"},
    {.name = "sleep",
     .type = CONF_DURATION,
     .def = "0s",
     .max = 65535000,
     .help = "Sleep between messages, and promise to wake within so long, in whole seconds; 0s: stay awake"},
    {.name = "wake",
     .type = CONF_DURATION,
     .def = "10s",
     .min = 10,
     .max = 65535000,
     .help = "A sleeper asks so often what there is"},
    {.name = "retry",
     .type = CONF_DURATION,
     .def = "5s",
     .min = 10,
     .max = 600000,
     .help = "Time after which a request is repeated"},
    {.name = "retries",
     .type = CONF_INT,
     .def = "3",
     .max = 100,
     .help = "How often, before they give up and begin anew"},
    {.name = "start",
     .type = CONF_DURATION,
     .def = "1s",
     .max = 1e9,
     .help = "They come by chance within so long, and publish after it"},
    {.name = "move",
     .type = CONF_INT,
     .def = "0",
     .max = 1e6,
     .help = "Chance in a million, at each message, to be at another address"},
    {.name = "forget",
     .type = CONF_INT,
     .def = "0",
     .max = 1e6,
     .help = "Chance in a million, at each message, to lose all memory"},
    {0},
};

static const struct conf_row line_rows[] = {
    {.name = "framing",
     .type = CONF_CHOICE,
     .flags = CONF_REQUIRED,
     .choices = sim_mote_frame_names,
     .help = "How packets lie among octets"},
    {.name = "baud", .type = CONF_INT, .def = "9600", .min = 50, .max = 4000000, .help = "Speed"},
    {.name = "format",
     .type = CONF_CHOICE,
     .def = "8N1",
     .choices = formats,
     .help = "Sets the length of a character"},
    {.name = "noise",
     .type = CONF_INT,
     .def = "0",
     .max = 1e6,
     .help = "Chance in a million of an octet to be damaged, lost or to have company"},
    {0},
};

static const struct conf_row way_rows[] = {
    {.name = "lose",
     .type = CONF_INT,
     .def = "0",
     .max = 1e6,
     .help = "Chance in a million of a packet, both ways, to be lost"},
    {.name = "twice", .type = CONF_INT, .def = "0", .max = 1e6, .help = "… to come twice"},
    {.name = "late", .type = CONF_INT, .def = "0", .max = 1e6, .help = "… to be overtaken by others"},
    {.name = "late_by",
     .type = CONF_DURATION,
     .def = "200ms",
     .min = 1,
     .max = 600000,
     .help = "Up to so much later"},
    {0},
};

const struct conf_row sim_motes_rows[] = {
    {.name = "gateway", .type = CONF_STRING, .help = "HOST:PORT, for motes on UDP; or else line"},
    {.name = "line",
     .type = CONF_GROUP,
     .rows = line_rows,
     .help = "For motes behind a serial line, which is a pty"},
    {.name = "faults",
     .type = CONF_GROUP,
     .def = "",
     .rows = way_rows,
     .help = "What befalls packets on their way"},
    {.name = "seed",
     .type = CONF_INT,
     .def = "0",
     .max = 9e15,
     .help = "Of all chance; 0: a fresh one at each run"},
    {.name = "log",
     .type = CONF_PATH,
     .help = "File with a line for each message acknowledged, lost or received"},
    {.name = "motes", .type = CONF_LIST, .flags = CONF_REQUIRED, .rows = mote_rows, .help = "Who is there"},
    {0},
};

static char *copy(const char *text)
{
    return text ? mem_strdup(text) : NULL;
}

static void take_will(struct sim_mote_plan *p, const struct conf_node *will)
{
    p->will_topic = copy(conf_string(will, "topic"));
    p->will_message = copy(conf_string(will, "message"));
    p->will_qos = (int)conf_int(will, "qos");
    p->will_retain = conf_bool(will, "retain");
}

static uint64_t us(const struct conf_node *n, const char *name)
{
    return (uint64_t)conf_int(n, name) * 1000;
}

static uint16_t seconds(const struct conf_node *n, const char *name)
{
    return (uint16_t)(conf_int(n, name) / 1000);
}

static void take_filters(struct sim_mote_plan *p, struct conf *conf, const struct conf_node *n)
{
    p->filter_count = conf_count(n, "subscribe");
    if (p->filter_count > SIM_MOTE_FILTERS) {
        conf_error(conf, conf_get(n, "subscribe"), "a mote has at most %d filters", SIM_MOTE_FILTERS);
        p->filter_count = SIM_MOTE_FILTERS;
    }
    for (size_t i = 0; i < p->filter_count; i++)
        p->filters[i] = copy(conf_at(n, "subscribe", i)->s);
}

static void take_plan(struct sim_mote_plan *p, struct conf *conf, const struct conf_node *n)
{
    *p = (struct sim_mote_plan){
        .name = copy(conf_string(n, "name")),
        .id =
            conf_string(n, "id") ? copy(conf_string(n, "id")) : mem_format("%s-{n}", conf_string(n, "name")),
        .topic = copy(conf_string(n, "topic")),
        .topic_id = (uint16_t)conf_int(n, "topic_id"),
        .count = (size_t)conf_int(n, "count"),
        .size = (size_t)conf_int(n, "size"),
        .qos = (int)conf_int(n, "qos") - 1,
        .subscribe_qos = (int)conf_int(n, "subscribe_qos"),
        .clean = conf_bool(n, "clean"),
        .retain = conf_bool(n, "retain"),
        .keepalive_s = seconds(n, "keepalive"),
        .sleep_s = seconds(n, "sleep"),
        .every_us = us(n, "every"),
        .wake_us = us(n, "wake"),
        .retry_us = us(n, "retry"),
        .start_us = us(n, "start"),
        .retries = (unsigned)conf_int(n, "retries"),
        .move_ppm = (uint64_t)conf_int(n, "move"),
        .forget_ppm = (uint64_t)conf_int(n, "forget"),
    };
    if (conf_get(n, "will"))
        take_will(p, conf_get(n, "will"));
    take_filters(p, conf, n);
    if (p->qos == SIM_QOS_MINUS_ONE && !p->topic_id && strlen(p->topic) != 2)
        conf_error(conf, n, "a message of quality -1 needs a topic of two characters or a topic_id");
    if (p->count > 1 && !strstr(p->id, "{n}"))
        conf_error(conf, conf_get(n, "id"), "several motes need several ids: put {n} into it");
}

static void take_gateway(struct sim_motes_conf *c, struct conf *conf, const struct conf_node *n)
{
    const char *colon = strrchr(n->s, ':');

    c->way = &sim_motes_udp;
    if (!colon || colon == n->s || !colon[1]) {
        conf_error(conf, n, "\"%s\" is no HOST:PORT, such as \"127.0.0.1:10000\"", n->s);
        return;
    }
    bool brackets = n->s[0] == '[' && colon[-1] == ']';
    c->host = mem_strndup(n->s + brackets, (size_t)(colon - n->s) - 2u * brackets);
    c->port = mem_strdup(colon + 1);
}

static void take_line(struct sim_motes_conf *c, struct conf *conf, const struct conf_node *n)
{
    c->way = &sim_motes_line;
    c->frame = sim_mote_frame_kinds[conf_int(n, "framing")];
    c->baud = (unsigned)conf_int(n, "baud");
    c->char_bits = conf_int(n, "format") ? 11 : 10;
    c->noise_ppm = (uint64_t)conf_int(n, "noise");
    if (!c->frame->many && c->mote_count > 1)
        conf_error(conf, n, "behind a line with framing = \"%s\" there is one mote, and here are %zu",
                   c->frame->name, c->mote_count);
    if (c->mote_count >= SIM_NODE_ALL)
        conf_error(conf, n, "behind a line there are at most %d motes", SIM_NODE_ALL - 1);
}

static void take_way(struct sim_motes_conf *c, struct conf *conf, const struct conf_node *root)
{
    const struct conf_node *gateway = conf_get(root, "gateway"), *line = conf_get(root, "line");
    const struct conf_node *faults = conf_get(root, "faults");

    if (!gateway == !line)
        conf_error(conf, gateway ? line : root, "motes need either a gateway or a line");
    else if (gateway)
        take_gateway(c, conf, gateway);
    else
        take_line(c, conf, line);
    c->lose_ppm = (uint64_t)conf_int(faults, "lose");
    c->twice_ppm = (uint64_t)conf_int(faults, "twice");
    c->late_ppm = (uint64_t)conf_int(faults, "late");
    c->late_us = us(faults, "late_by");
}

static void take_all(struct sim_motes_conf *c, struct conf *conf, const struct conf_node *root)
{
    c->plan_count = conf_count(root, "motes");
    c->plans = mem_alloc((c->plan_count + 1) * sizeof(c->plans[0]));
    for (size_t i = 0; i < c->plan_count; i++) {
        take_plan(&c->plans[i], conf, conf_at(root, "motes", i));
        c->mote_count += c->plans[i].count;
    }
    take_way(c, conf, root);
    c->log = copy(conf_string(root, "log"));
    c->seed = sim_conf_seed(c->seed, root);
}

int sim_motes_conf_load(struct sim_motes_conf *c, const char *file, char *error, size_t size)
{
    const struct conf_row *const tables[] = {sim_motes_rows};
    struct conf *conf = conf_load_alone(file, tables, 1, NULL);

    if (!conf_errors(conf))
        take_all(c, conf, conf_root(conf));
    int err = sim_conf_mistakes(conf, error, size);
    conf_free(conf);
    return err;
}

void sim_motes_conf_free(struct sim_motes_conf *c)
{
    for (size_t i = 0; i < c->plan_count; i++) {
        struct sim_mote_plan *p = &c->plans[i];
        char *texts[] = {p->name, p->id, p->topic, p->will_topic, p->will_message};
        for (size_t k = 0; k < ARRAY_SIZE(texts); k++)
            free(texts[k]);
        for (size_t k = 0; k < p->filter_count; k++)
            free(p->filters[k]);
    }
    free(c->plans);
    free(c->host);
    free(c->port);
    free(c->log);
}
