/* SPDX-License-Identifier: Apache-2.0 */
/* {"do":"scan"}: which units there are on a line or behind a connection, and what they call themselves. At
 * the line's own speed a unit is asked between two polls; for other speeds the line is visited. Any answer, a
 * refusal too, shows that a unit is there. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timer.h"
#include "drivers/field.h"
#include "drivers/line.h"
#include "drivers/modbus/ask.h"
#include "drivers/modbus/scan_plan.h"
#include "drivers/modbus/tools.h"
#include "drivers/visit.h"
#include "service.h"

enum {
    TIMEOUT_MS = 200,
    TIMEOUT_MOST_MS = 10000,
    SETTLE_S = 1, /* before a line that was busy is tried again */
    TRIES_MAX = 4,
    PARTS_MAX = 16, /* of an identification */
    VISIT_MOST_S = 3600,
    IDENTIFY = 43,
    SERVER_ID = 17,
    NO_PATH = 10,
    NO_TARGET = 11,
};

enum step { STEP_PROBE, STEP_IDENTIFY, STEP_SERVER_ID };

struct scan {
    struct modbus_raw raw;
    struct asker *asker; /* NULL: gone */
    struct gateway *gw;
    char *line;
    struct visit *visit; /* NULL: between the polls */
    struct scan_plan plan;
    unsigned speed, unit; /* under way */
    unsigned own_speed;   /* index of the line's own; speed_count: not among them */
    unsigned done, found, tries;
    unsigned damaged; /* answers at this speed, when it is not the line's own */
    uint32_t timeout_us;
    bool tcp, flying, over;
    enum step step;
    unsigned object, parts; /* of the identification */
    cJSON *unit_found;      /* NULL: not yet */
    struct timer timer;
};

static void free_scan(struct scan *s)
{
    timer_stop(&s->timer);
    cJSON_Delete(s->unit_found);
    free(s->line);
    free(s);
}

/* The request that is under way, if one is, frees it. */
static void leave(struct scan *s)
{
    s->over = true;
    if (!s->flying)
        free_scan(s);
}

static void on_gone(void *arg)
{
    struct scan *s = arg;

    s->asker = NULL;
    if (s->visit)
        visit_end(s->visit, "its client has gone");
    s->visit = NULL;
    leave(s);
}

static void finish(struct scan *s, bool whole, const char *why)
{
    struct asker *a = s->asker;
    cJSON *last = cJSON_CreateObject();

    cJSON_AddStringToObject(last, "ended", why);
    cJSON_AddBoolToObject(last, "whole", whole);
    cJSON_AddNumberToObject(last, "found", s->found);
    if (s->visit)
        visit_end(s->visit, why);
    s->visit = NULL;
    asker_say(a, last);
    asker_end(a);
    leave(s);
}

static void on_visit_over(void *arg, const char *why)
{
    struct scan *s = arg;

    s->visit = NULL;
    finish(s, false, why);
}

/* ---- what is told ---- */

static void add_speed(const struct scan *s, cJSON *o)
{
    const struct scan_speed *speed = &s->plan.speeds[s->speed];

    if (s->tcp)
        return;
    cJSON_AddNumberToObject(o, "baud", speed->baud);
    cJSON_AddStringToObject(o, "format", serial_formats[speed->format].name);
}

static void tell_progress(struct scan *s)
{
    cJSON *line = cJSON_CreateObject(), *o = cJSON_AddObjectToObject(line, "progress");

    add_speed(s, o);
    cJSON_AddNumberToObject(o, "unit", s->unit);
    cJSON_AddNumberToObject(o, "done", s->done);
    cJSON_AddNumberToObject(o, "of", s->plan.unit_count * s->plan.speed_count);
    cJSON_AddNumberToObject(o, "found", s->found);
    if (asker_has_room(s->asker))
        asker_say(s->asker, line);
    else
        cJSON_Delete(line);
}

static const char *device_at(const struct scan *s)
{
    const struct running *r = lines_find(s->line);
    const struct modbus_front *f = r && r->driver->modbus ? r->driver->modbus(r->line) : NULL;

    for (size_t i = 0; f && i < f->m->device_count; i++)
        if (f->m->devices[i].unit == s->unit)
            return f->m->devices[i].name;
    return NULL;
}

