/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to a unit that we play. A write becomes a command to each point that it covers, one after the
 * other; its answer follows the verdict of the last, or says what the first that fails has met. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "drivers/command.h"
#include "drivers/lines.h"
#include "drivers/modbus/serve.h"
#include "version.h"

enum { WRITE_COIL = 5, WRITE_REGISTER = 6, READ_WRITE = 23, INTERFACE = 43, IDENTIFY = 14 };

/* ---- reads ---- */

static void read_and_answer(struct serve_request *q, const struct serve_map *m, const struct raw_range *r)
{
    uint8_t pdu[RAW_PDU_MAX] = {q->pdu[0], (uint8_t)table_bytes(r->table, r->count)};
    uint8_t exception = serve_map_read(m, r->table, r->first, r->count, clock_boot_us(), pdu + 2);

    if (exception)
        serve_refuse(q, exception);
    else
        serve_answer(q, (struct bytes){pdu, 2u + pdu[1]});
}

/* Modbus Application Protocol 1.1b3, 6.21: the basic objects, together or one alone. */
static void identify(struct serve_request *q)
{
    static const char *const objects[] = {"Sluice", "sluiced", SLUICE_VERSION};
    unsigned code = q->len > 2 ? q->pdu[2] : 0, first = q->len > 3 ? q->pdu[3] : 0;
    bool one = code == 4;
    struct buf out = {0};

    if (q->len != 4 || code < 1 || code > 4 || (one && first >= ARRAY_SIZE(objects))) {
        serve_refuse(q, q->len == 4 && one ? MODBUS_ILLEGAL_ADDRESS : MODBUS_ILLEGAL_VALUE);
        return;
    }
    if (first >= ARRAY_SIZE(objects))
        first = 0;
    unsigned end = one ? first + 1 : ARRAY_SIZE(objects);
    const uint8_t head[] = {INTERFACE, IDENTIFY, (uint8_t)code, 0x81, 0, 0, (uint8_t)(end - first)};
    buf_append(&out, head, sizeof head);
    for (unsigned i = first; i < end; i++) {
        buf_u8(&out, (uint8_t)i);
        buf_u8(&out, (uint8_t)strlen(objects[i]));
        buf_append(&out, objects[i], strlen(objects[i]));
    }
    serve_answer(q, (struct bytes){out.data, out.len});
    buf_free(&out);
}

/* ---- writes ---- */

static uint8_t exception_of(const char *verdict)
{
    static const struct {
        const char *verdict;
        uint8_t exception;
    } rows[] = {{"out of range", MODBUS_ILLEGAL_VALUE},
                {"wrong type", MODBUS_ILLEGAL_VALUE},
                {"malformed", MODBUS_ILLEGAL_VALUE},
                {"not writable", MODBUS_ILLEGAL_ADDRESS},
                {"no such point", MODBUS_ILLEGAL_ADDRESS},
                {"no such device", MODBUS_PATH_UNAVAILABLE},
                {"line down", MODBUS_PATH_UNAVAILABLE},
                {"busy", MODBUS_BUSY},
                {"too many", MODBUS_BUSY},
                {"expired", MODBUS_BUSY}};

    if (!strncmp(verdict, "exception ", 10))
        return (uint8_t)atoi(verdict + 10);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (!strcmp(verdict, rows[i].verdict))
            return rows[i].exception;
    return MODBUS_NO_ANSWER;
}

/* What a request writes: the last of its ranges, and where the data lies. */
static struct raw_range write_of(const struct serve_request *q, const uint8_t **data)
{
    struct raw_shape shape;

    raw_shape((struct bytes){q->pdu, q->len}, &shape); /* was right when it came */
    bool single = q->pdu[0] == WRITE_COIL || q->pdu[0] == WRITE_REGISTER;
    *data = q->pdu + (single ? 3 : q->pdu[0] == READ_WRITE ? 10 : 6);
    return shape.ranges[shape.range_count - 1];
}

