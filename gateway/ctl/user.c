/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl user: writes the users file, and has the daemon read it. Works without the daemon too. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/password.h"
#include "base/users.h"
#include "ctl/ask.h"
#include "ctl/command.h"
#include "ctl/secret.h"

enum { LOGIN_MS = 100, SCRAM_COUNT = 15000, MOST_TEXTS = 64 };

/* The configuration, as far as users go, and the users file. */
struct registry {
    struct conf *conf, *file; /* file: NULL while there is none */
    char *path;
    int lock;
};

static void close_registry(struct registry *r)
{
    conf_free(r->conf);
    conf_free(r->file);
    free(r->path);
    if (r->lock >= 0)
        close(r->lock);
}

static int complain(const char *path, int err)
{
    fprintf(stderr, "sluicectl: %s: %s%s\n", path, strerror(-err),
            err == -EACCES || err == -EPERM
                ? "; only root and the daemon's own user may change users: sudo sluicectl ..."
                : "");
    return REFUSED;
}

static int open_registry(struct registry *r, const struct options *o)
{
    static const struct conf_row rows[] = {
        {.name = "state_dir", .type = CONF_PATH, .def = DEFAULT_STATE_DIR},
        USERS_ROW,
        USERS_FILE_ROW,
        {0},
    };
    const struct conf_row *const tables[] = {rows};
    const char *config = o->config ? o->config : DEFAULT_CONFIG;

    *r = (struct registry){.lock = -1};
    if (access(config, R_OK))
        return complain(config, -errno);
    r->conf = conf_load(config, tables, ARRAY_SIZE(tables), NULL); /* its other mistakes are not ours */
    r->path = users_file_path(conf_root(r->conf));
    r->lock = users_file_lock(r->path);
    if (r->lock < 0)
        return complain(r->path, r->lock);
    if (access(r->path, F_OK))
        return DONE;
    r->file = users_file_load(r->path);
    if (!conf_errors(r->file))
        return DONE;
    conf_report(r->file, stderr);
    fprintf(stderr, "sluicectl: the users file is wrong; nothing was changed\n");
    return REFUSED;
}

static const struct conf_node *find(const struct conf *c, const char *name)
{
    for (size_t i = 0; c && i < conf_count(conf_root(c), "users"); i++) {
        const struct conf_node *user = conf_at(conf_root(c), "users", i);
        if (!strcmp(conf_string(user, "name"), name))
            return user;
    }
    return NULL;
}

static const char **texts_of(const struct conf_node *user, const char *key)
{
    size_t count = conf_count(user, key);
    const char **out = mem_alloc((count + 1) * sizeof(*out));

    for (size_t i = 0; i < count; i++)
        out[i] = conf_at(user, key, i)->s;
    return out;
}

/* ---- writing ---- */

static int tell_daemon(const struct options *o, const char *done)
{
    char *path = socket_path(o);
    cJSON *answer = NULL;
    int status = DONE;

    if (!path || access(path, F_OK)) {
        printf("%s; sluiced does not run, and reads it when it starts\n", done);
        free(path);
        return DONE;
    }
    cJSON *question = cJSON_CreateObject();
    cJSON_AddStringToObject(question, "do", "reload");
    answer = ask(path, question);
    status = answer ? check_answer(answer) : NO_DAEMON;
    printf("%s%s\n", done, status == DONE ? ", and in force" : "; it is not in force yet");
    cJSON_Delete(answer);
    free(path);
    return status;
}

/* Writes all users of the file: name left out when changed is NULL, else changed in its place or at the end.
 */
static int write_file(const struct registry *r, const char *name, const struct users_file_entry *changed)
{
    size_t count = r->file ? conf_count(conf_root(r->file), "users") : 0, kept = 0;
    struct users_file_entry *all = mem_alloc((count + 1) * sizeof(*all));
    bool placed = false;

    for (size_t i = 0; i < count; i++) {
        const struct conf_node *user = conf_at(conf_root(r->file), "users", i);
        bool same = !strcmp(conf_string(user, "name"), name);
        if (same && !changed)
            continue;
        placed |= same;
        all[kept++] =
            same ? *changed
                 : (struct users_file_entry){conf_string(user, "name"), conf_string(user, "password"),
                                             texts_of(user, "scram"), texts_of(user, "roles")};
    }
    if (changed && !placed)
        all[kept++] = *changed;
    int err = users_file_write(r->path, all, kept);
    for (size_t i = 0; i < kept; i++) {
        if (changed && all[i].name == changed->name)
            continue;
        free((void *)(uintptr_t)all[i].scram);
        free((void *)(uintptr_t)all[i].roles);
    }
    free(all);
    return err ? complain(r->path, err) : DONE;
}

