/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl: asks the running daemon and shows the answer. */
#include <cjson/cJSON.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "ctl/ask.h"
#include "ctl/command.h"
#include "ctl/status_view.h"
#include "ops/control_path.h"
#include "version.h"

#define DEFAULT_SOCKET "/run/sluice/control.sock"

int wrong_use(const char *what, const char *which)
{
    fprintf(stderr, "sluicectl: %s%s; `sluicectl --help` tells what there is\n", what, which);
    return WRONG_USE;
}

static void tell_mistake(void *arg, bool is_error, const char *text)
{
    (void)arg;
    if (is_error)
        fprintf(stderr, "%s\n", text);
}

/* Where a named file cannot be parsed, its socket is not known; of the usual one the service knows better. */
static char *path_by_broken(const struct options *o, const struct conf *conf)
{
    if (!o->config)
        return mem_strdup(DEFAULT_SOCKET);
    conf_each_report(conf, tell_mistake, NULL);
    fprintf(stderr,
            "sluicectl: so %s does not tell where the daemon listens; name its socket with -s until it is "
            "mended\n",
            o->config);
    return NULL;
}

/* The socket's path by the configuration, whose other mistakes are not ours; NULL, which has been told, when
 * it cannot be had. */
static char *path_by_config(const struct options *o, const char *file)
{
    static const struct conf_row state_rows[] = {
        {.name = "state_dir", .type = CONF_PATH, .def = DEFAULT_STATE_DIR},
        {0},
    };
    const struct conf_row *const tables[] = {state_rows, control_rows};

    if (access(file, R_OK)) {
        if (!o->config)
            return mem_strdup(DEFAULT_SOCKET);
        fprintf(stderr, "sluicectl: ");
        perror(file);
        return NULL;
    }
    struct conf *conf = conf_load(file, tables, ARRAY_SIZE(tables), NULL);
    char *path = conf_broken(conf) ? path_by_broken(o, conf) : control_path(conf);
    conf_free(conf);
    return path;
}

char *socket_path(const struct options *o)
{
    if (o->socket)
        return mem_strdup(o->socket);
    return path_by_config(o, o->config ? o->config : DEFAULT_CONFIG);
}

static cJSON *ask_daemon(const struct options *o, const char *what, const char *member, const char *value)
{
    cJSON *question = cJSON_CreateObject();
    char *path = socket_path(o);
    cJSON *answer = NULL;

    cJSON_AddStringToObject(question, "do", what);
    if (member)
        cJSON_AddStringToObject(question, member, value);
    if (path)
        answer = ask(path, question);
    else
        cJSON_Delete(question);
    free(path);
    return answer;
}

int print_json(const cJSON *answer)
{
    char *text = cJSON_Print(answer);

    if (text)
        puts(text);
    free(text);
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "ok")) ? DONE : REFUSED;
}

void print_json_line(const cJSON *answer)
{
    char *text = cJSON_PrintUnformatted(answer);

    if (text)
        puts(text);
    free(text);
    fflush(stdout);
}

static void print_lines(FILE *out, const cJSON *lines)
{
    const cJSON *line;

    cJSON_ArrayForEach(line, lines) fprintf(out, "%s\n", cJSON_GetStringValue(line));
}

/* What the daemon refused, and its reasons line by line. */
int check_answer(const cJSON *answer)
{
    const char *error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "error"));

    print_lines(stderr, cJSON_GetObjectItemCaseSensitive(answer, "mistakes"));
    print_lines(stderr, cJSON_GetObjectItemCaseSensitive(answer, "warnings"));
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, "ok")))
        return DONE;
    fprintf(stderr, "sluicectl: %s\n", error ? error : "the daemon refused");
    return REFUSED;
}

/* Shows an answer, which it takes over, the way that was asked for. */
static int conclude(const struct options *o, cJSON *answer, const char *done)
{
    int status = !answer ? NO_DAEMON : o->json ? print_json(answer) : check_answer(answer);

    if (status == DONE && !o->json)
        printf("%s\n", done);
    cJSON_Delete(answer);
    return status;
}

bool want_colours(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && !(no && *no) && !(term && !strcmp(term, "dumb"));
}

