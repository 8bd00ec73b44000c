/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/status_view.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "ctl/human.h"
#include "ctl/status_fields.h"
#include "ctl/table.h"

#define ROWS_SHOWN 40 /* of a longer list the overview shows what is not well, so many at most */

enum form {
    END,
    WORD,
    STATE,
    COUNT,
    FAULTS,
    SIZE,
    SECONDS,
    SINCE,
    SHARE,
    READINGS,
    PORT,
    URLS,
    REASON,
    WHY,
    YES
};

struct column {
    const char *title, *member;
    enum form form;
};

static const struct column line_columns[] = {
    {"NAME", "name", WORD},
    {"PORT", "port", PORT},
    {"STATE", "state", STATE},
    {"SINCE", "since", SINCE},
    {">LOAD", "load", SHARE},
    {">PLANNED", "predicted_load", SHARE},
    {">POLLS", "polls", COUNT},
    {">TIMEOUTS", "timeouts", FAULTS},
    {">CRC", "crc", FAULTS},
    {">EXCEPTIONS", "exceptions", FAULTS},
    {">LATE", "late", FAULTS},
    {">FOREIGN", "foreign", FAULTS},
    {">STRAY", "stray", FAULTS},
    {"WHY", "error", WHY},
    {0},
};

static const struct column device_columns[] = {
    {"NAME", "name", WORD},       {"LINE", "line", WORD},
    {">UNIT", "unit", COUNT},     {"STATE", "state", STATE},
    {"SINCE", "since", SINCE},    {">READINGS", "groups", READINGS},
    {"PROFILE", "profile", WORD}, {"BEFORE", "profile_before", WORD},
    {"WHY", "reason", REASON},    {0},
};

static const struct column bridge_columns[] = {
    {"NAME", "name", WORD},
    {"STATE", "state", STATE},
    {"SINCE", "since", SINCE},
    {">WAITING", "backlog", COUNT},
    {">URGENT", "urgent", COUNT},
    {">SIZE", "bytes", SIZE},
    {">OLDEST", "oldest_s", SECONDS},
    {">IN FLIGHT", "in_flight", COUNT},
    {">SENT", "sent", COUNT},
    {">ACKED", "acked", COUNT},
    {">DROPPED", "dropped", FAULTS},
    {">EXPIRED", "expired", FAULTS},
    {"URL", "url", URLS},
    {"WHY", "error", WHY},
    {0},
};

static const struct column listener_columns[] = {
    {"ADDRESS", "bind", WORD},
    {"PROTOCOL", "protocol", WORD},
    {"TLS", "tls", YES},
    {"STATE", "state", STATE},
    {">CLIENTS", "clients", COUNT},
    {">REFUSED", "refused", FAULTS},
    {0},
};

static const struct column server_columns[] = {
    {"ADDRESS", "bind", WORD},       {"TLS", "tls", YES},
    {">MASTERS", "masters", COUNT},  {">REQUESTS", "requests", COUNT},
    {">WRITES", "writes", COUNT},    {">EXCEPTIONS", "exceptions", FAULTS},
    {">REFUSED", "refused", FAULTS}, {0},
};

struct view {
    const cJSON *status;
    FILE *out;
    bool colours;
    bool full; /* no row is left out */
};

static double sum_of_readings(const cJSON *groups)
{
    const cJSON *g;
    double sum = 0;

    /* n is boot number x 2^32 + count. */
    cJSON_ArrayForEach(g, groups)
    {
        double n = field_number(g, "n");
        sum += isfinite(n) ? fmod(n, 4294967296.0) : 0;
    }
    return sum;
}

static const char *first_url(const cJSON *url)
{
    const char *text = cJSON_GetStringValue(cJSON_IsArray(url) ? cJSON_GetArrayItem(url, 0) : url);

    return text ? text : "";
}

/* The ends of a long path tell more than its middle. */
static struct text short_port(const char *port)
{
    struct text t;
    size_t len = strlen(port);

    if (len <= 30)
        snprintf(t.s, sizeof t.s, "%s", port);
    else
        snprintf(t.s, sizeof t.s, "%.9s...%s", port, port + len - 18);
    return t;
}