static void begin_found(struct scan *s, const char *doubt)
{
    s->unit_found = cJSON_CreateObject();
    cJSON_AddNumberToObject(s->unit_found, "unit", s->unit);
    if (device_at(s))
        cJSON_AddStringToObject(s->unit_found, "device", device_at(s));
    add_speed(s, s->unit_found);
    if (doubt)
        cJSON_AddStringToObject(s->unit_found, "doubt", doubt);
    else
        cJSON_AddNumberToObject(s->unit_found, "took_ms", (double)s->raw.took_us / 1000);
    if (s->raw.verdict == ORDER_EXCEPTION)
        cJSON_AddNumberToObject(s->unit_found, "exception", s->raw.exception);
}

static void tell_found(struct scan *s)
{
    cJSON *line = cJSON_CreateObject();

    s->found++;
    cJSON_AddItemToObject(line, "found", s->unit_found);
    s->unit_found = NULL;
    asker_say(s->asker, line);
}

/* ---- one request after the other ---- */

static void on_done(struct modbus_raw *raw);
static void next_unit(struct scan *s);

static void ask_unit(struct scan *s, const uint8_t *pdu, size_t len)
{
    cJSON *why = cJSON_CreateObject();

    s->raw = (struct modbus_raw){.unit = (uint8_t)s->unit,
                                 .len = len,
                                 .response_us = s->timeout_us,
                                 .done = on_done,
                                 .visitor = s->visit != NULL};
    memcpy(s->raw.pdu, pdu, len);
    s->flying = ask_give(s->line, &s->raw, device_at(s) ? device_at(s) : "the unit", why);
    if (!s->flying)
        finish(s, false, cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(why, "error")));
    cJSON_Delete(why);
}

static void send_step(struct scan *s)
{
    const uint8_t probe[] = {TABLE_HOLDING, 0, 0, 0, 1}, id[] = {SERVER_ID},
                  identify[] = {IDENTIFY, 14, 1, (uint8_t)s->object};

    switch (s->step) {
    case STEP_PROBE:
        ask_unit(s, probe, sizeof probe);
        break;
    case STEP_IDENTIFY:
        ask_unit(s, identify, sizeof identify);
        break;
    case STEP_SERVER_ID:
        ask_unit(s, id, sizeof id);
        break;
    }
}

static void begin_step(struct scan *s, enum step step)
{
    s->step = step;
    s->tries = 0;
    send_step(s);
}

static void on_timer(struct timer *t)
{
    send_step(container_of(t, struct scan, timer));
}

static bool is_own_speed(const struct scan *s)
{
    return s->tcp || s->speed == s->own_speed;
}

static void probed(struct scan *s)
{
    bool absent = s->tcp && s->raw.verdict == ORDER_EXCEPTION &&
                  (s->raw.exception == NO_PATH || s->raw.exception == NO_TARGET);

    if ((s->raw.verdict == ORDER_OK || s->raw.verdict == ORDER_EXCEPTION) && !absent) {
        begin_found(s, NULL);
        s->object = s->parts = 0;
        cJSON_AddObjectToObject(s->unit_found, "objects");
        begin_step(s, STEP_IDENTIFY);
        return;
    }
    if (s->raw.verdict == ORDER_CRC && !is_own_speed(s))
        s->damaged++; /* at a wrong speed everybody is */
    else if (s->raw.verdict == ORDER_CRC)
        begin_found(s,
                    "something answers, but damaged: another speed or format, or two units of this number");
    if (s->raw.verdict == ORDER_BUSY)
        begin_found(s, "not asked: the line is never silent");
    if (s->unit_found)
        tell_found(s);
    next_unit(s);
}

/* What can be read of it. */
static void add_text(cJSON *to, const char *name, struct bytes text)
{
    char clean[256];
    size_t n = 0;

    for (size_t i = 0; i < text.len && n < sizeof clean - 1; i++)
        if (text.data[i] >= 0x20 && text.data[i] < 0x7f)
            clean[n++] = (char)text.data[i];
    clean[n] = 0;
    cJSON_AddStringToObject(to, name, clean);
}

