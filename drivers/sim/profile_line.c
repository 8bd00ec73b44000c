/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/profile_line.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/modbus/profile.h"

enum { TABLES = 4, TURNAROUND_US = 5000 };

static const struct {
    const char *name;
    char digit; /* of the numbers from 1: 40101 */
    bool bits;
} tables[TABLES] = {
    {"coil", '0', true}, {"discrete", '1', true}, {"input", '3', false}, {"holding", '4', false}};

/* What the simulator calls each type; words: registers, 0 for a bit or a text. */
static const struct layout {
    const char *type;
    unsigned words;
} layouts[] = {{"int16", 1},   {"uint16", 1},  {"int32", 2}, {"uint32", 2}, {"int64", 4}, {"uint64", 4},
               {"float32", 2}, {"float64", 4}, {"bool", 0},  {"bit", 0},    {"string", 0}};

/* Registers or bits that one point brings. */
struct place {
    const struct conf_node *point;
    unsigned table, at, count;
    const char *type;
    bool writable;
    size_t index;
};

/* ---- addresses ---- */

static bool read_table(const char **at, unsigned base, unsigned *table)
{
    for (unsigned t = 0; t < TABLES; t++) {
        size_t len = strlen(tables[t].name);
        if (!strncmp(*at, tables[t].name, len) && (*at)[len] == ':')
            *at += len + 1;
        else if (base == 1 && **at == tables[t].digit && isdigit((unsigned char)(*at)[1]))
            *at += 1;
        else
            continue;
        *table = t;
        return true;
    }
    return false;
}

static bool read_at(const char *at, unsigned base, unsigned *table, unsigned *address)
{
    char *end;

    if (!read_table(&at, base, table))
        return false;
    unsigned long n = strtoul(at, &end, 10);
    *address = (unsigned)(n - base);
    return end != at && (!*end || *end == '.') && n >= base && n - base <= 65535;
}

static unsigned text_words(const struct conf_node *point)
{
    const char *layout = conf_string(point, "layout");
    unsigned length = (unsigned)conf_int(point, "length");

    return strlen(layout) == 2 ? (length + 1) / 2 : length;
}

static char *read_place(const struct profile *p, const struct conf_node *point, struct place *out)
{
    const char *at = conf_string(point, "at"), *type = conf_string(point, "type");
    const struct conf_node *write = conf_get(point, "write");
    unsigned base = (unsigned)conf_int(conf_root(p->conf), "base");

    if (!read_at(at, base, &out->table, &out->at))
        return mem_format("%s:%d: at = \"%s\" is no address", point->file, point->line, at);
    if (!type)
        type = tables[out->table].bits ? "bool" : "bit";
    for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
        if (!strcmp(layouts[i].type, type)) {
            out->point = point;
            out->type = type;
            out->count = layouts[i].words          ? layouts[i].words
                         : !strcmp(type, "string") ? text_words(point)
                                                   : 1;
            out->writable = write && write->given;
            return NULL;
        }
    return mem_format("%s:%d: the simulator cannot play a %s", point->file, point->line, type);
}

/* Where two points share registers, the one that says most of them counts. */
static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    bool bit = !strcmp(x->type, "bit"), other = !strcmp(y->type, "bit");

    if (x->table != y->table)
        return x->table < y->table ? -1 : 1;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return bit != other ? bit - other : (x->index > y->index) - (x->index < y->index);
}

static size_t drop_shared(struct place *list, size_t count)
{
    size_t kept = 0;

    qsort(list, count, sizeof *list, by_place);
    for (size_t i = 0; i < count; i++) {
        struct place *before = kept ? &list[kept - 1] : NULL;
        if (before && before->table == list[i].table && list[i].at < before->at + before->count)
            before->writable = before->writable || list[i].writable;
        else
            list[kept++] = list[i];
    }
    return kept;
}

/* ---- the description ---- */

/* Long numbers are marked as libconfig wants them. */
static void put_integer(struct buf *out, const char *name, double value)
{
    buf_printf(out, " %s = %.0f%s;", name, value, value > 2147483647 || value < -2147483648.0 ? "L" : "");
}

static void put_float(struct buf *out, const char *name, double value)
{
    char text[40];

    snprintf(text, sizeof text, "%.12g", value);
    buf_printf(out, " %s = %s%s;", name, text, strpbrk(text, ".e") ? "" : ".0");
}