static int do_status(const struct options *o, char **words)
{
    const char *section = words[0];
    cJSON *answer = ask_daemon(o, "status", NULL, NULL);
    int status = !answer ? NO_DAEMON : o->json ? print_json(answer) : check_answer(answer);

    if (status == DONE && !o->json && !status_view(answer, section, stdout, want_colours()))
        status = wrong_use("there is no section ", section);
    cJSON_Delete(answer);
    return status;
}

static int do_reload(const struct options *o, char **words)
{
    (void)words;
    return conclude(o, ask_daemon(o, "reload", NULL, NULL), "the new configuration is in force");
}

static int do_backup(const struct options *o, char **words)
{
    const char *file = words[0];
    char here[PATH_MAX] = "";
    char *path =
        file[0] == '/' || !getcwd(here, sizeof here) ? mem_strdup(file) : mem_format("%s/%s", here, file);
    char *done = mem_format("copied to %s", path);
    int status = conclude(o, ask_daemon(o, "backup", "path", path), done);

    free(done);
    free(path);
    return status;
}

static int do_log(const struct options *o, char **words)
{
    const char *level = words[0];
    char *done = mem_format("the log goes up to %s", level);
    int status = conclude(o, ask_daemon(o, "log", "level", level), done);

    free(done);
    return status;
}

#define TAKES(id) (1u << OPTION_##id)

static const struct command {
    const char *name;
    int (*run)(const struct options *o, char **words); /* that follow its name; ends with NULL */
    int least, most;                                   /* arguments */
    unsigned takes;                                    /* options */
    const char *needs;                                 /* when there are too few */
} commands[] = {
    {"status", do_status, 0, 1, 0, NULL},
    {"reload", do_reload, 0, 0, 0, NULL},
    {"backup", do_backup, 1, 1, 0, "FILE"},
    {"log", do_log, 1, 1, 0, "LEVEL: error, warning, info or debug"},
    {"user", do_user, 1, 2, TAKES(ROLE) | TAKES(SCRAM_SHA_1), "add, passwd, roles, remove or list"},
    {"acl", do_acl, 5, 5, 0, "test USER CLIENT publish|subscribe|receive TOPIC"},
    {"trace", do_trace, 1, 1, TAKES(DEVICE) | TAKES(COUNT) | TAKES(PCAP) | TAKES(HEX), "LINE"},
    {"sniff", do_sniff, 1, 1, TAKES(FOR) | TAKES(HEX), "LINE"},
    {"read", do_read, 2, 3, TAKES(COUNT) | TAKES(ORDER) | TAKES(ALL_ORDERS) | TAKES(EVERY),
     "DEVICE POINT, or DEVICE AT [TYPE] as in boiler holding:100 float32"},
    {"write", do_write, 3, 4, TAKES(ORDER) | TAKES(VERIFY) | TAKES(YES),
     "DEVICE POINT VALUE, or DEVICE AT [TYPE] VALUE as in boiler holding:100 uint16 42"},
    {"doctor", do_doctor, 1, 1, TAKES(FOR), "LINE"},
    {"scan", do_scan, 1, 1, TAKES(UNITS) | TAKES(BAUD) | TAKES(FORMAT) | TAKES(TIMEOUT), "LINE"},
    {"top", do_top, 0, 0, 0, NULL},
    {"motes", do_motes, 0, 0, 0, NULL},
};

static const struct option option_names[] = {
    [OPTION_ROLE] = {"role", required_argument, NULL, 0},
    [OPTION_SCRAM_SHA_1] = {"scram-sha-1", no_argument, NULL, 0},
    [OPTION_DEVICE] = {"device", required_argument, NULL, 0},
    [OPTION_COUNT] = {"count", required_argument, NULL, 0},
    [OPTION_PCAP] = {"pcap", required_argument, NULL, 0},
    [OPTION_HEX] = {"hex", no_argument, NULL, 0},
    [OPTION_FOR] = {"for", required_argument, NULL, 0},
    [OPTION_ORDER] = {"order", required_argument, NULL, 0},
    [OPTION_ALL_ORDERS] = {"all-orders", no_argument, NULL, 0},
    [OPTION_EVERY] = {"every", required_argument, NULL, 0},
    [OPTION_VERIFY] = {"verify", no_argument, NULL, 0},
    [OPTION_YES] = {"yes", no_argument, NULL, 0},
    [OPTION_UNITS] = {"units", required_argument, NULL, 0},
    [OPTION_BAUD] = {"baud", required_argument, NULL, 0},
    [OPTION_FORMAT] = {"format", required_argument, NULL, 0},
    [OPTION_TIMEOUT] = {"timeout", required_argument, NULL, 0},
    [OPTION_TOTAL] = {"config", required_argument, NULL, 'c'},
    {"socket", required_argument, NULL, 's'},
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {0},
};

