/* SPDX-License-Identifier: Apache-2.0 */
/* What an open port turned out to be: its driver, how long its adapter keeps bytes back, what of the RS-485
 * mode was kept, what its receiver saw go wrong. For status and for people; nothing depends on it. A plain
 * value, copied from the port's thread to whoever asks. */
#ifndef SLUICE_DRIVERS_PORT_FACTS_H
#define SLUICE_DRIVERS_PORT_FACTS_H

#include <stdbool.h>
#include <stdint.h>

struct cJSON;

/* Since the port was opened; bytes, and what the receiver saw. */
struct port_counters {
    uint32_t rx, tx, frame, parity, overrun, brk, lost; /* lost: bytes for which there was no room */
};

struct port_facts {
    bool known;
    char path[128];       /* the tty that was opened */
    char driver[32];      /* of the kernel, "" when it has none to tell (a pty) */
    const char *rs485;    /* the mode that was asked for */
    char rs485_lost[160]; /* what of it the driver did not keep, in words; "" nothing */
    int latency_ms;       /* a USB adapter keeps bytes back for so long; -1: not that it says */
    int latency_was_ms;   /* before it was set */
    bool low_latency;     /* the driver has been asked for it, and has not forgotten */
    bool parity_lost;     /* a pty carries no parity */
    bool counted;         /* the driver counts */
    struct port_counters counters, base; /* base: what the driver had counted before */
};

/* Looks at the tty that fd has open, and sets its latency as low as it goes. sysfs: "/sys". */
void port_facts_find(struct port_facts *f, int fd, const char *path, const char *sysfs);
void port_facts_count(struct port_facts *f, int fd);

/* Adds them to the object of a line's status. */
void port_facts_status(const struct port_facts *f, struct cJSON *line);
/* In words, for the log. */
void port_facts_text(const struct port_facts *f, char *out, unsigned size);

#endif
