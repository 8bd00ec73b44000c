/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/ports.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "broker/auth_service.h"
#include "broker/client.h"
#include "codec/mqtt.h"
#include "net/listener.h"
#include "net/proxy.h"
#include "net/tls.h"
#include "net/ws.h"

enum protocol { PROTOCOL_MQTT, PROTOCOL_HTTP };

static const struct conf_row tls_rows[] = {
    {"cert", CONF_PATH, CONF_REQUIRED, .help = "certificate with its chain (PEM)"},
    {"key", CONF_PATH, CONF_REQUIRED, .help = "its private key (PEM)"},
    {"client_ca", CONF_PATH, .help = "clients must show a certificate signed by one of these (PEM)"},
    {0},
};
static const struct conf_row redirect_rows[] = {
    {"to", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 1024,
     .help = "the server that MQTT 5 clients are told of: \"host:port\"; several with spaces between"},
    {"for_good", CONF_BOOL, .def = "false", .help = "it is theirs from now on, not only this time"},
    {0},
};
const struct conf_row port_rows[] = {
    {"bind", CONF_STRING, CONF_REQUIRED, .help = "address:port, *:port, or unix:/path"},
    {"anonymous", CONF_BOOL, .def = "false", .help = "take clients without a name: no user, no certificate"},
    {"everybody", CONF_BOOL, .def = "false",
     .help = "with anonymous = true: even where others than this box reach it"},
    {"protocol", CONF_CHOICE, .def = "mqtt", .choices = (const char *const[]){"mqtt", "http", NULL},
     .help = "what is spoken; http: MQTT over WebSocket at " WS_PATH},
    {"tls", CONF_GROUP, .rows = tls_rows, .help = "TLS; without it, plain"},
    {"redirect", CONF_GROUP, .rows = redirect_rows,
     .help = "send the clients of this listener to another server; who is connected is disconnected"},
    {"max_packet", CONF_SIZE, .min = 1024, .max = 268435460,
     .help = "largest MQTT packet taken here; at most, and unless given, limits.packet"},
    {"max_connections", CONF_INT, .min = 1, .max = LIMIT_CLIENTS,
     .help = "connections at a time; without it, limits.clients bounds all listeners together"},
    {"connect_rate", CONF_INT, .min = 1, .max = 1000,
     .help = "connections a second of one address (of IPv6, of one /64), as many at once; without it, any"},
    {"connect_timeout", CONF_DURATION, .min = 1000, .max = 600000,
     .help = "from connecting to the MQTT CONNECT, handshakes included; without it, limits.connect_timeout"},
    {"origins", CONF_STRINGS,
     .help = "with protocol = \"http\": whose pages may connect, as browsers tell it "
             "(\"https://hmi.example.com\"), "
             "or \"*\" for all; without it, those of the very host that they connect to (on loopback: "
             "localhost)"},
    {"proxy", CONF_BOOL, .def = "false",
     .help = "a load balancer in front announces each peer by the PROXY protocol (1 or 2)"},
    {"proxy_from", CONF_STRINGS,
     .help =
         "with proxy = true: addresses or networks (\"10.0.0.0/8\") of the balancers; others are not let in"},
    {"proxy_certificates", CONF_BOOL, .def = "false",
     .help = "with proxy = true: the balancer ends TLS and has verified the client certificate whose name it "
             "announces; that name is the user"},
    {0},
};

struct port {
    struct list link;
    const struct conf_node *conf;
    struct client_port *clients;
    struct listener *listener;
    struct proxy_config proxy;
    struct ws_config ws;
};

static struct {
    struct gateway *gw;
    struct list ports;   /* that listen */
    struct list retired; /* of listeners that were taken away, while they have clients */
} self;

/* ---- check ---- */

static int tls_open(struct tls_context **out, const struct conf_node *listener, char *error, size_t size)
{
    const struct conf_node *tls = conf_get(listener, "tls");

    *out = NULL;
    if (!tls)
        return 0;
    struct tls_server_config config = {conf_string(tls, "cert"), conf_string(tls, "key"),
                                       conf_string(tls, "client_ca")};
    return tls_server_new(out, &config, error, size);
}

/* Clients show certificates, to us or to a balancer that we believe. */
static bool asks_certificates(const struct conf_node *l)
{
    const struct conf_node *tls = conf_get(l, "tls");

    return (tls && conf_string(tls, "client_ca")) || conf_bool(l, "proxy_certificates");
}

