/* SPDX-License-Identifier: Apache-2.0 */
/* Somebody who asks over the control socket, as a service sees him that answers: one JSON object is asked,
 * one or several are the answer. Services bring their requests as rows of a table (service.h); the control
 * socket finds the row and carries the answers. Knows no socket. Loop thread only. */
#ifndef SLUICE_BASE_ASKER_H
#define SLUICE_BASE_ASKER_H

#include <stdbool.h>
#include <stdint.h>

struct asker;
struct cJSON;
struct gateway;

enum asked {
    ASKED_NOW,    /* the answer is complete */
    ASKED_LATER,  /* it is asker_answer()ed; until then it stays the service's */
    ASKED_STREAM, /* it is the first; others follow by asker_say() until asker_end(), or until he has gone */
};

struct request {
    const char *name;
    enum asked (*run)(struct gateway *gw, struct asker *a, const struct cJSON *asked, struct cJSON *answer);
};

/* What carries the answers. */
struct asker_ops {
    void (*say)(struct asker *a, struct cJSON *line);
    void (*end)(struct asker *a);
    bool (*has_room)(const struct asker *a);
};

struct asker {
    const struct asker_ops *ops;
    char user[64]; /* the local user, for the record: "root", "uid 1000" */
    /* Set by who answers later: he has gone, do not answer any more. Forgotten with the answer's end. */
    void (*gone)(void *arg);
    void *arg;
};

/* Make the answer a refusal. */
void asker_refuse(struct cJSON *answer, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* LATER: the answer, which is taken over. */
void asker_answer(struct asker *a, struct cJSON *answer);

/* STREAM: one more, which is taken over. False of has_room: he does not keep up; leave something out. */
void asker_say(struct asker *a, struct cJSON *line);
bool asker_has_room(const struct asker *a);
void asker_end(struct asker *a);

#endif