static bool decode(const struct serve_request *q, const struct serve_point *p, char *text, struct value *out)
{
    const uint8_t *data;
    struct raw_range r = write_of(q, &data);
    unsigned at = p->at.address - (unsigned)r.first;

    if (!table_is_bits(r.table))
        return value_read(&p->at.spec, data + 2 * at, text, out);
    bool on = q->pdu[0] == WRITE_COIL ? data[0] : data[at / 8] >> at % 8 & 1;
    return value_read_bit(&p->at.spec, on, out);
}

static void write_next(struct serve_request *q);

static void on_written(void *arg, const char *verdict)
{
    struct serve_request *q = arg;

    if (serve_server(q) && !strcmp(verdict, "ok"))
        write_next(q);
    else
        serve_refuse(q, exception_of(verdict));
}

static void finish(struct serve_request *q, const struct serve_map *m)
{
    struct raw_shape shape;

    raw_shape((struct bytes){q->pdu, q->len}, &shape);
    if (shape.range_count == 2)
        read_and_answer(q, m, &shape.ranges[0]);
    else
        serve_answer(q, (struct bytes){q->pdu, 5});
}

static void write_next(struct serve_request *q)
{
    struct server *s = serve_server(q);
    const struct serve_map *m = s->units[q->unit].map;
    char client[96], text[VALUE_BYTES_MAX + 1];
    const uint8_t *data;
    struct raw_range r = write_of(q, &data);
    struct value v;

    if (q->next == r.first + (unsigned)r.count) {
        finish(q, m);
        return;
    }
    const struct serve_point *p = serve_map_writable(m, r.table, q->next);
    q->next += p->at.count;
    if (!decode(q, p, text, &v)) {
        serve_refuse(q, MODBUS_ILLEGAL_VALUE);
        return;
    }
    snprintf(client, sizeof client, "modbus:%s", serve_peer(q));
    s->writes++;
    if (!lines_command(&(struct command_request){.device = p->device,
                                                 .point = p->point,
                                                 .client = client,
                                                 .value = &v,
                                                 .done = on_written,
                                                 .done_arg = q}))
        serve_refuse(q, MODBUS_PATH_UNAVAILABLE);
}

/* Whole points that may be written, one beside the other. */
static bool may_write(const struct serve_map *m, const struct raw_range *r)
{
    unsigned at = r->first, end = r->first + (unsigned)r->count;

    while (at < end) {
        const struct serve_point *p = serve_map_writable(m, r->table, at);
        if (!p || at + p->at.count > end)
            return false;
        at += p->at.count;
    }
    return true;
}

static bool is_coil_value(const struct serve_request *q)
{
    return q->pdu[0] != WRITE_COIL || (!q->pdu[4] && (!q->pdu[3] || q->pdu[3] == 0xff));
}

/* ---- all ---- */

static bool is_known(uint8_t function)
{
    static const uint8_t known[] = {1, 2, 3, 4, 5, 6, 15, 16, 23};

    return memchr(known, function, sizeof known);
}

void serve_map_request(struct serve_request *q, const struct serve_map *m)
{
    struct raw_shape shape;

    if (q->pdu[0] == INTERFACE && q->len > 1 && q->pdu[1] == IDENTIFY) {
        identify(q);
        return;
    }
    if (!is_known(q->pdu[0])) {
        serve_count(serve_server(q), SERVE_REFUSED_FUNCTION);
        serve_refuse(q, MODBUS_ILLEGAL_FUNCTION);
        return;
    }
    if (raw_shape((struct bytes){q->pdu, q->len}, &shape) || !is_coil_value(q)) {
        serve_refuse(q, MODBUS_ILLEGAL_VALUE);
        return;
    }
    const struct raw_range *last = &shape.ranges[shape.range_count - 1];
    if (!last->write) {
        read_and_answer(q, m, last);
    } else if (!may_write(m, last)) {
        serve_count(serve_server(q), SERVE_REFUSED_RANGE);
        serve_refuse(q, MODBUS_ILLEGAL_ADDRESS);
    } else {
        q->next = last->first;
        write_next(q);
    }
}
