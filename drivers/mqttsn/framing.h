/* SPDX-License-Identifier: Apache-2.0 */
/* How packets of MQTT-SN lie among the bytes of a serial line: bytes go in as they come, with their time,
 * whole packets come out, and back. A framing is a row of a table. What it cannot use it skips and counts;
 * after garbage it finds the next packet by itself. Pure: no allocation, no I/O, no log; the caller owns the
 * struct and its buffer. docs/serial-motes.md tells the formats. One thread. */
#ifndef SLUICE_DRIVERS_MQTTSN_FRAMING_H
#define SLUICE_DRIVERS_MQTTSN_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
    FRAMING_ALL = 0xffff, /* the address that means everybody */
    FRAMING_MOST = 4096,  /* longest packet that can be asked for */
};

/* Bytes of the buffer, and most bytes of a frame, for packets of at most so many bytes. */
#define FRAMING_ROOM(most)  (2 * (most) + 512)
#define FRAMING_FRAME(most) (2 * (most) + 48)

struct framing_counts {
    uint64_t bytes;    /* that came */
    uint64_t packets;  /* that came out of them */
    uint64_t skipped;  /* bytes that belonged to no packet */
    uint64_t bad_sums; /* frames whose check sum was wrong */
    uint64_t gaps;     /* silences inside a packet, or behind garbage */
    uint64_t foreign;  /* good frames that carry no packet, such as a radio's answers to commands */
    uint64_t sent;     /* packets that the radio says it has sent … */
    uint64_t unsent;   /* … and those that it could not */
    uint64_t
        restarts; /* times that the radio told its state: it has begun anew, joined, or lost its network */
};

struct framing;

struct framing_kind {
    const char *name;
    uint8_t address_len; /* octets of a node's id or a radio's address; 0: there is one mote */
    uint8_t overhead;    /* octets that a frame has beside its packet, escapes apart */
    bool radio;          /* whoever is near can speak */
    void (*take)(struct framing *f, uint8_t byte);
    /* Nothing came for so long that what is unfinished stays so. NULL: silence means nothing. */
    void (*gap)(struct framing *f);
    /* Writes the frame of a packet. Returns its length. */
    size_t (*put)(struct framing *f, uint64_t address, struct bytes packet, uint8_t *out);
};

/* "xbee" is a radio in API mode 1, "xbee-escaped" one in API mode 2. */
extern const struct framing_kind framing_plain, framing_slip_crc, framing_xbee, framing_xbee_escaped;
extern const struct framing_kind *const framings[]; /* ends with NULL */
extern const char *const framing_names[];           /* the same, for a row's choices */

/* A packet from address: a node's id, a radio's address, 0 where there are none. Its bytes are the framing's
 * and hold during the call, which must not call the framing. */
typedef void framing_emit(void *arg, uint64_t address, struct bytes packet);

struct framing {
    const struct framing_kind *kind;
    size_t most;     /* longest packet that is taken, at most FRAMING_MOST */
    uint32_t gap_us; /* silence that ends what is unfinished */
    framing_emit *emit;
    void *arg;
    struct framing_counts counts;
    /* The framing's own. */
    uint8_t *in; /* FRAMING_ROOM(most) */
    size_t len;
    uint64_t last_us;
    size_t raw;       /* bytes on the wire of the frame that is under way */
    bool escaped;     /* the byte before was an escape */
    bool lost;        /* of the frame under way nothing will come; or: where packets begin is not known */
    bool old_radio;   /* has been heard to be one of the 802.15.4 kind */
    uint8_t frame_id; /* of the last packet that was given to the radio */
};

/* Forgets what is unfinished; what has been counted stays. All that is the framing's own begins as zero. */
void framing_reset(struct framing *f);

/* Bytes that came until now_us. That there was a silence before them only framing_idle() can say: whoever was
 * late to read has not heard one. */
void framing_feed(struct framing *f, uint64_t now_us, const uint8_t *data, size_t len);

/* When to call framing_idle() if nothing comes before; UINT64_MAX: never. */
uint64_t framing_deadline(const struct framing *f);
void framing_idle(struct framing *f, uint64_t now_us);

/* The frame of a packet of at most f->most bytes; out has FRAMING_FRAME(most). Returns its length. */
size_t framing_put(struct framing *f, uint64_t address, struct bytes packet, uint8_t *out);

/* For the kinds: a packet is out; drops count bytes at the front of the buffer, skipped ones also count. */
void framing_packet(struct framing *f, uint64_t address, struct bytes packet);
void framing_drop(struct framing *f, size_t count);
void framing_skip(struct framing *f, size_t count);

#endif
