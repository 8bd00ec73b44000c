/* SPDX-License-Identifier: Apache-2.0 */
/* Who switches an RS-485 transceiver from listening to sending: a table of modes. Reads and checks what a
 * line's `rs485` says; port_open() opens the mode with the port, and port_send() drives it around each frame.
 * A mode that hardware or driver carries out by itself has nothing to drive. On the port's thread, but
 * rs485_read and rs485_check, which are the configuration's. */
#ifndef SLUICE_DRIVERS_RS485_H
#define SLUICE_DRIVERS_RS485_H

#include <linux/serial.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"

struct port;

struct rs485_settings {
    const struct rs485_mode *mode; /* NULL: none */
    bool rts_on_send, rx_during_tx, terminate, active_low;
    uint32_t before_ms, after_ms;
    char gpio[128]; /* CHIP:LINE */
};

struct rs485_mode {
    const char *name;
    unsigned keys; /* the keys of the group that it knows: KEY_… */
    /* Leaves the transceiver listening. 0 or -E… with error in words. */
    int (*open)(struct port *p, const struct rs485_settings *s, const char *path, char *error, size_t size);
    int (*drive)(struct port *p, bool send); /* NULL: not ours to do */
    void (*close)(struct port *p);
};

/* What an open port has of its mode. */
struct rs485 {
    const struct rs485_mode *mode;
    struct serial_rs485 was; /* kernel: what is put back */
    bool rts_on_send;
    int gpio_fd;
    uint32_t before_us, after_us;
};

extern const struct rs485_mode rs485_modes[]; /* ends with a row without a name */
extern const struct conf_row rs485_rows[];

/* From a group of rs485_rows without mistakes. */
void rs485_read(struct rs485_settings *out, const struct conf_node *group);
/* Tells what does not belong together. is_tty: the line's port is one, so that there may be a transceiver. */
void rs485_check(struct conf *c, const struct conf_node *group, bool is_tty);

/* With the tty open. What the driver did not keep is in p->facts.rs485_lost. */
int rs485_open(struct port *p, const struct rs485_settings *s, const char *path, char *error, size_t size);
void rs485_close(struct port *p);

/* What the driver made of the settings that it was given, in words; "" when it kept all. */
void rs485_lost(const struct serial_rs485 *wanted, const struct serial_rs485 *kept, char *out, size_t size);

/* A GPIO line as output: CHIP:LINE, a path or a name in /dev, and a number or the line's name. Inactive when
 * it is opened. The descriptor, or -E… with error in words. */
int gpio_open(const char *spec, bool active_low, char *error, size_t size);
int gpio_set(int fd, bool active);
/* False when the text is no CHIP:LINE. */
bool gpio_is_spec(const char *spec);

#endif
