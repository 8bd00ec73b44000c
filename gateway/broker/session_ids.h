/* SPDX-License-Identifier: Apache-2.0 */
/* What a peer that cannot name topics in full has agreed upon with us: numbers in place of names (MQTT-SN 1.2
 * §6.5), and notes of whoever serves the session. Kept with the session in memory, on disk when it is
 * durable, and gone with it; so they outlive the connection and the process. Loop thread only. */
#ifndef SLUICE_BROKER_SESSION_IDS_H
#define SLUICE_BROKER_SESSION_IDS_H

#include "broker/session.h"

/* 0 or an empty name: there is none. */
uint16_t session_topic_id(const struct session *s, struct bytes name);
struct bytes session_topic_name(const struct session *s, uint16_t id);
/* A number for a name that has none, from first on; 0 when it would be one more than most. known: the peer
 * knows it. */
uint16_t session_add_topic(struct session *s, struct bytes name, uint16_t first, uint32_t most, bool known);
bool session_topic_known(const struct session *s, uint16_t id);
void session_know_topic(struct session *s, uint16_t id, bool known);
uint32_t session_topics(const struct session *s);

/* Notes, by a key of a few letters. Empty: there is none, or removes it. A session with the note "owner" has
 * somebody who attaches to it soon after a start: its will waits for that. */
struct bytes session_noted(const struct session *s, const char *key);
void session_note(struct session *s, const char *key, struct bytes value);

#endif