static void put_wave(struct buf *out, const struct sim_wave *w)
{
    switch (w->kind) {
    case SIM_WAVE_CONSTANT:
        put_float(out, "constant", w->low);
        break;
    case SIM_WAVE_SINE:
        buf_printf(out, " value = \"sine\";");
        put_float(out, "mean", (w->low + w->high) / 2);
        put_float(out, "amplitude", (w->high - w->low) / 2);
        break;
    case SIM_WAVE_RAMP:
        buf_printf(out, " value = \"ramp\";");
        put_float(out, "from", w->low);
        put_float(out, "to", w->high);
        break;
    case SIM_WAVE_COUNTER:
        buf_printf(out, " value = \"counter\"; per = \"second\";");
        put_integer(out, "start", w->low);
        put_integer(out, "step", w->high);
    }
    if (w->kind == SIM_WAVE_SINE || w->kind == SIM_WAVE_RAMP)
        buf_printf(out, " period = \"%.0fms\";", w->period_ms);
}

static void put_text(struct buf *out, const struct place *p, const char **comma)
{
    const char *text = conf_string(conf_get(p->point, "sim"), "text"),
               *layout = conf_string(p->point, "layout");
    size_t len = strlen(text ? text : ""), length = (size_t)conf_int(p->point, "length");

    for (unsigned i = 0; i < p->count; i++) {
        size_t at = strlen(layout) == 2 ? 2 * i : i;
        unsigned first = at < len && at < length ? (uint8_t)text[at] : 0;
        unsigned second = strlen(layout) == 2 && at + 1 < len && at + 1 < length ? (uint8_t)text[at + 1] : 0;
        bool swapped = !strcmp(layout, "LH") || !strcmp(layout, "L");
        buf_printf(out, "%s\n      { at = %u; constant = %u;%s }", *comma, p->at + i,
                   swapped ? second << 8 | first : first << 8 | second,
                   p->writable ? " writable = true;" : "");
        *comma = ",";
    }
}

/* A bit of a register comes with all 16, which count the seconds. */
static struct sim_wave wave_of(const struct place *p)
{
    bool bit = !strcmp(p->type, "bit") || !strcmp(p->type, "bool");
    const struct conf_node *sim = conf_get(p->point, "sim");

    if (!bit || (sim && sim->given))
        return sim_profile_wave(p->point, p->index);
    if (p->writable)
        return (struct sim_wave){SIM_WAVE_CONSTANT, 0, 0, 0};
    return (struct sim_wave){SIM_WAVE_COUNTER, (double)p->index, 1, 0};
}

static char *put_place(const struct profile *p, struct buf *out, const struct place *place,
                       const char **comma)
{
    const struct conf_node *own = conf_get(place->point, "order"),
                           *all = conf_get(conf_root(p->conf), "order");
    const char *order = own ? own->s : all ? all->s : "ABCD";

    if (!strcmp(place->type, "string")) {
        put_text(out, place, comma);
        return NULL;
    }
    if (strlen(order) != 4)
        return mem_format("%s:%d: the simulator cannot play the order %s", place->point->file,
                          place->point->line, order);
    struct sim_wave w = wave_of(place);
    buf_printf(out, "%s\n      { at = %u;", *comma, place->at);
    *comma = ",";
    if (!tables[place->table].bits)
        buf_printf(out, " type = \"%s\"; order = \"%s\";",
                   strcmp(place->type, "bit") ? place->type : "uint16", order);
    put_wave(out, &w);
    if (place->writable)
        buf_printf(out, " writable = true;");
    buf_printf(out, " }");
    return NULL;
}

static char *put_places(const struct profile *p, struct buf *out, const struct place *list, size_t count)
{
    char *wrong = NULL;

    for (unsigned t = 0; t < TABLES && !wrong; t++) {
        const char *comma = "";
        for (size_t i = 0; i < count && !wrong; i++) {
            if (list[i].table != t)
                continue;
            if (!*comma)
                buf_printf(out, "\n    %s = (", tables[t].name);
            wrong = put_place(p, out, &list[i], &comma);
        }
        if (*comma)
            buf_printf(out, " );");
    }
    return wrong;
}

static char *put_points(const struct profile *p, struct buf *out)
{
    const struct conf_node *root = conf_root(p->conf);
    struct place *list = NULL;
    size_t count = 0;
    char *wrong = NULL;

    for (size_t i = 0; i < conf_count(root, "groups") && !wrong; i++) {
        const struct conf_node *group = conf_at(root, "groups", i);
        for (size_t k = 0; k < conf_count(group, "points") && !wrong; k++) {
            list = mem_resize(list, (count + 1) * sizeof *list);
            list[count] = (struct place){.index = count};
            wrong = read_place(p, conf_at(group, "points", k), &list[count++]);
        }
    }
    if (!wrong)
        wrong = put_places(p, out, list, drop_shared(list, count));
    free(list);
    return wrong;
}