static void number_cell(struct table *t, enum form form, double n)
{
    struct text text = {""};
    enum paint paint = form != FAULTS ? PAINT_NONE : n > 0 ? PAINT_WARN : PAINT_FAINT;

    if (isfinite(n)) {
        switch (form) {
        case SIZE:
            text = human_size(n);
            break;
        case SECONDS:
            text = n > 0 ? human_age(n) : (struct text){"-"};
            break;
        case SINCE:
            text = human_age(n);
            break;
        case SHARE:
            text = human_share(n);
            break;
        default:
            text = human_count(n);
        }
    }
    table_cell(t, paint, text.s);
}

static bool well(const cJSON *row)
{
    enum paint p = state_paint(field_text(row, "state"));

    return p == PAINT_GOOD || p == PAINT_NONE;
}

static void add_cell(const struct view *v, struct table *t, const struct column *c, const cJSON *row)
{
    const cJSON *value = field(row, c->member);

    switch (c->form) {
    case WORD:
        table_cell(t, PAINT_NONE, field_text(row, c->member));
        break;
    case REASON: /* that a device answers is no reason to name */
        table_cell(t, PAINT_NONE, well(row) ? "" : field_text(row, c->member));
        break;
    case WHY: /* the overview has told it at its top */
        table_cell(t, PAINT_NONE, v->full ? field_text(row, c->member) : "");
        break;
    case PORT:
        table_cell(t, PAINT_NONE, short_port(field_text(row, c->member)).s);
        break;
    case YES:
        table_cell(t, PAINT_NONE, cJSON_IsTrue(value) ? "yes" : "");
        break;
    case STATE:
        table_cell(t, state_paint(field_text(row, c->member)), field_text(row, c->member));
        break;
    case URLS:
        table_cell(t, PAINT_FAINT, first_url(value));
        break;
    case SINCE:
        number_cell(t, c->form, field_age(v->status, row));
        break;
    case READINGS:
        number_cell(t, COUNT, value ? sum_of_readings(value) : NAN);
        break;
    default:
        number_cell(t, c->form, field_number(row, c->member));
    }
}

static void heading(const struct view *v, const char *text, const char *rest)
{
    fputc('\n', v->out);
    paint_text(v->out, v->colours, PAINT_TITLE, text);
    fprintf(v->out, "%s%s\n", *rest ? "  " : "", rest);
}

static void show_list(const struct view *v, const char *title, const char *section,
                      const struct column *columns)
{
    const cJSON *list = field(v->status, section), *row;
    bool all = v->full || cJSON_GetArraySize(list) <= ROWS_SHOWN;
    const char *titles[17] = {NULL};
    size_t left_out = 0;

    for (size_t i = 0; columns[i].form != END; i++)
        titles[i] = columns[i].title;
    struct table *t = table_new(titles);
    cJSON_ArrayForEach(row, list)
    {
        if (!all && (well(row) || table_rows(t) == ROWS_SHOWN)) {
            left_out++;
            continue;
        }
        for (const struct column *c = columns; c->form != END; c++)
            add_cell(v, t, c, row);
    }
    heading(v, title, cJSON_GetArraySize(list) ? "" : "none");
    if (table_rows(t))
        table_print(t, v->out, v->colours);
    if (left_out)
        fprintf(v->out, "  and %s more: `sluicectl status %s` shows them\n", human_count((double)left_out).s,
                section);
    table_free(t);
}

/* One line "  label   text"; nothing when text is empty. Takes over what text holds. */
static void fact(const struct view *v, const char *label, struct buf *text)
{
    if (text->len) {
        fprintf(v->out, "  ");
        paint_text(v->out, v->colours, PAINT_FAINT, label);
        fprintf(v->out, "%*s", (int)(16 - strlen(label)), "");
        paint_text(v->out, v->colours, PAINT_NONE, (const char *)text->data);
        fputc('\n', v->out);
    }
    buf_free(text);
    *text = (struct buf){0};
}

