/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/modbus/device.h"

static const struct conf_row timing_rows[] = {
    {"response", CONF_DURATION, .def = "500ms", .min = 10, .max = 60000,
     .help = "how long a unit may take to begin its answer"},
    {"holdoff", CONF_DURATION, .def = "200ms", .min = 0, .max = 60000,
     .help = "how long to listen on after a timeout, for an answer that comes late"},
    {"turnaround", CONF_DURATION, .def = "5ms", .min = 0, .max = 10000,
     .help = "how long units usually take to answer; for planning requests and the predicted load"},
    {0},
};

static const struct conf_row dead_rows[] = {
    {"after", CONF_INT, .def = "3", .min = 1, .max = 100,
     .help = "so many timeouts in a row make a unit dead"},
    {"probe_first", CONF_DURATION, .def = "5s", .min = 100, .max = 86400000,
     .help = "a dead unit is asked again after this time"},
    {"probe_max", CONF_DURATION, .def = "5m", .min = 100, .max = 86400000,
     .help = "the time doubles with each try, up to this"},
    {"line_share", CONF_INT, .def = "5", .min = 1, .max = 100,
     .help = "percent of the line's time that asking dead units may take"},
    {0},
};

const struct conf_row modbus_rtu_line_rows[] = {
    {"port", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 1024,
     .help = "a path, usb:VENDOR:PRODUCT:SERIAL, or sim:FILE for a simulated line"},
    {"baud", CONF_INT, .def = "19200", .min = 300, .max = 4000000, .help = "bits a second"},
    {"format", CONF_CHOICE, .def = "8E1", .choices = serial_format_names,
     .help = "data bits, parity, stop bits"},
    {"timing", CONF_GROUP, .def = "", .rows = timing_rows, .help = "times on the line"},
    {"dead", CONF_GROUP, .def = "", .rows = dead_rows, .help = "units that do not answer"},
    {0},
};

static const char *const payload_names[] = {"group", "point", NULL};

static const struct conf_row point_rows[] = {
    {"name", CONF_NAME, CONF_REQUIRED, .help = "the value's key in the payload"},
    {"at", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 64,
     .help = "table and address on the wire, from 0: coil:5, discrete:5, input:7, holding:100, input:7.3"},
    {"type", CONF_CHOICE, .choices = value_type_names,
     .help = "what the registers hold; bool for coils and discrete inputs, bit for a bit of a register"},
    {"order", CONF_CHOICE, .choices = value_order_names,
     .help = "order of the bytes on the wire, A the most significant; the device's unless given"},
    {"scale", CONF_FLOAT, .def = "1", .help = "the value is what was read times this"},
    {"offset", CONF_FLOAT, .def = "0", .help = "plus this"},
    {0},
};

static const struct conf_row group_rows[] = {
    {"every", CONF_DURATION, CONF_REQUIRED, .min = 10, .max = 86400000.0 * 30, .help = "time between polls"},
    {"qos", CONF_INT, .def = "1", .min = 0, .max = 2, .help = "QoS that readings are published with"},
    {"payload", CONF_CHOICE, .def = "group", .choices = payload_names,
     .help = "one message for the group or one for each point"},
    {"points", CONF_LIST, CONF_REQUIRED, .rows = point_rows, .help = "what is read"},
    {0},
};

const struct conf_row modbus_device_rows[] = {
    {"unit", CONF_INT, CONF_REQUIRED, .min = 1, .max = 247, .help = "the device's address on the line"},
    {"order", CONF_CHOICE, .def = "ABCD", .choices = value_order_names,
     .help = "order of the bytes on the wire, A the most significant"},
    {"response", CONF_DURATION, .min = 10, .max = 60000,
     .help = "how long this unit may take to begin its answer; the line's timing.response unless given"},
    {"groups", CONF_TABLE, CONF_REQUIRED, .rows = group_rows, .help = "points that are read together"},
    {0},
};

/* Wrong or missing, which has been told; what is not there by right is fine. */
static bool is_blank(const struct conf_node *group, const char *name)
{
    const struct conf_node *n = conf_get(group, name);

    return n && !n->given && !n->row->def;
}

