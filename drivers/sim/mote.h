/* SPDX-License-Identifier: Apache-2.0 */
/* One mote: what a small device with MQTT-SN does in the field, by its plan. It connects, registers its
 * topic, subscribes, publishes now and then, sleeps, wakes to see what there is, moves, loses its memory; it
 * repeats what is not answered, and counts what came of all that. No I/O: what it says and where it goes is
 * its world's. Owned by struct sim_motes; one thread. */
#ifndef SLUICE_DRIVERS_SIM_MOTE_H
#define SLUICE_DRIVERS_SIM_MOTE_H

#include "base/buf.h"
#include "drivers/sim/chance.h"

struct sim_mote;

/* What came of it. X(name, what it counts) */
#define SIM_MOTE_COUNTS(X)                                                                                   \
    X(sent)         /* packets, repeats too */                                                               \
    X(heard)        /* packets while awake */                                                                \
    X(connected)    /* connections that the gateway accepted */                                              \
    X(refused)      /* requests that it refused otherwise than for want of room */                           \
    X(congested)    /* requests that it had no room for */                                                   \
    X(published)    /* messages, each counted once */                                                        \
    X(acknowledged) /* those that were acknowledged as their quality asks */                                 \
    X(lost)         /* those that were given up after all repeats, or with a memory that went */             \
    X(repeated)     /* requests that were sent again */                                                      \
    X(unanswered)   /* requests that were given up */                                                        \
    X(received)     /* messages */                                                                           \
    X(received_again)                                                                                        \
    X(unknown_ids)    /* messages under an id that the gateway never told */                                 \
    X(slept)          /* times that it went to sleep */                                                      \
    X(woken)          /* times that it woke to see what there is, and was told the end */                    \
    X(heard_asleep)   /* packets that came while its radio was off */                                        \
    X(moved)          /* times that it went to another address */                                            \
    X(forgot)         /* times that it lost its memory */                                                    \
    X(sent_away)      /* DISCONNECT that it had not asked for */                                             \
    X(makes_no_sense) /* packets that are none, or that no gateway may send */

struct sim_mote_counts {
#define X(name) uint64_t name;
    SIM_MOTE_COUNTS(X)
#undef X
};

enum { SIM_QOS_MINUS_ONE = -1, SIM_MOTE_FILTERS = 8, SIM_MOTE_IDS = 16 };

struct sim_mote_plan {
    char *name, *id, *topic, *will_topic, *will_message, *filters[SIM_MOTE_FILTERS];
    size_t count, filter_count, size;
    int qos, subscribe_qos, will_qos;
    bool clean, will_retain, retain;
    uint16_t topic_id, keepalive_s, sleep_s;
    uint64_t every_us, wake_us, retry_us, start_us;
    unsigned retries;
    uint64_t move_ppm, forget_ppm; /* at each publish */
    struct sim_mote_counts counts;
};

struct sim_mote_world {
    struct sim_chance *chance;
    void (*send)(struct sim_mote *m, const uint8_t *packet, size_t len);
    /* Another address from now on. NULL: it cannot move. */
    void (*move)(struct sim_mote *m);
    /* A message number n of its own was acknowledged, took so long; or was lost; or another's came. */
    void (*acknowledged)(struct sim_mote *m, uint64_t now_us, uint32_t n, uint64_t took_us);
    void (*lost)(struct sim_mote *m, uint64_t now_us, uint32_t n);
    void (*received)(struct sim_mote *m, uint64_t now_us, uint8_t qos, struct bytes data);
    /* m->due has changed. */
    void (*due)(struct sim_mote *m);
};

enum sim_mote_state { SIM_MOTE_AWAY, SIM_MOTE_HERE, SIM_MOTE_ASLEEP, SIM_MOTE_WAKING };

struct sim_mote {
    struct sim_mote_plan *plan;
    const struct sim_mote_world *world;
    char *id, *topic;
    enum sim_mote_state state;
    uint64_t due; /* when sim_mote_run() is to be called */
    uint64_t next_publish, next_wake, last_sent;
    uint32_t n;
    uint16_t last_id, topic_id;
    size_t subscribed;
    /* The request that waits for its answer; pending_type 0: none. */
    struct buf pending;
    uint8_t pending_type;
    uint16_t pending_id;
    unsigned tries;
    uint64_t published_us;
    bool publishing;            /* n is under way */
    uint16_t ids[SIM_MOTE_IDS]; /* that the gateway told */
    size_t id_count;
    uint16_t got_id, got_last; /* of QoS 2, until PUBREL; of any */
    uint32_t lucky;            /* the message before which chance had its say */
    int at;                    /* the world's: a socket … */
    uint16_t node;             /* … or a number on a line */
};

/* number: among those of its plan. */
void sim_mote_init(struct sim_mote *m, struct sim_mote_plan *plan, const struct sim_mote_world *world,
                   size_t number, uint64_t now_us);
void sim_mote_free(struct sim_mote *m);

/* now_us has reached m->due. */
void sim_mote_run(struct sim_mote *m, uint64_t now_us);

void sim_mote_hear(struct sim_mote *m, uint64_t now_us, const uint8_t *packet, size_t len);

#endif