/* Appends "lead 1.2 MB tail" when the field is there; a comma before it unless it is the first. */
static void clause(struct buf *text, const cJSON *of, const char *member, enum form form, const char *lead,
                   const char *tail)
{
    double n = field_number(of, member);

    if (!isfinite(n))
        return;
    struct text shown = form == SIZE ? human_size(n) : form == SECONDS ? human_age(n) : human_count(n);
    size_t len = strlen(tail);
    if (form == COUNT && n == 1 && len && tail[len - 1] == 's')
        len--; /* 1 session, 2 sessions */
    buf_printf(text, "%s%s%s%.*s", text->len ? ", " : "", lead, shown.s, (int)len, tail);
}

static void show_gateway(const struct view *v)
{
    const cJSON *g = field(v->status, "gateway");
    struct buf text = {0};

    heading(v, "GATEWAY", "");
    clause(&text, g, "memory_bytes", SIZE, "", "");
    clause(&text, g, "memory_most_bytes", SIZE, "at most ", " so far");
    fact(v, "memory", &text);
    if (*field_text(g, "configuration"))
        buf_printf(&text, "%s", field_text(g, "configuration"));
    clause(&text, g, "loaded_s", SECONDS, "loaded ", " ago");
    fact(v, "configuration", &text);
    if (*field_text(g, "root"))
        buf_printf(&text, "%s/...", field_text(g, "root"));
    fact(v, "topics", &text);
}

static struct text milliseconds(double us)
{
    struct text t;

    snprintf(t.s, sizeof t.s, us < 10000 ? "%.1f ms" : "%.0f ms", us / 1000);
    return t;
}

static void show_store(const struct view *v)
{
    const cJSON *s = field(v->status, "store"), *wear = field(v->status, "wear");
    struct buf text = {0};

    heading(v, "STORE", "");
    if (field_number(s, "commits") > 0) {
        clause(&text, s, "file_bytes", SIZE, "", "");
        clause(&text, s, "wal_bytes", SIZE, "log ", "");
        clause(&text, s, "free_bytes", SIZE, "", " free on the disk");
    }
    fact(v, "on disk", &text);
    clause(&text, s, "commits", COUNT, "", "");
    if (isfinite(field_number(s, "commit_us_last")))
        buf_printf(&text, ", the last took %s", milliseconds(field_number(s, "commit_us_last")).s);
    if (isfinite(field_number(s, "commit_us_most")))
        buf_printf(&text, ", the slowest %s", milliseconds(field_number(s, "commit_us_most")).s);
    fact(v, "commits", &text);
    clause(&text, s, "bytes_written", SIZE, "", " since the start");
    clause(&text, wear, "bytes_per_day", SIZE, "", " a day");
    clause(&text, wear, "over_s", SECONDS, "judged by the last ", "");
    fact(v, "written", &text);
    if (field_number(s, "failures") > 0 || field_number(s, "refused") > 0) {
        clause(&text, s, "failures", COUNT, "", " commits tried again");
        clause(&text, s, "refused", COUNT, "", " operations refused");
    }
    fact(v, "failed", &text);
}

struct count_of {
    const char *member, *tail;
};

/* What happened, how often; nothing where nothing did. Ends with a NULL member. */
static void show_counts(const struct view *v, const char *name, const cJSON *of,
                        const struct count_of *counts)
{
    struct buf text = {0};

    for (; counts->member; counts++)
        if (field_number(of, counts->member) > 0)
            clause(&text, of, counts->member, COUNT, "", counts->tail);
    fact(v, name, &text);
}

static const struct count_of troubles[] = {
    {"queue_full", " dropped from full queues"},
    {"slow_reader", " dropped for slow readers"},
    {"refused", " connects refused"},
    {"connect_timeouts", " without CONNECT in time"},
    {"keepalive_timeouts", " silent beyond the keepalive"},
    {"protocol_errors", " protocol errors"},
    {"taken_over", " taken over"},
    {"unknown_acks", " acknowledgements of nothing"},
    {"unread_answers", " did not read what they asked for"},
    {0},
};
static const struct count_of logins[] = {
    {"admitted", " admitted"},
    {"cached", " by what was right a short time ago"},
    {"refused", " refused"},
    {"limited", " of addresses that failed too often"},
    {"busy", " while too many waited"},
    {"waiting", " being checked"},
    {0},
};
static const struct count_of denials[] = {
    {"denied_connects", " connects"},
    {"denied_publishes", " publishes"},
    {"denied_subscriptions", " subscriptions"},
    {"denied_deliveries", " deliveries"},
    {0},
};