/* Only this box can reach it, through no balancer either. */
static bool is_local(const struct conf_node *l)
{
    bool loopback = false;

    return !listener_parse(conf_string(l, "bind"), &loopback) && loopback && !conf_bool(l, "proxy");
}

/* Who gets in must be somebody, and nobody unasked from outside but by an explicit word. */
static void check_who(struct conf *c, const struct conf_node *l)
{
    const struct conf_node *bind = conf_get(l, "bind");
    bool asks = auth_conf_asks(conf_root(c)), anonymous = conf_bool(l, "anonymous"),
         everybody = conf_bool(l, "everybody"), certificates = asks_certificates(l), local = is_local(l);

    if (everybody && !anonymous)
        conf_error(c, conf_get(l, "everybody"), "everybody = true goes with anonymous = true");
    else if (!local && anonymous && !everybody && !certificates)
        conf_error(
            c, bind,
            "%s can be reached from outside, and anonymous = true lets in whoever reaches it; leave it "
            "out, bind to 127.0.0.1, or add everybody = true if that is meant",
            bind->s);
    else if (!local && !anonymous && !certificates && !asks)
        conf_error(c, bind,
                   "%s can be reached from outside and asks nobody who they are; add users (sluicectl user "
                   "add), or tls = { cert, key, client_ca }, or bind to 127.0.0.1",
                   bind->s);
    else if (!certificates && !anonymous && !asks)
        conf_error(c, l,
                   "this listener would refuse everybody; add users (sluicectl user add), set anonymous = "
                   "true or add tls = { …; client_ca }");
    if (asks && !local && !conf_get(l, "tls") && !conf_bool(l, "proxy"))
        conf_warn(c, bind, "passwords cross the network in the clear at %s; add tls = { cert, key }",
                  bind->s);
}

static void check_proxy(struct conf *c, const struct conf_node *l)
{
    static const char *const words[] = {"proxy_from", "proxy_certificates"};
    bool proxy = conf_bool(l, "proxy"), from = conf_get(l, "proxy_from"), loopback = false;
    struct network network;

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (!proxy && conf_get(l, words[i]) && conf_get(l, words[i])->given)
            conf_error(c, conf_get(l, words[i]), "%s goes with proxy = true", words[i]);
    for (size_t i = 0; i < conf_count(l, "proxy_from"); i++) {
        const char *text = conf_at(l, "proxy_from", i)->s;
        if (network_parse(text, &network))
            conf_error(c, conf_get(l, "proxy_from"),
                       "\"%s\" is no address and no network; write \"192.0.2.7\", \"10.0.0.0/8\" or "
                       "\"2001:db8::/32\" (no bits beyond the mask)",
                       text);
    }
    listener_parse(conf_string(l, "bind"), &loopback);
    if (!proxy || from || loopback)
        return;
    if (conf_bool(l, "proxy_certificates"))
        conf_error(
            c, conf_get(l, "proxy_certificates"),
            "whoever reaches %s could announce any name; add proxy_from = ( \"…\" ) with the balancers' "
            "addresses",
            conf_string(l, "bind"));
    else
        conf_warn(
            c, conf_get(l, "proxy"),
            "whoever reaches %s can announce any address; add proxy_from = ( \"…\" ) with the balancers' "
            "addresses",
            conf_string(l, "bind"));
}

/* While we run: an address that cannot be had is a mistake like others, told before anything stops. One of a
 * port that we listen on ourselves may be free once that has closed. */
static void check_free(struct conf *c, const struct conf_node *bind)
{
    const char *number = strrchr(bind->s, ':');

    if (!self.gw)
        return;
    list_for(it, &self.ports)
    {
        const char *ours = strrchr(list_entry(it, struct port, link)->clients->name, ':');
        if (number && ours && !strcmp(number, ours))
            return;
    }
    int err = listener_probe(bind->s);
    if (err)
        conf_error(c, bind, "%s cannot be listened on: %s", bind->s, uv_strerror(err));
}

