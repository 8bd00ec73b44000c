/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/scan_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/port.h"

enum { BAUDS_MAX = 16, BAUD_LEAST = 300, BAUD_MOST = 4000000 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "7" or "1-10"; what follows it, or NULL. */
static const char *read_range(const char *text, long *first, long *last)
{
    char *end;

    if (!is_digit(text[0]))
        return NULL;
    *first = *last = strtol(text, &end, 10);
    if (*end != '-')
        return end;
    if (!is_digit(end[1]))
        return NULL;
    *last = strtol(end + 1, &end, 10);
    return end;
}

bool scan_read_units(const char *text, unsigned least, unsigned most, struct scan_plan *out, char *why,
                     size_t size)
{
    long first, last;

    out->unit_count = 0;
    memset(out->units, 0, sizeof out->units);
    for (const char *at = text; at; at = *at == ',' ? at + 1 : NULL) {
        at = read_range(at, &first, &last);
        if (!at || (*at && *at != ',') || first < (long)least || last > (long)most || first > last) {
            snprintf(why, size, "units are numbers from %u to %u, as in 1-10,20, not \"%s\"", least, most,
                     text);
            return false;
        }
        for (long u = first; u <= last; u++) {
            out->unit_count += !out->units[u];
            out->units[u] = true;
        }
    }
    return true;
}

static bool read_bauds(const char *text, uint32_t bauds[BAUDS_MAX], unsigned *count)
{
    char *end;

    *count = 0;
    for (const char *at = text; at; at = *end == ',' ? end + 1 : NULL) {
        long baud = is_digit(*at) ? strtol(at, &end, 10) : 0;
        if (baud < BAUD_LEAST || baud > BAUD_MOST || (*end && *end != ',') || *count == BAUDS_MAX)
            return false;
        bauds[(*count)++] = (uint32_t)baud;
    }
    return true;
}

static bool read_formats(const char *text, unsigned formats[BAUDS_MAX], unsigned *count)
{
    *count = 0;
    for (const char *at = text; at; at = *at == ',' ? at + 1 : NULL) {
        size_t len = strcspn(at, ",");
        unsigned i = 0;
        while (serial_formats[i].name &&
               (strlen(serial_formats[i].name) != len || memcmp(at, serial_formats[i].name, len)))
            i++;
        if (!serial_formats[i].name || *count == BAUDS_MAX)
            return false;
        formats[(*count)++] = i;
        at += len;
    }
    return true;
}

bool scan_read_speeds(const char *bauds, const char *formats, uint32_t own_baud, unsigned own_format,
                      struct scan_plan *out, char *why, size_t size)
{
    uint32_t b[BAUDS_MAX] = {own_baud};
    unsigned f[BAUDS_MAX] = {own_format}, bauds_count = 1, formats_count = 1;

    if (bauds && !read_bauds(bauds, b, &bauds_count)) {
        snprintf(why, size, "speeds are up to %d numbers from %d to %d, as in 9600,19200, not \"%s\"",
                 BAUDS_MAX, BAUD_LEAST, BAUD_MOST, bauds);
        return false;
    }
    if (formats && !read_formats(formats, f, &formats_count)) {
        snprintf(why, size, "formats are 8N1, 8E1, 8O1 and 8N2, as in 8N1,8E1, not \"%s\"", formats);
        return false;
    }
    if (bauds_count * formats_count > SCAN_SPEEDS_MAX) {
        snprintf(why, size, "more than %d speeds with formats are too many for one scan", SCAN_SPEEDS_MAX);
        return false;
    }
    out->speed_count = 0;
    for (unsigned i = 0; i < bauds_count; i++)
        for (unsigned k = 0; k < formats_count; k++)
            out->speeds[out->speed_count++] = (struct scan_speed){b[i], f[k]};
    return true;
}
