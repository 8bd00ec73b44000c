/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of modbus_servers, and the mistakes that rows cannot see. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/modbus/serve.h"
#include "drivers/modbus/serve_framing.h"
#include "net/listener.h"
#include "net/tls.h"

static const struct conf_row tls_rows[] = {
    {"cert", CONF_PATH, CONF_REQUIRED, .help = "certificate with its chain (PEM)"},
    {"key", CONF_PATH, CONF_REQUIRED, .help = "its private key (PEM)"},
    {"client_ca", CONF_PATH, .help = "masters must show a certificate signed by one of these (PEM)"},
    {0},
};

static const struct conf_row gateway_rows[] = {
    {"units", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 16,
     .help = "the units that masters ask, one or several: \"5\", \"1-31\""},
    {"line", CONF_NAME, CONF_REQUIRED, .help = "the Modbus line that has them"},
    {"to", CONF_INT, .min = 0, .max = 255, .help = "the first of them on the line; the same unless given"},
    {"functions", CONF_STRINGS,
     .help = "what may be asked: read (codes 1 to 4, 24), identify (17, 43/14), diagnose (7, 8, 11, 12), "
             "other (all "
             "others but writes, of which nobody knows what they change); read unless given"},
    {"writes", CONF_STRINGS,
     .help = "what may be written (codes 5, 6, 15, 16, 22, 23), as on the wire: \"holding:100-119\", "
             "\"coil:0-7\"; nothing unless given"},
    {"expire", CONF_DURATION, .def = "5s", .min = 100, .max = 600000,
     .help = "a request that could not be sent for so long is given up"},
    {0},
};

static const struct conf_row server_rows[] = {
    {"bind", CONF_STRING, CONF_REQUIRED, .help = "address:port or *:port; 502 is Modbus', 802 that over TLS"},
    {"allow", CONF_STRINGS,
     .help = "addresses or networks (\"10.0.0.0/8\") of the masters; others are not let in. Needed, or "
             "tls.client_ca, "
             "where others than this box reach it: Modbus itself asks nobody who they are"},
    {"tls", CONF_GROUP, .rows = tls_rows, .help = "Modbus/TCP Security; without it, plain"},
    {"framing", CONF_CHOICE, .def = "tcp", .choices = serve_framing_names,
     .help = "tcp, or rtu for masters that speak as on a serial line, with CRC (RTU over TCP)"},
    {"max_connections", CONF_INT, .def = "16", .min = 1, .max = 1024, .help = "masters at a time"},
    {"in_flight", CONF_INT, .def = "8", .min = 1, .max = 64,
     .help = "requests of one master that wait for their answers; beyond that it is not read; with framing = "
             "\"rtu\" one"},
    {"idle", CONF_DURATION, .def = "10m", .min = 1000, .max = 86400000,
     .help = "a master that asks nothing for so long is let go"},
    {"units", CONF_LIST, .rows = serve_unit_rows, .help = "units that show points of this box"},
    {"gateways", CONF_LIST, .rows = gateway_rows, .help = "units of lines that masters reach through us"},
    {0},
};

const struct conf_row serve_rows[] = {
    {"modbus_servers", CONF_LIST, .rows = server_rows, .help = "what this box is to Modbus TCP masters"},
    {0},
};

/* ---- who may reach it ---- */

static void check_who(struct conf *c, const struct conf_node *n)
{
    const struct conf_node *tls = conf_get(n, "tls"), *bind = conf_get(n, "bind");
    bool loopback = false;

    listener_parse(bind->s, &loopback);
    if (!loopback && !conf_get(n, "allow") && !(tls && conf_string(tls, "client_ca")))
        conf_error(
            c, bind,
            "%s can be reached from outside, and Modbus asks nobody who they are; add allow = ( "
            "\"192.0.2.7\", … ) with the masters' addresses, or tls = { cert, key, client_ca }, or bind "
            "to 127.0.0.1",
            bind->s);
}

static void check_allow(struct conf *c, const struct conf_node *n)
{
    struct network network;

    for (size_t i = 0; i < conf_count(n, "allow"); i++)
        if (network_parse(conf_at(n, "allow", i)->s, &network))
            conf_error(c, conf_get(n, "allow"),
                       "\"%s\" is no address and no network; write \"192.0.2.7\", \"10.0.0.0/8\" or "
                       "\"2001:db8::/32\" (no bits beyond the mask)",
                       conf_at(n, "allow", i)->s);
}

static void check_tls(struct conf *c, const struct conf_node *n)
{
    const struct conf_node *tls = conf_get(n, "tls");
    struct tls_context *context = NULL;
    char error[256];

    if (!tls || conf_get(tls, "cert")->blank || conf_get(tls, "key")->blank)
        return;
    const struct tls_server_config config = {conf_string(tls, "cert"), conf_string(tls, "key"),
                                             conf_string(tls, "client_ca")};
    if (tls_server_new(&context, &config, error, sizeof error))
        conf_error(c, tls, "%s", error);
    else
        tls_context_free(context);
}

/* While we run, an address that cannot be had is told before anything stops; of those of our own we know
 * nothing until they have closed. */
