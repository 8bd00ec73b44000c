/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/watch.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "ctl/human.h"
#include "ctl/status_fields.h"

static enum paint paint_of(const char *kind)
{
    static const struct {
        const char *kind;
        enum paint paint;
    } kinds[] = {{"request", PAINT_FAINT}, {"echo", PAINT_FAINT},   {"late", PAINT_WARN},
                 {"timeout", PAINT_WARN},  {"foreign", PAINT_WARN}, {"broken", PAINT_BAD},
                 {"noise", PAINT_BAD}};

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (!strcmp(kinds[i].kind, kind))
            return kinds[i].paint;
    return PAINT_NONE;
}

void watch_titles(const struct watch *w, FILE *out)
{
    paint_text(out, w->colours, PAINT_TITLE, "     TIME s    GAP µs  KIND     UNIT             WHAT");
    fputc('\n', out);
}

static void print_gap(const struct watch *w, double at_us, FILE *out)
{
    if (!w->begun)
        fprintf(out, "         -");
    else
        fprintf(out, " %9s", human_count(at_us > w->last_us ? at_us - w->last_us : 0).s);
}

static void print_unit(const cJSON *frame, FILE *out)
{
    char text[64] = "";

    if (isfinite(field_number(frame, "unit")))
        snprintf(text, sizeof text, "%.0f %s", field_number(frame, "unit"), field_text(frame, "device"));
    fprintf(out, "  %-16.16s ", text);
}

static void print_hex(const cJSON *frame, FILE *out)
{
    const char *hex = field_text(frame, "hex");

    fprintf(out, "\n%32s", "");
    for (size_t i = 0; hex[i] && hex[i + 1]; i += 2)
        fprintf(out, "%s %c%c", i && i % 48 == 0 ? "\n                                " : "", hex[i],
                hex[i + 1]);
}

void watch_show(struct watch *w, const cJSON *frame, FILE *out)
{
    double at = field_number(frame, "at_us"), lost = field_number(frame, "lost");
    const char *kind = field_text(frame, "way");
    const char *named = field_text(frame, "kind");

    if (lost > 0) {
        fprintf(out, "           ... %s frames were seen that could not be shown in time\n",
                human_count(lost).s);
        w->begun = false;
    }
    if (w->first_us <= 0)
        w->first_us = at;
    fprintf(out, "%11.6f", (at - w->first_us) / 1e6);
    print_gap(w, at, out);
    fprintf(out, "  ");
    paint_text(out, w->colours, paint_of(named), named);
    fprintf(out, "%*s", (int)(7 - strlen(named) > 7 ? 0 : 7 - strlen(named)), "");
    print_unit(frame, out);
    if (!strcmp(named, "foreign") && *kind)
        fprintf(out, "%s: ", kind);
    paint_text(out, w->colours, cJSON_IsNumber(field(frame, "exception")) ? PAINT_WARN : PAINT_NONE,
               field_text(frame, "text"));
    if (!strcmp(field_text(frame, "crc"), "bad"))
        paint_text(out, w->colours, PAINT_BAD, ", CRC bad");
    if (isfinite(field_number(frame, "waited_us")))
        fprintf(out, " in %.0f ms", field_number(frame, "waited_us") / 1000);
    if ((w->hex && field(frame, "hex")) || !strcmp(named, "noise") || !strcmp(named, "broken"))
        print_hex(frame, out);
    fputc('\n', out);
    w->begun = true;
    w->last_us = field_number(frame, "end_us");
}

static unsigned digit_of(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
}

size_t watch_bytes(const cJSON *frame, unsigned char *out, size_t size)
{
    const char *hex = field_text(frame, "hex");
    size_t n = 0;

    for (; n < size && hex[2 * n] && hex[2 * n + 1]; n++)
        out[n] = (unsigned char)((digit_of(hex[2 * n]) & 15) << 4 | (digit_of(hex[2 * n + 1]) & 15));
    return n;
}
