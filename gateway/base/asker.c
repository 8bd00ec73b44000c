/* SPDX-License-Identifier: Apache-2.0 */
#include "base/asker.h"

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/mem.h"

void asker_refuse(cJSON *answer, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    char *text = mem_vformat(fmt, args);
    va_end(args);
    cJSON_DeleteItemFromObjectCaseSensitive(answer, "ok");
    cJSON_DeleteItemFromObjectCaseSensitive(answer, "error");
    cJSON_AddFalseToObject(answer, "ok");
    cJSON_AddStringToObject(answer, "error", text);
    free(text);
}

void asker_answer(struct asker *a, cJSON *answer)
{
    asker_say(a, answer);
    asker_end(a);
}

void asker_say(struct asker *a, cJSON *line)
{
    a->ops->say(a, line);
}

bool asker_has_room(const struct asker *a)
{
    return a->ops->has_room(a);
}

void asker_end(struct asker *a)
{
    a->gone = NULL;
    a->ops->end(a);
}
