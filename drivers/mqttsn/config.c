/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/mqttsn/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/mqtt.h"
#include "drivers/mqttsn/framing.h"

static const struct conf_row predefined_rows[] = {
    {"id", CONF_INT, CONF_REQUIRED, .min = 1, .max = 65534, .help = "the number that motes use"},
    {"topic", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 1024,
     .help = "what it stands for; the prefix comes before it"},
    {0},
};

static const struct conf_row allow_rows[] = {
    {"id", CONF_STRING, .min = 1, .max = 256, .help = "client identifiers, with * and ?; any unless given"},
    {"source", CONF_STRING, .help = "the network that they come from: \"10.1.0.0/16\""},
    {"node", CONF_STRING, .min = 2, .max = 64, .help = "their node behind a forwarder, in hex: \"0a0b\""},
    {"user", CONF_NAME, .help = "whose rules are theirs; the line's unless given"},
    {0},
};

const struct conf_row sn_line_rows[] = {
    {"port", CONF_STRING, CONF_REQUIRED,
     .help = "where motes are: \"udp:ADDRESS:PORT\", \"/dev/ttyUSB0\", \"usb:VENDOR:PRODUCT:SERIAL\", or "
             "\"line:NAME\": polled on a modbus-rtu line, each a device of this one (docs/serial-motes.md)"},
    {"baud", CONF_INT, .def = "115200", .min = 300, .max = 4000000, .help = "serial: bits a second"},
    {"format", CONF_CHOICE, .def = "8N1", .choices = serial_format_names,
     .help = "serial: data bits, parity, stop bits"},
    {"framing", CONF_CHOICE, .def = "plain", .choices = framing_names,
     .help = "serial: how packets lie among the bytes (docs/serial-motes.md)"},
    {"gap", CONF_DURATION, .def = "100ms", .min = 1, .max = 10000,
     .help = "serial: a silence that ends what is unfinished; never less than 5 characters"},
    {"max_packet", CONF_INT, .def = "255", .min = 32, .max = FRAMING_MOST,
     .help = "serial: bytes of the longest packet"},
    {"rs485", CONF_GROUP, .def = "", .rows = rs485_rows, .help = "serial: how the transceiver is switched"},
    {"share", CONF_INT, .def = "30", .min = 1, .max = 100,
     .help = "line:NAME: percent of that line's time that the motes may take at most"},
    {"multicast", CONF_STRING, .help = "group by which motes find the gateway, on the port's number"},
    {"interface", CONF_STRING, .min = 1, .max = 15, .help = "network interface of the group"},
    {"gateway_id", CONF_INT, .def = "1", .min = 1, .max = 255, .help = "tells gateways of one place apart"},
    {"advertise", CONF_DURATION, .def = "15m", .min = 1000, .max = 65535000,
     .help = "how often the gateway says in the group that it is there"},
    {"qos_minus_one", CONF_BOOL, .def = "false",
     .help = "take messages of motes that are not connected (QoS -1)"},
    {"prefix", CONF_STRING, .max = 1024,
     .help = "begins the topics of these motes; {root}/mote/ unless given, \"\" for bare topics"},
    {"user", CONF_NAME, .help = "whose rules (acl) are those of the motes"},
    {"anonymous", CONF_BOOL, .def = "false",
     .help = "bare topics without a user, beyond this box: whoever can send there may do everything"},
    {"allow", CONF_LIST, .rows = allow_rows, .help = "which motes there may be, and where; all unless given"},
    {"predefined", CONF_LIST, .rows = predefined_rows, .help = "topic ids that all motes know"},
    {"retry", CONF_DURATION, .def = "10s", .min = 1000, .max = 300000,
     .help = "how long a mote may take to answer before it is sent the same again (Tretry); on a serial line "
             "what four of the longest packets take and a second, unless more is given"},
    {"retries", CONF_INT, .def = "3", .min = 0, .max = 20,
     .help = "how often; then it is left alone until it is heard (Nretry)"},
    {"wake_messages", CONF_INT, .def = "0", .min = 0, .max = 65535,
     .help = "most messages that a sleeper gets each time it wakes; 0: all"},
    {"keepalive", CONF_DURATION, .def = "1h", .min = 1000, .max = 86400000,
     .help = "of motes that name none"},
    {"queue_messages", CONF_INT, .def = "1000", .min = 1, .max = 1000000,
     .help = "messages of QoS 1 and 2 that wait for one mote"},
    {"queue", CONF_SIZE, .def = "1M", .min = 1024, .max = 1073741824, .help = "and their bytes"},
    {"queue_full", CONF_CHOICE, .def = "drop-oldest",
     .choices = (const char *const[]){"drop-oldest", "drop-newest", "refuse", NULL},
     .help = "what gives way when they are too many"},
    {"queue_qos0", CONF_INT, .def = "16", .min = 0, .max = 10000,
     .help = "messages of QoS 0 that wait for one mote that sleeps; the oldest gives way"},
    {"rate", CONF_INT, .def = "1000", .min = 0, .max = 1000000,
     .help = "packets a second of one address, unless given: beyond this box; 0: any number"},
    {"motes", CONF_INT, .def = "10000", .min = 1, .max = 1000000,
     .help = "most that are connected or asleep"},
    {"topics", CONF_INT, .def = "8192", .min = 1, .max = 65534, .help = "most topic ids of one mote"},
    {"presence", CONF_BOOL, .def = "true", .help = "publish {root}/mote/{id}/state"},
    {0},
};

