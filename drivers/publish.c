/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/publish.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/field.h"

const char *const publish_mode_names[] = {"always", "change", NULL};
const char *const publish_payload_names[] = {"group", "point", "plain", NULL};

struct publisher {
    struct field *field;
    const char *device, *group;
    const struct publish_group *spec;
    const struct publish_point *const *specs;
    struct field_series *series;
    struct publish_last *last;
    struct alarm_state (*alarms)[ALARM_COUNT];
    size_t count, active;     /* active: alarms */
    struct watched **watches; /* by point, as they were in watch_round; NULL: nobody looks */
    unsigned watch_round;
};

/* ---- what is due ---- */

static bool same_text(const struct value *a, const struct value *b)
{
    return a->len == b->len && (!a->len || !memcmp(a->text, b->text, a->len));
}

static bool same_value(const struct value *a, const struct value *b)
{
    if (a->kind == VALUE_TEXT && b->kind == VALUE_TEXT)
        return same_text(a, b);
    /* Whole numbers above 2^53 differ where the doubles nearest to them do not. */
    return a->kind == b->kind && a->kind != VALUE_TEXT && a->decimals == b->decimals &&
           (a->kind == VALUE_BOOL ? a->b == b->b : a->u == b->u);
}

/* A scale of 0.1 makes 21.7 - 21.5 a little less than 0.2. */
static bool reaches(double change, double deadband)
{
    return change >= deadband * (1 - 1e-9);
}

static bool has_changed(const struct publish_point *spec, const struct reading_point *was,
                        const struct reading_point *is)
{
    if (was->quality != is->quality || was->detail != is->detail)
        return true;
    if (!quality_has_value(is->quality) || same_value(&was->value, &is->value))
        return false;
    double a = value_number(&was->value), b = value_number(&is->value);
    double deadband = fmax(spec->deadband, spec->deadband_percent / 100 * fabs(a));
    return isnan(a) || isnan(b) || reaches(fabs(b - a), deadband);
}

/* Polls come a little earlier or later, and the one that is due must not wait for the next. */
static bool is_over(uint64_t interval_us, uint64_t since_us, uint64_t now_us)
{
    return now_us - since_us >= interval_us - interval_us / 20;
}

bool publish_due(const struct publish_group *g, const struct publish_point *spec,
                 const struct publish_last *last, const struct reading_point *point, uint64_t now_us)
{
    if (!last->ever || (g->heartbeat_us && is_over(g->heartbeat_us, last->at_us, now_us)))
        return true;
    if (last->point.quality == point->quality && !is_over(g->interval_us, last->at_us, now_us))
        return false;
    return g->mode == PUBLISH_ALWAYS || has_changed(spec, &last->point, point);
}

static void remember(struct publish_last *l, const struct reading_point *p, uint64_t now_us)
{
    if (l->point.value.kind == VALUE_TEXT)
        free((char *)(uintptr_t)l->point.value.text);
    *l = (struct publish_last){true, *p, now_us};
    if (p->value.kind == VALUE_TEXT)
        l->point.value.text = mem_strndup(p->value.text ? p->value.text : "", p->value.len);
}

/* ---- alarms ---- */

static const char *const level_names[ALARM_COUNT] = {"low-low", "low", "high", "high-high"};

static bool is_beyond(const struct alarm_spec *s, enum alarm_level level, double value, double margin)
{
    return level >= ALARM_HIGH ? value >= s->limit[level] - margin : value <= s->limit[level] + margin;
}

bool alarm_step(const struct alarm_spec *s, struct alarm_state *state, enum alarm_level level, double value,
                uint64_t now_us)
{
    if (isnan(s->limit[level]) || isnan(value))
        return false;
    if (!is_beyond(s, level, value, state->active ? s->hysteresis : 0)) {
        bool was = state->active;
        *state = (struct alarm_state){0};
        return was;
    }
    if (!state->since_us)
        state->since_us = now_us ? now_us : 1;
    if (state->active || now_us - state->since_us < s->delay_us)
        return false;
    state->active = true;
    return true;
}

