/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl sniff: listens to another master on a line, and says in the end what it saw: who is asked for
 * what, who answers, and whether the speed can be right. Nothing is polled meanwhile. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "ctl/ask.h"
#include "ctl/command.h"
#include "ctl/human.h"
#include "ctl/status_fields.h"
#include "ctl/table.h"
#include "ctl/watch.h"

enum { UNITS = 256, RANGES_MAX = 512, TABLE_ROOM = 16 };

struct range {
    int unit;
    char table[TABLE_ROOM];
    long first, last; /* last is one of them */
    unsigned long times;
};

struct summary {
    struct seen_unit {
        unsigned long requests, answers, exceptions;
        double least_us, most_us; /* from a request's end to its answer's beginning */
        uint8_t functions[128];
    } units[UNITS];
    struct range ranges[RANGES_MAX];
    size_t range_count;
    unsigned long frames, frame_bytes, noise_bytes, lost;
    int asked;       /* unit of the last request without an answer; -1: none */
    double asked_us; /* when it ended */
};

static void note_range(struct summary *s, const cJSON *frame, int unit)
{
    long first = (long)field_number(frame, "address"), count = (long)field_number(frame, "count");
    const char *table = field_text(frame, "table");

    if (!*table || count < 1)
        return;
    for (size_t i = 0; i < s->range_count; i++) {
        struct range *r = &s->ranges[i];
        if (r->unit == unit && !strcmp(r->table, table) && r->first == first &&
            r->last == first + count - 1) {
            r->times++;
            return;
        }
    }
    if (s->range_count == RANGES_MAX)
        return;
    struct range *r = &s->ranges[s->range_count++];
    *r = (struct range){.unit = unit, .first = first, .last = first + count - 1, .times = 1};
    snprintf(r->table, sizeof r->table, "%s", table);
}

static void note_answer(struct summary *s, const cJSON *frame, int unit)
{
    struct seen_unit *u = &s->units[unit];
    double took = field_number(frame, "at_us") - s->asked_us;

    u->answers++;
    u->exceptions += cJSON_IsNumber(field(frame, "exception")) ? 1 : 0;
    if (s->asked != unit)
        return;
    took = took > 0 ? took : 0;
    u->least_us = u->most_us > 0 && u->least_us < took ? u->least_us : took;
    u->most_us = u->most_us > took ? u->most_us : took;
}

static void note(struct summary *s, const cJSON *frame)
{
    size_t bytes = strlen(field_text(frame, "hex")) / 2;
    double number = field_number(frame, "unit"), function = field_number(frame, "function");

    if (field_number(frame, "lost") > 0)
        s->lost += (unsigned long)field_number(frame, "lost");
    if (strcmp(field_text(frame, "kind"), "foreign") != 0 || !(number >= 0 && number < UNITS)) {
        s->noise_bytes += bytes;
        return;
    }
    int unit = (int)number;
    s->frames++;
    s->frame_bytes += bytes;
    if (function >= 0 && function < 128)
        s->units[unit].functions[(int)function] = 1;
    if (!strcmp(field_text(frame, "way"), "request")) {
        s->units[unit].requests++;
        note_range(s, frame, unit);
        s->asked = unit;
        s->asked_us = field_number(frame, "end_us");
    } else {
        note_answer(s, frame, unit);
        s->asked = -1;
    }
}

/* ---- the summary ---- */

static void print_units(const struct summary *s, bool colours)
{
    static const char *const titles[] = {
        ">UNIT", ">REQUESTS", ">ANSWERS", ">EXCEPTIONS", ">ANSWERS AFTER ms", "FUNCTIONS", NULL};
    struct table *t = table_new(titles);

    for (int i = 0; i < UNITS; i++) {
        const struct seen_unit *u = &s->units[i];
        char text[64];
        struct buf functions = {0};
        if (!u->requests && !u->answers)
            continue;
        snprintf(text, sizeof text, "%d", i);
        table_cell(t, PAINT_NONE, text);
        table_cell(t, PAINT_NONE, human_count((double)u->requests).s);
        table_cell(t, u->answers + 1 < u->requests && i ? PAINT_WARN : PAINT_NONE,
                   human_count((double)u->answers).s);
        table_cell(t, u->exceptions ? PAINT_WARN : PAINT_FAINT, human_count((double)u->exceptions).s);
        snprintf(text, sizeof text, "%.1f to %.1f", u->least_us / 1000, u->most_us / 1000);
        table_cell(t, PAINT_NONE, u->most_us > 0 ? text : "");
        for (unsigned f = 0; f < 128; f++)
            if (u->functions[f])
                buf_printf(&functions, "%s%u", functions.len ? ", " : "", f);
        table_cell(t, PAINT_NONE, functions.len ? (const char *)functions.data : "");
        buf_free(&functions);
    }
    table_print(t, stdout, colours);
    table_free(t);
}

static int by_place(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    int tables = strcmp(x->table, y->table);

    return x->unit != y->unit    ? x->unit - y->unit
           : tables              ? tables
           : x->first < y->first ? -1
                                 : x->first > y->first;
}

static void print_ranges(struct summary *s, bool colours)
{
    static const char *const titles[] = {">UNIT", "READ", ">TIMES", NULL};
    struct table *t = table_new(titles);
    char text[64];

    qsort(s->ranges, s->range_count, sizeof s->ranges[0], by_place);
    for (size_t i = 0; i < s->range_count; i++) {
        const struct range *r = &s->ranges[i];
        snprintf(text, sizeof text, "%d", r->unit);
        table_cell(t, PAINT_NONE, text);
        snprintf(text, sizeof text, "%s:%ld to %ld", r->table, r->first, r->last);
        table_cell(t, PAINT_NONE, text);
        table_cell(t, PAINT_NONE, human_count((double)r->times).s);
    }
    table_print(t, stdout, colours);
    table_free(t);
}