/* Modbus Application Protocol 1.1b3, 6.21. True when more is to be asked for. */
static bool take_objects(struct scan *s)
{
    struct cursor c = cursor_of(s->raw.answer, s->raw.answer_len);
    cJSON *objects = cJSON_GetObjectItemCaseSensitive(s->unit_found, "objects");
    char name[8];

    cursor_take(&c, 4); /* function, kind, code, conformity */
    bool more = cursor_u8(&c);
    unsigned next = cursor_u8(&c), count = cursor_u8(&c);
    for (unsigned i = 0; i < count && !c.failed; i++) {
        unsigned id = cursor_u8(&c);
        struct bytes text = cursor_bytes(&c, cursor_u8(&c));
        snprintf(name, sizeof name, "%u", id);
        if (!c.failed && !cJSON_HasObjectItem(objects, name))
            add_text(objects, name, text);
    }
    if (c.failed || !more || next <= s->object || ++s->parts >= PARTS_MAX)
        return false;
    s->object = next;
    return true;
}

/* 6.13: the text of some, numbers of others. */
static void take_server_id(struct scan *s)
{
    struct bytes id = {s->raw.answer + 2, s->raw.answer_len > 2 ? s->raw.answer_len - 2 : 0};
    struct buf hex = {0};

    for (size_t i = 0; i < id.len; i++)
        buf_printf(&hex, "%02x", id.data[i]);
    if (id.len) {
        add_text(s->unit_found, "server_id", id);
        cJSON_AddStringToObject(s->unit_found, "server_id_hex", (const char *)hex.data);
    }
    buf_free(&hex);
}

static void took_step(struct scan *s)
{
    bool ok = s->raw.verdict == ORDER_OK;

    switch (s->step) {
    case STEP_PROBE:
        probed(s);
        break;
    case STEP_IDENTIFY:
        if (ok && take_objects(s))
            begin_step(s, STEP_IDENTIFY);
        else
            begin_step(s, STEP_SERVER_ID);
        break;
    case STEP_SERVER_ID:
        if (ok)
            take_server_id(s);
        tell_found(s);
        next_unit(s);
        break;
    }
}

static void on_done(struct modbus_raw *raw)
{
    struct scan *s = container_of(raw, struct scan, raw);

    s->flying = false;
    if (s->over)
        free_scan(s);
    else if (raw->verdict == ORDER_INTERRUPTED || raw->verdict == ORDER_DOWN)
        finish(s, false, "the line has ended, or its port was lost");
    else if (raw->verdict == ORDER_BUSY && ++s->tries < TRIES_MAX)
        timer_start(broker_timers(s->gw->broker), &s->timer, SETTLE_S);
    else
        took_step(s);
}

static void set_speed(struct scan *s)
{
    const struct scan_speed *speed = &s->plan.speeds[s->speed];

    if (s->visit)
        visit_speed(s->visit, speed->baud, speed->format);
}

/* What was heard at a speed at which nobody could be understood. */
static void tell_damaged(struct scan *s)
{
    cJSON *line = cJSON_CreateObject(), *o = cJSON_AddObjectToObject(line, "damaged");

    add_speed(s, o);
    cJSON_AddNumberToObject(o, "times", s->damaged);
    asker_say(s->asker, line);
    s->damaged = 0;
}

/* The next unit at this speed, else the first at the next speed. */
static void next_unit(struct scan *s)
{
    s->done++;
    do {
        if (++s->unit > 255) {
            s->unit = 0;
            if (s->damaged)
                tell_damaged(s);
            if (++s->speed == s->plan.speed_count) {
                finish(s, true, "all units have been asked");
                return;
            }
            set_speed(s);
        }
    } while (!s->plan.units[s->unit]);
    tell_progress(s);
    begin_step(s, STEP_PROBE);
}

static void begin(struct scan *s)
{
    s->unit = 0;
    while (!s->plan.units[s->unit])
        s->unit++;
    set_speed(s);
    tell_progress(s);
    begin_step(s, STEP_PROBE);
}

static void on_begin(struct timer *t)
{
    struct scan *s = container_of(t, struct scan, timer);

    s->timer.fire = on_timer;
    begin(s);
}

/* ---- what is asked ---- */

static unsigned own_format(const struct modbus_line *m)
{
    unsigned i = 0;

    while (serial_formats[i].name && &serial_formats[i] != m->format)
        i++;
    return i;
}

static unsigned find_own(const struct scan_plan *plan, const struct modbus_line *m)
{
    unsigned i = 0;

    while (i < plan->speed_count &&
           (plan->speeds[i].baud != m->baud || plan->speeds[i].format != own_format(m)))
        i++;
    return i;
}

/* True when only the line's own speed is asked for. */
static bool stays(const struct scan_plan *plan, const struct modbus_line *m)
{
    return plan->speed_count == 1 && find_own(plan, m) == 0;
}

