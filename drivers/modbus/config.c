/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/modbus/device.h"
#include "drivers/modbus/profile_device.h"

static const struct conf_row timing_rows[] = {
    {"response", CONF_DURATION, .def = "500ms", .min = 10, .max = 60000,
     .help = "how long a unit may take to begin its answer; unless given, less is waited for a unit that has "
             "always been quicker"},
    {"holdoff", CONF_DURATION, .def = "200ms", .min = 0, .max = 60000,
     .help = "how long to listen on after a timeout, for an answer that comes late"},
    {"turnaround", CONF_DURATION, .def = "5ms", .min = 0, .max = 10000,
     .help = "how long units usually take to answer; for the predicted load, and for planning requests until "
             "it is "
             "known better"},
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
     .help = "a path, usb:VENDOR:PRODUCT:SERIAL, rtu+tcp:ADDRESS:PORT for a line behind a device server, or "
             "sim:FILE for "
             "a simulated line"},
    {"baud", CONF_INT, .def = "19200", .min = 300, .max = 4000000, .help = "bits a second"},
    {"format", CONF_CHOICE, .def = "8E1", .choices = serial_format_names,
     .help = "data bits, parity, stop bits"},
    {"rs485", CONF_GROUP, .def = "", .rows = rs485_rows, .help = "how the transceiver is switched"},
    {"order", CONF_CHOICE, .def = "ABCD", .choices = value_order_names,
     .help = "order of the bytes on the wire, A the most significant, for devices and points without their "
             "own"},
    {"timing", CONF_GROUP, .def = "", .rows = timing_rows, .help = "times on the line"},
    {"dead", CONF_GROUP, .def = "", .rows = dead_rows, .help = "units that do not answer"},
    {0},
};

static const struct conf_row tcp_timing_rows[] = {
    {"response", CONF_DURATION, .def = "1s", .min = 10, .max = 60000,
     .help =
         "how long a unit may take to answer; unless given, less is waited for a unit that has always been "
         "quicker"},
    {"turnaround", CONF_DURATION, .def = "5ms", .min = 0, .max = 10000,
     .help = "how long a round trip usually takes; for planning requests and the predicted load"},
    {0},
};

