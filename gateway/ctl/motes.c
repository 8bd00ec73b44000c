/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl motes: who is there, how it fares. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ask.h"
#include "ctl/command.h"
#include "ctl/human.h"
#include "ctl/table.h"

static const char *text_of(const cJSON *mote, const char *member)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(mote, member));

    return text ? text : "";
}

static double number_of(const cJSON *mote, const char *member)
{
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(mote, member);

    return cJSON_IsNumber(n) ? n->valuedouble : 0;
}

static void count_cell(struct table *t, const cJSON *mote, const char *member, enum paint paint)
{
    double n = number_of(mote, member);

    table_cell(t, n > 0 ? paint : PAINT_FAINT, human_count(n).s);
}

static void show(const cJSON *motes)
{
    static const char *const titles[] = {"MOTE",    "LINE",     "STATE",    ">SEEN",   ">QUEUE",
                                         ">TOPICS", ">RETRIES", ">DROPPED", "ADDRESS", NULL};
    struct table *t = table_new(titles);
    const cJSON *mote;

    cJSON_ArrayForEach(mote, motes)
    {
        bool silent = !strcmp(text_of(mote, "state"), "silent");
        table_cell(t, PAINT_NONE, text_of(mote, "id"));
        table_cell(t, PAINT_NONE, text_of(mote, "line"));
        table_cell(t, silent ? PAINT_WARN : PAINT_GOOD, text_of(mote, "state"));
        table_cell(t, PAINT_NONE, human_age(number_of(mote, "seen_s")).s);
        count_cell(t, mote, "queue", PAINT_NONE);
        count_cell(t, mote, "topics", PAINT_NONE);
        count_cell(t, mote, "retries", PAINT_WARN);
        count_cell(t, mote, "dropped", PAINT_BAD);
        table_cell(t, PAINT_NONE, text_of(mote, "address"));
    }
    table_print(t, stdout, false);
    if (!table_rows(t))
        puts("no mote is connected or asleep");
    table_free(t);
}

int do_motes(const struct options *o, char **words)
{
    char *path = socket_path(o);

    (void)words;
    if (!path)
        return NO_DAEMON;
    cJSON *question = cJSON_CreateObject();
    cJSON_AddStringToObject(question, "do", "motes");
    cJSON *answer = ask(path, question);
    int status = !answer ? NO_DAEMON : o->json ? print_json(answer) : check_answer(answer);
    if (status == DONE && !o->json)
        show(cJSON_GetObjectItemCaseSensitive(answer, "motes"));
    cJSON_Delete(answer);
    free(path);
    return status;
}
