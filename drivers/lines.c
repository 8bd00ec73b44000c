/* SPDX-License-Identifier: Apache-2.0 */
/* The service `lines`: knows what lines and devices there are and which driver plays each; the drivers do the
 * rest. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf_edit.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "drivers/command.h"
#include "drivers/field.h"
#include "drivers/lines.h"
#include "drivers/port.h"
#include "drivers/tools.h"
#include "service.h"

static const struct driver *driver_find(const char *protocol)
{
    for (const struct driver *const *d = drivers; *d; d++)
        if (!strcmp((*d)->name, protocol))
            return *d;
    return NULL;
}

static const struct conf_row *line_kind_rows(const char *protocol)
{
    const struct driver *d = driver_find(protocol);

    return d ? d->line_rows : NULL;
}

static const struct conf_row *device_kind_rows(const char *kind)
{
    for (const struct driver *const *d = drivers; *d; d++)
        if (!strcmp((*d)->device, kind))
            return (*d)->device_rows;
    return NULL;
}

#define DEFAULT_DEVICE "modbus"

/* A device may leave most of itself to a file of its kind. */
static void expand_device(struct conf *c, struct conf_node *device)
{
    const struct conf_node *kind = conf_given(device, "protocol");

    for (const struct driver *const *d = drivers; *d; d++)
        if (!strcmp((*d)->device, kind ? kind->s : DEFAULT_DEVICE) && (*d)->expand) {
            (*d)->expand(c, device);
            return;
        }
}

static const struct conf_row line_rows[] = {
    {"name", CONF_NAME, CONF_REQUIRED, .help = "how devices and messages name the line"},
    {"protocol", CONF_CHOICE, CONF_REQUIRED, .choices = driver_names, .help = "what is spoken on it"},
    {0},
};

static const struct conf_row device_rows[] = {
    {"name", CONF_NAME, CONF_REQUIRED, .help = "a part of the device's topics"},
    {"line", CONF_NAME, CONF_REQUIRED, .help = "the line that it is on"},
    {"protocol", CONF_CHOICE, .def = DEFAULT_DEVICE, .choices = driver_device_names,
     .help = "what kind of device it is"},
    {0},
};

static const struct conf_row rows[] = {
    {"lines", CONF_LIST, .rows = line_rows, .kind_key = "protocol", .kind_rows = line_kind_rows,
     .help = "the field buses"},
    {"devices", CONF_LIST, .rows = device_rows, .kind_key = "protocol", .kind_rows = device_kind_rows,
     .help = "what is on them", .expand = expand_device},
    {"profile_path", CONF_STRING, .def = DEFAULT_PROFILE_PATH, .min = 1, .max = 4096,
     .help =
         "folders of device profiles, with colons between them; the first that has a profile counts, and a "
         "relative one is taken from the folder of the file that names it"},
    {0},
};

/* ---- a line with its devices ---- */

/* Of the kind that the line has; that others are none has been told. */
static struct driver_conf conf_of(const struct conf_node *root, const struct conf_node *line)
{
    const struct driver *driver = driver_find(conf_string(line, "protocol"));
    size_t count = conf_count(root, "devices");
    struct driver_conf out = {.line = line, .devices = mem_alloc((count + 1) * sizeof *out.devices)};

    for (size_t i = 0; i < count; i++) {
        const struct conf_node *d = conf_at(root, "devices", i);
        if (driver && !strcmp(conf_string(d, "line"), line->name) &&
            !strcmp(conf_string(d, "protocol"), driver->device))
            out.devices[out.device_count++] = d;
    }
    return out;
}

static const struct conf_node *line_named(const struct conf_node *root, const char *name)
{
    for (size_t i = 0; i < conf_count(root, "lines"); i++)
        if (!strcmp(conf_at(root, "lines", i)->name, name))
            return conf_at(root, "lines", i);
    return NULL;
}

static bool same(const struct driver_conf *a, const struct driver_conf *b)
{
    bool equal = a->device_count == b->device_count && conf_same(a->line, b->line);

    for (size_t i = 0; equal && i < a->device_count; i++)
        equal = conf_same(a->devices[i], b->devices[i]);
    return equal;
}

/* ---- check ---- */

/* The tree may have mistakes, which have been told: what is missing or wrong is blank, and what stands on a
 * line of unknown protocol is not there. No mistake is told twice. */

