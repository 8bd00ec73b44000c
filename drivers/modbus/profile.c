/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/profile.h"

#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/conf_edit.h"
#include "base/mem.h"
#include "drivers/modbus/config.h"

enum { MOST_POINT_FACTORS = 8 };

/* ---- finding ---- */

/* The next folder of a path; NULL behind the last. */
static char *next_folder(const char **path)
{
    while (**path == ':')
        ++*path;
    size_t len = strcspn(*path, ":");
    const char *from = *path;

    *path += len;
    return len ? mem_strndup(from, len) : NULL;
}

char *profile_path_resolve(const char *path, const char *file)
{
    const char *slash = strrchr(file, '/');
    struct buf all = {0};

    for (char *folder; (folder = next_folder(&path));) {
        buf_printf(&all, "%s", all.len ? ":" : "");
        if (folder[0] != '/' && slash)
            buf_printf(&all, "%.*s/", (int)(slash - file), file);
        buf_printf(&all, "%s", folder);
        free(folder);
    }
    return all.len ? (char *)all.data : mem_strdup("");
}

static struct profile *load(const char *file, const char *name)
{
    const struct conf_row *const tables[] = {modbus_profile_rows};
    struct profile *p = mem_alloc(sizeof *p);

    p->conf = conf_load_alone(file, tables, 1, NULL);
    p->name = mem_strdup(name);
    p->file = mem_strdup(file);
    p->version = (int)conf_int(conf_root(p->conf), "version");
    p->parameter_count = conf_count(conf_root(p->conf), "parameters");
    p->parameters = mem_alloc((p->parameter_count + 1) * sizeof *p->parameters);
    for (size_t i = 0; i < p->parameter_count; i++) {
        const struct conf_node *n = conf_at(conf_root(p->conf), "parameters", i);
        p->parameters[i] = (struct profile_parameter){n->name, conf_float(n, "default"), false};
    }
    return p;
}

void profile_free(struct profile *p)
{
    if (!p)
        return;
    conf_free(p->conf);
    free(p->name);
    free(p->file);
    free(p->parameters);
    free(p);
}

/* The file of a folder, under the name with the version first: so an older version can stay beside a newer.
 */
static struct profile *open_in(const char *folder, const char *name, int version, char **other)
{
    char *files[] = {mem_format("%s/%s@%d.conf", folder, name, version),
                     mem_format("%s/%s.conf", folder, name)};
    struct profile *p = NULL;

    for (size_t i = version ? 0 : 1; i < ARRAY_SIZE(files); i++) {
        if (p || access(files[i], R_OK))
            continue;
        p = load(files[i], name);
        if (!version || p->version == version || conf_errors(p->conf))
            continue;
        if (!*other)
            *other = mem_format(
                "profile %s is version %d (%s) and not %d: see what has changed, then ask for %s@%d", name,
                p->version, files[i], version, name, p->version);
        profile_free(p);
        p = NULL;
    }
    free(files[0]);
    free(files[1]);
    return p;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_folder(const char *folder, char ***list, size_t *count)
{
    DIR *dir = opendir(folder);

    for (struct dirent *e; dir && (e = readdir(dir));) {
        size_t len = strlen(e->d_name);
        if (e->d_name[0] == '.' || len < 6 || strcmp(e->d_name + len - 5, ".conf") != 0)
            continue;
        *list = mem_resize(*list, (*count + 2) * sizeof **list);
        (*list)[(*count)++] = mem_strndup(e->d_name, len - 5);
    }
    if (dir)
        closedir(dir);
}

char **profile_list(const char *path)
{
    char **list = mem_alloc(sizeof *list);
    size_t count = 0, kept = 0;

    for (char *folder; (folder = next_folder(&path));) {
        list_folder(folder, &list, &count);
        free(folder);
    }
    qsort(list, count, sizeof *list, by_name);
    for (size_t i = 0; i < count; i++)
        if (kept && !strcmp(list[kept - 1], list[i]))
            free(list[i]);
        else
            list[kept++] = list[i];
    list[kept] = NULL;
    return list;
}

static char *not_found(const char *path, const char *name)
{
    char **all = profile_list(path), *text;
    size_t count = 0;

    while (all[count])
        count++;
    const char *near = conf_nearest(name, (const char *const *)all, count);
    if (near)
        text = mem_format("there is no profile %s; did you mean %s?", name, near);
    else
        text = mem_format(
            "there is no profile %s in %s (profile_path); sluicectl profile list tells those that there are",
            name, path);
    for (size_t i = 0; i < count; i++)
        free(all[i]);
    free(all);
    return text;
}

/* "NAME" or "NAME@2"; *version: 0 for any. False when it is neither. */
static bool read_wanted(const char *wanted, char *name, size_t size, int *version)
{
    size_t len = strcspn(wanted, "@");
    char *end = NULL;

    *version = 0;
    if (!len || len >= size)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)wanted[i]) && !strchr("_.-", wanted[i]))
            return false;
    memcpy(name, wanted, len);
    name[len] = 0;
    if (!wanted[len])
        return name[0] != '.';
    *version = isdigit((unsigned char)wanted[len + 1]) ? (int)strtol(wanted + len + 1, &end, 10) : 0;
    return name[0] != '.' && end && !*end && *version > 0;
}

