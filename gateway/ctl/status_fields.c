/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/status_fields.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "ctl/human.h"

const cJSON *field(const cJSON *of, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(of, name);
}

const char *field_text(const cJSON *of, const char *name)
{
    const char *text = cJSON_GetStringValue(field(of, name));

    return text ? text : "";
}

double field_number(const cJSON *of, const char *name)
{
    const cJSON *n = field(of, name);

    return cJSON_IsNumber(n) ? n->valuedouble : NAN;
}

/* "2026-11-22T08:12:00.123Z" or seconds since 1970; NaN for anything else. */
static double wall_seconds(const cJSON *at)
{
    struct tm tm = {0};

    if (cJSON_IsNumber(at))
        return at->valuedouble;
    if (!cJSON_IsString(at) || !strptime(at->valuestring, "%Y-%m-%dT%H:%M:%S", &tm))
        return NAN;
    return (double)timegm(&tm);
}

double field_age(const cJSON *status, const cJSON *of)
{
    static const char *const ages[] = {"since_s", "failing_s"};
    double now = wall_seconds(field(field(status, "gateway"), "time"));
    double age = now - wall_seconds(field(of, "since"));

    for (size_t i = 0; i < ARRAY_SIZE(ages); i++)
        if (isfinite(field_number(of, ages[i])))
            return field_number(of, ages[i]);
    return age < 0 ? 0 : age; /* their milliseconds were cut off */
}

enum paint state_paint(const char *state)
{
    static const struct {
        enum paint paint;
        const char *words[12];
    } kinds[] = {
        {PAINT_GOOD, {"ok", "online", "running", "open", "up"}},
        {PAINT_WARN,
         {"stale", "connecting", "draining", "waiting", "backoff", "starting", "paused", "opening",
          "guessing"}},
        {PAINT_BAD, {"dead", "offline", "failing", "failed", "closed", "down", "error", "absent", "refused"}},
    };

    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
        for (const char *const *w = kinds[k].words; *w; w++)
            if (!strcmp(state, *w))
                return kinds[k].paint;
    return PAINT_NONE;
}

struct teller {
    const cJSON *status;
    enum paint level; /* of this round */
    size_t told;
    void (*tell)(void *arg, enum paint paint, const char *what, const char *text);
    void *arg;
};

static void say(struct teller *t, enum paint paint, const char *kind, const char *name, struct buf *text)
{
    char *what = *name ? mem_format("%s %s", kind, name) : mem_strdup(kind);

    if (paint == t->level) {
        t->told++;
        t->tell(t->arg, paint, what, (const char *)text->data);
    }
    free(what);
    buf_free(text);
}

static const char *why(const cJSON *of)
{
    return *field_text(of, "error") ? field_text(of, "error") : field_text(of, "reason");
}

/* Devices on a line that is away are told of once, with the line. */
static size_t devices_on(const cJSON *status, const char *line)
{
    const cJSON *device;
    size_t n = 0;

    cJSON_ArrayForEach(device, field(status, "devices")) n += !strcmp(field_text(device, "line"), line);
    return n;
}

static bool line_is_away(const cJSON *status, const char *name)
{
    const cJSON *line;

    cJSON_ArrayForEach(line, field(status, "lines"))
    {
        if (!strcmp(field_text(line, "name"), name))
            return state_paint(field_text(line, "state")) == PAINT_BAD;
    }
    return false;
}

static void count_of(struct buf *text, double n, const char *one, const char *many)
{
    buf_printf(text, "; %s %s", human_count(n).s, n == 1 ? one : many);
}

/* A thing with "state": how long it has been so, why, and what waits for it. */
static void judge_state(struct teller *t, const char *kind, const cJSON *of)
{
    const char *state = field_text(of, "state"), *line = field_text(of, "line");
    double age = field_age(t->status, of), backlog = field_number(of, "backlog");
    enum paint paint = state_paint(state);
    struct buf text = {0};

    if ((paint != PAINT_WARN && paint != PAINT_BAD) || (*line && line_is_away(t->status, line)))
        return;
    buf_printf(&text, "%s", state);
    if (isfinite(age))
        buf_printf(&text, " for %s", human_age(age).s);
    if (*line)
        buf_printf(&text, " on %s", line);
    if (*why(of))
        buf_printf(&text, ": %s", why(of));
    if (backlog > 0)
        count_of(&text, backlog, "message waits", "messages wait");
    if (!strcmp(kind, "line") && devices_on(t->status, field_text(of, "name")))
        count_of(&text, (double)devices_on(t->status, field_text(of, "name")), "device is on it",
                 "devices are on it");
    say(t, paint, kind, field_text(of, "name"), &text);
}

static void judge_states(struct teller *t, const char *section, const char *kind)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, field(t->status, section)) judge_state(t, kind, item);
}

static void judge_store(struct teller *t)
{
    const cJSON *store = field(t->status, "store");
    double room = field_number(store, "free_bytes");
    struct buf text = {0};

    judge_state(t, "store", store);
    if (field_number(store, "commits") > 0 && room < 64e6) { /* nothing has been measured before */
        buf_printf(&text, "only %s are free on its file system", human_size(room).s);
        say(t, PAINT_WARN, "store", "", &text);
    }
}

static void judge_gateway(struct teller *t)
{
    struct buf text = {0};

    if (!cJSON_IsFalse(field(field(t->status, "gateway"), "clock_set")))
        return;
    buf_printf(&text, "not set: readings wait for their time, nothing expires");
    say(t, PAINT_WARN, "clock", "", &text);
}

static void judge_loads(struct teller *t)
{
    const cJSON *line;

    cJSON_ArrayForEach(line, field(t->status, "lines"))
    {
        struct buf text = {0};
        if (field_number(line, "load") > 0.95) {
            buf_printf(&text, "%s busy: polls come later than asked for",
                       human_share(field_number(line, "load")).s);
            say(t, PAINT_WARN, "line", field_text(line, "name"), &text);
        }
    }
}

static void judge_visits(struct teller *t)
{
    const cJSON *line;

    cJSON_ArrayForEach(line, field(t->status, "lines"))
    {
        const cJSON *visit = field(line, "visit");
        struct buf text = {0};
        if (!visit)
            continue;
        buf_printf(&text, "not polled: %s by %s, for %s at most", field_text(visit, "tool"),
                   field_text(visit, "user"), human_age(field_number(visit, "left_s")).s);
        say(t, PAINT_WARN, "line", field_text(line, "name"), &text);
    }
}

size_t status_problems(const cJSON *status,
                       void (*tell)(void *arg, enum paint paint, const char *what, const char *text),
                       void *arg)
{
    struct teller t = {.status = status, .tell = tell, .arg = arg};
    const enum paint rounds[] = {PAINT_BAD, PAINT_WARN};

    for (size_t i = 0; i < ARRAY_SIZE(rounds); i++) {
        t.level = rounds[i];
        judge_store(&t);
        judge_states(&t, "bridges", "bridge");
        judge_states(&t, "lines", "line");
        judge_visits(&t);
        judge_loads(&t);
        judge_states(&t, "devices", "device");
        judge_state(&t, "passwords", field(status, "auth"));
        judge_gateway(&t);
    }
    return t.told;
}
