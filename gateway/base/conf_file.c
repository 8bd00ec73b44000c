/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <libconfig.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/conf_private.h"
#include "base/mem.h"

enum { MOST_BYTES = 16 << 20, MOST_DEPTH = 10 };

char *conf_folder(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return mem_strdup(".");
    return slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
}

static int is_part(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return entry->d_name[0] != '.' && len > 5 && !strcmp(entry->d_name + len - 5, ".conf");
}

/* By bytes: the order must not depend on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

char **conf_list(const char *folder)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_part, by_name);
    char **list = mem_alloc(((size_t)(count < 0 ? 0 : count) + 1) * sizeof(*list));

    for (int i = 0; i < count; i++) {
        list[i] = mem_format("%s/%s", folder, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return list;
}

void conf_list_free(char **list)
{
    for (char **p = list; *p; p++)
        free(*p);
    free(list);
}

/* The whole of a regular file: libconfig ends the program when it is given a folder. */
static const char *read_text(const char *path, struct buf *out)
{
    struct stat st;
    const char *why = NULL;
    FILE *f = fopen(path, "re");

    if (!f)
        return strerror(errno);
    if (fstat(fileno(f), &st) != 0)
        why = strerror(errno);
    else if (!S_ISREG(st.st_mode))
        why = "not a file";
    else if (st.st_size > MOST_BYTES)
        why = "larger than 16 MB";
    if (!why) {
        size_t size = (size_t)st.st_size;
        uint8_t *data = buf_extend(out, size + 1);
        out->len = fread(data, 1, size, f);
        data[out->len] = 0;
        why = ferror(f) ? strerror(errno) : NULL;
    }
    fclose(f);
    return why;
}

/* Looks through a text for what libconfig 1.5 would take wrongly without a word: integers beyond 32 bits,
 * files to include that are none, and a zero byte, which would end the text. */
struct scan {
    struct conf *c;
    const char *file, *folder;
    const char *at, *end;
    int line;
    int depth;
    bool refused;
};

static void scan_file(struct conf *c, const char *path, const char *folder, int depth, const char *text,
                      size_t len, bool *refused);

static char peek(const struct scan *s, size_t ahead)
{
    return (size_t)(s->end - s->at) > ahead ? s->at[ahead] : 0;
}

static void skip(struct scan *s, size_t count)
{
    for (; count && s->at < s->end; count--)
        s->line += *s->at++ == '\n';
}

/* To the end of a comment or string, its last byte included. */
static void skip_past(struct scan *s, const char *last, bool escapes)
{
    size_t len = strlen(last);

    while (s->at < s->end && ((size_t)(s->end - s->at) < len || memcmp(s->at, last, len) != 0))
        skip(s, escapes && *s->at == '\\' ? 2 : 1);
    skip(s, len);
}

static void scan_number(struct scan *s)
{
    const char *from = s->at;
    bool hex = from[0] == '0' && tolower((unsigned char)peek(s, 1)) == 'x';
    bool is_float = false;
    char *rest;

    while (isalnum((unsigned char)peek(s, 0)) || peek(s, 0) == '.') {
        is_float |= !hex && strchr(".eE", *s->at);
        skip(s, 1);
    }
    if (is_float)
        return;
    errno = 0;
    unsigned long long value = strtoull(from, &rest, hex ? 16 : 10);
    bool is_long = toupper((unsigned char)*rest) == 'L';
    int digits = (int)(rest - from);
    if (errno == ERANGE || value > INT64_MAX)
        conf_mistake(s->c, s->file, s->line, "%.*s is beyond 64 bits; at most 9223372036854775807L", digits,
                     from);
    else if (!is_long && value > INT32_MAX)
        conf_mistake(s->c, s->file, s->line, "%.*s is beyond 32 bits; write %.*sL", digits, from, digits,
                     from);
}

