/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/ask.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/mem.h"
#include "drivers/modbus/decode.h"

enum { NAMES_MAX = 64 };

const char *ask_text(const cJSON *asked, const char *member)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(asked, member));
}

/* ---- the device ---- */

static const struct modbus_front *front_of(const struct running *r)
{
    return r->driver->modbus ? r->driver->modbus(r->line) : NULL;
}

static bool find_device(const char *name, struct ask_place *out, const char **near)
{
    const char *names[NAMES_MAX];
    size_t count = 0;

    for (struct running *r = NULL; (r = lines_next(r));) {
        const struct modbus_front *f = front_of(r);
        for (size_t i = 0; f && i < f->m->device_count; i++) {
            struct modbus_device *d = &f->m->devices[i];
            if (!strcmp(d->name, name)) {
                out->line = r;
                out->device = d;
                return true;
            }
            if (count < NAMES_MAX)
                names[count++] = d->name;
        }
    }
    *near = conf_nearest(name, names, count);
    return false;
}

/* ---- the place ---- */

static const struct modbus_point *find_point(const struct modbus_device *d, const char *name,
                                             const char **near)
{
    const char *names[NAMES_MAX];
    size_t count = 0;

    for (size_t g = 0; g < d->group_count; g++)
        for (size_t i = 0; i < d->groups[g].point_count; i++) {
            const struct modbus_point *p = &d->groups[g].points[i];
            if (!strcmp(p->name, name))
                return p;
            if (count < NAMES_MAX)
                names[count++] = p->name;
        }
    *near = conf_nearest(name, names, count);
    return NULL;
}

