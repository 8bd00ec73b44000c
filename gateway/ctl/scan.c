/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl scan: who is on a line. What is found is shown at once, and how far it is on standard error. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "ctl/ask.h"
#include "ctl/command.h"
#include "ctl/human.h"
#include "ctl/status_fields.h"
#include "ctl/table.h"

#define ALL_BAUDS   "1200,2400,4800,9600,19200,38400,57600,115200"
#define ALL_FORMATS "8N1,8E1,8O1,8N2"

struct view {
    bool json, live, colours; /* live: progress is shown */
    bool titled;
    double most_s;
    unsigned found;
};

static void clear_progress(const struct view *v)
{
    if (v->live)
        fputs("\r\033[K", stderr);
}

static void show_progress(const struct view *v, const cJSON *p)
{
    double done = field_number(p, "done"), of = field_number(p, "of");

    if (!v->live)
        return;
    fprintf(stderr, "\r\033[K");
    if (isfinite(field_number(p, "baud")))
        fprintf(stderr, "%.0f %s: ", field_number(p, "baud"), field_text(p, "format"));
    fprintf(stderr, "unit %.0f, %.0f of %.0f asked, %u found, at most %s left", field_number(p, "unit"), done,
            of, v->found, human_age(of > 0 ? v->most_s * (of - done) / of : NAN).s);
}

/* Vendor, product and version first, then what else it says of itself. */
static void put_identity(const cJSON *found, struct buf *out)
{
    static const char *const labels[] = {"", "", "", "url ", "", "", "app "};
    const cJSON *object;

    cJSON_ArrayForEach(object, field(found, "objects"))
    {
        long id = strtol(object->string, NULL, 10);
        const char *text = cJSON_GetStringValue(object);
        if (text && *text)
            buf_printf(out, "%s%s%s", out->len ? " " : "", id >= 0 && id < 7 ? labels[id] : "", text);
    }
    if (*field_text(found, "server_id"))
        buf_printf(out, "%sserver id \"%s\"", out->len ? "; " : "", field_text(found, "server_id"));
    if (!out->len && isfinite(field_number(found, "exception")))
        buf_printf(out, "answers with exception %.0f", field_number(found, "exception"));
    if (!out->len && *field_text(found, "doubt"))
        buf_printf(out, "%s", field_text(found, "doubt"));
}

static void show_found(struct view *v, const cJSON *found)
{
    struct buf identity = {0};
    char speed[32] = "", took[16] = "";

    clear_progress(v);
    if (!v->titled) {
        paint_text(stdout, v->colours, PAINT_TITLE,
                   "UNIT  SPEED        ANSWER ms  DEVICE            SAYS OF ITSELF");
        fputc('\n', stdout);
    }
    v->titled = true;
    put_identity(found, &identity);
    if (isfinite(field_number(found, "baud")))
        snprintf(speed, sizeof speed, "%.0f %s", field_number(found, "baud"), field_text(found, "format"));
    if (isfinite(field_number(found, "took_ms")))
        snprintf(took, sizeof took, "%.1f", field_number(found, "took_ms"));
    printf("%4.0f  %-11s  %9s  %-16.16s  ", field_number(found, "unit"), speed, took,
           field_text(found, "device"));
    paint_text(stdout, v->colours, *field_text(found, "doubt") ? PAINT_WARN : PAINT_NONE,
               identity.len ? (const char *)identity.data : "");
    fputc('\n', stdout);
    buf_free(&identity);
}

static void say_head(struct view *v, const cJSON *head)
{
    v->most_s = field_number(head, "most_s");
    if (v->json) {
        print_json_line(head);
        return;
    }
    fprintf(stderr, "line %s: %.0f units, speeds and formats: %.0f, about %s; %s; Ctrl-C ends it\n",
            field_text(head, "line"), field_number(head, "units"), field_number(head, "speeds"),
            human_age(v->most_s).s,
            cJSON_IsTrue(field(head, "paused")) ? "nothing is polled meanwhile" : "polling goes on");
}

static void show_damaged(const struct view *v, const cJSON *d)
{
    clear_progress(v);
    printf("      %.0f %s: something answers, but damaged (%.0f times): not this speed or format\n",
           field_number(d, "baud"), field_text(d, "format"), field_number(d, "times"));
}

/* 0 when somebody was found, and all were asked. */
static int follow(struct view *v, struct talk *talk)
{
    int status = REFUSED;
    bool over = false;

    for (cJSON *line; !over && !ferror(stdout) && (line = talk_next(talk)); cJSON_Delete(line)) {
        const cJSON *found = field(line, "found");
        over = cJSON_IsString(field(line, "ended"));
        v->found += cJSON_IsObject(found) && !field(found, "doubt");
        if (v->json)
            print_json_line(line);
        else if (field(line, "progress"))
            show_progress(v, field(line, "progress"));
        else if (field(line, "damaged"))
            show_damaged(v, field(line, "damaged"));
        else if (cJSON_IsObject(found))
            show_found(v, found);
        fflush(stdout);
        if (!over)
            continue;
        bool whole = cJSON_IsTrue(field(line, "whole"));
        clear_progress(v);
        if (!whole)
            fprintf(stderr, "sluicectl: the scan has ended early: %s\n", field_text(line, "ended"));
        else if (!v->json)
            fprintf(stderr, "%u found\n", v->found);
        status = whole && v->found ? DONE : REFUSED;
    }
    clear_progress(v);
    if (talk_interrupted())
        fprintf(stderr, "ended; %u found until then\n", v->found);
    else if (!over)
        fprintf(stderr, "sluicectl: the daemon has ended; %u found until then\n", v->found);
    if (!over && !talk_interrupted())
        status = NO_DAEMON;
    return status;
}

static cJSON *make_question(const struct options *o, const char *line, long timeout_ms)
{
    const char *bauds = o->value[OPTION_BAUD], *formats = o->value[OPTION_FORMAT];
    cJSON *question = cJSON_CreateObject();

    cJSON_AddStringToObject(question, "do", "scan");
    cJSON_AddStringToObject(question, "line", line);
    cJSON_AddNumberToObject(question, "timeout_ms", (double)timeout_ms);
    if (o->value[OPTION_UNITS])
        cJSON_AddStringToObject(question, "units", o->value[OPTION_UNITS]);
    if (bauds)
        cJSON_AddStringToObject(question, "baud", strcmp(bauds, "all") != 0 ? bauds : ALL_BAUDS);
    if (formats)
        cJSON_AddStringToObject(question, "format", strcmp(formats, "all") != 0 ? formats : ALL_FORMATS);
    return question;
}

int do_scan(const struct options *o, char **words)
{
    struct view v = {.json = o->json, .live = !o->json && isatty(STDERR_FILENO), .colours = want_colours()};
    long timeout_ms = 200;
    int status = NO_DAEMON;
    cJSON *head;

    if (o->value[OPTION_TIMEOUT] && duration_option(o, OPTION_TIMEOUT, 5, 10000, &timeout_ms))
        return WRONG_USE;
    struct talk *talk = open_talk(o, make_question(o, words[0], timeout_ms));
    if (talk && (head = talk_first(talk))) {
        status = check_answer(head);
        if (status == DONE) {
            say_head(&v, head);
            status = follow(&v, talk);
        }
        cJSON_Delete(head);
    }
    talk_close(talk);
    return status;
}
