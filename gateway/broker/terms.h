/* SPDX-License-Identifier: Apache-2.0 */
/* What of MQTT the operator offers to clients, and what is said to those who ask for more (5.0 §3.2.2.3). All
 * of it unless the configuration takes something away. The box's own messages and bridges are not bound by
 * it. Loop thread only. */
#ifndef SLUICE_BROKER_TERMS_H
#define SLUICE_BROKER_TERMS_H

#include "base/conf.h"
#include "codec/mqtt.h"

struct terms {
    uint8_t max_qos;
    bool retain, wildcards, shared, subscription_ids;
    bool check_payloads;    /* those that claim to be UTF-8 */
    uint16_t old_client_id; /* longest of MQTT 3.1, in characters */
    bool odd_characters;    /* control characters and non-characters in names and topics are fine */
};

extern const struct conf_row terms_rows[];
/* group: of terms_rows. */
struct terms terms_of(const struct conf_node *group);

/* What CONNACK tells of them. */
void terms_tell(const struct terms *t, struct mqtt_props *connack);

/* 0, or the reason to refuse, with *why for people. A message, a will: topic, QoS and retain flag. */
uint8_t terms_message(const struct terms *t, struct bytes topic, uint8_t qos, bool retain, const char **why);
uint8_t terms_connect(const struct terms *t, const struct mqtt_connect *p, const char **why);
/* All filters of SUBSCRIBE. */
uint8_t terms_subscribe(const struct terms *t, const struct mqtt_subscribe *p, const char **why);
/* The payload claims to be UTF-8 and is not. */
bool terms_bad_format(const struct terms *t, const struct mqtt_props *p, struct bytes payload,
                      const char **why);

#endif
