/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of motes share: motes.c (time, faults, counts), motes_conf.c (the file), motes_udp.c and
 * motes_line.c (how packets go), mote_frame.c (how they lie among octets). Nobody else includes it. */
#ifndef SLUICE_DRIVERS_SIM_MOTES_PRIVATE_H
#define SLUICE_DRIVERS_SIM_MOTES_PRIVATE_H

#include <stdio.h>
#include <sys/socket.h>

#include "base/conf.h"
#include "drivers/sim/mote.h"
#include "drivers/sim/motes.h"
#include "drivers/sim/pty.h"

struct sim_mote_frame;

/* Between motes and gateway. A way is a row. All but open may be called only after open. */
struct sim_mote_way {
    int (*open)(struct sim_motes *s, char *error, size_t size);
    void (*add)(struct sim_motes *s, struct sim_mote *m, int *err); /* a mote comes */
    void (*send)(struct sim_motes *s, struct sim_mote *m, const uint8_t *packet, size_t len);
    void (*move)(struct sim_motes *s, struct sim_mote *m); /* NULL: it cannot */
    /* Something is there to read; of: as given to sim_motes_watch(). */
    void (*readable)(struct sim_motes *s, void *of, uint64_t now_us);
    /* Does what is due; returns when to come again. NULL: never. */
    uint64_t (*run)(struct sim_motes *s, uint64_t now_us);
    void (*close)(struct sim_motes *s);
};

extern const struct sim_mote_way sim_motes_udp, sim_motes_line;

/* A frame of octets on a serial line. Kinds are rows in mote_frame.c. */
struct sim_mote_frame_kind {
    const char *name;
    bool many; /* tells motes apart */
    void (*put)(struct buf *out, uint16_t node, const uint8_t *packet, size_t len);
    /* Takes the first frame out of in; false when there is none (yet). What is useless goes. *status: what a
     * radio says to it, empty when it says nothing. */
    bool (*take)(struct buf *in, uint16_t *node, struct buf *packet, struct buf *status);
};
extern const char *const sim_mote_frame_names[];
extern const struct sim_mote_frame_kind *const sim_mote_frame_kinds[];
enum { SIM_NODE_ALL = 0xffff };

struct sim_motes_conf {
    const struct sim_mote_way *way;
    char *host, *port, *log;
    uint64_t seed;
    const struct sim_mote_frame_kind *frame;
    unsigned baud, char_bits;
    uint64_t noise_ppm, lose_ppm, twice_ppm, late_ppm, late_us;
    struct sim_mote_plan *plans;
    size_t plan_count, mote_count;
};

extern const struct conf_row sim_motes_rows[];
int sim_motes_conf_load(struct sim_motes_conf *c, const char *file, char *error, size_t size);
void sim_motes_conf_free(struct sim_motes_conf *c);

struct sim_motes_line {
    struct sim_pty pty;
    struct buf up, down, heard;  /* to go to the gateway; come from it, on the wire; heard */
    uint64_t up_free, down_free; /* when the wire is free again */
    uint64_t heard_us;
    uint64_t octets_up, octets_down, noise, most_ahead_us;
};

struct sim_motes {
    struct sim_motes_conf conf;
    struct sim_mote_world world;
    struct sim_chance chance;
    struct sim_mote *motes;
    size_t count;
    char place[128];
    int epoll;
    FILE *log;
    uint64_t start_us;
    struct sockaddr_storage gateway;
    socklen_t gateway_len;
    struct sim_motes_line line;
    struct agenda *agenda;
    uint32_t *took_us; /* each round trip */
    size_t took_count, took_cap;
    uint64_t lost_on_the_way, doubled, delayed;
};

/* For the ways: a packet has come for m; faults may still befall it. */
void sim_motes_heard(struct sim_motes *s, struct sim_mote *m, const uint8_t *packet, size_t len);
int sim_motes_watch(struct sim_motes *s, int fd, void *of);

#endif