struct profile *profile_open(const char *path, const char *wanted, char **why)
{
    struct profile *p = NULL;
    char name[65], *other = NULL;
    const char *rest = path;
    int version;

    *why = NULL;
    if (!read_wanted(wanted, name, sizeof name, &version)) {
        *why = mem_format("\"%s\" is no name of a profile; write \"NAME\" or \"NAME@2\"", wanted);
        return NULL;
    }
    for (char *folder; !p && (folder = next_folder(&rest));) {
        p = open_in(folder, name, version, &other);
        free(folder);
    }
    if (!p && !other)
        other = not_found(path, name);
    if (p)
        free(other);
    else
        *why = other;
    return p;
}

/* ---- parameters ---- */

static struct profile_parameter *parameter(const struct profile *p, const char *name)
{
    for (size_t i = 0; i < p->parameter_count; i++)
        if (!strcmp(p->parameters[i].name, name))
            return &p->parameters[i];
    return NULL;
}

static char *unknown_parameter(const struct profile *p, const char *name)
{
    struct buf all = {0};

    buf_printf(&all, "profile %s has no parameter %s; it has ", p->name, name);
    for (size_t i = 0; i < p->parameter_count; i++)
        buf_printf(&all, "%s%s", i ? ", " : "", p->parameters[i].name);
    if (!p->parameter_count)
        buf_printf(&all, "none");
    return (char *)all.data;
}

char *profile_set(struct profile *p, const char *name, double value)
{
    struct profile_parameter *to = parameter(p, name);

    if (!to)
        return unknown_parameter(p, name);
    const struct conf_node *n = conf_at(conf_root(p->conf), "parameters", (size_t)(to - p->parameters));
    bool whole = conf_int(n, "type") == 0;
    if (whole && value != floor(value))
        return mem_format("%s = %g: profile %s takes whole numbers", name, value, p->name);
    if (!(value >= conf_float(n, "min") && value <= conf_float(n, "max")))
        return mem_format("%s = %g is out of range; profile %s takes %g to %g", name, value, p->name,
                          conf_float(n, "min"), conf_float(n, "max"));
    to->value = value;
    to->given = true;
    return NULL;
}

/* ---- what they make of points ---- */

/* "phases >= 3". *holds is set when it is a condition. */
static bool read_when(const struct profile *p, const char *text, bool *holds)
{
    char name[65], sign[3];
    double value;
    int end = 0;

    if (sscanf(text, " %64[A-Za-z0-9_.-] %2[<>=] %lf %n", name, sign, &value, &end) != 3 || text[end])
        return false;
    const struct profile_parameter *is = parameter(p, name);
    if (!is)
        return false;
    if (!strcmp(sign, ">="))
        *holds = is->value >= value;
    else if (!strcmp(sign, "<="))
        *holds = is->value <= value;
    else if (!strcmp(sign, "="))
        *holds = is->value == value;
    else
        return false;
    return true;
}

static bool is_wanted(const struct profile *p, const struct conf_node *point)
{
    const struct conf_node *when = conf_get(point, "when");
    bool holds = true;

    if (when && !read_when(p, when->s, &holds))
        conf_error(
            p->conf, when,
            "when = \"%s\" is no condition on a parameter; write \"phases = 3\", or >= or <=", when->s);
    return holds;
}

/* The values of the parameters that a member names. */
static size_t factors(const struct profile *p, const struct conf_node *point, const char *member, double *out)
{
    size_t count = conf_count(point, member);

    if (count > MOST_POINT_FACTORS) {
        conf_error(p->conf, point, "%s names %zu parameters; at most %d", member, count, MOST_POINT_FACTORS);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        const struct conf_node *n = conf_at(point, member, i);
        const struct profile_parameter *is = parameter(p, n->s);
        if (!is) {
            char *text = unknown_parameter(p, n->s);
            conf_error(p->conf, n, "%s", text);
            free(text);
        }
        out[i] = is ? is->value : 1;
    }
    return count;
}

/* A product of decimals is meant as one: 0.001 × 40 is 0.04. */
static double as_decimal(double value)
{
    char text[40];

    snprintf(text, sizeof text, "%.12g", value);
    return strtod(text, NULL);
}

static void settle_point(struct profile *p, struct conf_node *point)
{
    double by[MOST_POINT_FACTORS], scale = conf_float(point, "scale"), offset = conf_float(point, "offset");
    size_t count = factors(p, point, "scale_by", by);

    for (size_t i = 0; i < count; i++)
        scale *= by[i];
    if (count)
        conf_put_float(point, "scale", as_decimal(scale));
    count = factors(p, point, "offset_by", by);
    for (size_t i = 0; i < count; i++)
        offset += by[i];
    if (count)
        conf_put_float(point, "offset", as_decimal(offset));
}

void profile_settle(struct profile *p)
{
    const struct conf_node *root = conf_root(p->conf);

    for (size_t i = 0; i < conf_count(root, "groups"); i++) {
        struct conf_node *points = conf_edit(conf_get(conf_at(root, "groups", i), "points"));
        for (size_t k = points->kid_count; k--;)
            if (is_wanted(p, points->kids[k]))
                settle_point(p, points->kids[k]);
            else
                conf_remove(points, k);
    }
}