/* Every verifier at once: none can be made of another later. */
static int set_password(const struct options *o, const struct registry *r, const char *name,
                        const char *const *roles, bool sha_1, const char *done)
{
    char secret[SECRET_MOST + 1];
    const char *scram[3] = {0};
    struct scram_verifier v;

    if (secret_ask(name, secret))
        return REFUSED;
    struct bytes password = bytes_of(secret);
    char *entry = password_make(password, password_calibrate(LOGIN_MS));
    scram_derive(&v, CRYPTO_SHA256, password, SCRAM_COUNT, NULL);
    scram[0] = scram_text(&v);
    if (sha_1) {
        scram_derive(&v, CRYPTO_SHA1, password, SCRAM_COUNT, NULL);
        scram[1] = scram_text(&v);
    }
    explicit_bzero(secret, sizeof(secret));
    int status = write_file(r, name, &(struct users_file_entry){name, entry, scram, roles});
    free(entry);
    free((void *)(uintptr_t)scram[0]);
    free((void *)(uintptr_t)scram[1]);
    return status == DONE ? tell_daemon(o, done) : status;
}

/* ---- subcommands ---- */

static int refuse(const char *name, const char *why)
{
    fprintf(stderr, "sluicectl: user %s %s\n", name, why);
    return REFUSED;
}

static int refuse_foreign(const struct registry *r, const char *name)
{
    const struct conf_node *user = find(r->conf, name);

    if (!user)
        return refuse(name, "is not there; sluicectl user list tells who is");
    fprintf(stderr, "sluicectl: user %s stands in %s:%d and is changed there\n", name, user->file,
            user->line);
    return REFUSED;
}

static int add(const struct options *o, const struct registry *r, const char *name)
{
    const char *wrong = user_name_wrong(name);

    if (wrong)
        return refuse(name, wrong);
    if (find(r->file, name))
        return refuse(name, "is there already; sluicectl user passwd gives another password");
    if (find(r->conf, name))
        return refuse_foreign(r, name);
    return set_password(o, r, name, o->roles, o->value[OPTION_SCRAM_SHA_1], "added");
}

static int passwd(const struct options *o, const struct registry *r, const char *name)
{
    const struct conf_node *user = find(r->file, name);
    bool sha_1 = o->value[OPTION_SCRAM_SHA_1];

    if (!user)
        return refuse_foreign(r, name);
    for (size_t i = 0; i < conf_count(user, "scram"); i++)
        sha_1 |= !strncmp(conf_at(user, "scram", i)->s, "SCRAM-SHA-1$", 12);
    const char **roles = texts_of(user, "roles");
    int status = set_password(o, r, name, roles, sha_1, "changed");
    free(roles);
    return status;
}

/* The user's connections stay, with what the new roles allow. */
static int set_roles(const struct options *o, const struct registry *r, const char *name)
{
    const struct conf_node *user = find(r->file, name);

    if (!user)
        return refuse_foreign(r, name);
    const char **scram = texts_of(user, "scram");
    const struct users_file_entry changed = {conf_string(user, "name"), conf_string(user, "password"), scram,
                                             o->roles};
    int status = write_file(r, name, &changed);
    free(scram);
    return status == DONE ? tell_daemon(o, "changed") : status;
}

static int remove_user(const struct options *o, const struct registry *r, const char *name)
{
    if (!find(r->file, name))
        return refuse_foreign(r, name);
    int status = write_file(r, name, NULL);
    return status == DONE ? tell_daemon(o, "removed") : status;
}

static void print_user(const struct conf_node *user)
{
    const char *between = "";

    printf("%s\t", conf_string(user, "name"));
    if (conf_string(user, "password")) {
        printf("password");
        between = ", ";
    }
    for (size_t i = 0; i < conf_count(user, "scram"); i++, between = ", ") {
        const char *text = conf_at(user, "scram", i)->s;
        printf("%s%.*s", between, (int)strcspn(text, "$"), text);
    }
    for (size_t i = 0; i < conf_count(user, "roles"); i++)
        printf("%s%s", i ? ", " : "\troles ", conf_at(user, "roles", i)->s);
    printf("\t%s:%d\n", user->file, user->line);
}

static int list(const struct options *o, const struct registry *r, const char *unused)
{
    const struct conf *both[] = {r->conf, r->file};

    (void)o, (void)unused;
    for (size_t k = 0; k < ARRAY_SIZE(both); k++)
        for (size_t i = 0; both[k] && i < conf_count(conf_root(both[k]), "users"); i++)
            print_user(conf_at(conf_root(both[k]), "users", i));
    return DONE;
}

int do_user(const struct options *o, char **words)
{
    static const struct {
        const char *name;
        int (*run)(const struct options *o, const struct registry *r, const char *name);
        bool named, with_roles, with_sha_1;
    } commands[] = {{"add", add, true, true, true},
                    {"passwd", passwd, true, false, true},
                    {"roles", set_roles, true, true, false},
                    {"remove", remove_user, true, false, false},
                    {"list", list, false, false, false}};
    struct registry r;

    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, words[0]) != 0)
            continue;
        if (commands[i].named != (words[1] != NULL))
            return wrong_use(commands[i].named ? "whose? sluicectl user " : "too much was given to user ",
                             words[0]);
        if ((o->role_count && !commands[i].with_roles) ||
            (o->value[OPTION_SCRAM_SHA_1] && !commands[i].with_sha_1))
            return wrong_use("an option does not go with user ", words[0]);
        int status = open_registry(&r, o);
        if (status == DONE)
            status = commands[i].run(o, &r, words[1]);
        close_registry(&r);
        return status;
    }
    return wrong_use("there is no command user ", words[0]);
}