static void show_clients(const struct view *v)
{
    const cJSON *b = field(v->status, "broker");
    struct buf text = {0};

    heading(v, "CLIENTS", "");
    clause(&text, b, "clients", COUNT, "", " connected");
    clause(&text, b, "clients_most", COUNT, "at most ", " so far");
    clause(&text, b, "sessions", COUNT, "", " sessions");
    clause(&text, b, "subscriptions", COUNT, "", " subscriptions");
    fact(v, "now", &text);
    clause(&text, b, "messages_in", COUNT, "", " in");
    clause(&text, b, "messages_out", COUNT, "", " out");
    clause(&text, b, "retained", COUNT, "", " retained");
    clause(&text, b, "dropped", COUNT, "", " dropped");
    fact(v, "messages", &text);
    show_counts(v, "trouble", b, troubles);
    show_counts(v, "logins", field(v->status, "auth"), logins);
    show_counts(v, "denied", field(v->status, "auth"), denials);
    if (field(v->status, "listeners"))
        show_list(v, "LISTENERS", "listeners", listener_columns);
}

static void show_lines(const struct view *v)
{
    show_list(v, "LINES", "lines", line_columns);
    if (field(v->status, "modbus_servers"))
        show_list(v, "MODBUS SERVERS", "modbus_servers", server_columns);
}

static void show_devices(const struct view *v)
{
    show_list(v, "DEVICES", "devices", device_columns);
}

static void show_bridges(const struct view *v)
{
    show_list(v, "BRIDGES", "bridges", bridge_columns);
}

static const struct {
    const char *name, *needs;
    void (*show)(const struct view *v);
} sections[] = {
    {"bridges", "bridges", show_bridges}, {"lines", "lines", show_lines},
    {"devices", "devices", show_devices}, {"clients", "broker", show_clients},
    {"store", "store", show_store},       {"gateway", "gateway", show_gateway},
};

static void show_title(const struct view *v)
{
    const cJSON *g = field(v->status, "gateway");
    struct buf rest = {0};

    paint_text(v->out, v->colours, PAINT_TITLE, field_text(g, "site"));
    buf_printf(&rest, "  sluice %s", field_text(g, "version"));
    if (isfinite(field_number(g, "uptime_s")))
        buf_printf(&rest, ", up %s", human_age(field_number(g, "uptime_s")).s);
    if (isfinite(field_number(g, "boot")))
        buf_printf(&rest, ", start no. %s", human_count(field_number(g, "boot")).s);
    paint_text(v->out, v->colours, PAINT_NONE, (const char *)rest.data);
    fputc('\n', v->out);
    buf_free(&rest);
}

static void add_problem(void *arg, enum paint paint, const char *what, const char *text)
{
    struct table *t = arg;

    if (table_rows(t) == ROWS_SHOWN)
        return;
    table_cell(t, paint, what);
    table_cell(t, PAINT_NONE, text);
}

static void show_problems(const struct view *v)
{
    static const char *const untitled[] = {"", "", NULL};
    struct table *t = table_new(untitled);
    size_t n = status_problems(v->status, add_problem, t);
    struct buf head = {0};

    if (n)
        buf_printf(&head, "%s thing%s a look", human_count((double)n).s, n == 1 ? " needs" : "s need");
    fputc('\n', v->out);
    paint_text(v->out, v->colours, n ? PAINT_BAD : PAINT_GOOD, n ? (char *)head.data : "All is well");
    fputc('\n', v->out);
    table_print(t, v->out, v->colours);
    if (n > table_rows(t))
        fprintf(v->out, "  and %s more\n", human_count((double)(n - table_rows(t))).s);
    buf_free(&head);
    table_free(t);
}

bool status_view(const cJSON *status, const char *only, FILE *out, bool colours)
{
    struct view v = {status, out, colours, only != NULL};
    bool known = !only;

    if (!only) {
        show_title(&v);
        show_problems(&v);
    }
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        if (only && strcmp(only, sections[i].name) != 0)
            continue;
        known = true;
        if (field(status, sections[i].needs))
            sections[i].show(&v);
    }
    return known;
}
