/* SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "bridge/settings.h"

static const char *const versions[] = {"3.1.1", "5.0", NULL};
static const char *const lanes[] = {"alarms", "normal", "urgent", NULL}; /* as enum rule_lane */
static const char *const policies[] = {"drop-oldest", "drop-newest", "refuse", NULL};

#define RULE_ROWS(match_help, qos_help, add_help)                                                            \
    {.name = "match",                                                                                        \
     .type = CONF_STRING,                                                                                    \
     .flags = CONF_REQUIRED,                                                                                 \
     .min = 1,                                                                                               \
     .max = 65535,                                                                                           \
     .help = match_help},                                                                                    \
        {.name = "qos", .type = CONF_INT, .def = "1", .min = 0, .max = 2, .help = qos_help},                 \
        {.name = "strip",                                                                                    \
         .type = CONF_STRING,                                                                                \
         .def = "",                                                                                          \
         .help = "What to take off the front of the topic: the beginning of `match`"},                       \
    {                                                                                                        \
        .name = "add", .type = CONF_STRING, .def = "", .help = add_help                                      \
    }

static const struct conf_row out_rows[] = {
    RULE_ROWS("Which local topics go to the upstream",
              "The QoS with which they go, whatever the publisher used",
              "What to put in front of the topic upstream"),
    {.name = "upgrade",
     .type = CONF_BOOL,
     .def = "true",
     .help = "Raise messages of a lower QoS to `qos`, and store them; false: they keep their own"},
    {.name = "lane",
     .type = CONF_CHOICE,
     .def = "alarms",
     .choices = lanes,
     .help = "Which of them overtake a backlog: the box's own alarms ({root}/event/alarm), none or all"},
    {0},
};

static const struct conf_row in_rows[] = {
    RULE_ROWS("Which topics of the upstream come here", "The QoS to subscribe with",
              "What to put in front of the topic here"),
    {0},
};

static const struct conf_row tls_rows[] = {
    {.name = "ca",
     .type = CONF_PATH,
     .help = "Certificates (PEM) that the upstream's is checked against; the system's unless given"},
    {.name = "cert", .type = CONF_PATH, .help = "Our certificate with its chain (PEM)"},
    {.name = "key", .type = CONF_PATH, .help = "Its private key (PEM)"},
    {.name = "server_name",
     .type = CONF_STRING,
     .min = 1,
     .max = 253,
     .help = "The name that the upstream's certificate must have; the url's host unless given"},
    {.name = "alpn",
     .type = CONF_STRING,
     .min = 1,
     .max = 255,
     .help = "The protocol to ask for, say x-amzn-mqtt-ca"},
    {0},
};

static const struct conf_row store_rows[] = {
    {.name = "max",
     .type = CONF_SIZE,
     .def = DEFAULT_BRIDGE_SIZE,
     .min = 1024,
     .max = 1e15,
     .help = "Most bytes that wait on disk for this upstream"},
    {.name = "urgent_max",
     .type = CONF_SIZE,
     .def = "16M",
     .min = 1024,
     .max = 1e15,
     .help = "The same of what is urgent, beside `max`"},
    {.name = "keep",
     .type = CONF_DURATION,
     .def = DEFAULT_BRIDGE_AGE,
     .min = 1000,
     .max = 1e12,
     .help = "Messages that waited longer are dropped and counted"},
    {.name = "full",
     .type = CONF_CHOICE,
     .def = "drop-oldest",
     .choices = policies,
     .help = "What happens at `max`: the oldest or the newest goes, or the publisher is refused"},
    {.name = "drain_rate",
     .type = CONF_INT,
     .def = "0",
     .min = 0,
     .max = 1e6,
     .help = "Messages a second by which a backlog shrinks, live data not counted; 0: as fast as it goes"},
    {0},
};

static const struct conf_row presence_rows[] = {
    {.name = "on",
     .type = CONF_BOOL,
     .def = "true",
     .help = "Publish online and offline (also as the will) upstream, retained"},
    {.name = "topic",
     .type = CONF_STRING,
     .min = 1,
     .max = 65535,
     .help = "Where; {root}/state unless given"},
    {0},
};

static const struct conf_row backoff_rows[] = {
    {.name = "min", .type = CONF_DURATION, .def = "1s", .min = 10, .max = 3.6e6, .help = "The shortest wait"},
    {.name = "max",
     .type = CONF_DURATION,
     .def = "60s",
     .min = 10,
     .max = 8.64e7,
     .help = "The longest wait"},
    {0},
};

static const struct conf_row one_rows[] = {
    {.name = "name", .type = CONF_NAME, .flags = CONF_REQUIRED, .help = "Its name in log, status and store"},
    {.name = "url",
     .type = CONF_STRINGS,
     .flags = CONF_REQUIRED,
     .help = "mqtt://HOST:PORT or mqtts://HOST:PORT; of several each is tried in turn, the first one first"},
    {.name = "client_id",
     .type = CONF_STRING,
     .min = 1,
     .max = 65535,
     .help = "The client identifier there; {site}-{name} unless given"},
    {.name = "user", .type = CONF_STRING, .min = 1, .max = 65535, .help = "The user name there"},
    {.name = "password",
     .type = CONF_STRING,
     .flags = CONF_SECRET,
     .min = 1,
     .max = 65535,
     .help = "Its password"},
    {.name = "password_file",
     .type = CONF_PATH,
     .help = "A file whose first line is the password; read at each connection"},
    {.name = "version", .type = CONF_CHOICE, .def = "3.1.1", .choices = versions, .help = "Of MQTT"},
    {.name = "keepalive",
     .type = CONF_DURATION,
     .def = "60s",
     .min = 1000,
     .max = 65535e3,
     .help = "How long a connection may be silent before it is probed"},
    {.name = "clean",
     .type = CONF_BOOL,
     .def = "false",
     .help = "Let the upstream forget us when we are away; what is meant for us meanwhile is then lost"},
    {.name = "tls", .type = CONF_GROUP, .rows = tls_rows, .help = "For mqtts://"},
    {.name = "out", .type = CONF_LIST, .rows = out_rows, .help = "What goes to the upstream"},
    {.name = "in", .type = CONF_LIST, .rows = in_rows, .help = "What comes from the upstream"},
    {.name = "store", .type = CONF_GROUP, .def = "", .rows = store_rows, .help = "The backlog on disk"},
    {.name = "presence",
     .type = CONF_GROUP,
     .def = "",
     .rows = presence_rows,
     .help = "Whether we are there"},
    {.name = "window",
     .type = CONF_INT,
     .def = "100",
     .min = 1,
     .max = 5000,
     .help = "Most messages on their way without an acknowledgement; some upstreams allow 20 or 100"},
    {.name = "backoff",
     .type = CONF_GROUP,
     .def = "",
     .rows = backoff_rows,
     .help = "How long to wait between tries: at random, longer each time"},
    {.name = "connect_timeout",
     .type = CONF_DURATION,
     .def = "30s",
     .min = 1000,
     .max = 6e5,
     .help = "From the look-up of the name to the upstream's CONNACK"},
    {.name = "ack_timeout",
     .type = CONF_DURATION,
     .def = "60s",
     .min = 1000,
     .max = 3.6e6,
     .help = "Without an acknowledgement for so long, while one is due, the connection is made anew"},
    {0},
};

const struct conf_row bridge_rows[] = {
    {.name = "bridges",
     .type = CONF_LIST,
     .rows = one_rows,
     .help = "Upstream brokers and what passes to and fro"},
    {0},
};
