/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/serve_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/modbus/serve_map.h"

static const struct conf_row point_rows[] = {
    {"at", CONF_STRING, CONF_REQUIRED, .min = 1, .max = 64,
     .help = "where masters find it: coil:5, discrete:5, input:7, holding:100, or holding:7.3 for a bit"},
    {"device", CONF_NAME, CONF_REQUIRED, .help = "whose point it is"},
    {"group", CONF_NAME, .help = "its group; needed where several have a point of that name"},
    {"point", CONF_NAME, CONF_REQUIRED, .help = "the point"},
    {"type", CONF_CHOICE, .choices = value_type_names, .help = "what the registers hold"},
    {"order", CONF_CHOICE, .choices = value_order_names,
     .help = "order of the bytes, A the most significant; the unit's unless given"},
    {"length", CONF_INT, .min = 1, .max = 250, .help = "characters of a string"},
    {"layout", CONF_CHOICE, .def = "HL", .choices = value_layout_names,
     .help = "how a string's characters lie in registers"},
    {"scale", CONF_FLOAT, .def = "1",
     .help = "the value is what the registers hold times this, as for a device: 0.1 gives tenths"},
    {"offset", CONF_FLOAT, .def = "0", .help = "plus this"},
    {"write", CONF_BOOL, .def = "false",
     .help = "masters may write it, as a command to the point; the answer follows the device's own"},
    {"quality", CONF_STRING, .min = 1, .max = 64,
     .help = "a register for its quality: 0 good, 1 timeout, 2 crc, 3 exception, 4 out of range, 5 busy, 6 "
             "skipped, 7 stale or never read, 8 simulated"},
    {0},
};

const struct conf_row serve_unit_rows[] = {
    {"unit", CONF_INT, CONF_REQUIRED, .min = 0, .max = 255, .help = "the unit that masters ask"},
    {"base", CONF_INT, .def = "0", .min = 0, .max = 1,
     .help = "number of the first register or bit: 0 as on the wire, 1 as in 40001"},
    {"order", CONF_CHOICE, .def = "ABCD", .choices = value_order_names,
     .help = "order of the bytes of points without their own"},
    {"fill", CONF_INT, .min = 0, .max = 65535,
     .help = "what registers hold that have no good value now, and those between two points; without it, a "
             "read of them is refused with exception 11, or 2"},
    {"points", CONF_LIST, CONF_REQUIRED, .rows = point_rows, .help = "what it shows"},
    {0},
};

/* ---- the point ---- */

static const struct conf_node *named(const struct conf_node *of, const char *list, const char *name)
{
    for (size_t i = 0; name && i < conf_count(of, list); i++)
        if (!strcmp(conf_at(of, list, i)->name, name))
            return conf_at(of, list, i);
    return NULL;
}

bool serve_source_find(const struct conf_node *root, const struct conf_node *at, struct serve_source *out,
                       char *error, size_t size)
{
    const char *device = conf_string(at, "device"), *group = conf_string(at, "group"),
               *point = conf_string(at, "point");

    *out = (struct serve_source){.device = named(root, "devices", device)};
    if (!out->device || strcmp(conf_string(out->device, "protocol"), "modbus")) {
        snprintf(error, size, out->device ? "device %s is no Modbus device" : "there is no device %s",
                 device);
        return false;
    }
    out->line = named(root, "lines", conf_string(out->device, "line"));
    for (size_t i = 0; i < conf_count(out->device, "groups"); i++) {
        const struct conf_node *g = conf_at(out->device, "groups", i), *p = named(g, "points", point);
        if (!p || (group && strcmp(g->name, group)))
            continue;
        if (out->point) {
            snprintf(error, size, "device %s has %s in the groups %s and %s; say which, as in group = \"%s\"",
                     device, point, out->group->name, g->name, g->name);
            return false;
        }
        out->group = g;
        out->point = p;
    }
    if (!out->point)
        snprintf(error, size, "device %s has no point %s%s%s", device, point, group ? " in group " : "",
                 group ? group : "");
    return out->point && out->line;
}

bool serve_quality_place(const struct conf_node *unit, const struct conf_node *at, struct modbus_point *out)
{
    const char *text = conf_string(at, "quality");
    struct plan_range place;

    if (!text || !modbus_range_read(text, (unsigned)conf_int(unit, "base"), &place) ||
        table_is_bits(place.table) || place.first != place.last)
        return false;
    *out = (struct modbus_point){.table = place.table, .address = place.first, .count = 1};
    out->spec.type = &value_types[0];
    return true;
}

/* ---- mistakes ---- */