static void check_port(struct conf *c, const struct conf_node *line)
{
    const struct conf_node *port = conf_get(line, "port");
    const char *rest;
    char error[256];
    const struct port_kind *kind = port_kind_of(port->s, &rest);

    if (is_blank(line, "port"))
        return;
    if (kind) {
        char *spec = port_spec_resolve(port->s, port->file);
        port_kind_of(spec, &rest);
        if (kind->check && kind->check(rest, error, sizeof error))
            conf_error(c, port, "port = \"%s\": %s", port->s, error);
        free(spec);
        return;
    }
    for (const struct port_absent *a = ports_absent; a->prefix; a++)
        if (!strncmp(port->s, a->prefix, strlen(a->prefix))) {
            conf_error(c, port,
                       "port = \"%s\" needs %s, which this build lacks: enable it with make menuconfig",
                       port->s, a->symbol);
            return;
        }
    struct buf known = {0};
    for (const struct port_kind *const *k = port_kinds; *k; k++)
        buf_printf(&known, "%s%s", k == port_kinds ? "" : " or ", (*k)->what);
    conf_error(c, port, "port = \"%s\" is no port; write %s", port->s, (const char *)known.data);
    buf_free(&known);
}

static void check_units(struct conf *c, const struct driver_conf *line)
{
    for (size_t i = 0; i < line->device_count; i++)
        for (size_t k = 0; k < i; k++) {
            const struct conf_node *a = line->devices[k], *b = line->devices[i];
            if (!is_blank(b, "unit") && conf_int(a, "unit") == conf_int(b, "unit"))
                conf_error(c, conf_get(b, "unit"),
                           "unit %d is already device %s (%s:%d); each unit of line %s is one device",
                           (int)conf_int(b, "unit"), a->name, a->file, a->line, line->line->name);
        }
}

/* Points that share some registers but not all are legal and hardly ever meant. */
static void check_overlap(struct conf *c, const struct conf_node *at, const struct modbus_point *a,
                          const struct modbus_point *b)
{
    bool same = a->address == b->address && a->count == b->count;
    bool apart = a->address + a->count <= b->address || b->address + b->count <= a->address;

    if (a->table == b->table && !same && !apart && !value_is_bit(a->spec.type) && !value_is_bit(b->spec.type))
        conf_warn(c, at, "%s and %s share a register: %u to %u and %u to %u", b->name, a->name, b->address,
                  b->address + b->count - 1u, a->address, a->address + a->count - 1u);
}

static void check_points(struct conf *c, const struct conf_node *device, const struct conf_node *group)
{
    size_t count = conf_count(group, "points"), good = 0;
    struct modbus_point *points = mem_alloc((count + 1) * sizeof *points);
    char error[256];

    if (!count && !is_blank(group, "points"))
        conf_error(c, group, "group %s has no points; add some, or take it out", group->name);
    for (size_t i = 0; i < count; i++) {
        const struct conf_node *n = conf_at(group, "points", i);
        for (size_t k = 0; k < i; k++)
            if (n->name[0] && !strcmp(conf_at(group, "points", k)->name, n->name))
                conf_error(c, n, "point %s is in group %s twice; give it another name", n->name, group->name);
        struct modbus_point *p = &points[good];
        if (is_blank(n, "at") || is_blank(n, "type") || is_blank(n, "order"))
            continue;
        if (!modbus_point_read(device, n, p, error, sizeof error)) {
            conf_error(c, n, "%s", error);
            continue;
        }
        p->name = (char *)(uintptr_t)n->name;
        for (size_t k = 0; k < good; k++)
            check_overlap(c, n, &points[k], p);
        good++;
    }
    free(points);
}

void modbus_check(struct conf *c, const struct driver_conf *line)
{
    check_port(c, line->line);
    check_units(c, line);
    for (size_t i = 0; i < line->device_count; i++) {
        const struct conf_node *d = line->devices[i];
        if (!conf_count(d, "groups") && !is_blank(d, "groups"))
            conf_error(c, d,
                       "device %s has no groups; add one, as in groups = { all = { every = \"1s\"; points = "
                       "( … ); }; }",
                       d->name);
        for (size_t k = 0; k < conf_count(d, "groups"); k++)
            check_points(c, d, conf_at(d, "groups", k));
    }
}