const struct conf_row modbus_tcp_line_rows[] = {
    {"port", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 255,
     .help = "tcp:HOST or tcp:HOST:PORT, the device or the gateway to several; the port is 502 unless given"},
    {"in_flight", CONF_INT, .def = "1", .min = 1, .max = 32,
     .help = "most requests that are sent before the first is answered; many devices take only one"},
    {"order", CONF_CHOICE, .def = "ABCD", .choices = value_order_names,
     .help = "order of the bytes on the wire, A the most significant, for devices and points without their "
             "own"},
    {"timing", CONF_GROUP, .def = "", .rows = tcp_timing_rows, .help = "times on the connection"},
    {"dead", CONF_GROUP, .def = "", .rows = dead_rows, .help = "units that do not answer"},
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

/* A point that the device must not be asked for, or cannot be in one piece. */
static void check_limits(struct conf *c, const struct conf_node *at, const struct plan_limits *l,
                         const struct modbus_point *p)
{
    const struct plan_block b = {p->table, p->address, p->count};

    for (size_t i = 0; i < l->forbidden_count; i++)
        if (l->forbidden[i].table == p->table && l->forbidden[i].first < p->address + p->count &&
            l->forbidden[i].last >= p->address)
            conf_error(c, at, "point %s lies in a range that limits.forbidden names", p->name);
    if (p->count > plan_most(l, b.table))
        conf_warn(
            c, at,
            "point %s has %u registers and limits allow %u in a request; it is read in one all the same, "
            "as parts would not belong together",
            p->name, p->count, plan_most(l, b.table));
}

struct checked {
    struct conf *c;
    const struct conf_node *line, *device, *group;
    const struct plan_limits *limits;
};

static void check_names(const struct checked *k, size_t index)
{
    const struct conf_node *n = conf_at(k->group, "points", index);

    for (size_t i = 0; i < index; i++)
        if (n->name[0] && !strcmp(conf_at(k->group, "points", i)->name, n->name))
            conf_error(k->c, n, "point %s is in group %s twice; give it another name", n->name,
                       k->group->name);
}

static bool check_point(const struct checked *k, size_t index, struct modbus_point *out)
{
    const struct conf_node *n = conf_at(k->group, "points", index);
    char error[256];

    check_names(k, index);
    if (is_blank(n, "at") || is_blank(n, "type") || is_blank(n, "order"))
        return false;
    if (!modbus_point_read(k->line, k->device, n, out, error, sizeof error)) {
        conf_error(k->c, n, "%s", error);
        return false;
    }
    check_limits(k->c, n, k->limits, out);
    return true;
}

static void check_points(const struct checked *k)
{
    size_t count = conf_count(k->group, "points"), good = 0;
    struct modbus_point *points = mem_alloc((count + 1) * sizeof *points);

    if (!count && !is_blank(k->group, "points"))
        conf_error(k->c, k->group, "group %s has no points; add some, or take it out", k->group->name);
    for (size_t i = 0; i < count; i++) {
        if (!check_point(k, i, &points[good]))
            continue;
        for (size_t other = 0; other < good; other++)
            check_overlap(k->c, conf_at(k->group, "points", i), &points[other], &points[good]);
        good++;
    }
    while (good)
        modbus_point_free(&points[--good]);
    free(points);
}

/* A bare value has no place to say that no device gave it. */
static void check_simulated(struct conf *c, const struct conf_node *line, const struct conf_node *group)
{
    const struct conf_node *port = conf_get(line, "port");
    const char *rest;
    const struct port_kind *kind = port && port->s ? port_kind_of(port->s, &rest) : NULL;

    if (kind && kind->simulated && conf_int(group, "payload") == PAYLOAD_PLAIN)
        conf_warn(
            c, conf_get(group, "payload"),
            "nothing of group %s is published: line %s is simulated, and payload = \"plain\" has no place "
            "to say so; try it with \"point\"",
            group->name, line->name);
}

static void check_times(struct conf *c, const struct conf_node *group)
{
    const struct conf_node *faster = conf_get(group, "alarm_every"), *beat = conf_get(group, "heartbeat");

    if (faster && faster->given && faster->i > conf_int(group, "every"))
        conf_error(c, faster, "alarm_every = %s is slower than every = %s; give a shorter time", faster->s,
                   conf_string(group, "every"));
    if (beat && beat->given && beat->i < conf_int(group, "min_interval"))
        conf_error(c, beat, "heartbeat = %s is shorter than min_interval = %s; give a longer time", beat->s,
                   conf_string(group, "min_interval"));
}

static void check_forbidden(struct conf *c, const struct conf_node *device)
{
    const struct conf_node *limits = conf_get(device, "limits");
    unsigned base = (unsigned)conf_int(device, "base");
    struct plan_range range;

    for (size_t i = 0; i < conf_count(limits, "forbidden"); i++) {
        const struct conf_node *n = conf_at(limits, "forbidden", i);
        if (!modbus_range_read(n->s, base, &range))
            conf_error(c, n,
                       "forbidden: \"%s\" is no range; write \"holding:100-119\", with addresses from %u",
                       n->s, base);
    }
}

/* A command names device and point, not the group. */
static void check_writable(struct conf *c, const struct conf_node *device, const struct conf_node *point)
{
    const struct conf_node *write = conf_get(point, "write");

    if (!write || !write->given || !point->name[0])
        return;
    for (size_t i = 0; i < conf_count(device, "groups"); i++)
        for (size_t k = 0; k < conf_count(conf_at(device, "groups", i), "points"); k++) {
            const struct conf_node *other = conf_at(conf_at(device, "groups", i), "points", k);
            const struct conf_node *theirs = conf_get(other, "write");
            if (other == point)
                return;
            if (!strcmp(other->name, point->name) && theirs && theirs->given)
                conf_error(c, point,
                           "point %s of device %s can be written twice (first at %s:%d); rename one",
                           point->name, device->name, other->file, other->line);
        }
}

static void check_device(struct conf *c, const struct conf_node *line, const struct conf_node *device)
{
    struct plan_limits limits = modbus_limits_of(device);

    check_forbidden(c, device);
    if (!conf_count(device, "groups") && !is_blank(device, "groups"))
        conf_error(c, device,
                   "device %s has no groups; add one, as in groups = { all = { every = \"1s\"; points = "
                   "( … ); }; }",
                   device->name);
    for (size_t i = 0; i < conf_count(device, "groups"); i++) {
        const struct conf_node *group = conf_at(device, "groups", i);
        check_points(&(struct checked){c, line, device, group, &limits});
        check_times(c, group);
        check_simulated(c, line, group);
        for (size_t k = 0; k < conf_count(group, "points"); k++)
            check_writable(c, device, conf_at(group, "points", k));
    }
    free((void *)(uintptr_t)limits.forbidden);
}

static void check_devices(struct conf *c, const struct driver_conf *line)
{
    check_units(c, line);
    for (size_t i = 0; i < line->device_count; i++)
        check_device(c, line->line, line->devices[i]);
}

void modbus_check_rtu(struct conf *c, const struct driver_conf *line)
{
    const char *rest;
    const struct port_kind *kind = port_kind_of(conf_string(line->line, "port"), &rest);

    check_port(c, line->line);
    rs485_check(c, conf_get(line->line, "rs485"), !kind || kind->tty);
    for (size_t i = 0; i < line->device_count; i++) {
        int64_t unit = conf_int(line->devices[i], "unit");
        if (!is_blank(line->devices[i], "unit") && (unit < 1 || unit > 247))
            conf_error(c, conf_get(line->devices[i], "unit"),
                       "unit = %d: a serial line has units from 1 to 247", (int)unit);
    }
    check_devices(c, line);
}

bool modbus_tcp_place(const char *port, char *host, uint16_t *number)
{
    int end = 0;
    unsigned n = 502;

    if (strncmp(port, "tcp:", 4))
        return false;
    port += 4;
    bool ok = port[0] == '[' ? sscanf(port, "[%255[0-9a-fA-F:.]]%n", host, &end) == 1
                             : sscanf(port, "%255[^]:/ []%n", host, &end) == 1;
    if (!ok || !end)
        return false;
    int left = 0;
    if (port[end] && (sscanf(port + end, ":%5u%n", &n, &left) != 1 || port[end + left] || n < 1 || n > 65535))
        return false;
    *number = (uint16_t)n;
    return true;
}

void modbus_check_tcp(struct conf *c, const struct driver_conf *line)
{
    const struct conf_node *port = conf_get(line->line, "port");
    char host[256];
    uint16_t number;

    if (!is_blank(line->line, "port") && !modbus_tcp_place(port->s, host, &number))
        conf_error(c, port,
                   "port = \"%s\" is no place to connect to; write \"tcp:192.0.2.7\" or \"tcp:HOST:PORT\"",
                   port->s);
    check_devices(c, line);
}

/* ---- what goes over the wire ---- */

static void explain_group(const struct conf_node *line, const struct conf_node *device,
                          const struct conf_node *group, FILE *out)
{
    char error[256];

    for (size_t i = 0; i < conf_count(group, "points"); i++) {
        const struct conf_node *n = conf_at(group, "points", i);
        struct modbus_point p;
        if (!modbus_point_read(line, device, n, &p, error, sizeof error))
            continue;
        if (p.echo && !n->via) /* a profile counts as its document does */
            fprintf(out, "%s/%s/%s: %s is read with code %d at wire address %u, %u %s\n", device->name,
                    group->name, n->name, conf_string(n, "at"), (int)p.table, p.address, p.count,
                    table_is_bits(p.table) ? "bit"
                    : p.count == 1         ? "register"
                                           : "registers");
        modbus_point_free(&p);
    }
}

void modbus_explain(const struct driver_conf *line, FILE *out)
{
    for (size_t i = 0; i < line->device_count; i++)
        modbus_profile_explain(line->line, line->devices[i], out);
    for (size_t i = 0; i < line->device_count; i++)
        for (size_t k = 0; k < conf_count(line->devices[i], "groups"); k++)
            explain_group(line->line, line->devices[i], conf_at(line->devices[i], "groups", k), out);
}
