/* SPDX-License-Identifier: Apache-2.0 */
/* {"do":"read"}: registers or bits of a device, as they are and as values of any type and order. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/modbus/ask.h"
#include "drivers/modbus/tools.h"

enum { READ_HEAD = 2 /* function and byte count */ };

struct reading_tool {
    struct modbus_raw raw;
    struct asker *asker; /* NULL: gone */
    cJSON *answer;
    struct ask_place place;
    char *device;
    unsigned count; /* values */
    bool all_orders;
    struct value_spec spec;
    unsigned base;
};

static void on_gone(void *arg)
{
    ((struct reading_tool *)arg)->asker = NULL;
}

/* As JSON: a text has quotes. */
static void print_value(const struct value *v, struct buf *out)
{
    value_print(out, v);
    buf_u8(out, 0);
}

/* "value", and "text" for those who would lose digits. */
static void add_value(cJSON *to, bool good, const struct value *v)
{
    struct buf text = {0};

    if (!good) {
        cJSON_AddNullToObject(to, "value");
        return;
    }
    print_value(v, &text);
    cJSON_AddRawToObject(to, "value", (const char *)text.data);
    cJSON_AddStringToObject(to, "text", (const char *)text.data);
    buf_free(&text);
}

static void add_order(cJSON *to, const char *name, bool good, const struct value *v)
{
    struct buf text = {0};

    if (!good) {
        cJSON_AddNullToObject(to, name);
        return;
    }
    print_value(v, &text);
    cJSON_AddStringToObject(to, name, (const char *)text.data);
    buf_free(&text);
}

/* True unless an earlier one reads such a value the same way. */
static bool is_another(const struct value_spec *s, size_t index)
{
    size_t bytes = value_bytes(s);
    const char *way = value_order_for(&value_orders[index], bytes);

    for (size_t i = 0; way && i < index; i++)
        if (value_order_for(&value_orders[i], bytes) &&
            !strcmp(value_order_for(&value_orders[i], bytes), way))
            return false;
    return way;
}

static void add_orders(const struct reading_tool *t, const uint8_t *data, cJSON *to)
{
    cJSON *orders = cJSON_AddObjectToObject(to, "orders");
    char text[VALUE_BYTES_MAX + VALUE_TIME_ROOM];
    struct value_spec spec = t->spec;
    struct value v;

    for (size_t i = 0; value_order_names[i]; i++) {
        spec.order = &value_orders[i];
        if (is_another(&spec, i))
            add_order(orders, value_order_names[i], value_read(&spec, data, text, &v), &v);
    }
}

static void add_registers(const uint8_t *data, unsigned count, cJSON *to)
{
    cJSON *list = cJSON_AddArrayToObject(to, "registers");
    char word[8];

    for (unsigned i = 0; i < count; i++) {
        snprintf(word, sizeof word, "%02X%02X", data[2 * i], data[2 * i + 1]);
        cJSON_AddItemToArray(list, cJSON_CreateString(word));
    }
}

static void add_one(const struct reading_tool *t, unsigned i, cJSON *list)
{
    const struct ask_place *p = &t->place;
    const uint8_t *data = t->raw.answer + READ_HEAD;
    char text[VALUE_BYTES_MAX + VALUE_TIME_ROOM];
    cJSON *o = cJSON_CreateObject();
    struct buf at = {0};
    struct value v;

    buf_printf(&at, "%s:%u", modbus_table_name(p->table), p->address + t->base + i * p->each);
    if (p->bit >= 0)
        buf_printf(&at, ".%d", p->bit);
    cJSON_AddStringToObject(o, "at", (const char *)at.data);
    buf_free(&at);
    if (table_is_bits(p->table)) {
        add_value(o, value_read_bit(&t->spec, data[i / 8] >> i % 8 & 1, &v), &v);
    } else {
        add_registers(data + 2ul * i * p->each, p->each, o);
        add_value(o, value_read(&t->spec, data + 2ul * i * p->each, text, &v), &v);
        if (t->all_orders)
            add_orders(t, data + 2ul * i * p->each, o);
    }
    cJSON_AddItemToArray(list, o);
}

