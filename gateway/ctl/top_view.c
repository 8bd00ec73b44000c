/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/top_view.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/human.h"
#include "ctl/status_fields.h"
#include "ctl/table.h"

struct top {
    const cJSON *now, *then;
    double seconds;
    bool colours;
    FILE *page; /* lines as long as they like */
};

/* ---- cells ---- */

static const cJSON *named(const cJSON *list, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list) if (!strcmp(field_text(item, "name"), name)) return item;
    return NULL;
}

/* A second, of what has grown; NaN when nobody can say. */
static double rate_of(const struct top *t, const cJSON *now, const cJSON *then, const char *member)
{
    double grown = field_number(now, member) - field_number(then, member);

    return t->seconds > 0 && grown >= 0 ? grown / t->seconds : NAN;
}

static void text_cell(struct table *t, const cJSON *of, const char *member)
{
    table_cell(t, PAINT_NONE, field_text(of, member));
}

static void state_cell(struct table *t, const cJSON *of)
{
    table_cell(t, field(of, "visit") ? PAINT_WARN : state_paint(field_text(of, "state")),
               field(of, "visit") ? "visited" : field_text(of, "state"));
}

static void number_cell(struct table *t, enum paint paint, double n, int digits)
{
    char text[32] = "-";

    if (isfinite(n))
        snprintf(text, sizeof text, "%.*f", digits, n);
    table_cell(t, paint, text);
}

static void faults_cell(struct table *t, double n)
{
    table_cell(t, n > 0 ? PAINT_WARN : PAINT_FAINT, human_count(n).s);
}

static double faults_of(const cJSON *of)
{
    return field_number(of, "timeouts") + field_number(of, "crc") + field_number(of, "exceptions");
}

/* ---- sections ---- */

static void show_head(const struct top *t)
{
    const cJSON *gateway = field(t->now, "gateway"), *broker = field(t->now, "broker"),
                *was = field(t->then, "broker");

    fprintf(t->page, "sluice %s   %s   up %s   %s   %s\n", field_text(gateway, "version"),
            field_text(gateway, "site"), human_age(field_number(gateway, "uptime_s")).s,
            human_size(field_number(gateway, "memory_bytes")).s, field_text(gateway, "time"));
    fprintf(t->page, "broker: %s clients", human_count(field_number(broker, "clients")).s);
    if (was)
        fprintf(t->page, ", %.1f messages/s in, %.1f out", rate_of(t, broker, was, "messages_in"),
                rate_of(t, broker, was, "messages_out"));
    fprintf(t->page, ", %s dropped", human_count(field_number(broker, "dropped")).s);
    fprintf(t->page, "   store: %s\n", field_text(field(t->now, "store"), "state"));
}

static void show_bridges(const struct top *t)
{
    static const char *const titles[] = {"BRIDGE", "STATE", ">BACKLOG", ">OLDEST", ">SENT/s", "WHY", NULL};
    struct table *table = table_new(titles);
    const cJSON *b;

    cJSON_ArrayForEach(b, field(t->now, "bridges"))
    {
        double oldest = field_number(b, "oldest_s");
        text_cell(table, b, "name");
        state_cell(table, b);
        table_cell(table, PAINT_NONE, human_count(field_number(b, "backlog")).s);
        table_cell(table, PAINT_NONE, oldest > 0 ? human_age(oldest).s : "-");
        number_cell(table, PAINT_NONE,
                    rate_of(t, b, named(field(t->then, "bridges"), field_text(b, "name")), "sent"), 1);
        text_cell(table, b, "error");
    }
    if (table_rows(table))
        table_print(table, t->page, t->colours);
    table_free(table);
}

static void show_lines(const struct top *t)
{
    static const char *const titles[] = {"LINE",     "STATE",     ">LOAD", ">PLANNED", ">CYCLE ms",
                                         ">POLLS/s", ">TIMEOUTS", ">CRC",  ">LATE",    NULL};
    struct table *table = table_new(titles);
    const cJSON *l;

    cJSON_ArrayForEach(l, field(t->now, "lines"))
    {
        const cJSON *was = named(field(t->then, "lines"), field_text(l, "name"));
        double load = field_number(l, "load");
        text_cell(table, l, "name");
        state_cell(table, l);
        table_cell(table, load > 0.95 ? PAINT_WARN : PAINT_NONE, human_share(load).s);
        table_cell(table, PAINT_NONE, human_share(field_number(l, "predicted_load")).s);
        number_cell(table, PAINT_NONE, field_number(l, "cycle_ms"), 0);
        number_cell(table, PAINT_NONE, rate_of(t, l, was, "polls"), 1);
        faults_cell(table, field_number(l, "timeouts"));
        faults_cell(table, field_number(l, "crc"));
        faults_cell(table, field_number(l, "late"));
    }
    if (table_rows(table))
        table_print(table, t->page, t->colours);
    table_free(table);
}