static void scan_include(struct scan *s)
{
    while (peek(s, 0) && peek(s, 0) != '"' && peek(s, 0) != '\n')
        skip(s, 1);
    if (peek(s, 0) != '"')
        return;
    skip(s, 1);
    const char *from = s->at;
    skip_past(s, "\"", true);
    char *name = mem_strndup(from, (size_t)(s->at - from) - (s->at > from));
    char *path = mem_format("%s/%s", s->folder, name);
    struct buf text = {0};
    const char *why = s->depth < MOST_DEPTH ? read_text(path, &text) : "files include each other too deeply";
    if (why) {
        conf_mistake(s->c, s->file, s->line,
                     "cannot include \"%s\": %s; its name is taken from the folder %s", name, why, s->folder);
        s->refused = true;
    } else {
        scan_file(s->c, path, s->folder, s->depth + 1, (const char *)text.data, text.len, &s->refused);
    }
    buf_free(&text);
    free(path);
    free(name);
}

static void scan_token(struct scan *s)
{
    char first = peek(s, 0), second = peek(s, 1);

    if (first == '"') {
        skip(s, 1);
        skip_past(s, "\"", true);
    } else if (first == '#' || (first == '/' && second == '/')) {
        skip_past(s, "\n", false);
    } else if (first == '/' && second == '*') {
        skip(s, 2);
        skip_past(s, "*/", false);
    } else if ((size_t)(s->end - s->at) > 8 && !memcmp(s->at, "@include", 8)) {
        scan_include(s);
    } else if (isdigit((unsigned char)first)) {
        scan_number(s);
    } else if (isalpha((unsigned char)first) || first == '*') {
        while (isalnum((unsigned char)peek(s, 0)) || (peek(s, 0) && strchr("-_*", peek(s, 0))))
            skip(s, 1);
    } else {
        skip(s, 1);
    }
}

static void scan_file(struct conf *c, const char *path, const char *folder, int depth, const char *text,
                      size_t len, bool *refused)
{
    struct scan s = {.c = c, .file = conf_file_name(c, path), .folder = folder, .line = 1, .depth = depth};
    const char *zero = memchr(text, 0, len);

    s.at = text;
    s.end = text + len;
    if (zero) {
        s.end = zero;
        s.refused = true;
    }
    while (s.at < s.end)
        scan_token(&s);
    if (zero)
        conf_mistake(c, s.file, s.line, "a zero byte; a configuration is text");
    *refused |= s.refused;
}

/* An included file is called as the including one wrote it by libconfig 1.5, by its path by 1.7, and nothing
 * at all in a text that was not read from a file. */
const char *conf_source(struct conf *c, const char *main_file, const char *name)
{
    if (!name)
        return main_file;
    for (size_t i = 0; i < c->file_count; i++)
        if (!strcmp(c->files[i], name))
            return c->files[i];
    char *folder = conf_folder(main_file);
    char *path = mem_format("%s/%s", folder, name);
    const char *file = conf_file_name(c, path);
    free(path);
    free(folder);
    return file;
}

static void parse(struct conf *c, const char *file, const char *folder, const char *text)
{
    config_t libconfig;

    config_init(&libconfig);
    config_set_include_dir(&libconfig, folder);
    if (config_read_string(&libconfig, text)) {
        conf_take_root(c, config_root_setting(&libconfig), file);
    } else {
        const char *where = conf_source(c, file, config_error_file(&libconfig));
        conf_mistake(c, where, config_error_line(&libconfig), "%s", config_error_text(&libconfig));
        c->broken = true;
    }
    config_destroy(&libconfig);
}

void conf_read_text(struct conf *c, const char *path, const char *text, size_t len)
{
    static const char mark[] = "\xef\xbb\xbf"; /* some editors begin UTF-8 with it */
    char *folder = conf_folder(path);
    const char *file = conf_file_name(c, path);
    size_t skip = len >= 3 && !memcmp(text, mark, 3) ? 3 : 0;
    bool refused = false;

    scan_file(c, path, folder, 0, text + skip, len - skip, &refused);
    c->broken |= refused;
    if (!refused)
        parse(c, file, folder, text + skip);
    free(folder);
}

void conf_read_file(struct conf *c, const char *path)
{
    struct buf text = {0};
    const char *why = read_text(path, &text);

    if (why) {
        conf_mistake(c, conf_file_name(c, path), 0, "cannot be read: %s", why);
        c->broken = true;
    } else {
        conf_read_text(c, path, (const char *)text.data, text.len);
    }
    buf_free(&text);
}
