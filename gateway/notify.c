/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's protocol is a datagram with lines NAME=value, to a socket that it names (sd_notify(3)). Its
 * library would bring six others along, and more memory than all that we hold. */
#include "notify.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void tell(const char *text)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path ? strlen(path) : 0;

    if (len < 2 || len > sizeof(to.sun_path) || (*path != '/' && *path != '@'))
        return;
    memcpy(to.sun_path, path, len);
    if (*path == '@') /* of the abstract namespace */
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&to,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
}

void notify_ready(void)
{
    tell("READY=1");
}

void notify_reloading(void)
{
    struct timespec now;
    char text[64];

    /* The manager compares this with its own CLOCK_MONOTONIC: no other clock will do. */
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
             (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    tell(text);
}

void notify_stopping(void)
{
    tell("STOPPING=1");
}

uint64_t notify_watchdog_interval_us(void)
{
    const char *allowed_us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

    if (!allowed_us || (pid && strtoll(pid, NULL, 10) != getpid()))
        return 0;
    return strtoull(allowed_us, NULL, 10) / 2;
}

void notify_alive(void)
{
    tell("WATCHDOG=1");
}
