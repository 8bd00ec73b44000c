/* SPDX-License-Identifier: Apache-2.0 */
/* One GPIO line by the kernel's own interface (version 2, Linux 5.10): a library for it has another interface
 * in each Debian. */
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "drivers/rs485.h"

static const char *line_of(const char *spec)
{
    const char *colon = strrchr(spec, ':');

    return colon && colon > spec && colon[1] ? colon + 1 : NULL;
}

bool gpio_is_spec(const char *spec)
{
    return line_of(spec) != NULL;
}

static int open_chip(const char *spec, char *error, size_t size)
{
    char path[160];
    int len = (int)(line_of(spec) - 1 - spec);

    snprintf(path, sizeof path, "%s%.*s", spec[0] == '/' ? "" : "/dev/", len, spec);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    int err = -errno;
    snprintf(error, size, "%s: %s", path, strerror(-err));
    return err;
}

/* The number of a line by its name, which boards' device trees give. */
static int find_line(int chip, const char *name, uint32_t count, uint32_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        struct gpio_v2_line_info info = {.offset = i};
        if (ioctl(chip, GPIO_V2_GET_LINEINFO_IOCTL, &info))
            return -errno;
        if (!strncmp(info.name, name, sizeof info.name)) {
            *out = i;
            return 0;
        }
    }
    return -ENOENT;
}

static int line_number(int chip, const char *spec, uint32_t *out, char *error, size_t size)
{
    struct gpiochip_info info;
    char *end;
    const char *line = line_of(spec);

    if (ioctl(chip, GPIO_GET_CHIPINFO_IOCTL, &info)) {
        snprintf(error, size, "%s: not a GPIO chip", spec);
        return -ENOTTY;
    }
    *out = (uint32_t)strtoul(line, &end, 10);
    if (*end) {
        int err = find_line(chip, line, info.lines, out);
        if (err)
            snprintf(error, size, "%s: the chip has no line %s", spec, line);
        return err;
    }
    if (*out < info.lines)
        return 0;
    snprintf(error, size, "%s: the chip has lines from 0 to %u", spec, info.lines - 1);
    return -EINVAL;
}

static int request_line(int chip, uint32_t number, bool active_low)
{
    struct gpio_v2_line_request request = {.offsets = {number}, .num_lines = 1, .consumer = "sluice rs485"};

    request.config.flags = GPIO_V2_LINE_FLAG_OUTPUT | (active_low ? GPIO_V2_LINE_FLAG_ACTIVE_LOW : 0);
    request.config.num_attrs = 1;
    request.config.attrs[0].attr.id = GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES;
    request.config.attrs[0].attr.values = 0;
    request.config.attrs[0].mask = 1;
    return ioctl(chip, GPIO_V2_GET_LINE_IOCTL, &request) ? -errno : request.fd;
}

int gpio_open(const char *spec, bool active_low, char *error, size_t size)
{
    uint32_t number = 0;
    int chip = open_chip(spec, error, size);

    if (chip < 0)
        return chip;
    int err = line_number(chip, spec, &number, error, size);
    int fd = err ? err : request_line(chip, number, active_low);
    if (!err && fd < 0)
        snprintf(error, size, "%s: cannot be an output of ours: %s", spec,
                 fd == -EBUSY ? "somebody else has it" : strerror(-fd));
    close(chip);
    return fd;
}

int gpio_set(int fd, bool active)
{
    struct gpio_v2_line_values values = {.bits = active, .mask = 1};

    return ioctl(fd, GPIO_V2_LINE_SET_VALUES_IOCTL, &values) ? -errno : 0;
}