static void check_free(struct conf *c, const struct conf_node *bind, const struct list *running)
{
    const char *port = strrchr(bind->s, ':');

    if (!running)
        return;
    list_for(it, running)
    {
        const char *ours = strrchr(list_entry(it, struct server, link)->bind, ':');
        if (port && ours && !strcmp(port, ours))
            return;
    }
    int err = listener_probe(bind->s);
    if (err)
        conf_error(c, bind, "%s cannot be listened on: %s", bind->s, uv_strerror(err));
}

/* ---- what it serves ---- */

struct taken {
    const struct conf_node *by[256];
};

static void take_unit(struct conf *c, struct taken *t, const struct conf_node *n, const struct conf_node *at,
                      unsigned unit)
{
    const struct conf_node *was = t->by[unit];

    if (was && was != n)
        conf_error(c, at, "unit %u is served already (%s:%d)", unit, was->file, was->line);
    else
        t->by[unit] = n;
}

static const struct conf_node *line_of(struct conf *c, const struct conf_node *gateway)
{
    const struct conf_node *root = conf_root(c), *at = conf_get(gateway, "line");

    for (size_t i = 0; i < conf_count(root, "lines"); i++)
        if (!strcmp(conf_at(root, "lines", i)->name, at->s))
            return conf_at(root, "lines", i);
    if (!at->blank)
        conf_error(c, at, "there is no line %s; add it to lines", at->s);
    return NULL;
}

static void check_line(struct conf *c, const struct conf_node *n, unsigned first, unsigned last)
{
    const struct conf_node *line = line_of(c, n), *to = conf_get(n, "to");
    const char *protocol = line ? conf_string(line, "protocol") : "";
    unsigned from = to ? (unsigned)to->i : first, end = from + (last - first);

    if (line && strncmp(protocol, "modbus-", 7))
        conf_error(c, conf_get(n, "line"), "line %s speaks %s, not Modbus", line->name, protocol);
    else if (line && (!strcmp(protocol, "modbus-rtu") ? from < 1 || end > 247 : end > 255))
        conf_error(c, n, "units %u to %u of line %s: %s", from, end, line->name,
                   !strcmp(protocol, "modbus-rtu") ? "a serial line has units from 1 to 247"
                                                   : "there are units from 0 to 255");
}

static void check_words(struct conf *c, const struct conf_node *n)
{
    struct plan_range range;

    for (size_t i = 0; i < conf_count(n, "functions"); i++) {
        const char *word = conf_at(n, "functions", i)->s;
        if (!serve_is_class(word))
            conf_error(c, conf_get(n, "functions"),
                       "functions: \"%s\" is none of read, identify, diagnose, other; what may be written "
                       "stands in `writes`",
                       word);
    }
    for (size_t i = 0; i < conf_count(n, "writes"); i++) {
        const char *word = conf_at(n, "writes", i)->s;
        bool right = modbus_range_read(word, 0, &range);
        if (!right || (range.table != TABLE_HOLDING && range.table != TABLE_COIL))
            conf_error(c, conf_get(n, "writes"),
                       "writes: \"%s\" is nothing that can be written; write \"holding:100-119\" or "
                       "\"coil:0-7\"",
                       word);
    }
}

static void check_gateway(struct conf *c, struct taken *t, const struct conf_node *n)
{
    const struct conf_node *units = conf_get(n, "units");
    uint8_t first, last;

    check_words(c, n);
    if (units->blank)
        return;
    if (!serve_units_read(units->s, &first, &last)) {
        conf_error(c, units, "units = \"%s\" is no unit and no range; write \"5\" or \"1-31\", up to 255",
                   units->s);
        return;
    }
    check_line(c, n, first, last);
    for (unsigned u = first; u <= last; u++)
        take_unit(c, t, n, units, u);
}

static void check_server(struct conf *c, const struct conf_node *n, const struct list *running)
{
    const struct conf_node *bind = conf_get(n, "bind");
    struct taken taken = {0};

    if (!bind->blank && (listener_parse(bind->s, NULL) || !strncmp(bind->s, "unix:", 5))) {
        conf_error(c, bind, "\"%s\" is no address to listen on; write \"127.0.0.1:1502\" or \"*:502\"",
                   bind->s);
    } else if (!bind->blank) {
        check_who(c, n);
        check_free(c, bind, running);
    }
    check_allow(c, n);
    check_tls(c, n);
    for (size_t i = 0; i < conf_count(n, "units"); i++) {
        const struct conf_node *u = conf_at(n, "units", i), *unit = conf_get(u, "unit");
        if (!unit->blank)
            take_unit(c, &taken, u, unit, (unsigned)unit->i);
        serve_map_check(c, u);
    }
    for (size_t i = 0; i < conf_count(n, "gateways"); i++)
        check_gateway(c, &taken, conf_at(n, "gateways", i));
    if (!conf_count(n, "units") && !conf_count(n, "gateways"))
        conf_error(c, n, "this server serves nothing; add units, gateways, or both");
}

void serve_check(struct conf *c, const struct list *running)
{
    const struct conf_node *root = conf_root(c);

    for (size_t i = 0; i < conf_count(root, "modbus_servers"); i++) {
        const struct conf_node *n = conf_at(root, "modbus_servers", i);
        check_server(c, n, running);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(conf_string(conf_at(root, "modbus_servers", k), "bind"), conf_string(n, "bind")))
                conf_error(c, n, "%s is bound twice", conf_string(n, "bind"));
    }
}