static void add_device(const struct top *t, struct table *table, const cJSON *d)
{
    double age = field_number(d, "age_s");
    char text[32];

    text_cell(table, d, "name");
    text_cell(table, d, "line");
    number_cell(table, PAINT_NONE, field_number(d, "unit"), 0);
    state_cell(table, d);
    number_cell(table, PAINT_NONE, field_number(d, "response_ms"), 1);
    number_cell(table, PAINT_NONE,
                rate_of(t, d, named(field(t->then, "devices"), field_text(d, "name")), "polls"), 1);
    faults_cell(table, faults_of(d));
    snprintf(text, sizeof text, "%.1f s", age); /* so that one sees short ones move */
    table_cell(table, PAINT_NONE, age < 10 ? text : human_age(age).s);
}

/* Those that are not well come first. */
static void show_devices(const struct top *t, size_t room)
{
    static const char *const titles[] = {"DEVICE",   "LINE",    ">UNIT", "STATE", ">ANSWER ms",
                                         ">POLLS/s", ">FAULTS", ">AGE",  NULL};
    const enum paint rounds[] = {PAINT_BAD, PAINT_WARN, PAINT_NONE, PAINT_GOOD};
    size_t all = (size_t)cJSON_GetArraySize(field(t->now, "devices"));
    size_t most = all <= room ? all : room > 1 ? room - 1 : 0;
    struct table *table = table_new(titles);
    const cJSON *d;

    for (size_t i = 0; i < ARRAY_SIZE(rounds); i++)
        cJSON_ArrayForEach(d, field(t->now, "devices"))
        {
            if (state_paint(field_text(d, "state")) == rounds[i] && table_rows(table) < most)
                add_device(t, table, d);
        }
    if (table_rows(table))
        table_print(table, t->page, t->colours);
    if (most < all)
        fprintf(t->page, "  ... and %zu more devices\n", all - most);
    table_free(table);
}

/* ---- the screen ---- */

/* The part of a line that fits: sequences that paint have no width. */
static size_t fitting(const char *line, size_t len, unsigned columns)
{
    unsigned width = 0;
    size_t i = 0;

    while (i < len) {
        if (line[i] == '\033') {
            while (i < len && line[i] != 'm')
                i++;
            i++;
            continue;
        }
        bool begins = ((unsigned char)line[i] & 0xc0) != 0x80;
        if (begins && width == columns)
            break;
        width += begins;
        i++;
    }
    return i < len ? i : len;
}

static void cut(const char *text, unsigned rows, unsigned columns, FILE *out)
{
    for (unsigned row = 0; row < rows && *text; row++) {
        const char *end = strchr(text, '\n');
        size_t len = end ? (size_t)(end - text) : strlen(text);
        if (row)
            fputs("\r\n", out);
        fwrite(text, 1, fitting(text, len, columns), out);
        fputs("\033[0m\033[K", out);
        text += len + (end != NULL);
    }
}

static size_t lines_in(const char *text, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += text[i] == '\n';
    return n;
}

void top_view(const cJSON *now, const cJSON *then, double seconds, unsigned rows, unsigned columns,
              bool colours, FILE *out)
{
    char *text = NULL;
    size_t len = 0;
    FILE *page = open_memstream(&text, &len);
    struct top t = {now, then, seconds, colours, page};

    if (!page)
        return;
    show_head(&t);
    show_bridges(&t);
    show_lines(&t);
    fflush(page);
    size_t used = lines_in(text, len) + 2; /* titles, and the last line */
    show_devices(&t, rows > used ? rows - used : 0);
    fputs("q quits\n", page);
    fclose(page);
    cut(text, rows, columns, out);
    free(text);
}
