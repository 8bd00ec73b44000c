/* SPDX-License-Identifier: Apache-2.0 */
/* {"do":"write"}: a value to an address, past all points: where one lies there, only when that is said to be
 * meant. Who wrote what stands in the log and is an event. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "drivers/command.h"
#include "drivers/field.h"
#include "drivers/modbus/ask.h"
#include "drivers/modbus/tools.h"

enum { WRITE_COIL = 5, WRITE_ONE = 6, WRITE_MANY = 16, MASK_WRITE = 22, READ_HEAD = 2 };

struct writing {
    struct modbus_raw raw;
    struct asker *asker; /* NULL: gone */
    cJSON *answer;
    struct field *field;
    char *line, *device, *at, *user, *value, *type;
    struct value_spec spec;
    enum modbus_table table;
    uint16_t address;
    unsigned registers; /* 0: a coil */
    uint8_t data[VALUE_BYTES_MAX];
    bool verify, reads; /* reads: it is being read back */
};

static void on_gone(void *arg)
{
    ((struct writing *)arg)->asker = NULL;
}

/* ---- the value ---- */

static bool read_switch(const char *text, bool *out)
{
    static const char *const on[] = {"true", "on", "1"}, *const off[] = {"false", "off", "0"};

    for (size_t i = 0; i < ARRAY_SIZE(on); i++) {
        *out = !strcmp(text, on[i]);
        if (*out || !strcmp(text, off[i]))
            return true;
    }
    return false;
}

/* Whole numbers stay whole, and may be hexadecimal. */
static bool read_number(const char *text, struct value *out)
{
    char *end;
    bool hex = !strncmp(text, "0x", 2);

    errno = 0;
    if (text[0] == '-')
        *out = (struct value){.kind = VALUE_INT, .i = strtoll(text, &end, 10)};
    else
        *out = (struct value){.kind = VALUE_UINT, .u = strtoull(text, &end, hex ? 16 : 10)};
    if (*text && !*end && !errno)
        return true;
    *out = (struct value){.kind = VALUE_DOUBLE, .d = strtod(text, &end)};
    return !hex && *text && !*end && isfinite(out->d);
}

static bool read_value(const char *text, const struct value_spec *spec, struct value *out)
{
    bool on;

    if (spec->type->form == FORM_TEXT) {
        size_t len = strlen(text);
        *out = (struct value){.kind = VALUE_TEXT, .text = text, .len = (uint8_t)len};
        return len <= spec->length;
    }
    if (!value_is_bit(spec->type))
        return read_number(text, out);
    if (!read_switch(text, &on))
        return false;
    *out = (struct value){.kind = VALUE_BOOL, .b = on};
    return true;
}

static bool make_data(struct writing *w, const char *text, cJSON *answer)
{
    struct value v;

    if (!read_value(text, &w->spec, &v)) {
        asker_refuse(answer, "\"%s\" is no %s%s", text, w->spec.type->name,
                     value_is_bit(w->spec.type) ? "; write true or false" : "");
        return false;
    }
    int err = value_write(&w->spec, &v, w->data);
    if (err == -ERANGE)
        asker_refuse(answer, "%s does not fit into %s", text, w->spec.type->name);
    else if (err)
        asker_refuse(answer, "\"%s\" cannot be written as %s", text, w->spec.type->name);
    return !err;
}

/* ---- the request ---- */

static void put16(struct modbus_raw *raw, unsigned v)
{
    raw->pdu[raw->len++] = (uint8_t)(v >> 8);
    raw->pdu[raw->len++] = (uint8_t)v;
}

static void begin_pdu(struct writing *w, uint8_t function)
{
    w->raw.len = 0;
    w->raw.pdu[w->raw.len++] = function;
    put16(&w->raw, w->address);
}

static void make_write(struct writing *w)
{
    unsigned mask = 1u << w->spec.bit;

    if (w->table == TABLE_COIL) {
        begin_pdu(w, WRITE_COIL);
        put16(&w->raw, w->data[0] ? 0xff00 : 0);
    } else if (w->spec.type->form == FORM_BIT) {
        begin_pdu(w, MASK_WRITE);
        put16(&w->raw, 0xffff & ~mask);
        put16(&w->raw, w->data[0] ? mask : 0);
    } else if (w->registers == 1) {
        begin_pdu(w, WRITE_ONE);
        put16(&w->raw, (unsigned)(w->data[0] << 8 | w->data[1]));
    } else {
        begin_pdu(w, WRITE_MANY);
        put16(&w->raw, w->registers);
        w->raw.pdu[w->raw.len++] = (uint8_t)(2 * w->registers);
        memcpy(w->raw.pdu + w->raw.len, w->data, 2ul * w->registers);
        w->raw.len += 2ul * w->registers;
    }
}

static void make_read(struct writing *w)
{
    begin_pdu(w, (uint8_t)w->table);
    put16(&w->raw, w->registers ? w->registers : 1);
}

