/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of other masters to the units of our lines: what they may ask, and what becomes of it. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "drivers/field.h"
#include "drivers/lines.h"
#include "drivers/modbus/serve.h"

/* ---- what may be asked ---- */

static const struct {
    const char *name;
    uint8_t functions[8]; /* none: all that no other class has */
} classes[] = {
    {"read", {1, 2, 3, 4, 24}},
    {"identify", {17, 43}},
    {"diagnose", {7, 8, 11, 12}},
    {"other", {0}},
};

bool serve_is_class(const char *word)
{
    for (unsigned i = 0; i < ARRAY_SIZE(classes); i++)
        if (!strcmp(classes[i].name, word))
            return true;
    return false;
}

static unsigned class_of(const struct modbus_raw *raw)
{
    unsigned i = 0;

    while (i < ARRAY_SIZE(classes) - 1 && !memchr(classes[i].functions, raw->pdu[0], 8))
        i++;
    /* 43 carries other things than the identification. */
    return raw->pdu[0] == 43 && (raw->len < 2 || raw->pdu[1] != 14) ? ARRAY_SIZE(classes) - 1 : i;
}

static bool writes(const struct raw_shape *s)
{
    return s->range_count && s->ranges[s->range_count - 1].write;
}

static bool may_write(const struct serve_gateway *g, const struct raw_range *r)
{
    for (size_t i = 0; i < g->write_count; i++)
        if (g->writes[i].table == r->table && g->writes[i].first <= r->first &&
            g->writes[i].last >= r->first + r->count - 1)
            return true;
    return false;
}

/* 0, or the exception and why. */
static uint8_t judge(const struct serve_gateway *g, const struct modbus_raw *raw, enum serve_refusal *why,
                     bool *is_write)
{
    struct raw_shape shape;

    *why = SERVE_REFUSALS;
    if (raw_shape((struct bytes){raw->pdu, raw->len}, &shape))
        return MODBUS_ILLEGAL_VALUE;
    *is_write = writes(&shape);
    *why = SERVE_REFUSED_FUNCTION;
    if (*is_write ? !g->write_count : !(g->classes & 1u << class_of(raw)))
        return MODBUS_ILLEGAL_FUNCTION;
    *why = SERVE_REFUSED_RANGE;
    return *is_write && !may_write(g, &shape.ranges[shape.range_count - 1]) ? MODBUS_ILLEGAL_ADDRESS : 0;
}

/* ---- what becomes of it ---- */

/* Who has changed what, as with commands. */
static void tell_write(const struct serve_request *q)
{
    const struct running *line = lines_find(q->line);
    struct buf verdict = {0}, data = {0};
    cJSON *o = cJSON_CreateObject();

    order_print(&verdict, q->raw.verdict, q->raw.exception);
    for (size_t i = 0; i < q->raw.len; i++)
        buf_printf(&data, "%02x", q->raw.pdu[i]);
    log_info("line %s: %s sent %s to unit %u: %s", q->line, q->client, (const char *)data.data, q->raw.unit,
             (const char *)verdict.data);
    cJSON_AddStringToObject(o, "line", q->line);
    cJSON_AddNumberToObject(o, "unit", q->raw.unit);
    cJSON_AddStringToObject(o, "request", (const char *)data.data);
    cJSON_AddBoolToObject(o, "ok", q->raw.verdict == ORDER_OK);
    cJSON_AddStringToObject(o, "verdict", (const char *)verdict.data);
    cJSON_AddStringToObject(o, "client", q->client);
    if (line)
        field_publish_event(line->field, "command", o);
    else
        cJSON_Delete(o);
    buf_free(&verdict);
    buf_free(&data);
}

static void on_done(struct modbus_raw *raw)
{
    static const uint8_t exceptions[] = {
        [ORDER_TIMEOUT] = MODBUS_NO_ANSWER,
        [ORDER_CRC] = MODBUS_NO_ANSWER,
        [ORDER_BUSY] = MODBUS_BUSY,
        [ORDER_EXPIRED] = MODBUS_BUSY,
        [ORDER_DOWN] = MODBUS_PATH_UNAVAILABLE,
        [ORDER_INTERRUPTED] = MODBUS_NO_ANSWER,
    };
    struct serve_request *q = container_of(raw, struct serve_request, raw);

    if (q->line)
        tell_write(q);
    if (raw->verdict == ORDER_OK || raw->verdict == ORDER_EXCEPTION)
        serve_answer(q, (struct bytes){raw->answer, raw->answer_len});
    else
        serve_refuse(q, exceptions[raw->verdict]);
}

static uint8_t exception_of(int err)
{
    return err == -EINVAL   ? MODBUS_ILLEGAL_VALUE
           : err == -EPERM  ? MODBUS_ILLEGAL_ADDRESS
           : err == -EAGAIN ? MODBUS_BUSY
                            : MODBUS_PATH_UNAVAILABLE;
}

void serve_gateway_request(struct serve_request *q, const struct serve_gateway *g)
{
    struct modbus_raw *raw = &q->raw;
    enum serve_refusal why;

    raw->unit = (uint8_t)(q->unit - g->first + g->to);
    raw->len = q->len;
    memcpy(raw->pdu, q->pdu, q->len);
    raw->expires_us = q->began_us + g->expire_us;
    raw->done = on_done;
    raw->spare = true;
    bool is_write = false;
    uint8_t exception = judge(g, raw, &why, &is_write);
    if (exception && why < SERVE_REFUSALS)
        serve_count(serve_server(q), why);
    int err = exception ? 0 : lines_raw(g->line, raw);
    if (exception || err) {
        serve_refuse(q, exception ? exception : exception_of(err));
    } else if (is_write) {
        serve_server(q)->writes++;
        q->line = mem_strdup(g->line);
        q->client = mem_format("modbus:%s", serve_peer(q));
    }
}

/* ---- from the configuration ---- */

bool serve_units_read(const char *text, uint8_t *first, uint8_t *last)
{
    unsigned a, b;
    int end = 0;

    if (sscanf(text, "%3u%n", &a, &end) != 1)
        return false;
    b = a;
    if (text[end]) {
        int more = 0;
        if (sscanf(text + end, "-%3u%n", &b, &more) != 1 || text[end + more])
            return false;
    }
    *first = (uint8_t)a;
    *last = (uint8_t)b;
    return a <= b && b <= 255;
}

void serve_gateway_set(struct serve_gateway *g, const struct conf_node *n)
{
    const struct conf_node *to = conf_get(n, "to");

    serve_units_read(conf_string(n, "units"), &g->first, &g->last);
    g->line = mem_strdup(conf_string(n, "line"));
    g->to = to ? (uint8_t)to->i : g->first;
    g->expire_us = (uint64_t)conf_int(n, "expire") * 1000;
    for (size_t i = 0; i < conf_count(n, "functions"); i++)
        for (unsigned k = 0; k < ARRAY_SIZE(classes); k++)
            if (!strcmp(conf_at(n, "functions", i)->s, classes[k].name))
                g->classes |= 1u << k;
    if (!conf_get(n, "functions"))
        g->classes = 1;
    g->write_count = conf_count(n, "writes");
    g->writes = mem_alloc((g->write_count + 1) * sizeof *g->writes);
    for (size_t i = 0; i < g->write_count; i++)
        modbus_range_read(conf_at(n, "writes", i)->s, 0, &g->writes[i]);
}

void serve_gateway_clear(struct serve_gateway *g)
{
    free(g->line);
    free(g->writes);
}
