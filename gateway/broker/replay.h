/* SPDX-License-Identifier: Apache-2.0 */
/* Retained messages for a subscription: as many at once as its session has room for and a turn has time for,
 * the rest as room and time come, so that 100,000 of them neither overflow a queue nor keep others waiting.
 * What is left of a durable session's is remembered with the subscription and begins anew after a restart.
 * Loop thread only. */
#ifndef SLUICE_BROKER_REPLAY_H
#define SLUICE_BROKER_REPLAY_H

#include "broker/router.h"

/* From the first, whatever was under way. The caller saves the subscription afterwards. */
void replay_begin(struct subscription *sub);
/* One from disk, which goes on when a reader is there. */
void replay_restore(struct subscription *sub);
void replay_end(struct subscription *sub);

/* The session's reader has room again. */
void replay_go_on(struct session *s);

#endif
