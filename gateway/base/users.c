/* SPDX-License-Identifier: Apache-2.0 */
#include "base/users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

const struct conf_row user_rows[] = {
    {"name", CONF_STRING, CONF_REQUIRED, .min = 1, .max = USER_NAME_MOST, .help = "as the client gives it"},
    {"password", CONF_STRING, CONF_SECRET, .min = 1, .max = 512,
     .help =
         "an entry that `sluicectl user` has made, or mosquitto's $7$; without one the user cannot log in "
         "with a password"},
    {"scram", CONF_STRINGS, CONF_SECRET, .help = "verifiers for SCRAM, one for each mechanism"},
    {"roles", CONF_STRINGS, .help = "rules of `acl` for one of these roles are for this user"},
    {0},
};
static const struct conf_row file_rows[] = {USERS_ROW, {0}};

char *users_file_path(const struct conf_node *root)
{
    const char *given = conf_string(root, "users_file");

    return given ? mem_strdup(given) : mem_format("%s/users.conf", conf_string(root, "state_dir"));
}

bool users_file_wanted(const struct conf_node *root)
{
    char *path = users_file_path(root);
    struct stat st;
    bool absent = lstat(path, &st) && (errno == ENOENT || errno == ENOTDIR);

    free(path);
    return conf_string(root, "users_file") || !absent;
}

const char *user_name_wrong(const char *name)
{
    if (!*name || strlen(name) > USER_NAME_MOST)
        return "a name has 1 to 256 bytes";
    for (const char *at = name; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 127)
            return "a name has no control characters";
    return NULL;
}

/* Passwords are in it, if only their hashes. */
static void check_mode(struct conf *c, const char *path)
{
    struct stat st;

    if (!stat(path, &st) && st.st_mode & 077)
        conf_error(c, NULL, "others than its owner can read or change it; chmod 600 %s", path);
}

struct conf *users_file_load(const char *path)
{
    const struct conf_row *const tables[] = {file_rows};
    struct conf *c = conf_load_alone(path, tables, ARRAY_SIZE(tables), NULL);

    check_mode(c, path);
    if (!conf_errors(c) && !conf_get(conf_root(c), "users"))
        conf_error(c, NULL,
                   "has no `users`: it is empty or was cut off; write users = ( ); if nobody is meant");
    return c;
}

/* ---- writing ---- */

static void put_text(struct buf *out, const char *text)
{
    buf_u8(out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_u8(out, '\\');
        buf_u8(out, (uint8_t)*text);
    }
    buf_u8(out, '"');
}

static void put_texts(struct buf *out, const char *key, const char *const *texts)
{
    if (!texts || !*texts)
        return;
    buf_printf(out, "    %s = [ ", key);
    for (const char *const *t = texts; *t; t++) {
        if (t != texts)
            buf_printf(out, ", ");
        put_text(out, *t);
    }
    buf_printf(out, " ];\n");
}

static void put_user(struct buf *out, const struct users_file_entry *u, bool first)
{
    buf_printf(out, "%s  { name = ", first ? "" : ",\n");
    put_text(out, u->name);
    buf_printf(out, ";\n");
    if (u->password) {
        buf_printf(out, "    password = ");
        put_text(out, u->password);
        buf_printf(out, ";\n");
    }
    put_texts(out, "scram", u->scram);
    put_texts(out, "roles", u->roles);
    buf_printf(out, "  }");
}

static int write_all(int fd, const struct buf *text)
{
    for (size_t done = 0; done < text->len;) {
        ssize_t n = write(fd, text->data + done, text->len - done);
        if (n < 0 && errno != EINTR)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) ? -errno : 0;
}

/* Root writes for the daemon, which must be able to read it. */
static int give_to_owner(int folder, int fd)
{
    struct stat st;

    if (fstat(folder, &st))
        return -errno;
    if (st.st_uid == geteuid() || geteuid() != 0)
        return 0;
    return fchown(fd, st.st_uid, st.st_gid) ? -errno : 0;
}

static int open_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *in = slash ? mem_strndup(path, (size_t)(slash - path) + 1) : mem_strdup(".");
    int fd = open(in, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = fd < 0 ? -errno : 0;

    free(in);
    return err ? err : fd;
}

/* A file of its own: the folder is the store's to lock. */
int users_file_lock(const char *path)
{
    char *name = mem_format("%s.lock", path);
    int folder = open_folder(path), err = folder < 0 ? folder : 0;
    int fd = err ? -1 : open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (!err && fd < 0)
        err = -errno;
    if (!err)
        err = give_to_owner(folder, fd);
    if (!err && flock(fd, LOCK_EX))
        err = -errno;
    if (err && fd >= 0)
        close(fd);
    if (folder >= 0)
        close(folder);
    free(name);
    return err ? err : fd;
}

static int replace(const char *path, const struct buf *text)
{
    char *fresh = mem_format("%s.XXXXXX", path);
    int folder = open_folder(path), err = folder < 0 ? folder : 0;
    int fd = err ? -1 : mkostemp(fresh, O_CLOEXEC); /* 0600 */

    if (!err && fd < 0)
        err = -errno;
    if (fd >= 0) {
        err = write_all(fd, text);
        if (!err)
            err = give_to_owner(folder, fd);
        close(fd);
        if (!err && rename(fresh, path))
            err = -errno;
        if (err)
            unlink(fresh);
        else if (fsync(folder))
            err = -errno;
    }
    if (folder >= 0)
        close(folder);
    free(fresh);
    return err;
}

int users_file_write(const char *path, const struct users_file_entry *users, size_t count)
{
    struct buf text = {0};

    buf_printf(&text, "# Written by sluicectl user.\nusers = (%s", count ? "\n" : "");
    for (size_t i = 0; i < count; i++)
        put_user(&text, &users[i], !i);
    buf_printf(&text, "%s);\n", count ? "\n" : " ");
    int err = replace(path, &text);
    explicit_bzero(text.data, text.len);
    buf_free(&text);
    return err;
}