static bool reads_back(const struct writing *w)
{
    const uint8_t *got = w->raw.answer + READ_HEAD;

    if (w->table == TABLE_COIL)
        return (got[0] & 1) == (w->data[0] != 0);
    if (w->spec.type->form == FORM_BIT)
        return ((got[0] << 8 | got[1]) >> w->spec.bit & 1) == (w->data[0] != 0);
    return !memcmp(got, w->data, 2ul * w->registers);
}

/* ---- the end ---- */

static void tell(const struct writing *w)
{
    const char *error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(w->answer, "error"));
    const char *verdict = error ? error : "ok";
    cJSON *o = cJSON_CreateObject();

    log_info("device %s: %s wrote %s to %s (%s): %s", w->device, w->user, w->value, w->at, w->type, verdict);
    cJSON_AddStringToObject(o, "device", w->device);
    cJSON_AddStringToObject(o, "at", w->at);
    cJSON_AddStringToObject(o, "type", w->type);
    cJSON_AddStringToObject(o, "value", w->value);
    cJSON_AddStringToObject(o, "verdict", verdict);
    cJSON_AddStringToObject(o, "client", "sluicectl");
    cJSON_AddStringToObject(o, "user", w->user);
    field_publish_event(w->field, "command", o);
}

static void free_writing(struct writing *w)
{
    free(w->line);
    free(w->device);
    free(w->at);
    free(w->user);
    free(w->value);
    free(w->type);
    free(w);
}

static void finish(struct writing *w)
{
    tell(w);
    if (w->asker)
        asker_answer(w->asker, w->answer);
    else
        cJSON_Delete(w->answer);
    free_writing(w);
}

static void on_done(struct modbus_raw *raw)
{
    struct writing *w = container_of(raw, struct writing, raw);
    bool ok = ask_took(raw, w->device, w->answer);

    if (!w->reads)
        cJSON_AddNumberToObject(w->answer, "took_ms", (double)raw->took_us / 1000);
    if (!w->reads && ok && w->verify) {
        w->reads = true;
        make_read(w);
        if (ask_give(w->line, raw, w->device, w->answer))
            return;
    } else if (w->reads && ok) {
        bool same = reads_back(w);
        cJSON_AddBoolToObject(w->answer, "verified", same);
        if (!same)
            asker_refuse(w->answer, "%s has taken it, but reads back as something else", w->device);
    } else if (raw->verdict == ORDER_EXCEPTION && raw->exception == 1 && raw->pdu[0] == MASK_WRITE) {
        asker_refuse(w->answer, "%s cannot write a single bit (exception 1); write the whole register",
                     w->device);
    }
    finish(w);
}

/* ---- what is asked ---- */

static bool may_write(const struct ask_place *p, cJSON *answer)
{
    struct buf at = {0};

    if (p->table == TABLE_COIL || p->table == TABLE_HOLDING)
        return true;
    ask_print_place(p, 0, &at);
    asker_refuse(answer, "%s can only be read; coil and holding can be written", (const char *)at.data);
    buf_free(&at);
    return false;
}

static void refuse_past(const struct ask_place *p, const struct modbus_point *m, cJSON *answer)
{
    const struct modbus_write *write = &m->write;
    const char *device = p->device->name;

    cJSON_AddTrueToObject(answer, "needs_yes");
    if (!write->on)
        asker_refuse(answer,
                     "this is point %s of %s, which is not to be written; --yes writes there all the same",
                     m->name, device);
    else if (isnan(write->least) && isnan(write->most))
        asker_refuse(answer,
                     "this is point %s of %s: `sluicectl write %s %s VALUE` writes it; --yes writes past it",
                     m->name, device, device, m->name);
    else
        asker_refuse(
            answer,
            "this is point %s of %s, which takes %g to %g: `sluicectl write %s %s VALUE` keeps to that; "
            "--yes writes past it",
            m->name, device, write->least, write->most, device, m->name);
}

/* True when no point lies there, or it is meant. */
static bool goes_past_none(const struct ask_place *p, unsigned count, const cJSON *asked, cJSON *answer)
{
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(asked, "yes")))
        return true;
    for (size_t g = 0; g < p->device->group_count; g++)
        for (size_t i = 0; i < p->device->groups[g].point_count; i++) {
            const struct modbus_point *m = &p->device->groups[g].points[i];
            if (m->table != p->table || m->address >= p->address + count ||
                p->address >= m->address + (unsigned)m->count)
                continue;
            refuse_past(p, m, answer);
            return false;
        }
    return true;
}

static struct writing *new_writing(const struct ask_place *p, struct asker *a, const char *value,
                                   cJSON *answer)
{
    struct writing *w = mem_alloc(sizeof *w);
    struct buf at = {0};

    ask_print_place(p, 0, &at);
    *w = (struct writing){.raw = {.unit = p->device->unit, .done = on_done},
                          .asker = a,
                          .answer = answer,
                          .field = p->line->field,
                          .spec = p->spec,
                          .table = p->table,
                          .address = p->address,
                          .registers = table_is_bits(p->table) ? 0 : p->each,
                          .line = mem_strdup(p->line->name),
                          .device = mem_strdup(p->device->name),
                          .at = mem_strdup((const char *)at.data),
                          .user = mem_strdup(a->user),
                          .value = mem_strdup(value),
                          .type = mem_strdup(p->spec.type->name)};
    buf_free(&at);
    return w;
}