static void print_verdict(const struct summary *s, const cJSON *head)
{
    double all = (double)(s->frame_bytes + s->noise_bytes);
    double share = all > 0 ? (double)s->frame_bytes / all : 0;

    if (s->frame_bytes + s->noise_bytes == 0) {
        printf("Not a byte came: nobody speaks, or the wires are not connected.\n");
        return;
    }
    printf("%s frames; %s of %s bytes were in whole frames", human_count((double)s->frames).s,
           human_share(share).s, human_count(all).s);
    if (share > 0.9)
        printf(": %.0f %s is right.\n", field_number(head, "baud"), field_text(head, "format"));
    else if (s->frames > 2)
        printf(": the speed is right, and the line is disturbed: bad contact, missing termination, two "
               "masters.\n");
    else
        printf(": %.0f %s is not what is spoken here, or it is not Modbus RTU. Try other speeds with "
               "sluicectl scan %s "
               "--baud ... once the other master is silent.\n",
               field_number(head, "baud"), field_text(head, "format"), field_text(head, "line"));
    if (s->lost)
        printf("%s more frames came too fast to be shown, and are not in this.\n",
               human_count((double)s->lost).s);
}

static cJSON *summary_json(const struct summary *s)
{
    cJSON *o = cJSON_CreateObject(), *sum = cJSON_AddObjectToObject(o, "summary");
    cJSON *units = cJSON_AddArrayToObject(sum, "units"), *ranges = cJSON_AddArrayToObject(sum, "ranges");

    for (int i = 0; i < UNITS; i++) {
        const struct seen_unit *u = &s->units[i];
        if (!u->requests && !u->answers)
            continue;
        cJSON *x = cJSON_CreateObject();
        cJSON_AddNumberToObject(x, "unit", i);
        cJSON_AddNumberToObject(x, "requests", (double)u->requests);
        cJSON_AddNumberToObject(x, "answers", (double)u->answers);
        cJSON_AddNumberToObject(x, "exceptions", (double)u->exceptions);
        cJSON_AddItemToArray(units, x);
    }
    for (size_t i = 0; i < s->range_count; i++) {
        cJSON *x = cJSON_CreateObject();
        cJSON_AddNumberToObject(x, "unit", s->ranges[i].unit);
        cJSON_AddStringToObject(x, "table", s->ranges[i].table);
        cJSON_AddNumberToObject(x, "first", (double)s->ranges[i].first);
        cJSON_AddNumberToObject(x, "last", (double)s->ranges[i].last);
        cJSON_AddNumberToObject(x, "times", (double)s->ranges[i].times);
        cJSON_AddItemToArray(ranges, x);
    }
    cJSON_AddNumberToObject(sum, "frames", (double)s->frames);
    cJSON_AddNumberToObject(sum, "frame_bytes", (double)s->frame_bytes);
    cJSON_AddNumberToObject(sum, "noise_bytes", (double)s->noise_bytes);
    cJSON_AddNumberToObject(sum, "lost", (double)s->lost);
    return o;
}

static void conclude(struct summary *s, const struct watch *w, bool json)
{
    if (json) {
        cJSON *o = summary_json(s);
        print_json_line(o);
        cJSON_Delete(o);
        return;
    }
    printf("\n");
    if (s->frames) {
        print_units(s, w->colours);
        print_ranges(s, w->colours);
    }
    print_verdict(s, w->head);
}

static void follow(const struct options *o, struct talk *talk, struct watch *w)
{
    struct summary *s = mem_alloc(sizeof *s);
    bool over = false;

    s->asked = -1;
    if (o->json) {
        print_json_line(w->head);
    } else {
        printf("line %s: listening only, at %.0f %s; nothing is polled for %.0f s at most; Ctrl-C ends it\n",
               field_text(w->head, "line"), field_number(w->head, "baud"), field_text(w->head, "format"),
               field_number(w->head, "for_s"));
        watch_titles(w, stdout);
    }
    for (cJSON *line; !over && !ferror(stdout) && (line = talk_next(talk)); cJSON_Delete(line)) {
        over = field(line, "ended");
        if (over)
            continue;
        note(s, line);
        if (o->json)
            print_json_line(line);
        else
            watch_show(w, line, stdout);
        fflush(stdout);
    }
    conclude(s, w, o->json);
    free(s);
}

int do_sniff(const struct options *o, char **words)
{
    cJSON *question = cJSON_CreateObject(), *head;
    int status = NO_DAEMON;
    long ms = 60000;

    if (o->value[OPTION_FOR] && duration_option(o, OPTION_FOR, 1000, 3600000, &ms)) {
        cJSON_Delete(question);
        return WRONG_USE;
    }
    cJSON_AddStringToObject(question, "do", "sniff");
    cJSON_AddStringToObject(question, "line", words[0]);
    cJSON_AddNumberToObject(question, "for_s", (double)((ms + 999) / 1000));
    struct talk *talk = open_talk(o, question);
    if (talk && (head = talk_first(talk))) {
        struct watch w = {.head = head, .colours = want_colours(), .hex = o->value[OPTION_HEX]};
        status = check_answer(head);
        if (status == DONE)
            follow(o, talk, &w);
        cJSON_Delete(head);
    }
    talk_close(talk);
    return status;
}
