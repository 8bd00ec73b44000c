/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a configuration: a tree that can be walked comes out, with or without mistakes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/mem.h"

static const char *const kinds[] = {"a", "b", NULL};
static const struct conf_row a_rows[] = {
    {.name = "baud", .type = CONF_INT, .def = "9600", .min = 300, .max = 921600},
    {0},
};

static const struct conf_row *kind_rows(const char *kind)
{
    return strcmp(kind, "a") ? NULL : a_rows;
}

static const struct conf_row inner[] = {
    {.name = "name", .type = CONF_NAME, .flags = CONF_REQUIRED},
    {.name = "kind", .type = CONF_CHOICE, .flags = CONF_REQUIRED, .choices = kinds},
    {.name = "every", .type = CONF_DURATION, .def = "1s", .min = 10, .max = 1e9},
    {.name = "size", .type = CONF_SIZE},
    {.name = "scale", .type = CONF_FLOAT},
    {.name = "urls", .type = CONF_STRINGS},
    {0},
};
static const struct conf_row rows[] = {
    {.name = "site", .type = CONF_NAME, .flags = CONF_REQUIRED},
    {.name = "file", .type = CONF_PATH},
    {.name = "on", .type = CONF_BOOL},
    {.name = "key", .type = CONF_STRING, .flags = CONF_SECRET, .min = 8, .max = 20},
    {.name = "group", .type = CONF_GROUP, .def = "", .rows = inner},
    {.name = "list", .type = CONF_LIST, .rows = inner, .kind_key = "kind", .kind_rows = kind_rows},
    {.name = "table", .type = CONF_TABLE, .rows = inner},
    {0},
};

static void walk(const struct conf_node *n)
{
    if (n->s && strlen(n->s) > SIZE_MAX / 2)
        abort();
    for (size_t i = 0; i < n->kid_count; i++)
        walk(n->kids[i]);
}

static void measure(void *arg, bool is_error, const char *text)
{
    (void)is_error;
    *(size_t *)arg += strlen(text);
}

/* libconfig 1.5 leaks a string at some syntax errors. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct conf_row *const tables[] = {rows};
    static const struct conf_absent absent[] = {
        {"bridges", "CONFIG_BRIDGE"}, {"kind=b", "CONFIG_B"}, {NULL, NULL}};
    char path[32];
    size_t bytes = 0;
    int fd = memfd_create("conf", MFD_CLOEXEC);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    struct conf *c = conf_load_alone(path, tables, ARRAY_SIZE(tables), absent);
    conf_each_report(c, measure, &bytes);
    if (conf_errors(c) && !bytes)
        abort();
    if (!conf_same(conf_root(c), conf_root(c)))
        abort();
    walk(conf_root(c));
    conf_free(c);
    close(fd);
    return 0;
}
