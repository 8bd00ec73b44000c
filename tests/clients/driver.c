/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT = 200 /* what is longer goes through a file */ };

static const char *folder;

void say(const char *format, ...)
{
    va_list args;
    char line[1024];

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    printf("%s\n", line); /* one call: lines of two threads do not mix */
    fflush(stdout);
}

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "wb");

    if (!f || fwrite(data, 1, len, f) != len || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

void say_message(const char *topic, size_t topic_len, const void *data, size_t len, int qos, bool retain)
{
    static int count;
    char path[300];

    if (len <= SHORT) {
        say("message %d %d %.*s %.*s", qos, retain, (int)topic_len, topic, len ? (int)len : 1,
            len ? (const char *)data : "-");
        return;
    }
    snprintf(path, sizeof(path), "%s/message-%d", folder, __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED));
    write_file(path, data, len);
    say("message %d %d %.*s @%s", qos, retain, (int)topic_len, topic, path);
}

static void *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");

    if (!f || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    *len = (size_t)ftell(f);
    rewind(f);
    void *data = malloc(*len + 1);
    if (!data || fread(data, 1, *len, f) != *len) {
        perror(path);
        exit(1);
    }
    fclose(f);
    return data;
}

static void publish(const struct library *l, int qos, bool retain, const char *topic, const char *payload)
{
    size_t len = strcmp(payload, "-") == 0 ? 0 : strlen(payload);

    if (payload[0] != '@') {
        l->publish(topic, payload, len, qos, retain);
        return;
    }
    void *data = read_file(payload + 1, &len);
    l->publish(topic, data, len, qos, retain);
    free(data);
}

static bool command(const struct library *l, const char *line)
{
    char topic[300], payload[300];
    int qos, retain;

    if (sscanf(line, "sub %d %299s", &qos, topic) == 2)
        l->subscribe(topic, qos);
    else if (sscanf(line, "unsub %299s", topic) == 1)
        l->unsubscribe(topic);
    else if (sscanf(line, "pub %d %d %299s %299s", &qos, &retain, topic, payload) == 4)
        publish(l, qos, retain, topic, payload);
    else if (strcmp(line, "bye\n") == 0)
        l->disconnect();
    else
        return false;
    return true;
}

static const char *given(const char *word)
{
    return strcmp(word, "-") == 0 ? NULL : word;
}

int drive(int argc, char **argv, const struct library *l)
{
    char line[1024];

    if (argc != 11) {
        fprintf(stderr, "arguments: PORT ID VERSION CLEAN EXPIRY WILL CA CERT KEY FOLDER\n");
        return 2;
    }
    struct settings s = {.port = atoi(argv[1]),
                         .id = argv[2],
                         .version = atoi(argv[3]),
                         .clean = atoi(argv[4]),
                         .expiry_s = (unsigned)atoi(argv[5]),
                         .will = given(argv[6]),
                         .ca = given(argv[7]),
                         .cert = given(argv[8]),
                         .key = given(argv[9])};
    folder = argv[10];
    l->connect(&s);
    while (fgets(line, sizeof(line), stdin)) {
        if (!command(l, line)) {
            fprintf(stderr, "no command: %s", line);
            return 2;
        }
    }
    return 0;
}
