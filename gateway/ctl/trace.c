/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl trace: what goes over a line's wire, as it is. Polling goes on. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/ask.h"
#include "ctl/command.h"
#include "ctl/pcap.h"
#include "ctl/status_fields.h"
#include "ctl/watch.h"

struct trace {
    const struct options *o;
    struct watch watch;
    FILE *pcap;
    double unit; /* NaN: all */
    long left;   /* -1: no end */
    unsigned long shown;
};

/* A device by name or by its unit. */
static int choose_unit(struct trace *t, const char *device)
{
    const cJSON *units = field(t->watch.head, "units"), *unit;
    char *end;
    long number = strtol(device, &end, 10);

    t->unit = field_number(units, device);
    if (isfinite(t->unit))
        return DONE;
    if (*device && !*end && number >= 0 && number <= 255) {
        t->unit = (double)number;
        return DONE;
    }
    fprintf(stderr, "sluicectl: there is no device %s on line %s; there is", device,
            field_text(t->watch.head, "line"));
    cJSON_ArrayForEach(unit, units) fprintf(stderr, " %s (unit %d)", unit->string, unit->valueint);
    fprintf(stderr, "%s; or give a unit's number\n", cJSON_GetArraySize(units) ? "" : " none");
    return REFUSED;
}

static int open_pcap(struct trace *t, const char *path)
{
    t->pcap = strcmp(path, "-") != 0 ? fopen(path, "wb") : stdout;
    if (!t->pcap) {
        fprintf(stderr, "sluicectl: %s: %s\n", path, strerror(errno));
        return REFUSED;
    }
    pcap_begin(t->pcap);
    return DONE;
}

static void write_pcap(struct trace *t, const cJSON *frame)
{
    unsigned char data[1024];
    const char *kind = field_text(frame, "kind");
    bool known = isfinite(field_number(frame, "unit"));
    bool answer =
        !strcmp(kind, "reply") || !strcmp(kind, "late") || !strcmp(field_text(frame, "way"), "answer");
    uint8_t unit = known ? (uint8_t)field_number(frame, "unit") : 0;
    struct pcap_packet p = {
        .dissector = known && strcmp(kind, "broken") != 0 ? field_text(t->watch.head, "dissector") : "data",
        .wall_us = (int64_t)(field_number(frame, "at_us") + field_number(t->watch.head, "wall_offset_us")),
        .from = answer ? unit : 0,
        .to = answer ? 0 : unit,
        .answer = answer,
        .data = data,
        .len = watch_bytes(frame, data, sizeof data)};

    pcap_write(t->pcap, &p);
    fflush(t->pcap);
}

static void show(struct trace *t, const cJSON *frame)
{
    if (t->pcap && !field(frame, "hex"))
        return;
    if (t->pcap) {
        write_pcap(t, frame);
    } else if (t->o->json) {
        print_json_line(frame);
    } else {
        watch_show(&t->watch, frame, stdout);
        fflush(stdout);
    }
    t->shown++;
    if (t->left > 0)
        t->left--;
}

static void say_head(const struct trace *t)
{
    const cJSON *head = t->watch.head;

    if (t->o->json && !t->pcap)
        print_json_line(head);
    if (t->o->json || t->pcap)
        return;
    printf("line %s: %s", field_text(head, "line"), field_text(head, "protocol"));
    if (isfinite(field_number(head, "baud")))
        printf(", %.0f %s; a character takes %.0f µs, frames are %.0f µs apart at least",
               field_number(head, "baud"), field_text(head, "format"), field_number(head, "char_us"),
               field_number(head, "silence_us"));
    printf("; Ctrl-C ends\n");
    watch_titles(&t->watch, stdout);
}

static bool wanted(const struct trace *t, const cJSON *frame)
{
    return !isfinite(t->unit) || field_number(frame, "unit") == t->unit;
}

/* A reader that has gone away (head, a closed pager) ends it like Ctrl-C does. */
static int follow(struct trace *t, struct talk *talk)
{
    int status = DONE;

    say_head(t);
    for (cJSON *line; status == DONE && t->left && !ferror(stdout) && (line = talk_next(talk));
         cJSON_Delete(line)) {
        const char *ended = cJSON_GetStringValue(field(line, "ended"));
        if (ended) {
            fprintf(stderr, "sluicectl: %s\n", ended);
            status = REFUSED;
        } else if (wanted(t, line)) {
            show(t, line);
        }
    }
    if (status == DONE && t->left && !talk_interrupted() && !ferror(stdout)) {
        fprintf(stderr, "sluicectl: the daemon has ended\n");
        status = NO_DAEMON;
    }
    if (t->pcap && t->pcap != stdout)
        fprintf(stderr, "%lu frames written to %s\n", t->shown, t->o->value[OPTION_PCAP]);
    return status;
}

static int run(struct trace *t, struct talk *talk, cJSON *head)
{
    const struct options *o = t->o;
    int status = check_answer(head);

    t->watch = (struct watch){.head = head, .colours = want_colours(), .hex = o->value[OPTION_HEX]};
    if (status == DONE && o->value[OPTION_DEVICE])
        status = choose_unit(t, o->value[OPTION_DEVICE]);
    if (status == DONE && o->value[OPTION_PCAP])
        status = open_pcap(t, o->value[OPTION_PCAP]);
    if (status == DONE)
        status = follow(t, talk);
    if (t->pcap && t->pcap != stdout && fclose(t->pcap)) {
        fprintf(stderr, "sluicectl: %s: %s\n", o->value[OPTION_PCAP], strerror(errno));
        status = REFUSED;
    }
    return status;
}

int do_trace(const struct options *o, char **words)
{
    struct trace t = {.o = o, .unit = NAN, .left = -1};
    cJSON *head;
    int status = NO_DAEMON;

    if (o->value[OPTION_COUNT] && number_option(o, OPTION_COUNT, 1, 1000000000, &t.left))
        return WRONG_USE;
    cJSON *question = cJSON_CreateObject();
    cJSON_AddStringToObject(question, "do", "trace");
    cJSON_AddStringToObject(question, "line", words[0]);
    struct talk *talk = open_talk(o, question);
    if (talk && (head = talk_first(talk))) {
        status = run(&t, talk, head);
        cJSON_Delete(head);
    }
    talk_close(talk);
    return status;
}
