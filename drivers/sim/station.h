/* SPDX-License-Identifier: Apache-2.0 */
/* Whoever hangs on a simulated line besides the master. A kind of station is a row: struct sim_station_kind,
 * listed in stations.c. The line owns the stations and calls them on its one thread with its own time,
 * nanoseconds since the start; they do no I/O. */
#ifndef SLUICE_DRIVERS_SIM_STATION_H
#define SLUICE_DRIVERS_SIM_STATION_H

#include "base/buf.h"
#include "base/conf.h"
#include "drivers/sim/chance.h"
#include "drivers/sim/sim.h"

struct sim_faults;
struct sim_station_kind;

struct sim_station {
    const struct sim_station_kind *kind;
    char *name;
    uint64_t turnaround_ns, jitter_ns; /* from the end of the request's silence to the reply */
    struct sim_faults *faults;
    struct sim_counts counts;
};

/* What a station says. Empty when it is born. */
struct sim_speech {
    struct buf bytes;
    struct buf notes;    /* for the log; each note begins with a blank */
    uint64_t delay_ns;   /* beyond the turnaround */
    size_t pause_at;     /* before this byte … */
    uint64_t pause_ns;   /* … is a pause; 0: none */
    uint64_t silence_ns; /* 3.5 characters, for those who want to keep or break them */
    bool silent, exception;
};

static inline void sim_speech_free(struct sim_speech *s)
{
    buf_free(&s->bytes);
    buf_free(&s->notes);
}

struct sim_station_kind {
    const char *name;            /* as `kind` in the file */
    const struct conf_row *rows; /* what such a station has beyond the rows of all */
    /* Makes one from its node; mistakes go to conf. */
    struct sim_station *(*load)(struct conf *conf, const struct conf_node *node);
    /* A whole frame of the master was on the line until now_ns (its silence included). True when it was meant
     * for this station; speech stays empty when it does not answer. NULL: it never listens. */
    bool (*hear)(struct sim_station *s, uint64_t now_ns, struct bytes frame, struct sim_speech *speech);
    /* When it wants to speak by itself, UINT64_MAX for never. NULL: never. */
    uint64_t (*next)(const struct sim_station *s);
    void (*speak)(struct sim_station *s, uint64_t now_ns, struct sim_chance *chance,
                  struct sim_speech *speech);
    /* Frees the whole station but not what struct sim_station holds. */
    void (*free)(struct sim_station *s);
};

extern const struct sim_station_kind sim_modbus_slave, sim_babbler;

/* Names of the kinds for a CONF_CHOICE, and each one's rows. */
extern const char *const sim_station_names[];
const struct conf_row *sim_station_rows(const char *kind);

/* Mistakes go to conf; never NULL. */
struct sim_station *sim_station_load(struct conf *conf, const struct conf_node *node);
void sim_station_free(struct sim_station *s);

#endif
