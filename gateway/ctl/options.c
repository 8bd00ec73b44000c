/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/ask.h"
#include "ctl/command.h"

int number_option(const struct options *o, enum option_id id, long least, long most, long *out)
{
    const char *text = o->value[id];
    char *end;

    errno = 0;
    *out = strtol(text, &end, 10);
    if (*text && !*end && !errno && *out >= least && *out <= most)
        return DONE;
    fprintf(stderr, "sluicectl: --%s is a number from %ld to %ld, not \"%s\"\n", option_name(id), least, most,
            text);
    return WRONG_USE;
}

int duration_option(const struct options *o, enum option_id id, long least_ms, long most_ms, long *out_ms)
{
    static const struct {
        const char *name;
        long ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}};
    const char *text = o->value[id];
    char *end;
    double number = strtod(text, &end);

    for (size_t i = 0; i < ARRAY_SIZE(units) && end != text; i++) {
        double ms = number * (double)units[i].ms;
        if (strcmp(end, units[i].name) != 0 || !(ms >= (double)least_ms && ms <= (double)most_ms))
            continue;
        *out_ms = (long)ms;
        return DONE;
    }
    fprintf(stderr,
            "sluicectl: --%s is a time from %g s to %g s, as in \"500ms\", \"30s\" or \"2m\", not \"%s\"\n",
            option_name(id), (double)least_ms / 1000, (double)most_ms / 1000, text);
    return WRONG_USE;
}

struct talk *open_talk(const struct options *o, cJSON *question)
{
    char *path = socket_path(o);
    struct talk *t = NULL;

    if (path)
        t = talk_open(path, question);
    else
        cJSON_Delete(question);
    free(path);
    return t;
}

cJSON *talk_first(struct talk *t)
{
    cJSON *first = talk_next(t);

    if (!first && !talk_interrupted())
        fprintf(stderr, "sluicectl: the daemon closed the connection without an answer\n");
    return first;
}
