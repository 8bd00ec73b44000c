/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/csv.h"

#include <ctype.h>
#include <string.h>

#include "codec/mqtt.h"

/* ---- what letters there are ---- */

/* U+0080 to U+009F of Windows-1252; what it does not know stays as it is. */
static const unsigned short windows[0x20] = {
    0x20ac, 0x81,   0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8d,   0x017d, 0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d,   0x017e, 0x0178,
};

void csv_to_utf8(struct bytes text, struct buf *out)
{
    if (mqtt_utf8_ok(text)) {
        buf_append(out, text.data, text.len);
        return;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned at = text.data[i];
        if (at >= 0x80 && at < 0xa0)
            at = windows[at - 0x80];
        const uint8_t one[] = {(uint8_t)at},
                      two[] = {(uint8_t)(0xc0 | at >> 6), (uint8_t)(0x80 | (at & 0x3f))},
                      three[] = {(uint8_t)(0xe0 | at >> 12), (uint8_t)(0x80 | (at >> 6 & 0x3f)),
                                 (uint8_t)(0x80 | (at & 0x3f))};
        if (at < 0x80)
            buf_append(out, one, sizeof one);
        else if (at < 0x800)
            buf_append(out, two, sizeof two);
        else
            buf_append(out, three, sizeof three);
    }
}

/* ---- rows ---- */

static struct bytes without_mark(struct bytes text)
{
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};

    if (text.len >= sizeof mark && !memcmp(text.data, mark, sizeof mark))
        return (struct bytes){text.data + sizeof mark, text.len - sizeof mark};
    return text;
}

void csv_open(struct csv *c, struct bytes text, char separator)
{
    text = without_mark(text);
    *c = (struct csv){.separator = separator, .next_line = 1};
    c->rest = cursor_of(text.data, text.len);
}

static bool at_end(const struct csv *c)
{
    return !cursor_left(&c->rest);
}

static char peek(const struct csv *c)
{
    return at_end(c) ? 0 : (char)*c->rest.at;
}

static char take(struct csv *c)
{
    char at = (char)cursor_u8(&c->rest);

    c->next_line += at == '\n' || (at == '\r' && peek(c) != '\n');
    return at;
}

static void put(struct csv *c, size_t *len, char at)
{
    if (c->count >= CSV_FIELDS_MAX) {
        c->wrong = "it has too many fields";
        return;
    }
    if (*len + 1 >= CSV_FIELD_ROOM) {
        c->wrong = "a field is too long";
        return;
    }
    c->field[c->count][(*len)++] = (unsigned char)at < ' ' ? ' ' : at;
}

/* Between quotes; two of them stand for one. */
static void take_quoted(struct csv *c, size_t *len)
{
    take(c);
    while (!at_end(c)) {
        char at = take(c);
        if (at == '"' && peek(c) != '"')
            return;
        if (at == '"')
            take(c);
        put(c, len, at);
    }
    c->wrong = "a quote is not closed";
}

/* No-break spaces, which spreadsheets like, are blanks too. */
static size_t blank_at(const char *text)
{
    return *text == ' ' ? 1 : !strncmp(text, "\xc2\xa0", 2) ? 2 : 0;
}

static void trim(char *text)
{
    char *from = text;

    for (size_t len; (len = blank_at(from)) > 0;)
        from += len;
    memmove(text, from, strlen(from) + 1);
    for (size_t len = strlen(text); len;) {
        size_t blank = text[len - 1] == ' ' ? 1 : len > 1 ? blank_at(text + len - 2) : 0;
        if (!blank || (blank == 1 && text[len - 1] != ' '))
            break;
        text[len -= blank] = 0;
    }
}

static void take_field(struct csv *c)
{
    size_t len = 0;

    while (peek(c) == ' ')
        take(c);
    if (peek(c) == '"')
        take_quoted(c, &len);
    while (!at_end(c) && peek(c) != c->separator && peek(c) != '\n' && peek(c) != '\r')
        put(c, &len, take(c));
    if (c->count >= CSV_FIELDS_MAX)
        return;
    c->field[c->count][len] = 0;
    trim(c->field[c->count++]);
}

static bool is_empty(const struct csv *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->field[i][0])
            return false;
    return !c->wrong;
}

static void take_row(struct csv *c)
{
    c->line = c->next_line;
    c->wrong = NULL;
    c->count = 0;
    take_field(c);
    while (!at_end(c) && peek(c) == c->separator) {
        take(c);
        take_field(c);
    }
    if (take(c) == '\r' && peek(c) == '\n')
        take(c);
}

bool csv_next(struct csv *c)
{
    do {
        if (at_end(c))
            return false;
        take_row(c);
    } while (is_empty(c));
    return true;
}
