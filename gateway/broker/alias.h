/* SPDX-License-Identifier: Apache-2.0 */
/* Topic aliases of one connection (MQTT 5.0 §3.3.2.3.4), both ways. They live and die with the connection
 * ([MQTT-3.3.2-7]). Made when the first is used. Loop thread only. */
#ifndef SLUICE_BROKER_ALIAS_H
#define SLUICE_BROKER_ALIAS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum {
    ALIASES_IN = 64 /* what we let a client use */,
    ALIASES_OUT = 64 /* what we use of a client's allowance */
};

struct aliases;
void aliases_free(struct aliases *a);

/* From the client: with a topic remembers it under alias, without one fills it in. False: alias is 0, over
 * ALIASES_IN, or was never given a topic. *a is made when it is NULL. The topic lives until the alias is
 * given another. */
bool alias_in(struct aliases **a, uint32_t alias, struct bytes *topic);

/* To the client, which allows most. The alias of topic, 0: none. *known: the client knows it, the topic may
 * be left out. define: a free one may be taken (the packet leaves before all that will use it). */
uint16_t alias_out(struct aliases **a, uint16_t most, struct bytes topic, bool define, bool *known);

#endif
