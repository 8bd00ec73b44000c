/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl profile: which device profiles there are, and what is in one. Asks no daemon. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "ctl/command.h"
#include "ctl/table.h"
#include "drivers/modbus/point.h"
#include "drivers/modbus/profile.h"

/* ---- where they are ---- */

/* As the configuration says, whose other keys are not ours. NULL: it cannot be read. */
static char *path_of(const struct options *o)
{
    static const struct conf_row rows[] = {
        {.name = "profile_path", .type = CONF_STRING, .def = DEFAULT_PROFILE_PATH}, {0}};
    const struct conf_row *const tables[] = {rows};
    const char *file = o->config ? o->config : DEFAULT_CONFIG;

    if (access(file, R_OK)) {
        if (!o->config)
            return mem_strdup(DEFAULT_PROFILE_PATH);
        fprintf(stderr, "sluicectl: ");
        perror(file);
        return NULL;
    }
    struct conf *c = conf_load(file, tables, ARRAY_SIZE(tables), NULL);
    const struct conf_node *n = conf_get(conf_root(c), "profile_path");
    char *path = n->given ? profile_path_resolve(n->s, n->file) : mem_strdup(DEFAULT_PROFILE_PATH);
    conf_free(c);
    return path;
}

/* By its name; or a file, whose folder is then the path. */
static struct profile *open_one(const char *path, const char *wanted, char **why)
{
    const char *slash = strrchr(wanted, '/');

    if (!slash)
        return profile_open(path, wanted, why);
    char *folder = mem_strndup(wanted, (size_t)(slash - wanted));
    char *name = mem_strdup(slash + 1);
    size_t len = strlen(name);
    if (len > 5 && !strcmp(name + len - 5, ".conf"))
        name[len - 5] = 0;
    struct profile *p = profile_open(folder[0] ? folder : "/", name, why);
    free(name);
    free(folder);
    return p;
}

/* ---- list ---- */

static void add_to_table(struct table *t, cJSON *list, const struct profile *p)
{
    const struct conf_node *root = conf_root(p->conf);
    char version[16];

    snprintf(version, sizeof version, "%d", p->version);
    table_cell(t, PAINT_NONE, p->name);
    table_cell(t, PAINT_NONE, version);
    table_cell(t, conf_errors(p->conf) ? PAINT_BAD : PAINT_NONE,
               conf_errors(p->conf) ? "has mistakes" : conf_string(root, "title"));
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", p->name);
    cJSON_AddNumberToObject(o, "version", p->version);
    cJSON_AddStringToObject(o, "title", conf_string(root, "title"));
    cJSON_AddStringToObject(o, "file", p->file);
    cJSON_AddBoolToObject(o, "ok", !conf_errors(p->conf));
    cJSON_AddItemToArray(list, o);
}

static int list(const struct options *o, const char *path)
{
    static const char *const titles[] = {"PROFILE", ">VERSION", "DEVICE", NULL};
    struct table *t = table_new(titles);
    cJSON *all = cJSON_CreateArray();
    char **names = profile_list(path);

    for (char **n = names; *n; n++) {
        char *why;
        struct profile *p = profile_open(path, *n, &why);
        if (p)
            add_to_table(t, all, p);
        profile_free(p);
        free(why);
        free(*n);
    }
    free(names);
    if (o->json)
        print_json_line(all);
    else if (table_rows(t))
        table_print(t, stdout, want_colours());
    else
        fprintf(stderr, "sluicectl: there are no profiles in %s\n", path);
    int status = table_rows(t) ? DONE : REFUSED;
    table_free(t);
    cJSON_Delete(all);
    return status;
}

/* ---- show ---- */

static void print_line(void *arg, bool is_error, const char *text)
{
    (void)arg, (void)is_error;
    fprintf(stderr, "%s\n", text);
}

/* What only the points' own reader sees. Its base and order are the profile's, so the profile stands for
 * device and line. */
static void check_points(struct profile *p)
{
    const struct conf_node *root = conf_root(p->conf);
    char error[256];

    for (size_t i = 0; i < conf_count(root, "groups"); i++)
        for (size_t k = 0; k < conf_count(conf_at(root, "groups", i), "points"); k++) {
            const struct conf_node *n = conf_at(conf_at(root, "groups", i), "points", k);
            struct modbus_point point;
            if (modbus_point_read(root, root, n, &point, error, sizeof error))
                modbus_point_free(&point);
            else
                conf_error(p->conf, n, "%s", error);
        }
}

static void number_text(char *out, size_t size, double value, double plain)
{
    out[0] = 0;
    if (value != plain)
        snprintf(out, size, "%.12g", value);
}

static void write_text(const struct conf_node *point, char *out, size_t size)
{
    const struct conf_node *w = conf_get(point, "write");
    double low = conf_float(w, "min"), high = conf_float(w, "max");

    if (!w || !w->given)
        snprintf(out, size, "%s", "");
    else if (isnan(low) && isnan(high))
        snprintf(out, size, "yes");
    else
        snprintf(out, size, "%.12g to %.12g", low, high);
}

static const char *type_text(const struct conf_node *point)
{
    const char *type = conf_string(point, "type");

    return type ? type : "bit";
}

