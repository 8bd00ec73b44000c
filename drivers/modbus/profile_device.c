/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/profile_device.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/conf_edit.h"
#include "base/limits.h"
#include "base/mem.h"
#include "drivers/modbus/profile.h"

/* ---- where profiles are ---- */

static char *path_of(const struct conf *c)
{
    const struct conf_node *n = conf_given(conf_root(c), "profile_path");

    return n ? profile_path_resolve(n->s, n->file) : mem_strdup(DEFAULT_PROFILE_PATH);
}

/* ---- what the device says of its profile ---- */

static void set_parameters(struct conf *c, struct conf_node *device, struct profile *p)
{
    const struct conf_node *with = conf_given(device, "with");

    for (size_t i = 0; with && i < with->kid_count; i++) {
        char *wrong = profile_set(p, with->kids[i]->name, with->kids[i]->f);
        if (wrong)
            conf_error(c, with->kids[i], "%s", wrong);
        free(wrong);
    }
    for (size_t i = 0; i < p->parameter_count; i++)
        if (!p->parameters[i].given)
            conf_put_number(device, "with", p->parameters[i].name, p->parameters[i].value, false);
}

static size_t index_of(const struct conf_node *parent, const char *name)
{
    size_t i = 0;

    while (i < parent->kid_count && strcmp(parent->kids[i]->name, name) != 0)
        i++;
    return i;
}

static void tell_unknown(struct conf *c, const struct conf_node *at, const struct conf_node *parent,
                         const char *what, const char *name)
{
    struct buf all = {0};

    for (size_t i = 0; i < parent->kid_count; i++)
        buf_printf(&all, "%s%s", i ? ", " : "", parent->kids[i]->name);
    conf_error(c, at, "without: the profile has no %s %s; it has %s", what, name,
               all.len ? (const char *)all.data : "none");
    buf_free(&all);
}

/* "energy", or "power/thd" */
static void leave_out(struct conf *c, const struct conf_node *what, const struct conf_node *profile)
{
    struct conf_node *groups = conf_edit(conf_get(profile, "groups"));
    size_t len = strcspn(what->s, "/");
    char *group = mem_strndup(what->s, len);
    size_t g = index_of(groups, group);

    if (g == groups->kid_count) {
        tell_unknown(c, what, groups, "group", group);
    } else if (!what->s[len]) {
        conf_remove(groups, g);
    } else {
        struct conf_node *points = conf_edit(conf_get(groups->kids[g], "points"));
        size_t k = index_of(points, what->s + len + 1);
        if (k == points->kid_count)
            tell_unknown(c, what, points, "point", what->s);
        else
            conf_remove(points, k);
    }
    free(group);
}

/* A group of which nothing is left is not read. */
static void drop_empty_groups(const struct conf_node *profile)
{
    struct conf_node *groups = conf_edit(conf_get(profile, "groups"));

    for (size_t i = groups->kid_count; i--;)
        if (!conf_count(groups->kids[i], "points"))
            conf_remove(groups, i);
}

static void take_over(struct conf *c, struct conf_node *device, struct profile *p)
{
    const struct conf_node *without = conf_given(device, "without"), *root = conf_root(p->conf);
    char *via = mem_format("profile %s of device %s", p->name, device->name);

    if (!conf_errors(p->conf)) {
        set_parameters(c, device, p);
        profile_settle(p);
        for (size_t i = 0; without && i < without->kid_count; i++)
            leave_out(c, without->kids[i], root);
        drop_empty_groups(root);
    }
    if (conf_errors(p->conf)) {
        conf_adopt_reports(c, p->conf, via);
        conf_put_blank(device, "groups");
    } else {
        char *version = mem_format("%s@%d", p->name, p->version);
        conf_put_string(device, "profile", version);
        conf_merge(c, device, root, via);
        free(version);
    }
    free(via);
}

/* What makes no sense without a profile. */
static void tell_useless(struct conf *c, const struct conf_node *device)
{
    static const char *const members[] = {"with", "without"};

    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        const struct conf_node *n = conf_given(device, members[i]);
        if (n)
            conf_error(c, n, "`%s` goes with `profile`, which device %s has not", members[i], device->name);
    }
}

void modbus_profile_expand(struct conf *c, struct conf_node *device)
{
    const struct conf_node *wanted = conf_given(device, "profile");
    char *why;

    if (!wanted) {
        tell_useless(c, device);
        return;
    }
    char *path = path_of(c);
    struct profile *p = profile_open(path, wanted->s, &why);
    if (p) {
        take_over(c, device, p);
    } else {
        conf_error(c, wanted, "%s", why);
        conf_put_blank(device, "groups");
    }
    profile_free(p);
    free(why);
    free(path);
}

/* ---- what it got ---- */

/* Of anything that came from the profile; NULL when all of it was overridden. */
static const char *file_of(const struct conf_node *n)
{
    const char *file = n->via ? n->file : NULL;

    for (size_t i = 0; i < n->kid_count && !file; i++)
        file = file_of(n->kids[i]);
    return file;
}

static void explain_groups(const struct conf_node *device, FILE *out)
{
    for (size_t i = 0; i < conf_count(device, "groups"); i++) {
        const struct conf_node *g = conf_at(device, "groups", i), *points = conf_get(g, "points");
        size_t count = points->kid_count, own = 0;
        for (size_t k = 0; k < count; k++)
            own += !points->kids[k]->via;
        fprintf(out, "  group %s: %zu point%s every %s", g->name, count, count == 1 ? "" : "s",
                conf_string(g, "every"));
        if (own)
            fprintf(out, ", %zu of them changed or added here", own);
        fputc('\n', out);
    }
}

static void explain_serial(const struct profile *p, const struct conf_node *line, FILE *out)
{
    const struct conf_node *serial = conf_get(conf_root(p->conf), "serial");
    bool has_baud = !strcmp(conf_string(line, "protocol"), "modbus-rtu");

    if (!serial || !serial->given || !has_baud ||
        (conf_int(serial, "baud") == conf_int(line, "baud") &&
         conf_int(serial, "format") == conf_int(line, "format")))
        return;
    fprintf(out, "  leaves the factory with %d %s; line %s has %d %s\n", (int)conf_int(serial, "baud"),
            conf_string(serial, "format"), line->name, (int)conf_int(line, "baud"),
            conf_string(line, "format"));
}

void modbus_profile_explain(const struct conf_node *line, const struct conf_node *device, FILE *out)
{
    const struct conf_node *with = conf_get(device, "with"), *without = conf_get(device, "without");
    const char *wanted = conf_string(device, "profile"), *file = file_of(device);
    char *why = NULL, *folder = file ? mem_strndup(file, (size_t)(strrchr(file, '/') - file)) : NULL;

    if (!wanted)
        return;
    struct profile *p = folder ? profile_open(folder, wanted, &why) : NULL;
    fprintf(out, "%s: profile %s%s%s%s%s\n", device->name, wanted, p ? ", " : "",
            p ? conf_string(conf_root(p->conf), "title") : "", file ? ", " : "", file ? file : "");
    for (size_t i = 0; with && i < with->kid_count; i++)
        fprintf(out, "  with %s = %g%s\n", with->kids[i]->name, with->kids[i]->f,
                with->kids[i]->given ? "" : " (the default)");
    for (size_t i = 0; without && i < without->kid_count; i++)
        fprintf(out, "  without %s\n", without->kids[i]->s);
    explain_groups(device, out);
    if (p)
        explain_serial(p, line, out);
    profile_free(p);
    free(why);
    free(folder);
}
