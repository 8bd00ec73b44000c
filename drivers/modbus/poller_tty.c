/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/poller_tty.h"

#include "base/clock.h"
#include "base/log.h"
#include "drivers/modbus/rtu.h"

static uint64_t tty_now(void *arg)
{
    (void)arg;
    return clock_boot_us();
}

static int tty_run(void *arg, struct exchange *x, bool yields)
{
    const struct poller_tty *t = arg;

    return rtu_run(x, t->port, t->line->wake_fd, yields ? t->line->order_fd : -1);
}

static int tty_listen(void *arg, struct exchange *x, uint64_t until_us)
{
    const struct poller_tty *t = arg;

    return rtu_listen(x, t->port, t->line->wake_fd, t->line->order_fd, until_us);
}

static void tty_take_orders(void *arg, struct list *out)
{
    line_take_orders(((struct poller_tty *)arg)->line, out);
}

static struct line_visit tty_visited(void *arg)
{
    return line_visited(((struct poller_tty *)arg)->line);
}

static int tty_set(void *arg, struct line_visit v)
{
    const struct poller_tty *t = arg;
    struct port_settings s = t->line->settings;
    char why[256] = "";

    if (v.baud) {
        s.baud = v.baud;
        s.format = &serial_formats[v.format];
    }
    int err = port_set(t->port, &s, why, sizeof why);
    if (err)
        log_warn("line %s: cannot be set to %u baud, %s: %s", t->line->name, s.baud, s.format->name, why);
    return err;
}

const struct poller_io poller_tty_io = {tty_now, tty_run, tty_listen, tty_take_orders, tty_visited, tty_set};