static bool read_plan(const cJSON *asked, const struct modbus_line *m, struct scan_plan *plan, cJSON *answer)
{
    const char *units = ask_text(asked, "units"), *bauds = ask_text(asked, "baud"),
               *formats = ask_text(asked, "format");
    bool tcp = !m->format;
    char why[256];
    const char *rest;

    if (tcp && (bauds || formats))
        asker_refuse(answer, "a connection has no speed and no format");
    else if (!scan_read_units(units ? units
                              : tcp ? "1-255"
                                    : "1-247",
                              tcp ? 0 : 1, tcp ? 255 : 247, plan, why, sizeof why) ||
             !scan_read_speeds(bauds, formats, m->baud, tcp ? 0 : own_format(m), plan, why, sizeof why))
        asker_refuse(answer, "%s", why);
    else if (!tcp && !stays(plan, m) && !port_kind_of(m->port, &rest)->set)
        asker_refuse(answer, "the speed of %s is set where the line is, not here", m->port);
    else
        return true;
    return false;
}

static bool read_timeout(const cJSON *asked, uint32_t *out_us, cJSON *answer)
{
    const cJSON *given = cJSON_GetObjectItemCaseSensitive(asked, "timeout_ms");
    double ms = cJSON_IsNumber(given) ? given->valuedouble : TIMEOUT_MS;

    if (!(ms >= 5 && ms <= TIMEOUT_MOST_MS)) {
        asker_refuse(answer, "\"timeout_ms\" is 5 to %d", TIMEOUT_MOST_MS);
        return false;
    }
    *out_us = (uint32_t)(ms * 1000);
    return true;
}

static double seconds_of(const struct scan *s, const struct modbus_line *m)
{
    double each = s->timeout_us / 1e6 + m->holdoff_us / 1e6;

    return each * s->plan.unit_count * s->plan.speed_count;
}

static void describe(const struct scan *s, const struct modbus_line *m, cJSON *answer)
{
    cJSON_AddStringToObject(answer, "line", s->line);
    cJSON_AddNumberToObject(answer, "units", s->plan.unit_count);
    cJSON_AddNumberToObject(answer, "speeds", s->plan.speed_count);
    cJSON_AddNumberToObject(answer, "most_s", seconds_of(s, m));
    cJSON_AddBoolToObject(answer, "paused", s->visit != NULL);
}

static bool visit_for(struct scan *s, struct running *r, const struct modbus_line *m, cJSON *answer)
{
    double most = seconds_of(s, m) * 1.5 + 30;
    const struct visit_plan plan = {
        .tool = "scan", .by = s->asker->user, .seconds = most < VISIT_MOST_S ? (uint32_t)most : VISIT_MOST_S};

    if (!visit_may(r, answer))
        return false;
    s->visit = visit_begin(r, &plan, on_visit_over, s);
    return true;
}

enum asked modbus_tool_scan(struct gateway *gw, struct asker *a, const cJSON *asked, cJSON *answer)
{
    struct running *r = tools_line(asked, answer);
    const struct modbus_front *f = r && r->driver->modbus ? r->driver->modbus(r->line) : NULL;

    if (!f) {
        if (r)
            asker_refuse(answer, "line %s speaks %s, and not Modbus", r->name, r->driver->name);
        return ASKED_NOW;
    }
    struct scan *s = mem_alloc(sizeof *s);
    *s = (struct scan){.asker = a, .gw = gw, .line = mem_strdup(r->name), .tcp = !f->m->format};
    timer_init(&s->timer, on_begin);
    if (!read_plan(asked, f->m, &s->plan, answer) || !read_timeout(asked, &s->timeout_us, answer) ||
        (!s->tcp && !stays(&s->plan, f->m) && !visit_for(s, r, f->m, answer))) {
        free_scan(s);
        return ASKED_NOW;
    }
    s->own_speed = s->tcp ? 0 : find_own(&s->plan, f->m);
    describe(s, f->m, answer);
    log_info("line %s: scan of %u units at %u speeds by %s", s->line, s->plan.unit_count, s->plan.speed_count,
             a->user);
    a->gone = on_gone;
    a->arg = s;
    timer_start(broker_timers(gw->broker), &s->timer, 1); /* the first answer leaves before what follows it */
    return ASKED_STREAM;
}
