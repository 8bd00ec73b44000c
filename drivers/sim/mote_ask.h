/* SPDX-License-Identifier: Apache-2.0 */
/* What a mote says: its requests, each of which is the one that waits for its answer from then on
 * (m->pending), and its replies. When it says what is mote.c's to know. One thread. */
#ifndef SLUICE_DRIVERS_SIM_MOTE_ASK_H
#define SLUICE_DRIVERS_SIM_MOTE_ASK_H

#include "drivers/sim/mote.h"

/* "{n}" in a pattern becomes the mote's number, "{id}" its id. To be freed. */
char *sim_mote_fill(const char *pattern, size_t number, const char *id);

void sim_mote_set_due(struct sim_mote *m, uint64_t due);

/* Its topic is a short name, which needs no id. */
bool sim_mote_is_short(const struct sim_mote *m);

void sim_mote_say(struct sim_mote *m, uint64_t now, const struct buf *b);
void sim_mote_reply(struct sim_mote *m, uint64_t now, uint8_t type, const uint8_t *fields, size_t len);

void sim_mote_ask_connect(struct sim_mote *m, uint64_t now);
void sim_mote_ask_willtopic(struct sim_mote *m, uint64_t now);
void sim_mote_ask_willmsg(struct sim_mote *m, uint64_t now);
void sim_mote_ask_register(struct sim_mote *m, uint64_t now);
void sim_mote_ask_subscribe(struct sim_mote *m, uint64_t now);
void sim_mote_ask_pubrel(struct sim_mote *m, uint64_t now, uint16_t id);
void sim_mote_ask_ping(struct sim_mote *m, uint64_t now, bool with_id);
void sim_mote_ask_sleep(struct sim_mote *m, uint64_t now);

/* Its next message; of quality 0 or -1 nothing waits for an answer. */
void sim_mote_publish(struct sim_mote *m, uint64_t now);

#endif
