/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/rs485.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "drivers/port.h"

/* ---- kernel: the tty's driver switches, by the port's own hardware where it can ---- */

enum {
    FLAGS = SER_RS485_ENABLED | SER_RS485_RTS_ON_SEND | SER_RS485_RTS_AFTER_SEND | SER_RS485_RX_DURING_TX |
            SER_RS485_TERMINATE_BUS
};

static void lose(struct buf *to, const char *what)
{
    buf_printf(to, "%s%s", to->len ? ", " : "", what);
}

static void lose_delay(struct buf *to, const char *what, uint32_t wanted_ms, uint32_t kept_ms)
{
    if (wanted_ms != kept_ms)
        buf_printf(to, "%s%s (%u ms in place of %u)", to->len ? ", " : "", what, kept_ms, wanted_ms);
}

void rs485_lost(const struct serial_rs485 *wanted, const struct serial_rs485 *kept, char *out, size_t size)
{
    static const struct {
        uint32_t flag;
        const char *name;
    } flags[] = {{SER_RS485_ENABLED, "the mode itself"},
                 {SER_RS485_RTS_ON_SEND, "rts_on_send"},
                 {SER_RS485_RTS_AFTER_SEND, "RTS at rest"},
                 {SER_RS485_RX_DURING_TX, "rx_during_tx"},
                 {SER_RS485_TERMINATE_BUS, "terminate"}};
    struct buf text = {0};

    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        if ((wanted->flags ^ kept->flags) & flags[i].flag)
            lose(&text, flags[i].name);
    lose_delay(&text, "delay_before", wanted->delay_rts_before_send, kept->delay_rts_before_send);
    lose_delay(&text, "delay_after", wanted->delay_rts_after_send, kept->delay_rts_after_send);
    snprintf(out, size, "%.*s", (int)text.len, text.len ? (const char *)text.data : "");
    buf_free(&text);
}

static struct serial_rs485 wanted_of(const struct rs485_settings *s)
{
    struct serial_rs485 w = {.flags = SER_RS485_ENABLED,
                             .delay_rts_before_send = s->before_ms,
                             .delay_rts_after_send = s->after_ms};

    w.flags |= s->rts_on_send ? SER_RS485_RTS_ON_SEND : SER_RS485_RTS_AFTER_SEND;
    w.flags |= s->rx_during_tx ? SER_RS485_RX_DURING_TX : 0;
    w.flags |= s->terminate ? SER_RS485_TERMINATE_BUS : 0;
    return w;
}

static int open_kernel(struct port *p, const struct rs485_settings *s, const char *path, char *error,
                       size_t size)
{
    struct serial_rs485 wanted = wanted_of(s), set = wanted, kept = {0};
    int err = ioctl(p->fd, TIOCGRS485, &p->rs485.was) || ioctl(p->fd, TIOCSRS485, &set) ? -errno : 0;

    if (!err && ioctl(p->fd, TIOCGRS485, &kept))
        err = -errno;
    if (!err && !(kept.flags & SER_RS485_ENABLED))
        err = -EOPNOTSUPP;
    if (err) {
        snprintf(
            error, size,
            "%s: driver %s has no RS-485 mode; use rs485.mode \"rts\" or \"gpio\" for a transceiver on such "
            "a line, \"none\" for one that switches itself",
            path, p->facts.driver[0] ? p->facts.driver : "(none)");
        return err;
    }
    rs485_lost(&wanted, &kept, p->facts.rs485_lost, sizeof p->facts.rs485_lost);
    p->rs485.before_us = kept.delay_rts_before_send * 1000;
    return 0;
}

static void close_kernel(struct port *p)
{
    ioctl(p->fd, TIOCSRS485, &p->rs485.was);
}

/* ---- rts ---- */

static int drive_rts(struct port *p, bool send)
{
    int rts = TIOCM_RTS;

    return ioctl(p->fd, send == p->rs485.rts_on_send ? TIOCMBIS : TIOCMBIC, &rts) ? -errno : 0;
}

static int open_rts(struct port *p, const struct rs485_settings *s, const char *path, char *error,
                    size_t size)
{
    p->rs485.rts_on_send = s->rts_on_send;
    int err = drive_rts(p, false);
    if (err)
        snprintf(error, size, "%s: has no RTS that could be set (%s); choose another rs485.mode", path,
                 strerror(-err));
    return err;
}

static void close_rts(struct port *p)
{
    drive_rts(p, false);
}

/* ---- gpio ---- */

static int open_gpio(struct port *p, const struct rs485_settings *s, const char *path, char *error,
                     size_t size)
{
    (void)path;
    p->rs485.gpio_fd = gpio_open(s->gpio, s->active_low, error, size);
    return p->rs485.gpio_fd < 0 ? p->rs485.gpio_fd : 0;
}

static int drive_gpio(struct port *p, bool send)
{
    return gpio_set(p->rs485.gpio_fd, send);
}

static void close_gpio(struct port *p)
{
    gpio_set(p->rs485.gpio_fd, false);
    close(p->rs485.gpio_fd);
}

/* ---- the table ---- */

enum { KEY_RTS = 1, KEY_DELAYS = 2, KEY_KERNEL = 4, KEY_GPIO = 8 };

