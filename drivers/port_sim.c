/* SPDX-License-Identifier: Apache-2.0 */
/* "sim:FILE": a line that a thread of this process plays. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "drivers/port.h"
#include "drivers/sim/sim.h"

static int check_sim(const char *rest, char *error, size_t size)
{
    if (!rest[0]) {
        snprintf(error, size, "sim: needs a file, as in \"sim:line.conf\"");
        return -EINVAL;
    }
    if (!access(rest, R_OK))
        return 0;
    int err = -errno;
    snprintf(error, size, "%s: %s", rest, strerror(-err));
    return err;
}

static int open_sim(struct port *p, const struct port_settings *s, const char *rest, char *error, size_t size)
{
    struct sim *sim;
    int err = sim_open(&sim, rest, NULL, error, size);

    if (err)
        return err;
    err = port_open_tty(p, s, sim_tty(sim), error, size);
    if (!err && (err = sim_start(sim)))
        snprintf(error, size, "%s: cannot start: %s", s->spec, strerror(-err));
    if (err) {
        port_close_tty(p);
        sim_close(sim);
        return err;
    }
    p->own = sim;
    return 0;
}

static void close_sim(struct port *p)
{
    struct sim *sim = p->own;

    p->own = NULL; /* port_close_tty would take it for a tty's own */
    port_close_tty(p);
    sim_close(sim);
}

const struct port_kind port_sim = {
    .prefix = "sim:",
    .what = "a simulated line such as \"sim:line.conf\"",
    .check = check_sim,
    .open = open_sim,
    .close = close_sim,
    .simulated = true,
    .set = port_set_tty,
    .file = true,
};