static bool holds_text(const struct modbus_point *p)
{
    return p->spec.type->form == FORM_TEXT || p->spec.type->form == FORM_TIME ||
           p->spec.type->form == FORM_EPOCH || p->spec.name_count;
}

/* Why the place cannot hold what the point has; NULL: it can. */
static const char *misfit(const struct modbus_point *from, const struct modbus_point *to)
{
    const struct value_type *type = to->spec.type;
    bool bit = from->spec.type->form == FORM_BIT && !from->spec.name_count;

    if (type->form == FORM_TEXT)
        return !holds_text(from) ? "is no text; give it the type of a number"
               : from->spec.type->form == FORM_TEXT && from->spec.length > to->spec.length
                   ? "is longer; give it more `length`"
                   : NULL;
    if (holds_text(from))
        return "is a text; give it the type string";
    if (type->form == FORM_BIT)
        return bit ? NULL : "is no bit; give it registers and the type of a number";
    return type->write ? NULL : "cannot be shown with that type; use one of a number";
}

static const char *write_mistake(const struct modbus_point *from, const struct modbus_point *to)
{
    if (!from->write.on)
        return "cannot be written; give it write = { } at its device";
    if (to->table == TABLE_DISCRETE || to->table == TABLE_INPUT)
        return "can be written only as a coil or holding register";
    return value_is_bit(to->spec.type) && to->table == TABLE_HOLDING
               ? "can be written only as a whole register or a coil"
               : NULL;
}

static void check_source(struct conf *c, const struct conf_node *at, const struct modbus_point *to)
{
    struct serve_source from;
    struct modbus_point point;
    char error[256];

    if (!serve_source_find(conf_root(c), at, &from, error, sizeof error)) {
        conf_error(c, at, "%s", error);
        return;
    }
    if (!modbus_point_read(from.line, from.device, from.point, &point, error, sizeof error))
        return; /* told where it stands */
    const char *why = misfit(&point, to);
    if (!why && conf_bool(at, "write"))
        why = write_mistake(&point, to);
    if (why)
        conf_error(c, at, "%s: %s of device %s %s", conf_string(at, "at"), from.point->name,
                   from.device->name, why);
    modbus_point_free(&point);
}

struct taken {
    struct modbus_point at;
    bool quality;
    const struct conf_node *node;
};

static bool overlap(const struct taken *a, const struct taken *b)
{
    bool apart = a->at.table != b->at.table || a->at.address + a->at.count <= b->at.address ||
                 b->at.address + b->at.count <= a->at.address;
    bool bits = !a->quality && !b->quality && !table_is_bits(a->at.table) && value_is_bit(a->at.spec.type) &&
                value_is_bit(b->at.spec.type);

    return !apart && !(bits && a->at.spec.bit != b->at.spec.bit && a->at.spec.order == b->at.spec.order);
}

static void take(struct conf *c, struct taken *all, size_t *count, const struct taken *one)
{
    for (size_t i = 0; i < *count; i++)
        if (overlap(&all[i], one)) {
            conf_error(c, one->node, "%s:%u is already %s of device %s (%s:%d)",
                       modbus_table_name(one->at.table),
                       one->at.address > all[i].at.address ? one->at.address : all[i].at.address,
                       conf_string(all[i].node, "point"), conf_string(all[i].node, "device"),
                       all[i].node->file, all[i].node->line);
            return;
        }
    all[(*count)++] = *one;
}

/* Something is missing or wrong, which has been told. */
static bool is_blank(const struct conf_node *n)
{
    for (size_t i = 0; i < n->kid_count; i++)
        if (n->kids[i] && n->kids[i]->blank)
            return true;
    return false;
}

void serve_map_check(struct conf *c, const struct conf_node *unit)
{
    size_t count = conf_count(unit, "points"), taken = 0;
    struct taken *all = mem_alloc((2 * count + 1) * sizeof *all);
    char error[256];

    for (size_t i = 0; i < count; i++) {
        const struct conf_node *n = conf_at(unit, "points", i);
        struct taken one = {.node = n};
        if (is_blank(n))
            continue;
        if (!modbus_place_read(NULL, unit, n, &one.at, error, sizeof error)) {
            conf_error(c, n, "%s", error);
            continue;
        }
        check_source(c, n, &one.at);
        take(c, all, &taken, &one);
        one.quality = conf_get(n, "quality");
        if (one.quality && serve_quality_place(unit, n, &one.at))
            take(c, all, &taken, &one);
        else if (one.quality)
            conf_error(c, n, "quality = \"%s\" is no register; write it as in \"holding:100\"",
                       conf_string(n, "quality"));
    }
    free(all);
}
