/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/ask.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"

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
