/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/tools.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "drivers/field.h"
#include "drivers/tap.h"
#include "drivers/visit.h"
#include "service.h"

enum { WATCHERS_MAX = 8 /* on a line */, SNIFF_S = 60, SNIFF_MAX_S = 3600 };

struct watcher {
    struct list link;
    struct running *line;
    struct asker *asker;
    struct visit *visit;            /* sniff */
    uint64_t lost;                  /* frames that it has not been told to have missed */
    unsigned long long lost_before; /* of the tap */
};

static size_t watcher_count(const struct running *r)
{
    size_t n = 0;

    list_for(it, &r->watchers) n++;
    return n;
}

static void free_watcher(struct watcher *w)
{
    struct tap *tap = w->line->driver->tap(w->line->line);

    atomic_fetch_sub(&tap->watchers, 1);
    list_remove(&w->link);
    free(w);
}

static void on_gone(void *arg)
{
    struct watcher *w = arg;

    if (w->visit)
        visit_end(w->visit, "its client has gone");
    free_watcher(w);
}

static void end_watcher(struct watcher *w, const char *why)
{
    struct asker *a = w->asker;
    cJSON *last = cJSON_CreateObject();

    cJSON_AddStringToObject(last, "ended", why);
    asker_say(a, last);
    free_watcher(w);
    asker_end(a);
}

static void on_visit_over(void *arg, const char *why)
{
    struct watcher *w = arg;

    w->visit = NULL;
    tools_take(w->line);
    end_watcher(w, why);
}

/* ---- frames ---- */

static void put_hex(cJSON *into, const uint8_t *data, size_t len)
{
    struct buf text = {0};

    for (size_t i = 0; i < len; i++)
        buf_printf(&text, "%02x", data[i]);
    cJSON_AddStringToObject(into, "hex", len ? (const char *)text.data : "");
    buf_free(&text);
}

static cJSON *describe(const struct running *r, const struct tap_frame *f)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddNumberToObject(o, "at_us", (double)(f->kind == TAP_TIMEOUT ? f->last_us : f->first_us));
    cJSON_AddNumberToObject(o, "end_us", (double)f->last_us);
    cJSON_AddStringToObject(o, "kind", tap_kind_name(f->kind));
    r->driver->view(r->line, f, o);
    if (f->kind == TAP_TIMEOUT)
        cJSON_AddNumberToObject(o, "waited_us", (double)(f->last_us - f->first_us));
    else
        put_hex(o, f->data, f->len);
    return o;
}

static void tell(struct watcher *w, const cJSON *frame)
{
    struct tap *tap = w->line->driver->tap(w->line->line);
    unsigned long long lost = atomic_load(&tap->lost);

    if (!asker_has_room(w->asker)) {
        w->lost++;
        return;
    }
    cJSON *copy = cJSON_Duplicate(frame, true);
    w->lost += lost - w->lost_before;
    w->lost_before = lost;
    if (w->lost)
        cJSON_AddNumberToObject(copy, "lost", (double)w->lost);
    w->lost = 0;
    asker_say(w->asker, copy);
}

void tools_take(struct running *r)
{
    struct list frames = LIST_INIT(frames);
    struct tap *tap = r->driver->tap ? r->driver->tap(r->line) : NULL;

    if (tap)
        mailbox_take(&tap->mail, &frames);
    for (struct list *it; (it = list_pop(&frames));) {
        struct tap_frame *f = list_entry(it, struct tap_frame, link);
        cJSON *o = describe(r, f);
        list_for(w, &r->watchers) tell(list_entry(w, struct watcher, link), o);
        cJSON_Delete(o);
        free(f);
    }
}

void tools_begin(struct running *r)
{
    list_init(&r->watchers);
}

void tools_end(struct running *r)
{
    static const char why[] = "the line has ended, or was configured anew";

    if (r->visit)
        visit_stop(r->visit, why);
    tools_take(r);
    list_for_safe(it, &r->watchers) end_watcher(list_entry(it, struct watcher, link), why);
}

void tools_status(const struct running *r, cJSON *line)
{
    if (r->visit)
        visit_status(r->visit, line);
}

/* ---- requests ---- */

static const char *text_of(const cJSON *asked, const char *member)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(asked, member));
}

struct running *tools_line(const cJSON *asked, cJSON *answer)
{
    const char *name = text_of(asked, "line");
    struct running *r = name ? lines_find(name) : NULL;
    struct buf names = {0};

    if (r)
        return r;
    lines_names(&names);
    if (!name)
        asker_refuse(answer, "this needs \"line\", the name of a line");
    else if (!names.len)
        asker_refuse(answer, "there is no line %s; none is configured", name);
    else
        asker_refuse(answer, "there is no line %s; there is %s", name, (const char *)names.data);
    buf_free(&names);
    return NULL;
}

static struct watcher *watch(struct running *r, struct asker *a, cJSON *answer)
{
    if (!r->driver->tap) {
        asker_refuse(answer, "line %s speaks %s, which cannot be watched", r->name, r->driver->name);
        return NULL;
    }
    if (watcher_count(r) >= WATCHERS_MAX) {
        asker_refuse(answer, "%d watch line %s already, and more it does not take", WATCHERS_MAX, r->name);
        return NULL;
    }
    struct tap *tap = r->driver->tap(r->line);
    struct watcher *w = mem_alloc(sizeof *w);
    *w = (struct watcher){.line = r, .asker = a, .lost_before = atomic_load(&tap->lost)};
    atomic_fetch_add(&tap->watchers, 1);
    list_add_tail(&r->watchers, &w->link);
    a->gone = on_gone;
    a->arg = w;
    cJSON_AddStringToObject(answer, "line", r->name);
    cJSON_AddStringToObject(answer, "protocol", r->driver->name);
    cJSON_AddNumberToObject(answer, "now_us", (double)clock_boot_us());
    cJSON_AddNumberToObject(answer, "wall_offset_us", (double)clock_offset_us());
    r->driver->view_head(r->line, answer);
    return w;
}

static enum asked run_trace(struct gateway *gw, struct asker *a, const cJSON *asked, cJSON *answer)
{
    struct running *r = tools_line(asked, answer);

    (void)gw;
    return r && watch(r, a, answer) ? ASKED_STREAM : ASKED_NOW;
}

static enum asked run_sniff(struct gateway *gw, struct asker *a, const cJSON *asked, cJSON *answer)
{
    struct running *r = tools_line(asked, answer);
    const cJSON *given = cJSON_GetObjectItemCaseSensitive(asked, "for_s");
    double seconds = cJSON_IsNumber(given) ? given->valuedouble : SNIFF_S;
    struct visit_plan plan = {.tool = "sniff", .by = a->user, .listen = true};

    (void)gw;
    if (!r)
        return ASKED_NOW;
    if (!(seconds >= 1 && seconds <= SNIFF_MAX_S)) {
        asker_refuse(answer, "\"for_s\" is 1 to %d seconds, in which nothing is polled", SNIFF_MAX_S);
        return ASKED_NOW;
    }
    if (!visit_may(r, answer))
        return ASKED_NOW;
    struct watcher *w = watch(r, a, answer);
    if (!w)
        return ASKED_NOW;
    plan.seconds = (uint32_t)seconds;
    w->visit = visit_begin(r, &plan, on_visit_over, w);
    cJSON_AddNumberToObject(answer, "for_s", plan.seconds);
    return ASKED_STREAM;
}

const struct request tools_requests[] = {
    {"trace", run_trace}, {"sniff", run_sniff}, {"motes", lines_motes}, {0}};