const char *option_name(enum option_id id)
{
    return option_names[id].name;
}

static int too_few(const struct command *c)
{
    char what[32];

    snprintf(what, sizeof what, "%s needs ", c->name);
    return wrong_use(what, c->needs);
}

static int check_options(const struct options *o, const struct command *c)
{
    char name[64];

    for (enum option_id id = 0; id < OPTION_TOTAL; id++)
        if (o->value[id] && !(c->takes & 1u << id)) {
            snprintf(name, sizeof name, "%s has no option --", c->name);
            return wrong_use(name, option_name(id));
        }
    return DONE;
}

static int run_command(const struct options *o, const struct command *c, int count, char **words)
{
    if (count - 1 < c->least)
        return too_few(c);
    if (count - 1 > c->most)
        return wrong_use("too much was given to ", c->name);
    if (check_options(o, c))
        return WRONG_USE;
    return c->run(o, words + 1);
}

static int run(const struct options *o, int count, char **words)
{
    if (!count)
        return wrong_use("no command", "");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *c = &commands[i];
        if (!strcmp(c->name, words[0]))
            return run_command(o, c, count, words);
    }
    for (const struct ctl_command *const *c = ctl_commands; *c; c++)
        if (!strcmp((*c)->name, words[0])) {
            const struct command row = {(*c)->name, (*c)->run, (*c)->least, (*c)->most, 0, "an argument"};
            return run_command(o, &row, count, words);
        }
    return wrong_use("there is no command ", words[0]);
}

static void print_help(void)
{
    fputs(help_text, stdout);
    for (const struct ctl_command *const *c = ctl_commands; *c; c++)
        fputs((*c)->help, stdout);
    fputs(help_options, stdout);
}

static int take_option(struct options *o, enum option_id id, const char *value)
{
    o->value[id] = value ? value : "";
    if (id != OPTION_ROLE)
        return DONE;
    if (o->role_count == ARRAY_SIZE(o->roles) - 1)
        return wrong_use("too many roles", "");
    o->roles[o->role_count++] = value;
    return DONE;
}

static bool is_number(const char *word)
{
    return word[0] == '-' && (word[1] == '.' || (word[1] >= '0' && word[1] <= '9'));
}

/* Stands behind the options; that an option takes it for its value shows that it has none. */
static char options_end[] = "--";

/* "-42" is a value, not an option: such words go to the end, in their order, behind "--". */
static char **sort_arguments(int argc, char **argv)
{
    static char **out; /* until the end */
    int n = 0, options = 0;

    out = mem_alloc((size_t)(argc + 2) * sizeof *out);
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        options++;
    for (int i = 0; i < options; i++)
        if (!is_number(argv[i]))
            out[n++] = argv[i];
    out[n++] = options_end;
    for (int i = 0; i < options; i++)
        if (is_number(argv[i]))
            out[n++] = argv[i];
    for (int i = options + 1; i < argc; i++)
        out[n++] = argv[i];
    return out;
}

int main(int argc, char **argv)
{
    struct options o = {0};

    argv = sort_arguments(argc, argv);
    while (argv[argc])
        argc++;
    for (int c, id = 0; (c = getopt_long(argc, argv, "c:s:jhV", option_names, &id)) != -1;) {
        if (optarg && optarg == options_end)
            return wrong_use("a value is missing behind ", argv[optind - 2]);
        switch (c) {
        case 0:
            if (take_option(&o, (enum option_id)id, optarg))
                return WRONG_USE;
            break;
        case 'c':
            o.config = optarg;
            break;
        case 's':
            o.socket = optarg;
            break;
        case 'j':
            o.json = true;
            break;
        case 'h':
            print_help();
            return DONE;
        case 'V':
            puts("sluicectl " SLUICE_VERSION);
            return DONE;
        default:
            return wrong_use("an option is not known or not complete", "");
        }
    }
    return run(&o, argc - optind, argv + optind);
}
