/* SPDX-License-Identifier: Apache-2.0 */
/* A serial port: found, opened for us alone, set to speed and format. What a port can be is a row of a table,
 * by how its text begins: a path, "usb:V:P:SERIAL", "rtu+tcp:HOST:PORT", "sim:FILE". Reads and writes are the
 * owner's, on a descriptor that does not block. One thread a port. */
#ifndef SLUICE_DRIVERS_PORT_H
#define SLUICE_DRIVERS_PORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "drivers/port_facts.h"
#include "drivers/rs485.h"

struct serial_format {
    const char *name; /* "8E1" */
    char parity;      /* N, E, O */
    uint8_t stop_bits;
    uint8_t bits_per_char; /* with start, parity and stop bits */
};

extern const struct serial_format serial_formats[]; /* ends with a row without a name */
extern const char *const serial_format_names[];     /* the same, for a row's choices */

struct port_settings {
    const char *spec; /* a path, or a kind's prefix and what follows */
    uint32_t baud;
    const struct serial_format *format;
    struct rs485_settings rs485;
    const atomic_bool *give_up; /* an open that takes long ends when it becomes true; may be NULL */
};

struct port {
    int fd;
    const struct port_kind *kind;
    struct rs485 rs485;
    struct port_facts facts;
    void *own; /* of the kind */
};

struct port_kind {
    const char *prefix; /* "/" for paths */
    const char *what;   /* for messages: "a path such as /dev/ttyS0" */
    /* Looks at the part behind the prefix (a file's name is absolute), without opening anything; what is
     * wrong, in words. May be NULL. */
    int (*check)(const char *rest, char *error, size_t size);
    /* Sets p->fd and what is the kind's own. rest: behind the prefix. 0 or -E… with error in words. */
    int (*open)(struct port *p, const struct port_settings *s, const char *rest, char *error, size_t size);
    void (*close)(struct port *p);
    bool simulated; /* what answers is no device */
    bool tty;       /* it is a tty of this box, which may have a transceiver */
    bool file;      /* rest is a file, taken from the folder of the file that names it */
    /* Sets another speed and format while it is open. NULL: they are not ours to set. */
    int (*set)(struct port *p, const struct port_settings *s, char *error, size_t size);
};

extern const struct port_kind *const port_kinds[]; /* generated; ends with NULL */

/* What begins like a port of a kind that was left out when this was built. */
struct port_absent {
    const char *prefix, *symbol;
};
extern const struct port_absent ports_absent[]; /* ends with a row without a prefix */

/* The kind of a port's text; NULL when there is none. *rest: what follows the prefix (a path stays whole). */
const struct port_kind *port_kind_of(const char *spec, const char **rest);

/* The spec with its file made absolute, or a copy. named_in: the .conf that names it. The caller frees. */
char *port_spec_resolve(const char *spec, const char *named_in);

int port_open(struct port *p, const struct port_settings *s, char *error, size_t size);
void port_close(struct port *p);
/* Another speed and format of an open port. -ENOTSUP where they are set elsewhere. */
int port_set(struct port *p, const struct port_settings *s, char *error, size_t size);

/* Writes a whole frame, with the transceiver switched around it where that is ours to do: then it returns
 * once the last bit has left. char_ns: of one character on the wire. *at_us: when the first bit left
 * (clock_boot_us). 0, or -E… when the port is lost. */
int port_send(struct port *p, const void *data, size_t len, uint32_t char_ns, uint64_t *at_us);

/* For kinds: opens the tty at path for us alone and sets it. A pty by termios, everything else by
 * libserialport. */
int port_open_tty(struct port *p, const struct port_settings *s, const char *path, char *error, size_t size);
void port_close_tty(struct port *p);
int port_set_tty(struct port *p, const struct port_settings *s, char *error, size_t size);

/* For port_open_tty: real ttys, through libserialport. */
int serial_open(struct port *p, const struct port_settings *s, const char *path, char *error, size_t size);
void serial_close(struct port *p);
int serial_set(struct port *p, const struct port_settings *s, char *error, size_t size);

#endif
