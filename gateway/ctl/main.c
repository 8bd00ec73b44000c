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

static const char help[] =
    "sluicectl asks the running gateway how it fares, and steers it.\n"
    "\n"
    "  sluicectl status [SECTION]   what is wrong, then all there is to see; SECTION: one of\n"
    "                               bridges, lines, devices, clients, store, gateway\n"
    "  sluicectl reload             brings the changed configuration into force, or says what is wrong with "
    "it\n"
    "  sluicectl backup FILE        a consistent copy of the store, written by the daemon: FILE is in a "
    "folder\n"
    "                               that the daemon may write to, and not there yet\n"
    "  sluicectl user add NAME [--role ROLE]... [--scram-sha-1]\n"
    "                               a user, whose password is asked for (or is a line of standard input)\n"
    "  sluicectl user passwd NAME   another password; ends the connections that came with the old one\n"
    "  sluicectl user roles NAME [--role ROLE]...\n"
    "                               other roles; its connections stay, with what these allow\n"
    "  sluicectl user remove NAME   and ends its connections\n"
    "  sluicectl user list          who may log in, and how\n"
    "  sluicectl acl test USER CLIENT publish|subscribe|receive TOPIC\n"
    "                               which rule lets this user with this client identifier do it, or does "
    "not;\n"
    "                               USER: - for one without a name\n"
    "  sluicectl log LEVEL          what the daemon logs: error, warning, info or debug, until it starts "
    "anew\n"
    "\n"
    "  -c, --config FILE   the daemon's configuration, which names its socket (" DEFAULT_CONFIG ")\n"
    "  -s, --socket PATH   the daemon's control socket\n"
    "  -j, --json          the daemon's answer as it came\n"
    "      --role ROLE     a role of the user; can be repeated\n"
    "      --scram-sha-1   keeps a verifier for SCRAM-SHA-1 too, which is weaker than the others\n"
    "  -h, --help          this text\n"
    "  -V, --version       the version\n"
    "\n"
    "Exit status: 0 done; 1 the daemon refused or failed; 2 wrong use; 3 the daemon cannot be reached.\n";

int wrong_use(const char *what, const char *which)
{
    fprintf(stderr, "sluicectl: %s%s; `sluicectl --help` tells what there is\n", what, which);
    return WRONG_USE;
}

/* The socket's path by the configuration, whose other mistakes are not ours; NULL when it cannot be read. */
static char *path_by_config(const char *file)
{
    static const struct conf_row state_rows[] = {
        {.name = "state_dir", .type = CONF_PATH, .def = DEFAULT_STATE_DIR},
        {0},
    };
    const struct conf_row *const tables[] = {state_rows, control_rows};

    if (access(file, R_OK))
        return NULL;
    struct conf *conf = conf_load(file, tables, ARRAY_SIZE(tables), NULL);
    char *path = control_path(conf);
    conf_free(conf);
    return path;
}

char *socket_path(const struct options *o)
{
    char *path = NULL;

    if (o->socket)
        return mem_strdup(o->socket);
    path = path_by_config(o->config ? o->config : DEFAULT_CONFIG);
    if (!path && o->config) {
        fprintf(stderr, "sluicectl: ");
        perror(o->config);
        return NULL;
    }
    return path ? path : mem_strdup(DEFAULT_SOCKET);
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

static bool want_colours(void)
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

static const struct command {
    const char *name;
    int (*run)(const struct options *o, char **words); /* that follow its name; ends with NULL */
    int least, most;                                   /* arguments */
} commands[] = {{"status", do_status, 0, 1}, {"reload", do_reload, 0, 0}, {"backup", do_backup, 1, 1},
                {"log", do_log, 1, 1},       {"user", do_user, 1, 2},     {"acl", do_acl, 5, 5}};

static int run(const struct options *o, int count, char **words)
{
    if (!count)
        return wrong_use("no command", "");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *c = &commands[i];
        if (strcmp(c->name, words[0]) != 0)
            continue;
        if (count - 1 < c->least)
            return wrong_use(c->name, " needs an argument");
        if (count - 1 > c->most)
            return wrong_use("too much was given to ", c->name);
        return c->run(o, words + 1);
    }
    return wrong_use("there is no command ", words[0]);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"config", required_argument, NULL, 'c'}, {"socket", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},         {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {"role", required_argument, NULL, 'r'},
        {"scram-sha-1", no_argument, NULL, '1'},  {0},
    };
    struct options o = {0};

    for (int c; (c = getopt_long(argc, argv, "c:s:jhV", names, NULL)) != -1;) {
        switch (c) {
        case 'c':
            o.config = optarg;
            break;
        case 's':
            o.socket = optarg;
            break;
        case 'j':
            o.json = true;
            break;
        case 'r':
            if (o.role_count == ARRAY_SIZE(o.roles) - 1)
                return wrong_use("too many roles", "");
            o.roles[o.role_count++] = optarg;
            break;
        case '1':
            o.scram_sha_1 = true;
            break;
        case 'h':
            fputs(help, stdout);
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
