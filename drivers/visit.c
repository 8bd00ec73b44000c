/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/visit.h"

#include <cjson/cJSON.h>
#include <stdlib.h>

#include "base/asker.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timer.h"
#include "drivers/field.h"
#include "drivers/line.h"
#include "service.h"

struct visit {
    struct running *line;
    char *tool, *by;
    bool listen;
    uint64_t until_us;
    struct timer timer;
    void (*over)(void *arg, const char *why);
    void *arg;
};

bool visit_may(const struct running *r, cJSON *answer)
{
    if (!r->driver->visit)
        asker_refuse(answer, "line %s speaks %s; only a serial line can be had for a while", r->name,
                     r->driver->name);
    else if (r->visit)
        asker_refuse(answer, "line %s is busy with %s by %s; try again when that has ended", r->name,
                     r->visit->tool, r->visit->by);
    else
        return true;
    return false;
}

static void publish(const struct visit *v, const char *what, const char *why)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "what", what);
    cJSON_AddStringToObject(o, "line", v->line->name);
    cJSON_AddStringToObject(o, "tool", v->tool);
    cJSON_AddStringToObject(o, "user", v->by);
    if (why)
        cJSON_AddStringToObject(o, "reason", why);
    field_publish_event(v->line->field, "bus", o);
}

static void finish(struct visit *v, const char *why)
{
    v->line->driver->visit(v->line->line, (struct line_visit){0});
    log_info("line %s: polled again: %s by %s is over (%s)", v->line->name, v->tool, v->by, why);
    publish(v, "polling goes on", why);
    v->line->visit = NULL;
    timer_stop(&v->timer);
    free(v->tool);
    free(v->by);
    free(v);
}

void visit_stop(struct visit *v, const char *why)
{
    void (*over)(void *arg, const char *text) = v->over;
    void *arg = v->arg;

    finish(v, why);
    over(arg, why);
}

static void on_time(struct timer *t)
{
    visit_stop(container_of(t, struct visit, timer), "its time is over");
}

struct visit *visit_begin(struct running *r, const struct visit_plan *plan,
                          void (*over)(void *arg, const char *why), void *arg)
{
    struct visit *v = mem_alloc(sizeof *v);

    *v = (struct visit){.line = r,
                        .tool = mem_strdup(plan->tool),
                        .by = mem_strdup(plan->by),
                        .listen = plan->listen,
                        .until_us = clock_boot_us() + plan->seconds * 1000000ull,
                        .over = over,
                        .arg = arg};
    timer_init(&v->timer, on_time);
    timer_start(broker_timers(r->field->gw->broker), &v->timer, plan->seconds);
    r->visit = v;
    log_warn("line %s: not polled for %u s at most: %s by %s", r->name, plan->seconds, v->tool, v->by);
    publish(v, "polling is paused", NULL);
    r->driver->visit(r->line, (struct line_visit){.on = true, .listen = plan->listen});
    return v;
}

void visit_end(struct visit *v, const char *why)
{
    finish(v, why);
}

void visit_speed(struct visit *v, uint32_t baud, unsigned format)
{
    v->line->driver->visit(v->line->line, (struct line_visit){
                                              .on = true,
                                              .listen = v->listen,
                                              .baud = baud,
                                              .format = format,
                                          });
}

void visit_status(const struct visit *v, cJSON *line)
{
    uint64_t now = clock_boot_us();
    cJSON *o = cJSON_AddObjectToObject(line, "visit");

    cJSON_AddStringToObject(o, "tool", v->tool);
    cJSON_AddStringToObject(o, "user", v->by);
    cJSON_AddNumberToObject(o, "left_s", v->until_us > now ? (double)((v->until_us - now) / 1000000) : 0);
}
