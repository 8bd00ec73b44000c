/* SPDX-License-Identifier: Apache-2.0 */
/* Which packet identifier a message in a session's queue has: it follows from its sequence and the session's
 * lane, and leads back to it while it is in flight. The queue's own part; others ask session_has_id and
 * session_free_id. Loop thread only. */
#ifndef SLUICE_BROKER_PACKET_ID_H
#define SLUICE_BROKER_PACKET_ID_H

#include "broker/session.h"

uint16_t packet_id_of(const struct session *s, uint64_t seq);
/* What is in flight must span fewer sequences than this. */
uint64_t packet_id_span(const struct session *s);
/* What in flight has this identifier, or NULL. */
struct delivery *packet_id_find(const struct session *s, uint16_t id);

#endif
