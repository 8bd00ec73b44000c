/* SPDX-License-Identifier: Apache-2.0 */
/* The lines that run, and what others ask of them: the field tools, the Modbus server. Is lines.c; loop
 * thread. */
#ifndef SLUICE_DRIVERS_LINES_H
#define SLUICE_DRIVERS_LINES_H

#include <stdbool.h>

#include "base/asker.h"
#include "base/buf.h"
#include "base/list.h"
#include "drivers/driver.h"

struct command_request;
struct modbus_raw;
struct visit;
struct watched;

struct running {
    struct list link;
    char *name;
    const struct driver *driver;
    void *line;
    struct field *field;
    struct list watchers; /* of tools.c */
    struct visit *visit;  /* NULL: nobody has the line to himself */
};

/* NULL when there is none of that name. */
struct running *lines_find(const char *name);
/* The one after r, NULL: the first; NULL when there is none. */
struct running *lines_next(struct running *r);
/* The names of all, for messages. */
void lines_names(struct buf *out);

/* A request over the control socket: an object for each peer that has made itself known. */
enum asked lines_motes(struct gateway *gw, struct asker *a, const struct cJSON *asked, struct cJSON *answer);

/* Gives a request to the line of that name. 0, and raw->done follows (modbus/raw.h); or -ENOENT: no such
 * line, -ENOTSUP: it does not speak Modbus, -ENOTCONN: its port is not there, -EINVAL: the unit or the
 * request is none (raw_shape), -EPERM: it touches what the device's limits.forbidden names, -EAGAIN: too many
 * wait. */
int lines_raw(const char *line, struct modbus_raw *raw);

/* A command to a point (command.h). False: there are no lines. */
bool lines_command(const struct command_request *q);

/* watch.h; only while the lines run. */
struct watched *lines_watch(const char *device, const char *group, const char *point);
void lines_unwatch(struct watched *w);

#endif