const struct rs485_mode rs485_modes[] = {
    {"none", 0, NULL, NULL, NULL},
    {"kernel", KEY_RTS | KEY_DELAYS | KEY_KERNEL, open_kernel, NULL, close_kernel},
    {"rts", KEY_RTS | KEY_DELAYS, open_rts, drive_rts, close_rts},
    {"gpio", KEY_DELAYS | KEY_GPIO, open_gpio, drive_gpio, close_gpio},
    {0},
};

static const char *const mode_names[] = {"none", "kernel", "rts", "gpio", NULL};

const struct conf_row rs485_rows[] = {
    {"mode", CONF_CHOICE, .def = "none", .choices = mode_names,
     .help = "who switches the transceiver to sending: nobody, as it does so by itself or is none; the "
             "kernel's driver; RTS, moved around each frame; a GPIO line, likewise"},
    {"rts_on_send", CONF_BOOL, .def = "true",
     .help = "kernel, rts: RTS is on while sending and off else; false: the other way round"},
    {"delay_before", CONF_DURATION, .def = "0ms", .min = 0, .max = 100,
     .help = "kernel, rts, gpio: from the switch to the first bit"},
    {"delay_after", CONF_DURATION, .def = "0ms", .min = 0, .max = 100,
     .help = "kernel, rts, gpio: from the last bit to the switch back"},
    {"rx_during_tx", CONF_BOOL, .def = "false",
     .help = "kernel: keep the receiver on while sending; what comes back is known as an echo"},
    {"terminate", CONF_BOOL, .def = "false", .help = "kernel: switch the port's terminating resistor on"},
    {"gpio", CONF_STRING, .min = 3, .max = 127,
     .help = "gpio: the chip, a path or a name in /dev, and the line's number or name: gpiochip0:17, "
             "/dev/gpiochip2:RS485_DE"},
    {"active_low", CONF_BOOL, .def = "false", .help = "gpio: the line is low while sending"},
    {0},
};

static const struct {
    const char *name;
    unsigned key;
} keys[] = {{"rts_on_send", KEY_RTS},     {"delay_before", KEY_DELAYS}, {"delay_after", KEY_DELAYS},
            {"rx_during_tx", KEY_KERNEL}, {"terminate", KEY_KERNEL},    {"gpio", KEY_GPIO},
            {"active_low", KEY_GPIO}};

void rs485_read(struct rs485_settings *out, const struct conf_node *group)
{
    *out = (struct rs485_settings){
        .mode = &rs485_modes[conf_int(group, "mode")],
        .rts_on_send = conf_bool(group, "rts_on_send"),
        .rx_during_tx = conf_bool(group, "rx_during_tx"),
        .terminate = conf_bool(group, "terminate"),
        .active_low = conf_bool(group, "active_low"),
        .before_ms = (uint32_t)conf_int(group, "delay_before"),
        .after_ms = (uint32_t)conf_int(group, "delay_after"),
    };
    const char *gpio = conf_string(group, "gpio");
    snprintf(out->gpio, sizeof out->gpio, "%s", gpio ? gpio : "");
}

static void name_modes(struct buf *to, unsigned key)
{
    size_t named = 0;

    for (const struct rs485_mode *m = rs485_modes; m->name; m++)
        if (m->keys & key)
            buf_printf(to, "%smode = \"%s\"", named++ ? " or " : "", m->name);
}

static void check_gpio(struct conf *c, const struct conf_node *group)
{
    const struct conf_node *gpio = conf_get(group, "gpio");

    if (!gpio || !gpio->given)
        conf_error(c, group, "mode = \"gpio\" needs the line, as in gpio = \"gpiochip0:17\"");
    else if (!gpio_is_spec(gpio->s))
        conf_error(c, gpio,
                   "gpio = \"%s\" is no line; write its chip and its number or name, as in "
                   "\"gpiochip0:17\"",
                   gpio->s);
}

void rs485_check(struct conf *c, const struct conf_node *group, bool is_tty)
{
    const struct conf_node *mode = conf_get(group, "mode");
    const struct rs485_mode *m = &rs485_modes[mode->i];

    if (mode->blank)
        return;
    if (m->open && !is_tty)
        conf_error(c, mode, "mode = \"%s\": this port has no transceiver of ours to switch; leave rs485 out",
                   m->name);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const struct conf_node *n = conf_get(group, keys[i].name);
        if (!n || !n->given || m->keys & keys[i].key)
            continue;
        struct buf fit = {0};
        name_modes(&fit, keys[i].key);
        conf_error(c, n, "%s goes with %s, not with \"%s\"", keys[i].name, (const char *)fit.data, m->name);
        buf_free(&fit);
    }
    if (m->keys & KEY_GPIO)
        check_gpio(c, group);
}

int rs485_open(struct port *p, const struct rs485_settings *s, const char *path, char *error, size_t size)
{
    const struct rs485_mode *mode = s && s->mode ? s->mode : &rs485_modes[0];

    p->facts.rs485 = mode->name;
    if (!mode->open)
        return 0;
    p->rs485 =
        (struct rs485){.gpio_fd = -1, .before_us = s->before_ms * 1000, .after_us = s->after_ms * 1000};
    int err = mode->open(p, s, path, error, size);
    p->rs485.mode = err ? NULL : mode;
    return err;
}

void rs485_close(struct port *p)
{
    if (p->rs485.mode)
        p->rs485.mode->close(p);
    p->rs485.mode = NULL;
}