static void step_alarms(struct publisher *p, size_t index, const struct reading_point *point, uint64_t now_us)
{
    const struct alarm_spec *s = &p->specs[index]->alarm;

    if (!s->on || !quality_has_value(point->quality))
        return;
    for (enum alarm_level l = 0; l < ALARM_COUNT; l++) {
        struct alarm_state *state = &p->alarms[index][l];
        if (!alarm_step(s, state, l, value_number(&point->value), now_us))
            continue;
        p->active = state->active ? p->active + 1 : p->active - 1;
        field_publish_alarm(p->field, &(struct field_alarm){.device = p->device,
                                                            .group = p->group,
                                                            .point = point->name,
                                                            .level = level_names[l],
                                                            .active = state->active,
                                                            .limit = s->limit[l],
                                                            .value = &point->value,
                                                            .quality = point->quality,
                                                            .unit = p->specs[index]->unit,
                                                            .at_us = now_us});
    }
}

bool publisher_alarmed(const struct publisher *p)
{
    return p->active;
}

/* ---- who looks at the points ---- */

static void find_watches(struct publisher *p, const struct reading_point *points)
{
    const struct watches *all = &p->field->watches;

    if (p->watch_round == all->round)
        return;
    p->watch_round = all->round;
    for (size_t i = 0; i < p->count; i++)
        p->watches[i] = watch_find(all, p->device, p->group, points[i].name);
}

static void tell_watches(struct publisher *p, const struct reading_point *points, uint64_t taken_us)
{
    find_watches(p, points);
    for (size_t i = 0; i < p->count; i++)
        if (p->watches[i])
            watch_take(p->watches[i], &points[i], taken_us, p->spec->lasts_us);
}

static void lose_watches(struct publisher *p)
{
    for (size_t i = 0; i < p->count && p->watch_round == p->field->watches.round; i++)
        if (p->watches[i])
            watch_lose(p->watches[i]);
}

/* ---- all of a group ---- */

struct publisher *publisher_new(struct field *f, const char *device, const char *group,
                                const struct publish_group *spec, const struct publish_point *const *points,
                                size_t count)
{
    struct publisher *p = mem_alloc(sizeof *p);

    *p = (struct publisher){.field = f, .device = device, .group = group, .spec = spec, .specs = points};
    p->count = count;
    p->series = field_series(f, device, group);
    p->last = mem_alloc((count + 1) * sizeof *p->last);
    p->alarms = mem_alloc((count + 1) * sizeof *p->alarms);
    p->watches = mem_alloc((count + 1) * sizeof(struct watched *));
    return p;
}

void publisher_free(struct publisher *p)
{
    static const struct reading_point none;

    if (!p)
        return;
    lose_watches(p);
    free(p->watches);
    for (size_t i = 0; i < p->count; i++)
        remember(&p->last[i], &none, 0);
    free(p->last);
    free(p->alarms);
    free(p);
}

struct field_series *publisher_series(const struct publisher *p)
{
    return p->series;
}

/* A retained message replaces the one before, so it must hold all of its group. */
static bool whole_or_nothing(const struct publish_group *g)
{
    return g->retain && g->payload == PAYLOAD_GROUP;
}

void publisher_take(struct publisher *p, struct reading_point *points, uint64_t taken_us)
{
    bool any = false;
    size_t due = 0;

    tell_watches(p, points, taken_us);
    for (size_t i = 0; i < p->count; i++) {
        step_alarms(p, i, &points[i], taken_us);
        any = any || publish_due(p->spec, p->specs[i], &p->last[i], &points[i], taken_us);
    }
    for (size_t i = 0; any && i < p->count; i++) {
        if (!whole_or_nothing(p->spec) &&
            !publish_due(p->spec, p->specs[i], &p->last[i], &points[i], taken_us))
            continue;
        remember(&p->last[i], &points[i], taken_us);
        points[due] = points[i];
        points[due++].unit = p->spec->payload == PAYLOAD_POINT ? p->specs[i]->unit : NULL;
    }
    struct reading r = {
        .device = p->device, .group = p->group, .taken_us = taken_us, .points = points, .point_count = due};
    if (due)
        field_publish(p->field, p->series, &r, p->spec);
    free(points);
}
