/* SPDX-License-Identifier: Apache-2.0 */
/* The packets that a bridge writes, each whole into a buffer (of a connection's lane). Knows settings and
 * messages, no state and no connection. Loop thread only. */
#ifndef SLUICE_BRIDGE_WIRE_H
#define SLUICE_BRIDGE_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "bridge/settings.h"
#include "codec/mqtt.h"

/* All give false, and write nothing, when a packet cannot be encoded. */

/* CONNECT with the will that says offline. packet_max: the largest packet that we take (MQTT 5). */
bool wire_connect(struct buf *out, const struct settings *s, const char *password, uint32_t packet_max);
/* The retained presence message, QoS 1. reason: for people. */
bool wire_presence(struct buf *out, const struct settings *s, bool online, const char *reason, bool retain,
                   uint16_t id);
/* All `in` rules in one SUBSCRIBE. */
bool wire_subscribe(struct buf *out, const struct settings *s, uint16_t id);
bool wire_unsubscribe(struct buf *out, char *const *filters, size_t count, uint8_t version, uint16_t id);
bool wire_ack(struct buf *out, enum mqtt_type type, uint16_t id, uint8_t reason, uint8_t version);
/* PINGREQ, DISCONNECT. */
bool wire_bare(struct buf *out, enum mqtt_type type, uint8_t version);

#endif
