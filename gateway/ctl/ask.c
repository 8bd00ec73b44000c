/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/ask.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

static void explain(const char *path, int err)
{
    fprintf(stderr, "sluicectl: %s: %s\n", path, strerror(err));
    if (err == ENOENT || err == ECONNREFUSED)
        fprintf(stderr,
                "sluiced does not run, or it listens elsewhere: try `systemctl status sluiced`, or name its "
                "socket with -s or its configuration with -c.\n");
    else if (err == EACCES || err == EPERM)
        fprintf(stderr,
                "Only root and members of the group sluice may ask the daemon: `sudo sluicectl ...`, or "
                "`sudo adduser $USER sluice` and log in again.\n");
}

static int connect_to(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = -1, err = ENAMETOOLONG;

    if (strlen(path) < sizeof to.sun_path) {
        memcpy(to.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && !connect(fd, (struct sockaddr *)&to, sizeof to))
            return fd;
        err = errno;
    }
    explain(path, err);
    if (fd >= 0)
        close(fd);
    return -1;
}

static int send_all(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -errno;
        text += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Up to the line's end; false when the daemon closed before it. */
static bool receive_line(int fd, struct buf *into)
{
    for (;;) {
        char part[16384];
        ssize_t n = recv(fd, part, sizeof part, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        buf_append(into, part, (size_t)n);
        if (memchr(part, '\n', (size_t)n))
            return true;
    }
}

cJSON *ask(const char *path, cJSON *question)
{
    char *line = cJSON_PrintUnformatted(question);
    struct buf got = {0};
    cJSON *answer = NULL;
    int fd = connect_to(path);

    cJSON_Delete(question);
    if (fd < 0)
        goto out;
    /* A daemon that refuses to listen has said so before it closed: read even when writing fails. */
    if (!send_all(fd, line, strlen(line)))
        send_all(fd, "\n", 1);
    if (receive_line(fd, &got))
        answer = cJSON_ParseWithLength((const char *)got.data, got.len);
    if (!answer)
        fprintf(stderr, "sluicectl: %s: the daemon closed the connection without an answer\n", path);
    close(fd);
out:
    buf_free(&got);
    free(line);
    return answer;
}

/* ---- many lines ---- */

struct talk {
    int fd;
    struct buf got;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

bool talk_interrupted(void)
{
    return interrupted;
}

/* Without SA_RESTART: who waits for a line is woken. */
static void catch_signals(void)
{
    const struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

struct talk *talk_open(const char *path, cJSON *question)
{
    char *line = cJSON_PrintUnformatted(question);
    int fd = connect_to(path);
    struct talk *t = NULL;

    cJSON_Delete(question);
    if (fd >= 0) {
        catch_signals();
        t = mem_alloc(sizeof *t);
        t->fd = fd;
        if (!send_all(fd, line, strlen(line)))
            send_all(fd, "\n", 1);
    }
    free(line);
    return t;
}

static cJSON *take_line(struct talk *t)
{
    const uint8_t *end = t->got.len ? memchr(t->got.data, '\n', t->got.len) : NULL;

    if (!end)
        return NULL;
    size_t len = (size_t)(end - t->got.data);
    cJSON *line = cJSON_ParseWithLength((const char *)t->got.data, len);
    buf_consume(&t->got, len + 1);
    return line;
}

/* False: the time is over. A signal ends the wait as well. */
static bool wait_for_bytes(const struct talk *t, uint64_t until_us)
{
    struct pollfd p = {.fd = t->fd, .events = POLLIN};
    uint64_t now = clock_boot_us();

    if (until_us == UINT64_MAX)
        return true;
    return now < until_us && poll(&p, 1, (int)((until_us - now) / 1000) + 1) != 0;
}

cJSON *talk_next(struct talk *t)
{
    return talk_next_until(t, UINT64_MAX);
}

cJSON *talk_next_until(struct talk *t, uint64_t until_us)
{
    for (;;) {
        char part[16384];
        cJSON *line = take_line(t);
        if (line || interrupted || !wait_for_bytes(t, until_us))
            return line;
        ssize_t n = recv(t->fd, part, sizeof part, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return NULL;
        buf_append(&t->got, part, (size_t)n);
    }
}

void talk_close(struct talk *t)
{
    if (!t)
        return;
    close(t->fd);
    buf_free(&t->got);
    free(t);
}