static void check_listener(struct conf *c, const struct conf_node *l)
{
    struct tls_context *context;
    char error[256];

    if (listener_parse(conf_string(l, "bind"), NULL) != 0) {
        conf_error(c, conf_get(l, "bind"),
                   "\"%s\" is no address to listen on; write \"127.0.0.1:1883\", \"*:8883\" or "
                   "\"unix:/run/sluice/mqtt.sock\"",
                   conf_string(l, "bind"));
        return;
    }
    check_free(c, conf_get(l, "bind"));
    check_who(c, l);
    check_proxy(c, l);
    if (conf_get(l, "origins") && conf_int(l, "protocol") != PROTOCOL_HTTP)
        conf_error(c, conf_get(l, "origins"), "origins goes with protocol = \"http\"");
    if (tls_open(&context, l, error, sizeof(error)) != 0)
        conf_error(c, conf_get(l, "tls"), "%s", error);
    else
        tls_context_free(context);
}

void ports_check(struct conf *c, FILE *report)
{
    const struct conf_node *root = conf_root(c);
    size_t count = conf_count(root, "listeners");

    (void)report;
    for (size_t i = 0; i < count; i++) {
        const struct conf_node *l = conf_at(root, "listeners", i);
        check_listener(c, l);
        for (size_t j = 0; j < i; j++)
            if (!strcmp(conf_string(conf_at(root, "listeners", j), "bind"), conf_string(l, "bind")))
                conf_error(c, l, "%s is bound twice", conf_string(l, "bind"));
    }
}

/* ---- open ---- */

static void take(void *arg, const struct accepted *a)
{
    struct port *p = arg;

    client_accept(p->clients, a);
}

static void drop_texts(struct port *p)
{
    for (char **o = p->ws.origins; o && *o; o++)
        free(*o);
    free(p->ws.origins);
    free(p->proxy.from);
    p->ws.origins = NULL;
    p->proxy = (struct proxy_config){0};
}

static void port_free(struct port *p)
{
    tls_context_free(p->clients->layers.tls);
    client_port_drop(p->clients);
    drop_texts(p);
    free(p);
}

/* Connections that are shaking hands look at these again: they are changed in place. */
static void set_texts(struct port *p, const struct conf_node *l)
{
    size_t origins = conf_count(l, "origins"), from = conf_count(l, "proxy_from");

    drop_texts(p);
    p->ws.local = is_local(l) && strncmp(conf_string(l, "bind"), "unix:", 5);
    if (conf_get(l, "origins"))
        p->ws.origins = mem_alloc((origins + 1) * sizeof(*p->ws.origins));
    for (size_t i = 0; i < origins; i++)
        p->ws.origins[i] = mem_strdup(conf_at(l, "origins", i)->s);
    if (conf_get(l, "proxy_from"))
        p->proxy.from = mem_alloc((from + 1) * sizeof(*p->proxy.from));
    for (size_t i = 0; i < from; i++)
        network_parse(conf_at(l, "proxy_from", i)->s, &p->proxy.from[i]);
    p->proxy.from_count = from;
}

static int port_settings(struct port *p, const struct conf_node *l)
{
    struct client_port *clients = p->clients;
    struct tls_context *context;
    char error[256];

    int err = tls_open(&context, l, error, sizeof(error));
    if (err) {
        log_error("listener %s: %s", conf_string(l, "bind"), error);
        return err;
    }
    tls_context_free(clients->layers.tls);
    set_texts(p, l);
    clients->layers = (struct conn_layers){
        .proxy = conf_bool(l, "proxy") ? &p->proxy : NULL,
        .tls = context,
        .ws = conf_int(l, "protocol") == PROTOCOL_HTTP ? &p->ws : NULL,
    };
    client_port_limit(clients, &(struct client_limits){(uint32_t)conf_int(l, "max_packet"),
                                                       (uint32_t)conf_int(l, "max_connections"),
                                                       (uint32_t)conf_int(l, "connect_rate"),
                                                       (uint32_t)conf_int(l, "connect_timeout")});
    clients->auth = self.gw->auth;
    clients->anonymous = conf_bool(l, "anonymous");
    clients->loopback = is_local(l);
    clients->certificates = asks_certificates(l);
    const struct conf_node *redirect = conf_get(l, "redirect");
    client_port_redirect(clients, redirect ? conf_string(redirect, "to") : NULL,
                         redirect && conf_bool(redirect, "for_good"));
    p->conf = l;
    return 0;
}