static void on_done(struct modbus_raw *raw)
{
    struct reading_tool *t = container_of(raw, struct reading_tool, raw);
    unsigned items = t->count * t->place.each;

    cJSON_AddNumberToObject(t->answer, "took_ms", (double)raw->took_us / 1000);
    if (ask_took(raw, t->device, t->answer)) {
        cJSON *values = cJSON_AddArrayToObject(t->answer, "values");
        if (raw->answer_len == READ_HEAD + table_bytes(t->place.table, items))
            for (unsigned i = 0; i < t->count; i++)
                add_one(t, i, values);
    }
    if (t->asker)
        asker_answer(t->asker, t->answer);
    else
        cJSON_Delete(t->answer);
    free(t->device);
    free(t);
}

/* How many fit into one request. */
static unsigned most_of(const struct ask_place *p)
{
    const struct plan_limits *l = &p->device->limits;
    unsigned most = table_is_bits(p->table) ? l->bits ? l->bits : PLAN_BITS_MAX
                    : l->registers          ? l->registers
                                            : PLAN_REGISTERS_MAX;

    return most / p->each;
}

static bool read_count(const cJSON *asked, const struct ask_place *p, unsigned *count, cJSON *answer)
{
    const cJSON *given = cJSON_GetObjectItemCaseSensitive(asked, "count");
    double n = cJSON_IsNumber(given) ? given->valuedouble : 1;
    unsigned most = most_of(p);

    if (n >= 1 && n <= most && p->address + (unsigned)n * p->each <= 65536) {
        *count = (unsigned)n;
        return true;
    }
    if (n >= 1 && n <= most)
        asker_refuse(answer, "there is nothing behind address 65535");
    else if (!most)
        asker_refuse(answer, "device %s gives at most %u registers at a time, and %s has %u", p->device->name,
                     p->device->limits.registers, p->spec.type->name, p->each);
    else
        asker_refuse(answer, "one request reads 1 to %u values of type %s from %s", most, p->spec.type->name,
                     p->device->name);
    return false;
}

/* The names in a point's spec may go with a reload while the line works on it. */
static struct value_spec spec_of(const struct ask_place *p)
{
    struct value_spec spec = p->spec;

    spec.names = NULL;
    spec.name_count = 0;
    return spec;
}

static void describe(const struct ask_place *p, cJSON *answer)
{
    cJSON_AddStringToObject(answer, "device", p->device->name);
    cJSON_AddNumberToObject(answer, "unit", p->device->unit);
    cJSON_AddStringToObject(answer, "line", p->line->name);
    cJSON_AddStringToObject(answer, "type", p->spec.type->name);
    if (p->point)
        cJSON_AddStringToObject(answer, "point", p->point->name);
    if (p->point && p->point->unit)
        cJSON_AddStringToObject(answer, "measure", p->point->unit);
}

enum asked modbus_tool_read(struct gateway *gw, struct asker *a, const cJSON *asked, cJSON *answer)
{
    struct ask_place p;
    unsigned count;

    (void)gw;
    if (!ask_place(asked, &p, answer) || !read_count(asked, &p, &count, answer))
        return ASKED_NOW;
    bool all = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(asked, "all_orders"));
    if (all && (table_is_bits(p.table) || p.spec.type->form == FORM_TEXT)) {
        asker_refuse(answer, "%s has no byte order", p.spec.type->name);
        return ASKED_NOW;
    }
    struct reading_tool *t = mem_alloc(sizeof *t);
    unsigned items = count * p.each;
    const uint8_t pdu[5] = {(uint8_t)p.table, (uint8_t)(p.address >> 8), (uint8_t)p.address,
                            (uint8_t)(items >> 8), (uint8_t)items};
    *t = (struct reading_tool){.raw = {.unit = p.device->unit, .len = sizeof pdu, .done = on_done},
                               .asker = a,
                               .answer = answer,
                               .place = p,
                               .count = count,
                               .all_orders = all,
                               .spec = spec_of(&p),
                               .base = p.device->base,
                               .device = mem_strdup(p.device->name)};
    memcpy(t->raw.pdu, pdu, sizeof pdu);
    if (!ask_give(p.line->name, &t->raw, t->device, answer)) {
        free(t->device);
        free(t);
        return ASKED_NOW;
    }
    describe(&p, answer);
    a->gone = on_gone;
    a->arg = t;
    return ASKED_LATER;
}
