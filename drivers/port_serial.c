/* SPDX-License-Identifier: Apache-2.0 */
/* Real ttys, by libserialport: finds USB adapters by what they are, opens, sets speed and format. */
#include <errno.h>
#include <libserialport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/port.h"

static int error_of(enum sp_return r)
{
    switch (r) {
    case SP_ERR_ARG:
        return -ENODEV;
    case SP_ERR_FAIL:
        return sp_last_error_code() > 0 ? -sp_last_error_code() : -EIO;
    case SP_ERR_MEM:
        return -ENOMEM;
    case SP_ERR_SUPP:
        return -EOPNOTSUPP;
    default:
        return 0;
    }
}

static int say(enum sp_return r, const char *path, const char *doing, char *error, size_t size)
{
    int err = error_of(r);

    if (err)
        snprintf(error, size, "%s: cannot %s: %s", path, doing, strerror(-err));
    return err;
}

static int configure(struct sp_port *sp, const struct port_settings *s, const char *path, char *error,
                     size_t size)
{
    enum sp_parity parity = s->format->parity == 'E'   ? SP_PARITY_EVEN
                            : s->format->parity == 'O' ? SP_PARITY_ODD
                                                       : SP_PARITY_NONE;
    int err = say(sp_set_baudrate(sp, (int)s->baud), path, "set the speed", error, size);

    if (!err)
        err = say(sp_set_bits(sp, 8), path, "set 8 data bits", error, size);
    if (!err)
        err = say(sp_set_parity(sp, parity), path, "set the parity", error, size);
    if (!err)
        err = say(sp_set_stopbits(sp, s->format->stop_bits), path, "set the stop bits", error, size);
    if (!err)
        err = say(sp_set_flowcontrol(sp, SP_FLOWCONTROL_NONE), path, "switch flow control off", error, size);
    return err;
}

int serial_open(struct port *p, const struct port_settings *s, const char *path, char *error, size_t size)
{
    struct sp_port *sp;
    int err = say(sp_get_port_by_name(path, &sp), path, "find the port", error, size);

    if (err)
        return err;
    err = say(sp_open(sp, SP_MODE_READ_WRITE), path, "open", error, size);
    if (err) {
        sp_free_port(sp);
        return err;
    }
    p->own = sp;
    err = configure(sp, s, path, error, size);
    if (!err)
        err = say(sp_get_port_handle(sp, &p->fd), path, "use the port", error, size);
    return err;
}

int serial_set(struct port *p, const struct port_settings *s, char *error, size_t size)
{
    return configure(p->own, s, s->spec, error, size);
}

void serial_close(struct port *p)
{
    sp_close(p->own);
    sp_free_port(p->own);
    p->own = NULL;
}

struct usb_name {
    unsigned vendor, product;
    char serial[128];
};

static int usb_parse(const char *rest, struct usb_name *u)
{
    u->serial[0] = 0;
    int got = sscanf(rest, "%4x:%4x:%127[^\n]", &u->vendor, &u->product, u->serial);

    return got >= 2 ? 0 : -EINVAL;
}

static int usb_check(const char *rest, char *error, size_t size)
{
    struct usb_name u;

    if (!usb_parse(rest, &u))
        return 0;
    snprintf(error, size,
             "usb: needs vendor and product in hexadecimal, and the serial number where two "
             "adapters are alike, as in \"usb:0403:6001:A50285BI\"");
    return -EINVAL;
}

static bool usb_is(const struct sp_port *sp, const struct usb_name *u)
{
    int vendor, product;

    if (sp_get_port_usb_vid_pid(sp, &vendor, &product) != SP_OK)
        return false;
    const char *serial = sp_get_port_usb_serial(sp);
    return (unsigned)vendor == u->vendor && (unsigned)product == u->product &&
           (!u->serial[0] || (serial && !strcmp(serial, u->serial)));
}

static int usb_open(struct port *p, const struct port_settings *s, const char *rest, char *error, size_t size)
{
    struct sp_port **list;
    struct usb_name u;
    char path[256] = "";
    int found = 0;

    if (usb_parse(rest, &u))
        return -EINVAL;
    int err = say(sp_list_ports(&list), s->spec, "list the serial ports", error, size);
    if (err)
        return err;
    for (size_t i = 0; list[i]; i++)
        if (usb_is(list[i], &u)) {
            snprintf(path, sizeof path, "%s", sp_get_port_name(list[i]));
            found++;
        }
    sp_free_port_list(list);
    if (found == 1)
        return port_open_tty(p, s, path, error, size);
    snprintf(error, size,
             found ? "%s: %d ports are this; add the serial number, or for one adapter with several ports "
                     "take one's path in /dev/serial/by-id"
                   : "%s: not plugged in",
             s->spec, found);
    return -ENODEV;
}

const struct port_kind port_usb = {
    .prefix = "usb:",
    .what = "an adapter such as \"usb:0403:6001:A50285BI\"",
    .check = usb_check,
    .open = usb_open,
    .close = port_close_tty,
    .tty = true,
    .set = port_set_tty,
};
