/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl doctor: watches a line for a while, and says what is wrong with it and what to do. Nothing is
 * sent for it, and polling goes on. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "ctl/ask.h"
#include "ctl/command.h"
#include "ctl/doctor_rules.h"
#include "ctl/status_fields.h"
#include "ctl/table.h"

enum { WIDTH = 96, INDENT = 8, LEVELS = 3 };

static const char *const levels[] = {"note", "warning", "bad"};

/* Words until the line is full. */
static void print_wrapped(const char *text)
{
    size_t column = INDENT;

    printf("%*s", INDENT, "");
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, " ");
        if (column > INDENT && column + len > WIDTH) {
            printf("\n%*s", INDENT, "");
            column = INDENT;
        }
        printf("%s%.*s", column > INDENT ? " " : "", (int)len, at);
        column += len + 1;
        at += len + strspn(at + len, " ");
    }
    printf("\n");
}

static void tell(void *arg, enum doctor_level level, const char *what, const char *advice)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddStringToObject(o, "level", levels[level]);
    cJSON_AddStringToObject(o, "what", what);
    cJSON_AddStringToObject(o, "advice", advice);
    cJSON_AddItemToArray(((cJSON **)arg)[level], o);
}

static void print_finding(enum doctor_level level, const cJSON *finding)
{
    static const enum paint paints[] = {PAINT_NONE, PAINT_WARN, PAINT_BAD};

    paint_text(stdout, want_colours(), paints[level], levels[level]);
    printf("%*s", (int)(INDENT - strlen(levels[level])), "");
    paint_text(stdout, false, PAINT_NONE, field_text(finding, "what"));
    printf("\n");
    print_wrapped(field_text(finding, "advice"));
}

static cJSON *ask_status(const struct options *o)
{
    char *path = socket_path(o);
    cJSON *question = cJSON_CreateObject(), *answer = NULL;

    cJSON_AddStringToObject(question, "do", "status");
    if (path)
        answer = ask(path, question);
    else
        cJSON_Delete(question);
    free(path);
    return answer;
}

/* Listens to the wire's frames until then. False: the daemon has ended it. */
static bool listen_until(struct talk *talk, uint64_t until_us, struct doctor_heard *heard)
{
    cJSON *line;
    bool ended = false;

    while (!ended && !talk_interrupted() && (line = talk_next_until(talk, until_us))) {
        ended = field(line, "ended");
        doctor_hear(heard, line);
        cJSON_Delete(line);
    }
    return !ended;
}

static const cJSON *line_in(const cJSON *status, const char *name)
{
    const cJSON *line;

    cJSON_ArrayForEach(line, field(status, "lines")) if (!strcmp(field_text(line, "name"), name)) return line;
    return NULL;
}

static void print_head(const struct doctor_case *c)
{
    const cJSON *now = line_in(c->after, c->line), *was = line_in(c->before, c->line);

    printf("line %s, watched for %.0f s: %.0f requests, %.0f answers, load %.0f %%\n", c->line, c->seconds,
           field_number(now, "requests") - field_number(was, "requests"),
           field_number(now, "ok") - field_number(was, "ok") + field_number(now, "exceptions") -
               field_number(was, "exceptions"),
           field_number(now, "load") * 100);
}

static void print_findings(cJSON *const found[LEVELS], bool healthy)
{
    const cJSON *finding;

    for (int level = LEVELS - 1; level >= 0; level--)
        cJSON_ArrayForEach(finding, found[level]) print_finding((enum doctor_level)level, finding);
    if (healthy)
        printf("Nothing is wrong with it.\n");
}

static void print_report(const struct doctor_case *c, cJSON *const found[LEVELS], bool healthy)
{
    cJSON *answer = cJSON_CreateObject(), *all, *finding;

    cJSON_AddTrueToObject(answer, "ok");
    cJSON_AddStringToObject(answer, "line", c->line);
    cJSON_AddNumberToObject(answer, "seconds", c->seconds);
    cJSON_AddBoolToObject(answer, "healthy", healthy);
    all = cJSON_AddArrayToObject(answer, "findings");
    for (int level = LEVELS - 1; level >= 0; level--)
        cJSON_ArrayForEach(finding, found[level]) cJSON_AddItemToArray(all, cJSON_Duplicate(finding, true));
    print_json(answer);
    cJSON_Delete(answer);
}

/* The worst first. 0 when nothing needs a hand. */
static int judge(const struct options *o, struct doctor_case *c)
{
    cJSON *found[LEVELS];

    for (int level = 0; level < LEVELS; level++)
        found[level] = cJSON_CreateArray();
    c->tell = tell;
    c->arg = found;
    bool healthy = doctor_judge(c) < (int)DOCTOR_WARN;
    if (o->json) {
        print_report(c, found, healthy);
    } else {
        print_head(c);
        print_findings(found, healthy);
    }
    for (int level = 0; level < LEVELS; level++)
        cJSON_Delete(found[level]);
    return healthy ? DONE : REFUSED;
}

static int watch_line(const struct options *o, const char *name, struct talk *talk, long ms)
{
    struct doctor_heard heard = {.noises = 0};
    uint64_t began = clock_boot_us();
    cJSON *before = ask_status(o), *after = NULL;
    int status = NO_DAEMON;

    if (!o->json)
        fprintf(stderr, "line %s: watching for %ld s; nothing is changed, and polling goes on\n", name,
                ms / 1000);
    bool there = listen_until(talk, began + (uint64_t)ms * 1000, &heard);
    if (before && there)
        after = ask_status(o);
    if (after && line_in(after, name)) {
        struct doctor_case c = {before, after, name, (double)(clock_boot_us() - began) / 1e6,
                                &heard, NULL,  NULL};
        status = judge(o, &c);
    } else if (before) {
        fprintf(stderr, "sluicectl: the line has ended, or was configured anew\n");
        status = REFUSED;
    }
    cJSON_Delete(before);
    cJSON_Delete(after);
    return status;
}

int do_doctor(const struct options *o, char **words)
{
    cJSON *question = cJSON_CreateObject(), *head;
    int status = NO_DAEMON;
    long ms = 10000;

    if (o->value[OPTION_FOR] && duration_option(o, OPTION_FOR, 1000, 3600000, &ms)) {
        cJSON_Delete(question);
        return WRONG_USE;
    }
    cJSON_AddStringToObject(question, "do", "trace");
    cJSON_AddStringToObject(question, "line", words[0]);
    struct talk *talk = open_talk(o, question);
    if (talk && (head = talk_first(talk))) {
        status = check_answer(head);
        if (status == DONE)
            status = watch_line(o, words[0], talk, ms);
        cJSON_Delete(head);
    }
    talk_close(talk);
    return status;
}