static int index_of(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

static bool refuse_name(cJSON *answer, const char *what, const char *name, const char *const *names)
{
    struct buf all = {0};

    for (size_t i = 0; names[i]; i++)
        buf_printf(&all, "%s%s", i ? ", " : "", names[i]);
    asker_refuse(answer, "there is no %s %s; there is %s", what, name, (const char *)all.data);
    buf_free(&all);
    return false;
}

/* "string:12" has its length with it. */
static bool read_type(const char *text, struct ask_place *p, cJSON *answer)
{
    char name[32];
    size_t len = strcspn(text, ":");
    long length = text[len] ? strtol(text + len + 1, NULL, 10) : 0;

    snprintf(name, sizeof name, "%.*s", (int)len, text);
    int type = index_of(value_type_names, name);
    if (type < 0)
        return refuse_name(answer, "type", text, value_type_names);
    p->spec.type = &value_types[type];
    if (p->spec.type->form != FORM_TEXT)
        return true;
    if (length < 1 || length > VALUE_BYTES_MAX) {
        asker_refuse(answer, "a string has a length of 1 to %d characters, as in string:12", VALUE_BYTES_MAX);
        return false;
    }
    p->spec.length = (uint8_t)length;
    return true;
}

static bool read_order(const cJSON *asked, struct ask_place *p, cJSON *answer)
{
    const char *name = ask_text(asked, "order");
    int order = name ? index_of(value_order_names, name) : (int)p->device->order;
    size_t bytes = p->spec.type->form == FORM_TIME ? 2 : value_bytes(&p->spec);

    if (order < 0)
        return refuse_name(answer, "order", name, value_order_names);
    p->spec.order = &value_orders[order];
    if (!name && !value_order_for(p->spec.order, bytes))
        p->spec.order = &value_orders[0]; /* the device's is for its longer values */
    if (p->spec.type->form == FORM_TEXT || value_order_for(p->spec.order, bytes))
        return true;
    asker_refuse(answer, "order %s is for values of 8 bytes, and %s has %zu", p->spec.order->name,
                 p->spec.type->name, bytes);
    return false;
}

/* The type that was named, or the one that is nearest at hand. */
static bool read_spec(const cJSON *asked, struct ask_place *p, cJSON *answer)
{
    const char *given = ask_text(asked, "type");
    const char *plain = table_is_bits(p->table) ? "bool" : p->bit >= 0 ? "bit" : "uint16";

    if (!read_type(given ? given : plain, p, answer))
        return false;
    bool one_bit = value_is_bit(p->spec.type), wants_bit = table_is_bits(p->table) || p->bit >= 0;
    if (one_bit != wants_bit) {
        asker_refuse(answer, "%s%s%s", wants_bit ? "a single bit is a bool, not " : "", p->spec.type->name,
                     wants_bit ? "" : " needs a bit: say which one of the register's, as in holding:7.3");
        return false;
    }
    p->spec.scale = value_scale_of(1, 0);
    if (p->bit >= 0)
        p->spec.bit = (uint8_t)p->bit;
    p->each = table_is_bits(p->table) ? 1 : (unsigned)(value_bytes(&p->spec) + 1) / 2;
    return read_order(asked, p, answer);
}

static bool take_point(const cJSON *asked, struct ask_place *p, const char *at, cJSON *answer)
{
    const char *near = NULL;

    p->point = find_point(p->device, at, &near);
    if (!p->point && near)
        asker_refuse(answer, "device %s has no point %s; did you mean %s?", p->device->name, at, near);
    else if (!p->point)
        asker_refuse(answer, "device %s has no point %s; an address is written as in holding:100",
                     p->device->name, at);
    if (!p->point)
        return false;
    if (ask_text(asked, "type")) {
        asker_refuse(answer, "point %s has its type, %s; name its address to read it otherwise", at,
                     p->point->spec.type->name);
        return false;
    }
    p->table = p->point->table;
    p->address = p->point->address;
    p->bit = -1;
    p->spec = p->point->spec;
    p->each = p->point->count;
    return true;
}

bool ask_place(const cJSON *asked, struct ask_place *out, cJSON *answer)
{
    const char *device = ask_text(asked, "device"), *at = ask_text(asked, "at"), *near = NULL;
    char why[256];

    *out = (struct ask_place){.bit = -1};
    if (!device || !at) {
        asker_refuse(answer,
                     "this needs \"device\" and \"at\": an address as in \"holding:100\", or a point's name");
        return false;
    }
    if (!find_device(device, out, &near)) {
        asker_refuse(answer, "there is no Modbus device %s%s%s%s", device, near ? "; did you mean " : "",
                     near ? near : "", near ? "?" : "");
        return false;
    }
    if (!strchr(at, ':') && !(at[0] >= '0' && at[0] <= '9'))
        return take_point(asked, out, at, answer);
    if (!modbus_at_read(at, out->device->base, &out->table, &out->address, &out->bit, why, sizeof why)) {
        asker_refuse(answer, "%s", why);
        return false;
    }
    return read_spec(asked, out, answer);
}

void ask_print_place(const struct ask_place *p, unsigned offset, struct buf *out)
{
    buf_printf(out, "%s:%u", modbus_table_name(p->table), p->address + p->device->base + offset);
    if (p->bit >= 0)
        buf_printf(out, ".%d", p->bit);
}

/* ---- the line ---- */

bool ask_give(const char *line, struct modbus_raw *raw, const char *who, cJSON *answer)
{
    switch (lines_raw(line, raw)) {
    case 0:
        return true;
    case -ENOTCONN:
        asker_refuse(answer, "line %s is not open: `sluicectl status` tells why", line);
        break;
    case -EPERM:
        asker_refuse(answer, "limits.forbidden of %s names this address; nothing was sent", who);
        break;
    case -EAGAIN:
        asker_refuse(answer, "too many requests wait for line %s", line);
        break;
    default:
        asker_refuse(answer, "line %s cannot be asked this", line);
        break;
    }
    return false;
}

bool ask_took(const struct modbus_raw *raw, const char *who, cJSON *answer)
{
    static const char *const words[] = {
        [ORDER_TIMEOUT] = "%s does not answer",
        [ORDER_CRC] = "the answer of %s was damaged; `sluicectl trace` shows it",
        [ORDER_BUSY] =
            "%s was not asked: the line is never silent, a late answer is awaited, or somebody has the line "
            "to himself",
        [ORDER_EXPIRED] = "%s was not asked in time",
        [ORDER_DOWN] = "%s was not asked: the line is not open",
        [ORDER_INTERRUPTED] = "the line ended while %s was asked",
    };

    if (raw->verdict == ORDER_OK)
        return true;
    if (raw->verdict == ORDER_EXCEPTION) {
        cJSON_AddNumberToObject(answer, "exception", raw->exception);
        asker_refuse(answer, "%s refuses it: exception %u, %s", who, raw->exception,
                     decode_exception(raw->exception));
        return false;
    }
    const char *form =
        raw->verdict < ARRAY_SIZE(words) && words[raw->verdict] ? words[raw->verdict] : "%s failed";
    char *text = mem_strdup(form);
    char *at = strstr(text, "%s");
    asker_refuse(answer, "%.*s%s%s", (int)(at - text), text, who, at + 2);
    free(text);
    return false;
}
