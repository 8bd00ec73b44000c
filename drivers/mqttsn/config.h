/* SPDX-License-Identifier: Apache-2.0 */
/* A line of motes as the configuration has it: rows, what is wrong that rows cannot see, and the settings
 * that are made of them. Settings are whole copies; whoever made them frees them. Loop thread. */
#ifndef SLUICE_DRIVERS_MQTTSN_CONFIG_H
#define SLUICE_DRIVERS_MQTTSN_CONFIG_H

#include "broker/session.h"
#include "drivers/driver.h"
#include "drivers/mqttsn/link.h"

enum { SN_NODE_MOST = 32 /* bytes of a forwarder's node id */ };

struct sn_predefined {
    uint16_t id;
    char *topic; /* without the prefix */
};

/* Which motes there may be, and where. */
struct sn_allow {
    char *id;   /* with * and ?; NULL: any */
    char *user; /* whose rules are its own; NULL: the line's */
    bool has_source, has_node;
    struct network source;
    uint8_t node_len, node[SN_NODE_MOST];
};

struct sn_settings {
    char *name, *port, *multicast, *interface;
    char *prefix, *user; /* user: NULL: none */
    uint8_t gateway_id;
    bool minus_one, presence;
    uint32_t advertise_s; /* 0: never */
    uint32_t retry_s, retries;
    uint32_t wake_messages; /* 0: all */
    uint32_t keep_alive_s;  /* of a mote that names none */
    uint32_t rate;          /* packets a second of one source; 0: any */
    bool rate_given;        /* then it holds for this box as well */
    uint32_t most_motes, most_topics;
    uint32_t most_waiting; /* messages of QoS 0 that wait for one mote */
    struct queue_limits queue;
    struct sn_predefined *predefined; /* by id */
    const struct sn_predefined **by_topic;
    size_t predefined_count;
    struct sn_allow *allow;
    size_t allow_count;
};

extern const struct conf_row sn_line_rows[], sn_device_rows[];

/* struct driver's check. */
void sn_check(struct conf *c, const struct driver_conf *line);

/* What a link is opened with; holds as long as the configuration. */
struct link_settings sn_link_settings(const struct conf_node *line);

/* Of links that poll: the line's devices. Free it; the names are the configuration's. */
struct link_node *sn_nodes(const struct driver_conf *line);

/* root: begins all topics (struct gateway). */
struct sn_settings *sn_settings_new(const struct conf_node *line, const char *root);
void sn_settings_free(struct sn_settings *s);

/* NULL when there is none. */
const struct sn_predefined *sn_predefined_id(const struct sn_settings *s, uint16_t id);
const struct sn_predefined *sn_predefined_topic(const struct sn_settings *s, struct bytes topic);

#endif