/* Only motes that are polled are devices; others make themselves known. */
const struct conf_row sn_device_rows[] = {
    {"unit", CONF_INT, CONF_REQUIRED, .min = 1, .max = 247, .help = "its address on the Modbus line"},
    {"function", CONF_INT, .def = "65", .min = 65, .max = 110,
     .help = "the function that carries its packets: 65 to 72 or 100 to 110"},
    {"every", CONF_DURATION, .def = "1s", .min = 50, .max = 60000,
     .help = "how often it is polled while it has nothing to say"},
    {0},
};

/* ---- what is wrong ---- */

static int unhex(const char *text, uint8_t out[SN_NODE_MOST])
{
    size_t len = strlen(text);

    if (len % 2 || len / 2 > SN_NODE_MOST || strspn(text, "0123456789abcdefABCDEF") != len)
        return -EINVAL;
    for (size_t i = 0; i < len / 2; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return (int)(len / 2);
}

struct link_settings sn_link_settings(const struct conf_node *line)
{
    struct link_settings s = {.name = line->name,
                              .spec = conf_string(line, "port"),
                              .multicast = conf_string(line, "multicast"),
                              .interface = conf_string(line, "interface"),
                              .share = (unsigned)conf_int(line, "share"),
                              .serial = {.baud = (uint32_t)conf_int(line, "baud"),
                                         .gap_us = (uint32_t)conf_int(line, "gap") * 1000,
                                         .most = (size_t)conf_int(line, "max_packet"),
                                         .format = &serial_formats[conf_int(line, "format")],
                                         .framing = framings[conf_int(line, "framing")]}};

    rs485_read(&s.serial.rs485, conf_get(line, "rs485"));
    return s;
}

static const struct link_kind *check_port(struct conf *c, const struct conf_node *line)
{
    const struct conf_node *port = conf_get(line, "port");
    const struct link_settings s = sn_link_settings(line);
    char error[256];

    if (!port || port->blank)
        return NULL;
    const struct link_kind *kind = link_kind_of(port->s);
    if (!kind) {
        conf_error(c, port,
                   "motes cannot be reached by \"%s\"; write udp:ADDRESS:PORT, a path such as /dev/ttyUSB0, "
                   "usb:VENDOR:PRODUCT:SERIAL, or "
                   "line:NAME",
                   port->s);
        return NULL;
    }
    if (kind->check(&s, error, sizeof(error))) {
        conf_error(c, port, "%s", error);
        return NULL;
    }
    if (s.multicast && !kind->shout)
        conf_error(c, conf_get(line, "multicast"), "%s has no groups; leave multicast out", port->s);
    return kind;
}

/* Without a user the prefix is what confines motes. */
static void check_prefix(struct conf *c, const struct conf_node *line, const struct link_kind *kind)
{
    const struct conf_node *prefix = conf_get(line, "prefix");
    const struct link_settings s = sn_link_settings(line);

    if (!prefix || prefix->blank)
        return;
    size_t len = strlen(prefix->s);
    if (len && (prefix->s[len - 1] != '/' || prefix->s[0] == '$' || !mqtt_topic_ok(bytes_of(prefix->s)))) {
        conf_error(c, prefix,
                   "\"%s\" cannot begin topics; write it without + and # and a leading $, and with "
                   "a slash at the end, or \"\" for bare topics",
                   prefix->s);
        return;
    }
    if (!len && kind && !kind->is_local(&s) && !conf_string(line, "user") && !conf_bool(line, "anonymous"))
        conf_error(
            c, prefix,
            "whoever reaches %s could publish everything; name a user whose rules hold for these motes, "
            "leave the prefix, or say anonymous = true",
            s.spec);
}

static void check_predefined(struct conf *c, const struct conf_node *line)
{
    for (size_t i = 0; i < conf_count(line, "predefined"); i++) {
        const struct conf_node *one = conf_at(line, "predefined", i), *topic = conf_get(one, "topic");
        if (!topic || topic->blank)
            continue;
        if (!mqtt_topic_ok(bytes_of(topic->s)))
            conf_error(c, topic, "\"%s\" is no topic; a topic is UTF-8 and has no + and #", topic->s);
        for (size_t k = 0; k < i; k++)
            if (conf_int(conf_at(line, "predefined", k), "id") == conf_int(one, "id") && conf_int(one, "id"))
                conf_error(c, one, "topic id %d is there twice; give each topic an id of its own",
                           (int)conf_int(one, "id"));
    }
}

static void check_allow(struct conf *c, const struct conf_node *line)
{
    for (size_t i = 0; i < conf_count(line, "allow"); i++) {
        const struct conf_node *one = conf_at(line, "allow", i);
        const struct conf_node *source = conf_get(one, "source"), *node = conf_get(one, "node");
        struct network n;
        uint8_t bytes[SN_NODE_MOST];
        if (source && !source->blank && network_parse(source->s, &n))
            conf_error(c, source, "\"%s\" is no network; write it like 10.1.0.0/16 or 2001:db8::/32",
                       source->s);
        if (node && !node->blank && unhex(node->s, bytes) <= 0)
            conf_error(c, node, "\"%s\" is no node; write its bytes in hex, like 0a0b", node->s);
    }
}

/* ---- motes that are polled on another line ---- */

static const struct conf_node *named(const struct conf_node *root, const char *list, const char *name)
{
    for (size_t i = 0; i < conf_count(root, list); i++)
        if (!strcmp(conf_at(root, list, i)->name, name))
            return conf_at(root, list, i);
    return NULL;
}

/* Another device that has the unit: of the line that is shared, or one before this. */
static const struct conf_node *unit_of_other(const struct conf_node *root, const struct conf_node *device,
                                             const char *carrier)
{
    bool before = true;

    for (size_t i = 0; i < conf_count(root, "devices"); i++) {
        const struct conf_node *d = conf_at(root, "devices", i);
        const char *line = conf_string(d, "line");
        before = before && d != device;
        bool rival = !strcmp(line, carrier) || (before && !strcmp(line, conf_string(device, "line")));
        if (rival && conf_get(d, "unit") && conf_int(d, "unit") == conf_int(device, "unit"))
            return d;
    }
    return NULL;
}

static void check_node(struct conf *c, const struct conf_node *device, const char *carrier)
{
    const struct conf_node *unit = conf_get(device, "unit"), *function = conf_get(device, "function");
    const struct conf_node *other;

    if (function->i > 72 && function->i < 100)
        conf_error(c, function,
                   "function %d is not for users to define; choose one of 65 to 72 or 100 to 110",
                   (int)function->i);
    if (unit && !unit->blank && (other = unit_of_other(conf_root(c), device, carrier)))
        conf_error(c, unit, "unit %d is also that of device %s (%s:%d); give each a unit of its own",
                   (int)unit->i, other->name, other->file, other->line);
}

static bool is_shared(const struct conf_node *port)
{
    return port && !port->blank && !strncmp(port->s, "line:", 5);
}

static void check_carrier(struct conf *c, const struct driver_conf *line)
{
    const struct conf_node *root = conf_root(c), *port = conf_get(line->line, "port");
    const struct conf_node *carrier = named(root, "lines", port->s + 5);

    if (!carrier || strcmp(conf_string(carrier, "protocol"), "modbus-rtu"))
        conf_error(c, port, "\"%s\" names no line of protocol modbus-rtu; motes share one of these", port->s);
    if (!line->device_count)
        conf_error(c, port,
                   "a node that is not known cannot be polled; add a device with line = \"%s\", protocol = "
                   "\"mqtt-sn\" and its unit for each",
                   line->line->name);
    for (size_t i = 0; i < conf_count(root, "lines"); i++) {
        const struct conf_node *other = conf_at(root, "lines", i);
        const char *its = conf_string(other, "port");
        if (other == line->line)
            break;
        if (its && !strcmp(its, port->s))
            conf_error(c, port, "line %s has the motes of %s already; make its nodes devices of that line",
                       other->name, port->s + 5);
    }
    for (size_t i = 0; i < line->device_count; i++)
        check_node(c, line->devices[i], port->s + 5);
}

struct link_node *sn_nodes(const struct driver_conf *line)
{
    struct link_node *out = mem_alloc((line->device_count + 1) * sizeof(*out));

    for (size_t i = 0; i < line->device_count; i++) {
        const struct conf_node *d = line->devices[i];
        out[i] = (struct link_node){d->name, (uint8_t)conf_int(d, "unit"), (uint8_t)conf_int(d, "function"),
                                    (uint64_t)conf_int(d, "every") * 1000};
    }
    return out;
}

void sn_check(struct conf *c, const struct driver_conf *line)
{
    if (is_shared(conf_get(line->line, "port")))
        check_carrier(c, line);
    else if (line->device_count)
        conf_error(c, line->devices[0],
                   "motes on line %s make themselves known; only those on a port \"line:NAME\" are devices",
                   line->line->name);
    check_prefix(c, line->line, check_port(c, line->line));
    check_predefined(c, line->line);
    check_allow(c, line->line);
}

/* ---- settings ---- */

static char *copy(const char *text)
{
    return text ? mem_strdup(text) : NULL;
}

static uint32_t seconds(const struct conf_node *line, const char *name)
{
    return (uint32_t)((conf_int(line, name) + 999) / 1000);
}

static int by_id(const void *a, const void *b)
{
    const struct sn_predefined *x = a, *y = b;

    return x->id - y->id;
}

static int by_topic(const void *a, const void *b)
{
    const struct sn_predefined *const *x = a, *const *y = b;

    return strcmp((*x)->topic, (*y)->topic);
}

static void take_predefined(struct sn_settings *s, const struct conf_node *line)
{
    s->predefined_count = conf_count(line, "predefined");
    s->predefined = mem_alloc((s->predefined_count + 1) * sizeof(*s->predefined));
    s->by_topic = mem_alloc((s->predefined_count + 1) * sizeof(*s->by_topic));
    for (size_t i = 0; i < s->predefined_count; i++) {
        const struct conf_node *one = conf_at(line, "predefined", i);
        s->predefined[i].id = (uint16_t)conf_int(one, "id");
        s->predefined[i].topic = copy(conf_string(one, "topic"));
    }
    qsort(s->predefined, s->predefined_count, sizeof(*s->predefined), by_id);
    for (size_t i = 0; i < s->predefined_count; i++)
        s->by_topic[i] = &s->predefined[i];
    qsort(s->by_topic, s->predefined_count, sizeof(*s->by_topic), by_topic);
}

static void take_allow(struct sn_settings *s, const struct conf_node *line)
{
    s->allow_count = conf_count(line, "allow");
    s->allow = mem_alloc((s->allow_count + 1) * sizeof(*s->allow));
    for (size_t i = 0; i < s->allow_count; i++) {
        const struct conf_node *one = conf_at(line, "allow", i);
        const char *source = conf_string(one, "source"), *node = conf_string(one, "node");
        struct sn_allow *a = &s->allow[i];
        a->id = copy(conf_string(one, "id"));
        a->user = copy(conf_string(one, "user"));
        a->has_source = source && !network_parse(source, &a->source);
        a->has_node = node != NULL;
        if (node)
            a->node_len = (uint8_t)unhex(node, a->node);
    }
}

struct sn_settings *sn_settings_new(const struct conf_node *line, const char *root)
{
    struct sn_settings *s = mem_alloc(sizeof(*s));
    const char *prefix = conf_string(line, "prefix");

    *s = (struct sn_settings){
        .name = copy(line->name),
        .port = copy(conf_string(line, "port")),
        .multicast = copy(conf_string(line, "multicast")),
        .interface = copy(conf_string(line, "interface")),
        .prefix = prefix ? copy(prefix) : mem_format("%s/mote/", root),
        .user = copy(conf_string(line, "user")),
        .gateway_id = (uint8_t)conf_int(line, "gateway_id"),
        .minus_one = conf_bool(line, "qos_minus_one"),
        .presence = conf_bool(line, "presence"),
        .advertise_s = conf_string(line, "multicast") ? seconds(line, "advertise") : 0,
        .retry_s = seconds(line, "retry"),
        .retries = (uint32_t)conf_int(line, "retries"),
        .wake_messages = (uint32_t)conf_int(line, "wake_messages"),
        .keep_alive_s = seconds(line, "keepalive"),
        .rate = (uint32_t)conf_int(line, "rate"),
        .rate_given = conf_get(line, "rate")->given,
        .most_motes = (uint32_t)conf_int(line, "motes"),
        .most_topics = (uint32_t)conf_int(line, "topics"),
        .most_waiting = (uint32_t)conf_int(line, "queue_qos0"),
        .queue = {(uint64_t)conf_int(line, "queue_messages"), (uint64_t)conf_int(line, "queue"), 0,
                  (enum queue_full)conf_int(line, "queue_full")},
    };
    take_predefined(s, line);
    take_allow(s, line);
    return s;
}

void sn_settings_free(struct sn_settings *s)
{
    for (size_t i = 0; i < s->predefined_count; i++)
        free(s->predefined[i].topic);
    for (size_t i = 0; i < s->allow_count; i++) {
        free(s->allow[i].id);
        free(s->allow[i].user);
    }
    free(s->predefined);
    free(s->by_topic);
    free(s->allow);
    free(s->name);
    free(s->port);
    free(s->multicast);
    free(s->interface);
    free(s->prefix);
    free(s->user);
    free(s);
}

const struct sn_predefined *sn_predefined_id(const struct sn_settings *s, uint16_t id)
{
    const struct sn_predefined key = {.id = id};

    return bsearch(&key, s->predefined, s->predefined_count, sizeof(*s->predefined), by_id);
}

static int compare_topic(const void *key, const void *element)
{
    const struct sn_predefined *const *p = element;
    const struct bytes *topic = key;
    size_t len = strlen((*p)->topic);
    int order = memcmp(topic->data, (*p)->topic, topic->len < len ? topic->len : len);

    return order ? order : (topic->len > len) - (topic->len < len);
}

const struct sn_predefined *sn_predefined_topic(const struct sn_settings *s, struct bytes topic)
{
    const struct sn_predefined *const *found =
        bsearch(&topic, s->by_topic, s->predefined_count, sizeof(*s->by_topic), compare_topic);

    return found ? *found : NULL;
}

const struct link_kind *link_kind_of(const char *spec)
{
    for (const struct link_kind *const *k = link_kinds; *k; k++)
        if (!strncmp(spec, (*k)->prefix, strlen((*k)->prefix)))
            return *k;
    return NULL;
}