static void print_group(const struct conf_node *group)
{
    static const char *const titles[] = {"  POINT", "AT",    "TYPE", "ORDER", ">SCALE", ">OFFSET",
                                         "UNIT",    "WRITE", "WHEN", "",      NULL};
    struct table *t = table_new(titles);

    printf("\ngroup %s, every %s\n", group->name, conf_string(group, "every"));
    for (size_t i = 0; i < conf_count(group, "points"); i++) {
        const struct conf_node *n = conf_at(group, "points", i);
        char *name = mem_format("  %s", n->name), scale[32], offset[32], write[64];
        const char *rest[] = {conf_string(n, "unit"), write, conf_string(n, "when"), conf_string(n, "help")};
        number_text(scale, sizeof scale, conf_float(n, "scale"), 1);
        number_text(offset, sizeof offset, conf_float(n, "offset"), 0);
        write_text(n, write, sizeof write);
        table_cell(t, PAINT_NONE, name);
        table_cell(t, PAINT_NONE, conf_string(n, "at"));
        table_cell(t, PAINT_NONE, type_text(n));
        table_cell(t, PAINT_NONE, conf_string(n, "order") ? conf_string(n, "order") : "");
        table_cell(t, PAINT_NONE, scale);
        table_cell(t, PAINT_NONE, offset);
        for (size_t k = 0; k < ARRAY_SIZE(rest); k++)
            table_cell(t, PAINT_NONE, rest[k] ? rest[k] : "");
        free(name);
    }
    table_print(t, stdout, want_colours());
    table_free(t);
}

static void print_texts(const struct conf_node *root, const char *member)
{
    for (size_t i = 0; i < conf_count(root, member); i++)
        printf("%s: %s\n", member, conf_at(root, member, i)->s);
}

static void print_profile(const struct profile *p)
{
    const struct conf_node *root = conf_root(p->conf), *serial = conf_get(root, "serial");
    const char *order = conf_string(root, "order");

    printf("%s@%d: %s\nmaker: %s\ndocument: %s\nfile: %s\n", p->name, p->version, conf_string(root, "title"),
           conf_string(root, "maker"), conf_string(root, "document"), p->file);
    print_texts(root, "notes");
    print_texts(root, "changes");
    if (serial && serial->given)
        printf("leaves the factory with: %d %s\n", (int)conf_int(serial, "baud"),
               conf_string(serial, "format"));
    printf("addresses: %s%s%s\n", conf_int(root, "base") ? "from 1" : "as on the wire",
           order ? ", order " : "", order ? order : "");
    for (size_t i = 0; i < p->parameter_count; i++) {
        const struct conf_node *n = conf_at(root, "parameters", i);
        printf("parameter %s: %s (%.12g to %.12g; %.12g unless given)\n", n->name, conf_string(n, "help"),
               conf_float(n, "min"), conf_float(n, "max"), conf_float(n, "default"));
    }
    for (size_t i = 0; i < conf_count(root, "groups"); i++)
        print_group(conf_at(root, "groups", i));
}

/* What was written, as JSON. */
static cJSON *json_group(const struct conf_node *n, bool is_table);

static cJSON *json_texts(const struct conf_node *n)
{
    cJSON *list = cJSON_CreateArray();

    for (size_t i = 0; i < n->kid_count; i++)
        cJSON_AddItemToArray(list, cJSON_CreateString(n->kids[i]->s));
    return list;
}

static cJSON *json_list(const struct conf_node *n)
{
    cJSON *list = cJSON_CreateArray();

    for (size_t i = 0; i < n->kid_count; i++)
        cJSON_AddItemToArray(list, json_group(n->kids[i], false));
    return list;
}

static cJSON *json_of(const struct conf_node *n)
{
    switch (n->row->type) {
    case CONF_BOOL:
        return cJSON_CreateBool(n->b);
    case CONF_INT:
        return cJSON_CreateNumber((double)n->i);
    case CONF_FLOAT:
        return cJSON_CreateNumber(n->f);
    case CONF_STRINGS:
        return json_texts(n);
    case CONF_LIST:
        return json_list(n);
    case CONF_GROUP:
    case CONF_TABLE:
        return json_group(n, n->row->type == CONF_TABLE);
    default:
        return cJSON_CreateString(n->s ? n->s : "");
    }
}

/* is_table: its members are groups of the same rows, under names of their own. */
static cJSON *json_group(const struct conf_node *n, bool is_table)
{
    cJSON *o = cJSON_CreateObject();

    for (size_t i = 0; i < n->kid_count; i++)
        if (n->kids[i]->given)
            cJSON_AddItemToObject(o, n->kids[i]->name,
                                  is_table ? json_group(n->kids[i], false) : json_of(n->kids[i]));
    return o;
}

static int show(const struct options *o, const char *path, const char *wanted)
{
    char *why;
    struct profile *p = open_one(path, wanted, &why);

    if (!p) {
        fprintf(stderr, "sluicectl: %s\n", why);
        free(why);
        return REFUSED;
    }
    check_points(p);
    conf_each_report(p->conf, print_line, NULL);
    int status = conf_errors(p->conf) ? REFUSED : DONE;
    if (status == DONE && o->json) {
        cJSON *all = json_group(conf_root(p->conf), false);
        cJSON_AddStringToObject(all, "name", p->name);
        cJSON_AddStringToObject(all, "file", p->file);
        print_json_line(all);
        cJSON_Delete(all);
    } else if (status == DONE) {
        print_profile(p);
    }
    profile_free(p);
    return status;
}

static int do_profile(const struct options *o, char **words)
{
    bool is_list = !strcmp(words[0], "list") && !words[1], is_show = !strcmp(words[0], "show") && words[1];

    if (!is_list && !is_show)
        return wrong_use("profile takes list, or show NAME", "");
    char *path = path_of(o);
    int status = !path ? WRONG_USE : is_list ? list(o, path) : show(o, path, words[1]);
    free(path);
    return status;
}

extern const struct ctl_command command_profile;
const struct ctl_command command_profile = {
    "profile", do_profile, 1, 2,
    "  sluicectl profile list       the device profiles that there are\n"
    "  sluicectl profile show NAME  what a device of the kind has: points, registers, parameters; or FILE\n"};
