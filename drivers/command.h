/* SPDX-License-Identifier: Apache-2.0 */
/* Commands from people and programs to points of devices: {root}/{device}/set/{point}. Takes them as a
 * session of the broker, finds out what they mean and who sent them, never carries out one with the same id
 * twice (ids.h), hands them to the driver of the device, and tells what became of them: to the MQTT 5
 * response topic with its correlation data, else to …/result, and as an event for whoever watches. Owned by
 * the service `lines`. Loop thread only. */
#ifndef SLUICE_DRIVERS_COMMAND_H
#define SLUICE_DRIVERS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/list.h"
#include "drivers/ids.h"
#include "drivers/reading.h"

struct field;
struct session;

enum { COMMANDS_MAX = 256, COMMAND_PAYLOAD_MAX = 4096 };

struct command {
    struct list link;
    struct commands *owner;
    char *device, *point;   /* from the topic */
    char *response;         /* NULL: …/result */
    struct buf correlation; /* as it goes into the answer's properties */
    char *client, *user;    /* NULL: none, or gone */
    struct buf payload;     /* with a zero behind it */
    char *id;               /* NULL: none */
    char *text;             /* the value as text, for points that hold text */
    struct value value;     /* the value by its form; a text lies in `text` */
    uint64_t came_us;       /* CLOCK_BOOTTIME */
    uint64_t expires_us;    /* of the message; 0: never */
    store_ticket ticket;    /* must be done before it is carried out */
    /* Of a command that no message brought; else NULL. As in struct command_request. */
    void (*done)(void *arg, const char *verdict);
    void *done_arg;
};

struct commands {
    struct field *field;
    struct session *session;
    /* Hands a command to whom the device belongs: NULL, and command_done follows; or why it is not carried
     * out. only_check: looks whether it would be taken. */
    const char *(*give)(struct command *c, bool only_check);
    struct list fresh, waiting, under_way; /* of struct command */
    size_t count;
    uint64_t refused; /* too many at once */
    struct ids ids;
    uv_timer_t timer; /* while some wait for the disk */
    bool closed;
};

/* 0 or -E…. */
int commands_open(struct commands *c, struct field *f,
                  const char *(*give)(struct command *c, bool only_check));
void commands_close(struct commands *c); /* c->closed tells when its handle is gone */

/* A command that no message brings. */
struct command_request {
    const char *device, *point, *client; /* client: who sends it, for the event */
    const struct value *value;
    /* What became of it, in words, also before the call returns. */
    void (*done)(void *arg, const char *verdict);
    void *done_arg;
};
void commands_submit(struct commands *c, const struct command_request *q);

/* From the loop: what has come since. */
void commands_take(struct commands *c);

/* What became of it, in words ("ok", "timeout", …); the command is gone. read: what a read gave afterwards;
 * NULL: none was made, or it was not answered. */
void command_done(struct command *c, const char *verdict, const struct value *read);

#endif