static int port_open(const struct conf_node *l)
{
    struct port *p = mem_alloc(sizeof(*p));

    p->clients = client_port_new(conf_string(l, "bind"), self.gw->broker);
    int err = port_settings(p, l);
    if (!err)
        err = listener_open(&p->listener, self.gw->loop, conf_string(l, "bind"), take, p);
    if (err) {
        port_free(p);
        return err;
    }
    list_add_tail(&self.ports, &p->link);
    log_info("listening on %s%s%s", p->clients->name, p->clients->layers.tls ? " with TLS" : "",
             p->clients->layers.ws ? " for WebSocket at " WS_PATH : "");
    return 0;
}

void ports_begin(struct gateway *gw)
{
    self.gw = gw;
    list_init(&self.ports);
    list_init(&self.retired);
}

int ports_open(const struct conf_node *root)
{
    int err = 0;

    for (size_t i = 0; i < conf_count(root, "listeners") && !err; i++)
        err = port_open(conf_at(root, "listeners", i));
    return err;
}

/* ---- change ---- */

static void port_close(struct port *p)
{
    listener_close(p->listener);
    p->listener = NULL;
    list_remove(&p->link);
    list_add_tail(&self.retired, &p->link);
}

static struct port *find_port(const char *bind)
{
    list_for(it, &self.ports)
    {
        struct port *p = list_entry(it, struct port, link);
        if (!strcmp(p->clients->name, bind))
            return p;
    }
    return NULL;
}

static void close_unnamed(void)
{
    list_for_safe(it, &self.ports)
    {
        struct port *p = list_entry(it, struct port, link);
        if (p->conf)
            continue;
        log_info("listener %s: closed", p->clients->name);
        client_port_disconnect(p->clients, MQTT_ADMINISTRATIVE);
        port_close(p);
    }
}

int ports_reload(const struct conf_node *root)
{
    size_t count = conf_count(root, "listeners");
    int worst = 0;

    list_for(it, &self.ports) list_entry(it, struct port, link)->conf = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct conf_node *l = conf_at(root, "listeners", i);
        struct port *p = find_port(conf_string(l, "bind"));
        /* Certificates may have been renewed under the same names: always read them again. */
        int err = p ? port_settings(p, l) : 0;
        worst = err ? err : worst;
        if (p)
            p->conf = l;
    }
    close_unnamed(); /* a new one may want their port */
    for (size_t i = 0; i < count; i++) {
        const struct conf_node *l = conf_at(root, "listeners", i);
        int err = find_port(conf_string(l, "bind")) ? 0 : port_open(l);
        worst = err ? err : worst;
    }
    list_for(it, &self.ports) client_port_review(list_entry(it, struct port, link)->clients);
    return worst;
}

void ports_disconnect_held(void)
{
    list_for(it, &self.ports)
        client_port_disconnect_held(list_entry(it, struct port, link)->clients, MQTT_QUOTA_EXCEEDED);
}

void ports_close(void)
{
    list_for_safe(it, &self.ports)
    {
        struct port *p = list_entry(it, struct port, link);
        client_port_disconnect(p->clients, MQTT_SHUTTING_DOWN);
        port_close(p);
    }
}

void ports_free(void)
{
    for (struct list *it; (it = list_pop(&self.retired));)
        port_free(list_entry(it, struct port, link));
}

static void status_refused(const struct client_port *p, cJSON *into)
{
    cJSON *by = cJSON_AddObjectToObject(into, "refused_by");
    uint64_t all = 0;

    for (int i = 0; i < REFUSALS; i++) {
        all += p->refused[i];
        cJSON_AddNumberToObject(by, client_refusal_names[i], (double)p->refused[i]);
    }
    cJSON_AddNumberToObject(into, "refused", (double)all);
}

void ports_status(cJSON *into)
{
    cJSON *all = cJSON_AddArrayToObject(into, "listeners");

    list_for(it, &self.ports)
    {
        const struct port *p = list_entry(it, struct port, link);
        cJSON *one = cJSON_CreateObject();
        cJSON_AddItemToArray(all, one);
        cJSON_AddStringToObject(one, "bind", p->clients->name);
        cJSON_AddStringToObject(one, "protocol", p->clients->layers.ws ? "http" : "mqtt");
        cJSON_AddBoolToObject(one, "tls", p->clients->layers.tls != NULL);
        cJSON_AddNumberToObject(one, "port", listener_port(p->listener));
        cJSON_AddNumberToObject(one, "clients", p->clients->clients);
        status_refused(p->clients, one);
    }
}