static void check_names(struct conf *c, const char *list, const char *what)
{
    const struct conf_node *root = conf_root(c);

    for (size_t i = 0; i < conf_count(root, list); i++)
        for (size_t k = 0; k < i; k++) {
            const struct conf_node *a = conf_at(root, list, k), *b = conf_at(root, list, i);
            if (b->name[0] && !strcmp(a->name, b->name))
                conf_error(c, b, "%s %s is there twice (first at %s:%d); give it another name", what, b->name,
                           a->file, a->line);
        }
}

static void check_ports(struct conf *c)
{
    const struct conf_node *root = conf_root(c);

    for (size_t i = 0; i < conf_count(root, "lines"); i++)
        for (size_t k = 0; k < i; k++) {
            const struct conf_node *a = conf_at(root, "lines", k), *b = conf_at(root, "lines", i);
            const char *port = conf_string(a, "port"), *same = conf_string(b, "port");
            const char *rest;
            const struct port_kind *kind = port ? port_kind_of(port, &rest) : NULL;
            if (kind && kind->tty && same && !strcmp(port, same))
                conf_error(c, conf_get(b, "port"), "line %s already has port %s; a port belongs to one line",
                           a->name, port);
        }
}

static void check_device_line(struct conf *c, const struct conf_node *device)
{
    const struct conf_node *root = conf_root(c), *line = line_named(root, conf_string(device, "line"));
    const struct conf_node *at = conf_get(device, "line");
    size_t count = conf_count(root, "lines");

    if (!at->s[0])
        return;
    if (line) {
        const struct driver *d = driver_find(conf_string(line, "protocol"));
        if (d && strcmp(d->device, conf_string(device, "protocol")))
            conf_error(c, at, "line %s speaks %s and device %s is %s", line->name, d->name, device->name,
                       conf_string(device, "protocol"));
        return;
    }
    const char **names = mem_alloc((count + 1) * sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = conf_at(root, "lines", i)->name;
    const char *near = conf_nearest(at->s, names, count);
    if (near || count == 1)
        conf_error(c, at, "there is no line %s; did you mean %s?", at->s, near ? near : names[0]);
    else
        conf_error(c, at, "there is no line %s; add it to lines", at->s);
    free(names);
}

static void check_device(struct conf *c, const struct conf_node *device)
{
    static const char *const reserved[] = {"state", "event", "health", "mote"};

    for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
        if (!strcmp(device->name, reserved[i]))
            conf_error(c, device,
                       "no device can be called %s: {root}/%s is a topic of the box; choose another name",
                       device->name, device->name);
    check_device_line(c, device);
}

/* Not every kind of device has points. */
static bool has_groups(const struct conf_node *device)
{
    const struct conf_row *r = device_kind_rows(conf_string(device, "protocol"));

    while (r && r->name && strcmp(r->name, "groups"))
        r++;
    return r && r->name;
}

static size_t point_count(const struct conf_node *device)
{
    size_t count = 0;

    if (!has_groups(device))
        return 0;
    for (size_t i = 0; i < conf_count(device, "groups"); i++)
        count += conf_count(conf_at(device, "groups", i), "points");
    return count;
}

static void check_limits(struct conf *c)
{
    const struct conf_node *root = conf_root(c);
    size_t points = 0;

    for (size_t i = 0; i < conf_count(root, "devices"); i++)
        points += point_count(conf_at(root, "devices", i));
    const struct {
        const char *what;
        size_t count, most;
    } limits[] = {{"lines", conf_count(root, "lines"), LIMIT_LINES},
                  {"devices", conf_count(root, "devices"), LIMIT_DEVICES},
                  {"points", points, LIMIT_POINTS}};
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
        if (limits[i].count > limits[i].most)
            conf_error(c, root, "%zu %s are more than this build can have (%zu)", limits[i].count,
                       limits[i].what, limits[i].most);
}

static void report_line(struct conf *c, const struct driver *d, const struct driver_conf *line, FILE *report)
{
    struct driver_load load;

    d->predict(line, &load);
    if (report)
        fprintf(report, "%-16s %-12s %7zu %6zu %8zu %9.3f s %6.1f %%\n", line->line->name, d->name,
                line->device_count, load.points, load.requests, (double)load.cycle_us / 1e6, load.load * 100);
    if (load.load > 1)
        conf_warn(c, line->line,
                  "line %s is asked for %.0f %% of its time; poll less often, or make the line faster",
                  line->line->name, load.load * 100);
}

static void explain(const struct conf_node *root, FILE *report)
{
    for (size_t i = 0; i < conf_count(root, "lines"); i++) {
        struct driver_conf line = conf_of(root, conf_at(root, "lines", i));
        const struct driver *d = driver_find(conf_string(line.line, "protocol"));
        if (d->explain)
            d->explain(&line, report);
        free(line.devices);
    }
}

static void check(struct conf *c, FILE *report)
{
    const struct conf_node *root = conf_root(c);
    size_t lines = conf_count(root, "lines");

    check_names(c, "lines", "line");
    check_names(c, "devices", "device");
    check_ports(c);
    check_limits(c);
    for (size_t i = 0; i < conf_count(root, "devices"); i++)
        check_device(c, conf_at(root, "devices", i));
    for (size_t i = 0; i < lines; i++) {
        struct driver_conf line = conf_of(root, conf_at(root, "lines", i));
        const struct driver *d = driver_find(conf_string(line.line, "protocol"));
        if (d)
            d->check(c, &line);
        free(line.devices);
    }
    if (conf_errors(c))
        return;
    if (report && lines)
        fprintf(report, "%-16s %-12s %7s %6s %8s %11s %8s\n", "line", "protocol", "devices", "points",
                "requests", "cycle", "load");
    for (size_t i = 0; i < lines; i++) {
        struct driver_conf line = conf_of(root, conf_at(root, "lines", i));
        const struct driver *d = driver_find(conf_string(line.line, "protocol"));
        if (d->predict)
            report_line(c, d, &line, report);
        free(line.devices);
    }
    if (report)
        explain(root, report);
}

/* ---- run ---- */

static struct {
    struct field field;
    struct list lines; /* of struct running */
    struct commands commands;
    bool started, closing;
} self;

const char command_not_mine[] = "no such device";

struct running *lines_find(const char *name)
{
    if (self.started)
        list_for(it, &self.lines) if (!strcmp(list_entry(it, struct running, link)->name,
                                              name)) return list_entry(it, struct running, link);
    return NULL;
}

struct running *lines_next(struct running *r)
{
    struct list *next = r ? r->link.next : self.lines.next;

    return self.started && next != &self.lines ? list_entry(next, struct running, link) : NULL;
}

void lines_names(struct buf *out)
{
    if (self.started)
        list_for(it, &self.lines)
            buf_printf(out, "%s%s", out->len ? ", " : "", list_entry(it, struct running, link)->name);
}

static const char *give(struct command *c, bool only_check)
{
    list_for(it, &self.lines)
    {
        struct running *r = list_entry(it, struct running, link);
        const char *why = r->driver->command ? r->driver->command(r->line, c, only_check) : command_not_mine;
        if (why != command_not_mine)
            return why;
    }
    return command_not_mine;
}

bool lines_command(const struct command_request *q)
{
    if (self.started && !self.closing)
        commands_submit(&self.commands, q);
    return self.started && !self.closing;
}

struct watched *lines_watch(const char *device, const char *group, const char *point)
{
    return watch_open(&self.field.watches, device, group, point);
}

void lines_unwatch(struct watched *w)
{
    watch_close(&self.field.watches, w);
}

int lines_raw(const char *line, struct modbus_raw *raw)
{
    const struct running *r = self.closing ? NULL : lines_find(line);

    if (!r)
        return -ENOENT;
    return r->driver->raw ? r->driver->raw(r->line, raw) : -ENOTSUP;
}

static void take_all(struct field *f)
{
    (void)f;
    commands_take(&self.commands);
    list_for(it, &self.lines)
    {
        struct running *r = list_entry(it, struct running, link);
        if (r->driver->take && field_may_publish(&self.field))
            r->driver->take(r->line);
        tools_take(r);
    }
}

static int start_line(const struct conf_node *root, const struct conf_node *n)
{
    struct driver_conf conf = conf_of(root, n);
    const struct driver *d = driver_find(conf_string(n, "protocol"));
    void *line;
    int err = d->start(&line, &self.field, &conf);

    free(conf.devices);
    if (err)
        return err;
    struct running *r = mem_alloc(sizeof *r);
    *r = (struct running){.name = mem_strdup(n->name), .driver = d, .line = line, .field = &self.field};
    tools_begin(r);
    list_add_tail(&self.lines, &r->link);
    return 0;
}

static void end_line(struct running *r)
{
    tools_end(r);
    r->driver->free(r->line);
    list_remove(&r->link);
    free(r->name);
    free(r);
}

enum asked lines_motes(struct gateway *gw, struct asker *a, const struct cJSON *asked, struct cJSON *answer)
{
    cJSON *motes = cJSON_AddArrayToObject(answer, "motes");

    (void)gw, (void)a, (void)asked;
    if (!self.started)
        return ASKED_NOW;
    list_for(it, &self.lines)
    {
        struct running *r = list_entry(it, struct running, link);
        if (r->driver->peers)
            r->driver->peers(r->line, motes);
    }
    return ASKED_NOW;
}

static int start(struct gateway *gw)
{
    const struct conf_node *root = conf_root(gw->conf);

    list_init(&self.lines);
    int err = field_open(&self.field, gw, take_all);
    if (err)
        return err;
    self.started = true;
    err = commands_open(&self.commands, &self.field, give);
    for (size_t i = 0; i < conf_count(root, "lines") && !err; i++)
        err = start_line(root, conf_at(root, "lines", i));
    return err;
}

static bool device_stays(const struct conf_node *root, const char *name)
{
    for (size_t i = 0; i < conf_count(root, "devices"); i++)
        if (!strcmp(conf_at(root, "devices", i)->name, name))
            return true;
    return false;
}

static bool line_stays(const struct conf_node *was, const struct conf_node *next, const char *name)
{
    const struct conf_node *a = line_named(was, name), *b = line_named(next, name);

    if (!a || !b)
        return false;
    struct driver_conf old = conf_of(was, a), new = conf_of(next, b);
    bool stays = same(&old, &new);
    free(old.devices);
    free(new.devices);
    return stays;
}

/* A line leaves its exchange at once when it is asked to end, so waiting for it here costs milliseconds. What
 * it has read is published before the new one begins. */
static int reload(struct gateway *gw, const struct conf *next)
{
    const struct conf_node *was = conf_root(gw->conf), *root = conf_root(next);
    int worst = 0;

    list_for(it, &self.lines)
    {
        struct running *r = list_entry(it, struct running, link);
        if (!line_stays(was, root, r->name))
            r->driver->stop(r->line);
    }
    list_for_safe(it, &self.lines)
    {
        struct running *r = list_entry(it, struct running, link);
        if (!line_stays(was, root, r->name))
            end_line(r);
    }
    for (size_t i = 0; i < conf_count(was, "devices"); i++)
        if (!device_stays(root, conf_at(was, "devices", i)->name))
            field_forget(&self.field, conf_at(was, "devices", i)->name);
    for (size_t i = 0; i < conf_count(root, "lines"); i++) {
        const struct conf_node *n = conf_at(root, "lines", i);
        int err = lines_find(n->name) ? 0 : start_line(root, n);
        worst = err ? err : worst;
    }
    list_for(it, &self.lines)
    {
        struct running *r = list_entry(it, struct running, link);
        if (r->driver->review)
            r->driver->review(r->line);
    }
    return worst;
}

static void stop(struct gateway *gw)
{
    (void)gw;
    if (!self.started)
        return;
    list_for(it, &self.lines)
    {
        struct running *r = list_entry(it, struct running, link);
        r->driver->stop(r->line);
    }
}

static bool stopped(struct gateway *gw)
{
    (void)gw;
    if (!self.started)
        return true;
    list_for_safe(it, &self.lines)
    {
        struct running *r = list_entry(it, struct running, link);
        if (r->driver->stopped(r->line))
            end_line(r);
    }
    if (!list_empty(&self.lines))
        return false;
    if (!self.closing) {
        commands_close(&self.commands);
        field_close(&self.field);
    }
    self.closing = true;
    return self.field.closed && self.commands.closed;
}

static void status(struct gateway *gw, struct cJSON *into)
{
    cJSON *lines = cJSON_AddArrayToObject(into, "lines"), *devices = cJSON_AddArrayToObject(into, "devices");

    (void)gw;
    if (!self.started)
        return;
    list_for(it, &self.lines)
    {
        struct running *r = list_entry(it, struct running, link);
        r->driver->status(r->line, lines, devices);
        tools_status(r, cJSON_GetArrayItem(lines, cJSON_GetArraySize(lines) - 1));
    }
}

const struct service service_lines = {"lines", rows,    check,  start,         reload,
                                      stop,    stopped, status, tools_requests};