/* As a text of at most 60 bytes between quotes. */
static void put_name(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, " %s = \"", key);
    for (size_t i = 0; text[i] && i < 60; i++)
        buf_u8(out, (uint8_t)(text[i] < ' ' || strchr("\"\\", text[i]) || (text[i] & 0x80) ? '.' : text[i]));
    buf_printf(out, "\";");
}

/* ---- profiles ---- */

static void collect(void *arg, bool is_error, const char *text)
{
    if (is_error)
        buf_printf(arg, "%s%s", ((struct buf *)arg)->len ? "\n" : "", text);
}

static char *mistakes(const struct profile *p)
{
    struct buf all = {0};

    conf_each_report(p->conf, collect, &all);
    return (char *)all.data;
}

static char *set_parameters(const struct sim_profiles *s, struct profile *p)
{
    for (size_t i = 0; i < s->with_count; i++)
        for (size_t k = 0; k < p->parameter_count; k++) {
            if (strcmp(p->parameters[k].name, s->with[i].name) != 0)
                continue;
            char *wrong = profile_set(p, s->with[i].name, s->with[i].value);
            if (wrong)
                return wrong;
        }
    return NULL;
}

static char *open_profile(const struct sim_profiles *s, const char *name, struct profile **out)
{
    char *wrong;
    struct profile *p = *out = profile_open(s->path, name, &wrong);

    if (!p)
        return wrong;
    if (conf_errors(p->conf))
        return mistakes(p);
    wrong = set_parameters(s, p);
    if (wrong)
        return wrong;
    profile_settle(p);
    return conf_errors(p->conf) ? mistakes(p) : NULL;
}

static char *put_unit(const struct sim_profiles *s, const struct sim_unit *u, const char *comma,
                      struct buf *out)
{
    struct profile *p;
    char *wrong = open_profile(s, u->profile, &p);

    if (!wrong) {
        const struct conf_node *root = conf_root(p->conf);
        buf_printf(out, "%s\n  { name = \"%s.%u\"; unit = %u; turnaround_us = %d; max_registers = %d;\n   ",
                   comma, p->name, u->unit, u->unit, TURNAROUND_US,
                   (int)conf_int(conf_get(root, "limits"), "registers"));
        put_name(out, "vendor", conf_string(root, "maker"));
        put_name(out, "product", conf_string(root, "title"));
        wrong = put_points(p, out);
        buf_printf(out, " }");
    }
    profile_free(p);
    return wrong;
}

/* How the devices of the first unit's kind leave the factory is how the line is. */
static char *put_line(const struct sim_profiles *s, struct buf *out)
{
    struct profile *p;
    char *wrong = open_profile(s, s->units[0].profile, &p);
    const struct conf_node *serial = wrong ? NULL : conf_get(conf_root(p->conf), "serial");

    if (serial)
        buf_printf(out, "baud = %d;\nformat = \"%s\";\n", (int)conf_int(serial, "baud"),
                   conf_string(serial, "format"));
    profile_free(p);
    return wrong;
}

static bool has_parameter(const struct sim_profiles *s, const struct sim_unit *u, const char *name)
{
    char *wrong = NULL;
    struct profile *p = profile_open(s->path, u->profile, &wrong);
    bool has = false;

    for (size_t i = 0; p && i < p->parameter_count; i++)
        has |= !strcmp(p->parameters[i].name, name);
    profile_free(p);
    free(wrong);
    return has;
}

/* A parameter is of one kind of unit at least. */
static char *check_parameters(const struct sim_profiles *s)
{
    for (size_t i = 0; i < s->with_count; i++) {
        bool has = false;
        for (size_t u = 0; u < s->unit_count && !has; u++)
            has = has_parameter(s, &s->units[u], s->with[i].name);
        if (!has)
            return mem_format(
                "no profile here has a parameter %s; sluicectl profile show NAME tells those that "
                "there are",
                s->with[i].name);
    }
    return NULL;
}

char *sim_profile_line(const struct sim_profiles *s, struct buf *out)
{
    char *wrong = put_line(s, out);

    if (!wrong)
        wrong = check_parameters(s);
    buf_printf(out, "stations = (");
    for (size_t i = 0; i < s->unit_count && !wrong; i++)
        wrong = put_unit(s, &s->units[i], i ? "," : "", out);
    buf_printf(out, "\n);\n");
    return wrong;
}
