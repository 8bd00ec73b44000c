/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl acl test: what the rules in force say, and which one. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ask.h"
#include "ctl/command.h"

static const char *text_of(const cJSON *answer, const char *member)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, member));

    return text ? text : "";
}

static void print_verdict(const cJSON *answer)
{
    const cJSON *qos = cJSON_GetObjectItemCaseSensitive(answer, "max_qos");

    printf("%s: %s", text_of(answer, "verdict"), text_of(answer, "by"));
    if (cJSON_IsNumber(qos) && qos->valueint < 2)
        printf("; QoS %d at most", qos->valueint);
    if (cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(answer, "retain")))
        printf("; not retained");
    printf("\n");
}

int do_acl(const struct options *o, char **words)
{
    static const char *const members[] = {"user", "client", "action", "topic"};
    char *path;

    if (strcmp(words[0], "test") != 0)
        return wrong_use("there is no command acl ", words[0]);
    path = socket_path(o);
    if (!path)
        return NO_DAEMON;
    cJSON *question = cJSON_CreateObject();
    cJSON_AddStringToObject(question, "do", "acl_test");
    for (int i = 0; i < 4; i++)
        if (i || strcmp(words[1], "-") != 0)
            cJSON_AddStringToObject(question, members[i], words[i + 1]);
    cJSON *answer = ask(path, question);
    int status = !answer ? NO_DAEMON : o->json ? print_json(answer) : check_answer(answer);
    if (status == DONE && !o->json)
        print_verdict(answer);
    cJSON_Delete(answer);
    free(path);
    return status;
}
