/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the broker share and nobody else sees. */
#ifndef SLUICE_BROKER_BROKER_PRIVATE_H
#define SLUICE_BROKER_BROKER_PRIVATE_H

#include "base/clock.h"
#include "broker/broker.h"
#include "broker/retain.h"
#include "broker/router.h"

enum { GONE_SLOTS = 64 };

struct broker {
    uv_loop_t *loop;
    struct net *net;
    struct store *store;
    struct timers *timers;
    struct router *router;
    struct retain *retain;
    struct broker_limits limits;
    struct broker_stats stats;
    struct map sessions;
    struct list waking;  /* sessions for the pump at the end of this turn */
    struct list waiters; /* publishers that are not read until the batch is handed over */
    store_ticket
        gone[GONE_SLOTS]; /* when sessions that ended are gone from the disk, by the hash of their names */
    uint64_t next_key;
    struct map replays;    /* by subscription */
    uint32_t replay_steps; /* left in this round */
    uint32_t boot, last_number, subscription_count, shared_count;
    uint32_t *free_numbers; /* of durable sessions that are gone */
    uint32_t free_count, free_cap;
    struct message **wills; /* of the run before, until the first turn */
    uint32_t will_count;
    struct session **loading; /* by number, during broker_load alone */
    uint32_t loading_size;
    void (*sys_wanted)(void *arg);
    void *sys_wanted_arg;
    void (*on_value)(void *arg, const char *name, struct bytes value);
    void *on_value_arg;
};

/* session.c */
struct session *session_restore(struct broker *b, uint32_t no, struct bytes record);
void session_restore_subscription(struct session *s, struct bytes filter, struct bytes record);
void session_save_subscription(const struct subscription *sub);
bool session_inbound_restore(struct session *s, uint16_t id);
/* session_ids.c. A row of the session's: false when it is none of theirs. */
bool session_ids_restore(struct session *s, struct bytes key, struct bytes record);
void session_ids_free(struct session *s);
/* Another may have it; s is not found any more. */
void session_give_up_name(struct session *s);
/* In memory only; the disk keeps what it has. */
void session_free(struct session *s);
/* The number of a purged session may be used again. arg: the broker. */
void session_number_free(void *arg, uint32_t no);

#endif
