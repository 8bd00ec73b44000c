/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/view.h"

#include <cjson/cJSON.h>

#include "drivers/modbus/crc.h"
#include "drivers/modbus/point.h"

enum { CRC_LEN = 2, HEADER_LEN = 7, FRAME_LEAST = 4 };

struct parts {
    uint16_t id;
    uint8_t unit;
    struct bytes pdu;
    bool crc_good;
};

/* False: too short to say anything of it. */
static bool split(const struct modbus_view *v, const struct tap_frame *f, struct parts *out)
{
    struct cursor c = cursor_of(f->data, f->len);

    *out = (struct parts){0};
    if (v->tcp) {
        out->id = cursor_u16(&c);
        cursor_u32(&c);
        out->unit = cursor_u8(&c);
        out->pdu = cursor_bytes(&c, cursor_left(&c));
        return !c.failed && out->pdu.len;
    }
    if (f->len < FRAME_LEAST)
        return false;
    out->crc_good = crc_good(f->data, f->len);
    out->unit = cursor_u8(&c);
    out->pdu = cursor_bytes(&c, cursor_left(&c) - CRC_LEN);
    return true;
}

static const char *device_of(const struct modbus_view *v, uint8_t unit)
{
    for (size_t i = 0; i < v->m->device_count; i++)
        if (v->m->devices[i].unit == unit)
            return v->m->devices[i].name;
    return NULL;
}

/* Of another master's frames nobody says which way they go: what follows a request, is of the same unit and
 * function, and can be its answer, is. */
static bool is_answer(const struct modbus_view *v, const struct parts *p)
{
    const struct decode_request *a = &v->foreign;
    uint8_t function = p->pdu.data[0];

    if (function & 0x80)
        return true;
    if (function >= 1 && function <= 4 && p->pdu.len != 5)
        return true;
    if (!a->known || a->unit != p->unit || a->function != function)
        return false;
    if (function == 5 || function == 6 || function == 22)
        return bytes_equal(p->pdu, v->foreign_pdu);
    if (function == 15 || function == 16)
        return p->pdu.len == 5;
    return function > 4 || (p->pdu.len == 5 && p->pdu.data[1] == 3 && table_bytes(function, a->count) == 3);
}

static void add_asked(cJSON *into, const struct decode_request *r)
{
    if (r->function < 1 || r->function > 4)
        return;
    cJSON_AddStringToObject(into, "table", modbus_table_name((enum modbus_table)r->function));
    cJSON_AddNumberToObject(into, "address", r->address);
    cJSON_AddNumberToObject(into, "count", r->count);
}

static void view_foreign(struct modbus_view *v, const struct parts *p, struct buf *text, cJSON *into)
{
    bool answer = is_answer(v, p);

    cJSON_AddStringToObject(into, "way", answer ? "answer" : "request");
    if (answer) {
        decode_reply(&v->foreign, p->unit, p->pdu, text);
        v->foreign.known = false;
        return;
    }
    decode_request(p->pdu, text);
    v->foreign = decode_remember(p->unit, p->pdu);
    memcpy(v->foreign_room, p->pdu.data, p->pdu.len);
    v->foreign_pdu = (struct bytes){v->foreign_room, p->pdu.len};
    add_asked(into, &v->foreign);
}

static void put_words(struct modbus_view *v, enum tap_kind kind, const struct parts *p, struct buf *text,
                      cJSON *into)
{
    static const struct decode_request nothing;
    struct decode_request *asked = &v->asked[v->tcp ? p->id % VIEW_ASKED_MAX : 0];

    switch (kind) {
    case TAP_REQUEST:
    case TAP_ECHO:
        decode_request(p->pdu, text);
        *asked = decode_remember(p->unit, p->pdu);
        add_asked(into, asked);
        break;
    case TAP_REPLY:
        decode_reply(asked, p->unit, p->pdu, text);
        break;
    case TAP_LATE:
        decode_reply(v->tcp ? asked : &nothing, p->unit, p->pdu, text);
        break;
    case TAP_FOREIGN:
        view_foreign(v, p, text, into);
        break;
    case TAP_BROKEN:
        buf_printf(text, "not a right answer");
        break;
    case TAP_TIMEOUT:
        buf_printf(text, "no answer to ");
        decode_request(p->pdu, text);
        break;
    case TAP_NOISE:
    case TAP_IN:
    case TAP_OUT:
        break;
    }
}

void modbus_view(struct modbus_view *v, const struct tap_frame *f, cJSON *into)
{
    struct buf text = {0};
    struct parts p;

    if (!split(v, f, &p) || f->kind == TAP_NOISE) {
        cJSON_AddStringToObject(into, "text", f->len == 1 ? "a stray byte" : "stray bytes");
        return;
    }
    cJSON_AddNumberToObject(into, "unit", p.unit);
    if (device_of(v, p.unit))
        cJSON_AddStringToObject(into, "device", device_of(v, p.unit));
    cJSON_AddNumberToObject(into, "function", p.pdu.data[0] & 0x7f);
    if (p.pdu.data[0] & 0x80 && p.pdu.len > 1)
        cJSON_AddNumberToObject(into, "exception", p.pdu.data[1]);
    if (!v->tcp)
        cJSON_AddStringToObject(into, "crc", p.crc_good ? "good" : "bad");
    put_words(v, f->kind, &p, &text, into);
    cJSON_AddStringToObject(into, "text", (const char *)text.data);
    buf_free(&text);
}

void modbus_view_head(const struct modbus_view *v, cJSON *into)
{
    cJSON *units = cJSON_AddObjectToObject(into, "units");

    for (size_t i = 0; i < v->m->device_count; i++)
        cJSON_AddNumberToObject(units, v->m->devices[i].name, v->m->devices[i].unit);
    if (!v->tcp) {
        cJSON_AddNumberToObject(into, "baud", v->m->baud);
        cJSON_AddStringToObject(into, "format", v->m->format->name);
        cJSON_AddNumberToObject(into, "char_us", v->m->cost.timing.char_ns / 1000.0);
        cJSON_AddNumberToObject(into, "silence_us", v->m->cost.timing.silence_us);
    }
    cJSON_AddStringToObject(into, "dissector", v->tcp ? "mbtcp" : "mbrtu");
}