static enum asked write_address(struct asker *a, const cJSON *asked, const struct ask_place *p,
                                const char *value, cJSON *answer)
{
    if (!may_write(p, answer) || !goes_past_none(p, p->each, asked, answer))
        return ASKED_NOW;
    struct writing *w = new_writing(p, a, value, answer);
    w->verify = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(asked, "verify"));
    if (make_data(w, value, answer)) {
        make_write(w);
        if (ask_give(w->line, &w->raw, w->device, answer)) {
            cJSON_AddStringToObject(answer, "device", w->device);
            cJSON_AddStringToObject(answer, "at", w->at);
            cJSON_AddStringToObject(answer, "type", w->type);
            a->gone = on_gone;
            a->arg = w;
            return ASKED_LATER;
        }
    }
    free_writing(w);
    return ASKED_NOW;
}

/* ---- a point ---- */

/* A command like any other: its checks, its verdict, its event. */
struct point_writing {
    struct asker *asker; /* NULL: gone */
    cJSON *answer;
    bool giving, over; /* the verdict may come while the command is given */
};

static void on_point_gone(void *arg)
{
    ((struct point_writing *)arg)->asker = NULL;
}

static void on_verdict(void *arg, const char *verdict)
{
    struct point_writing *w = arg;

    cJSON_AddStringToObject(w->answer, "verdict", verdict);
    if (strcmp(verdict, "ok") != 0)
        asker_refuse(w->answer, "not written: %s", verdict);
    w->over = true;
    if (w->giving)
        return;
    if (w->asker)
        asker_answer(w->asker, w->answer);
    else
        cJSON_Delete(w->answer);
    free(w);
}

static bool may_take(const struct ask_place *p, const struct value *v, cJSON *answer)
{
    const struct modbus_write *write = &p->point->write;
    double number = value_number(v);

    if (!write->on)
        asker_refuse(answer, "point %s of %s is not to be written; that takes `write` in its configuration",
                     p->point->name, p->device->name);
    else if (number < write->least || number > write->most)
        asker_refuse(answer, "point %s of %s takes %g to %g", p->point->name, p->device->name, write->least,
                     write->most);
    else
        return true;
    return false;
}

/* A name of a number stays a text, which the command knows. */
static bool read_for_point(const char *text, const struct value_spec *spec, struct value *out)
{
    if (read_value(text, spec, out))
        return true;
    *out = (struct value){.kind = VALUE_TEXT, .text = text, .len = (uint8_t)strlen(text)};
    return spec->name_count && strlen(text) < UINT8_MAX;
}

static enum asked write_point(struct asker *a, const struct ask_place *p, const char *text, bool verify,
                              cJSON *answer)
{
    struct value v;

    if (!read_for_point(text, &p->spec, &v)) {
        asker_refuse(answer, "\"%s\" is no value for point %s, which is %s", text, p->point->name,
                     p->spec.type->name);
        return ASKED_NOW;
    }
    if (verify && !p->point->write.readback) {
        asker_refuse(
            answer,
            "point %s is read back when its configuration says so: write = { verify = \"readback\"; }",
            p->point->name);
        return ASKED_NOW;
    }
    if (!may_take(p, &v, answer))
        return ASKED_NOW;
    struct point_writing *w = mem_alloc(sizeof *w);
    char *client = mem_format("sluicectl, %s", a->user);
    *w = (struct point_writing){.asker = a, .answer = answer, .giving = true};
    cJSON_AddStringToObject(answer, "device", p->device->name);
    cJSON_AddStringToObject(answer, "at", p->point->name);
    bool given = lines_command(&(struct command_request){.device = p->device->name,
                                                         .point = p->point->name,
                                                         .client = client,
                                                         .value = &v,
                                                         .done = on_verdict,
                                                         .done_arg = w});
    free(client);
    w->giving = false;
    if (given && !w->over) {
        a->gone = on_point_gone;
        a->arg = w;
        return ASKED_LATER;
    }
    if (!given)
        asker_refuse(answer, "the daemon is about to end");
    free(w);
    return ASKED_NOW;
}

enum asked modbus_tool_write(struct gateway *gw, struct asker *a, const cJSON *asked, cJSON *answer)
{
    const char *value = ask_text(asked, "value");
    struct ask_place p;

    (void)gw;
    if (!value) {
        asker_refuse(answer, "write needs \"value\", as a text");
        return ASKED_NOW;
    }
    if (!ask_place(asked, &p, answer))
        return ASKED_NOW;
    bool verify = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(asked, "verify"));
    return p.point ? write_point(a, &p, value, verify, answer) : write_address(a, asked, &p, value, answer);
}
