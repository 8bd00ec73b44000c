/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/port_facts.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <linux/serial.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"

/* ---- latency ---- */

static int read_number(const char *path)
{
    int n = -1;
    FILE *file = fopen(path, "re");

    if (file && fscanf(file, "%d", &n) != 1)
        n = -1;
    if (file)
        fclose(file);
    return n;
}

static void write_number(const char *path, int n)
{
    FILE *file = fopen(path, "we");

    if (!file)
        return; /* only root may; the driver may have listened to ask_low() */
    fprintf(file, "%d\n", n);
    fclose(file);
}

/* The flag is the one way that is open to everybody, and FTDI's driver sets its timer by it. */
static bool ask_low(int fd)
{
    struct serial_struct s;

    if (ioctl(fd, TIOCGSERIAL, &s))
        return false;
    s.flags |= (int)ASYNC_LOW_LATENCY;
    return !ioctl(fd, TIOCSSERIAL, &s) && !ioctl(fd, TIOCGSERIAL, &s) && s.flags & (int)ASYNC_LOW_LATENCY;
}

static void lower_latency(struct port_facts *f, int fd, const char *device)
{
    char path[256];

    snprintf(path, sizeof path, "%s/latency_timer", device);
    f->latency_was_ms = read_number(path);
    f->low_latency = ask_low(fd);
    if (f->latency_was_ms > 1 && read_number(path) > 1)
        write_number(path, 1);
    f->latency_ms = read_number(path);
}

/* ---- who it is ---- */

/* The last part of where device/name links to; "" when there is no such link. */
static void link_name(const char *device, const char *name, char out[32])
{
    char link[PATH_MAX], to[256];

    snprintf(link, sizeof link, "%s/%s", device, name);
    ssize_t len = readlink(link, to, sizeof to - 1);
    to[len > 0 ? len : 0] = 0;
    const char *last = strrchr(to, '/');
    snprintf(out, 32, "%.31s", last ? last + 1 : to);
}

/* Since Linux 6.5 a tty's device is one of the serial core's own, below that which has the driver. */
static void find_driver(struct port_facts *f, const char *tty_device)
{
    char *device = realpath(tty_device, NULL), bus[32], *last;

    while (device && (last = strrchr(device, '/'))) {
        link_name(device, "subsystem", bus);
        if (strcmp(bus, "serial-base"))
            break;
        *last = 0;
    }
    if (device)
        link_name(device, "driver", f->driver);
    free(device);
}

void port_facts_find(struct port_facts *f, int fd, const char *path, const char *sysfs)
{
    char *whole = realpath(path, NULL), device[192];
    const char *name = strrchr(whole ? whole : path, '/');

    snprintf(f->path, sizeof f->path, "%s", whole ? whole : path);
    snprintf(device, sizeof device, "%s/class/tty/%s/device", sysfs, name ? name + 1 : path);
    find_driver(f, device);
    lower_latency(f, fd, device);
    f->known = true;
    port_facts_count(f, fd);
    f->base = f->counters;
    port_facts_count(f, fd);
    free(whole);
}

/* ---- counters ---- */

void port_facts_count(struct port_facts *f, int fd)
{
    struct serial_icounter_struct c;

    f->counted = !ioctl(fd, TIOCGICOUNT, &c);
    if (!f->counted)
        return;
    const struct port_counters *b = &f->base;
    f->counters = (struct port_counters){
        .rx = (uint32_t)c.rx - b->rx,
        .tx = (uint32_t)c.tx - b->tx,
        .frame = (uint32_t)c.frame - b->frame,
        .parity = (uint32_t)c.parity - b->parity,
        .overrun = (uint32_t)c.overrun - b->overrun,
        .brk = (uint32_t)c.brk - b->brk,
        .lost = (uint32_t)c.buf_overrun - b->lost,
    };
}

/* ---- told ---- */

static void add_counters(const struct port_facts *f, cJSON *to)
{
    const struct port_counters *c = &f->counters;
    cJSON *o = cJSON_AddObjectToObject(to, "counters");
    const struct {
        const char *name;
        uint32_t count;
    } rows[] = {{"rx", c->rx},           {"tx", c->tx},     {"frame", c->frame}, {"parity", c->parity},
                {"overrun", c->overrun}, {"break", c->brk}, {"lost", c->lost}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        cJSON_AddNumberToObject(o, rows[i].name, rows[i].count);
}

void port_facts_status(const struct port_facts *f, cJSON *line)
{
    if (!f->known)
        return;
    cJSON *o = cJSON_AddObjectToObject(line, "tty");
    cJSON_AddStringToObject(o, "path", f->path);
    if (f->driver[0])
        cJSON_AddStringToObject(o, "driver", f->driver);
    cJSON_AddBoolToObject(o, "parity_lost", f->parity_lost);
    cJSON_AddStringToObject(o, "rs485", f->rs485);
    if (f->rs485_lost[0])
        cJSON_AddStringToObject(o, "rs485_lost", f->rs485_lost);
    cJSON_AddBoolToObject(o, "low_latency", f->low_latency);
    if (f->latency_ms >= 0) {
        cJSON_AddNumberToObject(o, "latency_ms", f->latency_ms);
        cJSON_AddNumberToObject(o, "latency_was_ms", f->latency_was_ms);
    }
    if (f->counted)
        add_counters(f, o);
}

void port_facts_text(const struct port_facts *f, char *out, unsigned size)
{
    char latency[64] = "", rs485[32] = "";

    if (f->latency_ms >= 0)
        snprintf(latency, sizeof latency, ", keeps bytes back for %d ms at most (before: %d)", f->latency_ms,
                 f->latency_was_ms);
    if (strcmp(f->rs485, "none"))
        snprintf(rs485, sizeof rs485, ", RS-485 by %s", f->rs485);
    snprintf(out, size, "%s%s%s%s%s", f->path, f->driver[0] ? ", driver " : "", f->driver, latency, rs485);
}
