/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs around foreign C libraries share: a test tells them what to do in lines on standard
 * input, and they tell what came of it in lines on standard output. Commands: sub QOS FILTER; unsub FILTER;
 * pub QOS RETAIN TOPIC PAYLOAD; bye. A payload is -, for none, @FILE or the text itself. Answers: connected
 * PRESENT, refused CODE, done NUMBER, failed CODE, lost REASON, message QOS RETAIN TOPIC PAYLOAD. */
#ifndef CLIENTS_DRIVER_H
#define CLIENTS_DRIVER_H

#include <stdbool.h>
#include <stddef.h>

struct settings {
    int port;
    const char *id;
    int version; /* 3, 4 or 5 */
    bool clean;
    unsigned expiry_s;           /* of an MQTT 5 session */
    const char *will;            /* its topic, or NULL; the payload is "gone", QoS 1 */
    const char *ca, *cert, *key; /* NULL: not TLS */
};

struct library {
    void (*connect)(const struct settings *s);
    void (*subscribe)(const char *filter, int qos);
    void (*unsubscribe)(const char *filter);
    void (*publish)(const char *topic, const void *data, size_t len, int qos, bool retain);
    void (*disconnect)(void);
};

/* A whole line. Any thread. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Any thread. */
void say_message(const char *topic, size_t topic_len, const void *data, size_t len, int qos, bool retain);
/* argv: PORT ID VERSION CLEAN EXPIRY WILL CA CERT KEY FOLDER; - for none. Returns the exit status. */
int drive(int argc, char **argv, const struct library *l);

#endif
