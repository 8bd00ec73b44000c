/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/register_list.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "drivers/modbus/csv.h"

enum { NAME_MOST = 64, UNIT_MOST = 32, HELP_MOST = 200, TITLE_ROWS = 50, POINTS_MOST = 20000 };
enum { TABLE_COIL, TABLE_DISCRETE, TABLE_INPUT, TABLE_HOLDING };

static const char *const table_names[] = {"coil", "discrete", "input", "holding"};

/* What a row says, in the list's own numbers. */
struct row {
    int line, table; /* table: -1 when it does not say */
    long address;
    int bit;      /* -1: none */
    bool decimal; /* the address was no hexadecimal one */
    bool five;    /* and had five or six digits, as in 00001 */
    unsigned words;
    struct list_type type;
    const char *order;
    double scale, offset, least, most; /* least, most: NaN when not said */
    bool writable, said_scale;
    char name[NAME_MOST + 1], unit[UNIT_MOST + 1], help[HELP_MOST + 1];
};

struct reader {
    const struct list_settings *s;
    struct list_result *out;
    void (*tell)(void *arg, int line, const char *text);
    void *arg;
    struct csv csv;
    int at[COLUMNS]; /* where each column is, -1: nowhere */
    bool hex;        /* addresses are hexadecimal */
    struct row *rows;
    size_t count;
};

static void tell(struct reader *r, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void tell(struct reader *r, int line, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    char *text = mem_vformat(fmt, args);
    va_end(args);
    r->tell(r->arg, line, text);
    free(text);
}

/* ---- titles ---- */

static bool read_titles(struct reader *r)
{
    for (int i = 0; i < COLUMNS; i++)
        r->at[i] = -1;
    for (size_t i = 0; i < r->csv.count; i++) {
        bool hex;
        enum list_column c = list_column_of(r->csv.field[i], &hex);
        /* Of a decimal and a hexadecimal one the decimal counts. */
        if (c == COLUMNS || (r->at[c] >= 0 && !(c == COLUMN_ADDRESS && r->hex && !hex)))
            continue;
        r->at[c] = (int)i;
        if (c == COLUMN_ADDRESS)
            r->hex = hex;
    }
    if (r->at[COLUMN_ADDRESS] < 0 && r->at[COLUMN_OFFSET] >= 0) {
        r->at[COLUMN_ADDRESS] = r->at[COLUMN_OFFSET];
        r->at[COLUMN_OFFSET] = -1;
    }
    if (r->at[COLUMN_NAME] < 0) {
        r->at[COLUMN_NAME] = r->at[COLUMN_HELP];
        r->at[COLUMN_HELP] = -1;
    }
    return r->at[COLUMN_ADDRESS] >= 0 && r->at[COLUMN_NAME] >= 0;
}

/* The separator is the one that makes titles of a row. */
static bool find_titles(struct reader *r, struct bytes csv)
{
    static const char separators[] = {';', '\t', ','};

    for (size_t s = 0; s < sizeof separators; s++) {
        csv_open(&r->csv, csv, separators[s]);
        for (int i = 0; i < TITLE_ROWS && csv_next(&r->csv); i++)
            if (!r->csv.wrong && read_titles(r))
                return true;
    }
    tell(r, 0,
         "no row of titles with an address and a name was found in its first %d rows; titles are words such "
         "as "
         "address, name, type, scale, unit, access, function, count",
         TITLE_ROWS);
    return false;
}

static const char *cell(const struct reader *r, enum list_column c)
{
    return r->at[c] >= 0 && (size_t)r->at[c] < r->csv.count ? r->csv.field[r->at[c]] : "";
}

/* ---- a row ---- */

/* "40101", "0x65", "65h", "12.3", "100-101". What follows, or NULL. */
static const char *read_integer(const char *text, bool hex, long *out, bool *decimal)
{
    char *end;
    size_t digits = strspn(text, "0123456789abcdefABCDEF");
    bool marked = !strncasecmp(text, "0x", 2), tail = digits && tolower((unsigned char)text[digits]) == 'h';

    if (!isxdigit((unsigned char)text[0]))
        return NULL;
    *decimal = !hex && !marked && !tail;
    *out = strtol(text, &end, *decimal ? 10 : 16);
    return end == text || *out > 1000000 ? NULL : end + tail;
}

static bool read_address(struct reader *r, struct row *row)
{
    const char *text = cell(r, COLUMN_ADDRESS), *bit = cell(r, COLUMN_BIT);
    const char *rest = read_integer(text, r->hex, &row->address, &row->decimal);
    size_t digits = strspn(text, "0123456789");
    long last;
    bool same;

    row->five = digits == 5 || digits == 6;

    if (rest && (*rest == '.' || *rest == ':') && isdigit((unsigned char)rest[1])) {
        const char *number = rest + 1;
        rest = number + strspn(number, "0123456789");
        row->bit = rest - number > 2 ? 99 : atoi(number);
    } else if (rest && *rest) {
        rest += strspn(rest, " ");
        rest += *rest == '-' || *rest == '~' ? 1 : strncmp(rest, "..", 2) ? 0 : 2;
        rest += strspn(rest, " ");
        rest = read_integer(rest, !row->decimal, &last, &same);
        if (rest && last >= row->address && last - row->address < 125)
            row->words = (unsigned)(last - row->address + 1);
        else
            rest = NULL;
    }
    if (!rest || *rest) {
        tell(r, row->line, "\"%s\" is no address", text);
        return false;
    }
    if (row->bit < 0 && *bit && isdigit((unsigned char)*bit))
        row->bit = strspn(bit, "0123456789") > 2 ? 99 : atoi(bit);
    if (row->bit > 15)
        tell(r, row->line, "a register has the bits 0 to 15");
    return row->bit <= 15;
}

static bool read_count(struct reader *r, struct row *row)
{
    const char *text = cell(r, COLUMN_COUNT);
    double n;

    if (!*text)
        return true;
    if (!list_number(text, &n) || n < 1 || n > 125 || n != floor(n)) {
        tell(r, row->line, "\"%s\" is no number of registers", text);
        return false;
    }
    row->words = (unsigned)n;
    return true;
}

/* One that is not said stays as it was. */
static bool read_number(struct reader *r, const struct row *row, enum list_column c, double *out)
{
    const char *text = cell(r, c);

    if (!*text || !strcmp(text, "-") || list_number(text, out))
        return true;
    tell(r, row->line, "%s = \"%s\" is no number", list_column_name(c), text);
    return false;
}

static bool read_scale(struct reader *r, struct row *row)
{
    double divisor = 1;

    row->said_scale = *cell(r, COLUMN_SCALE) || *cell(r, COLUMN_DIVISOR);
    if (!read_number(r, row, COLUMN_SCALE, &row->scale) || !read_number(r, row, COLUMN_DIVISOR, &divisor) ||
        !read_number(r, row, COLUMN_OFFSET, &row->offset))
        return false;
    if (row->scale == 0 || divisor == 0)
        tell(r, row->line, "a scale of 0 would make every value the same");
    else
        row->scale /= divisor;
    return row->scale != 0 && divisor != 0 && isfinite(row->scale);
}

static bool read_limits(struct reader *r, struct row *row)
{
    row->least = row->most = NAN;
    /* Limits of what can only be read are of no use, and often words. */
    if (!row->writable)
        return true;
    if (!read_number(r, row, COLUMN_MIN, &row->least) || !read_number(r, row, COLUMN_MAX, &row->most))
        return false;
    if (row->least > row->most)
        tell(r, row->line, "min %g is above max %g", row->least, row->most);
    return !(row->least > row->most);
}

static bool read_table(struct reader *r, struct row *row)
{
    const char *text = cell(r, COLUMN_TABLE), *access = cell(r, COLUMN_ACCESS);
    bool readable = true;

    row->table = -1;
    if (*text && !list_table(text, &row->table)) {
        tell(r, row->line,
             "\"%s\" is no function or table; it is one of coil, discrete, input and holding, or a code",
             text);
        return false;
    }
    if (*access && !list_access(access, &readable, &row->writable))
        tell(r, row->line, "access \"%s\" is not known: the point can be read only", access);
    if (!readable)
        tell(r, row->line, "\"%s\" can only be written, and points are read", access);
    return readable;
}

static bool read_type(struct reader *r, struct row *row)
{
    const char *text = cell(r, COLUMN_TYPE), *order = cell(r, COLUMN_ORDER);

    if (!list_type(text, row->words, &row->type)) {
        if (row->words)
            tell(r, row->line, "type \"%s\" is not known, or not of %u register%s", text, row->words,
                 row->words == 1 ? "" : "s");
        else
            tell(r, row->line, "type \"%s\" is not known%s", text,
                 strpbrk(text, "sStT") ? ", or needs a count of registers" : "");
        return false;
    }
    row->order = *order ? list_order(order) : NULL;
    if (*order && strcmp(order, "-") != 0 && !row->order)
        tell(r, row->line, "order \"%s\" is not known", order);
    return !*order || !strcmp(order, "-") || row->order;
}

/* ---- texts ---- */

/* Length of the UTF-8 character at text, 0 when there is none. */
static size_t character(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

/* Whole characters up to size bytes; what is none, and quotes, are replaced. */
static void copy_text(char *out, size_t size, const char *text)
{
    size_t at = 0;

    for (size_t len; *text; text += len ? len : 1) {
        len = character(text);
        if (at + (len ? len : 1) > size)
            break;
        if (!len || *text == '\\' || (unsigned char)*text < ' ' || *text == 0x7f)
            out[at++] = '?';
        else if (*text == '"')
            out[at++] = '\'';
        else
            for (size_t i = 0; i < len; i++)
                out[at++] = text[i];
    }
    out[at] = 0;
}

/* As UCUM has it, where lists usually have something else. */
static const char *usual_unit(const char *text)
{
    static const char *const units[][2] = {{"\xc2\xb0"
                                            "C",
                                            "Cel"},
                                           {"degC", "Cel"},
                                           {"deg C", "Cel"},
                                           {"Wh", "W.h"},
                                           {"kWh", "kW.h"},
                                           {"MWh", "MW.h"},
                                           {"VA", "V.A"},
                                           {"kVA", "kV.A"},
                                           {"kVAh", "kV.A.h"},
                                           {"VAr", "var"},
                                           {"Var", "var"},
                                           {"VAR", "var"},
                                           {"kVAr", "kvar"},
                                           {"kVAR", "kvar"},
                                           {"kvarh", "kvar.h"},
                                           {"kVArh", "kvar.h"},
                                           {"kVARh", "kvar.h"},
                                           {"rpm", "1/min"},
                                           {"RPM", "1/min"},
                                           {"Volts", "V"},
                                           {"Amps", "A"},
                                           {"Watts", "W"},
                                           {"Ah", "A.h"}};

    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (!strcmp(units[i][0], text))
            return units[i][1];
    return text;
}

/* "0.1 kWh" is a scale and a unit. */
static void read_unit(struct reader *r, struct row *row)
{
    const char *text = cell(r, COLUMN_UNIT);
    size_t len = strspn(text, "0123456789.,");
    char number[16];
    double scale;

    if (!strcmp(text, "-") || !strcmp(text, "--"))
        text = "";
    if (len && len < sizeof number && text[len] && !row->said_scale) {
        memcpy(number, text, len);
        number[len] = 0;
        if (list_number(number, &scale) && scale > 0) {
            row->scale = scale;
            text += len + strspn(text + len, " *x");
        }
    }
    copy_text(row->unit, UNIT_MOST, usual_unit(text));
}

struct used_name {
    struct map_node node;
    char name[NAME_MOST + 1];
};

static bool name_is(const struct map_node *n, const void *key)
{
    return !strcmp(container_of(n, const struct used_name, node)->name, key);
}

/* Two rows of one name become x and x_2. */
static void make_unique(struct map *used, char *name)
{
    char base[NAME_MOST + 1];

    strcpy(base, name);
    for (unsigned n = 2; map_find(used, map_hash(name, strlen(name)), name_is, name); n++)
        snprintf(name, NAME_MOST + 1, "%.*s_%u", NAME_MOST - 7, base, n);
    struct used_name *u = mem_alloc(sizeof *u);
    strcpy(u->name, name);
    map_insert(used, &u->node, map_hash(name, strlen(name)));
}

static bool read_row(struct reader *r, struct row *row)
{
    *row = (struct row){.line = r->csv.line, .bit = -1, .scale = 1};
    if (r->csv.wrong) {
        tell(r, row->line, "%s", r->csv.wrong);
        return false;
    }
    list_name(row->name, NAME_MOST, cell(r, COLUMN_NAME));
    if (!row->name[0]) {
        tell(r, row->line, "it has no name with letters or digits");
        return false;
    }
    if (!read_address(r, row) || !read_count(r, row) || !read_table(r, row) || !read_type(r, row) ||
        !read_scale(r, row) || !read_limits(r, row))
        return false;
    read_unit(r, row);
    copy_text(row->help, HELP_MOST, *cell(r, COLUMN_HELP) ? cell(r, COLUMN_HELP) : cell(r, COLUMN_NAME));
    return true;
}

static void read_rows(struct reader *r)
{
    while (csv_next(&r->csv)) {
        r->out->rows++;
        if (r->count == POINTS_MOST) {
            tell(r, r->csv.line, "there are more than %d points; the rest is left out", POINTS_MOST);
            return;
        }
        if (!(r->count & (r->count - 1)))
            r->rows = mem_resize(r->rows, (r->count ? r->count * 2 : 1) * sizeof *r->rows);
        r->count += read_row(r, &r->rows[r->count]);
    }
}

/* ---- what the numbers mean ---- */

static bool looks_numbered(const struct row *row)
{
    long a = row->address;

    return row->decimal && ((a >= 30001 && a <= 49999) || (a >= 300001 && a <= 465536));
}

/* 00001 and 10001 are coils and discrete inputs, where others look so. */
static bool may_be_numbered(const struct row *row)
{
    long a = row->address;

    return looks_numbered(row) || (row->decimal && row->five &&
                                   ((a >= 1 && a <= 19999 && a != 10000) || (a >= 100001 && a <= 165536)));
}

/* All of them, or none that could be meant so. */
static bool judge_numbers(struct reader *r, enum list_numbers *out)
{
    size_t like = 0, may_be = 0;
    long example = 0;

    for (size_t i = 0; i < r->count; i++) {
        may_be += may_be_numbered(&r->rows[i]);
        if (looks_numbered(&r->rows[i]) && !like++)
            example = r->rows[i].address;
    }
    *out = r->s->numbers ? r->s->numbers : NUMBERS_PLAIN;
    if (r->s->numbers || may_be < r->count || !like)
        return true;
    tell(r, 0,
         "addresses such as %ld can be meant in two ways: say numbers=40001 if their first digit names the "
         "table "
         "and the rest counts from 1, or numbers=plain if they go over the wire as they are",
         example);
    return false;
}

/* "40101" holds the table and a number from 1. */
static bool take_number_apart(struct reader *r, struct row *row)
{
    static const int of_digit[] = {TABLE_COIL, TABLE_DISCRETE, -1, TABLE_INPUT, TABLE_HOLDING};
    long unit = row->address >= 100000 ? 100000 : 10000, digit = row->address / unit;

    if (!row->decimal || digit > 4 || of_digit[digit] < 0 || row->address % unit < 1) {
        tell(r, row->line, "%ld is no number as 40001", row->address);
        return false;
    }
    row->address %= unit;
    row->table = of_digit[digit];
    return true;
}

static int judge_base(const struct reader *r, enum list_numbers numbers)
{
    if (numbers == NUMBERS_40001)
        return 1;
    return r->s->base < 0 ? 0 : r->s->base;
}

static bool is_bits(const struct row *row)
{
    return row->table == TABLE_COIL || row->table == TABLE_DISCRETE;
}

/* A point that goes into a configuration, or why not. */
static bool settle(struct reader *r, struct row *row, enum list_numbers numbers)
{
    if (numbers == NUMBERS_40001 && !take_number_apart(r, row))
        return false;
    if (row->table < 0)
        row->table = r->s->table >= 0 ? r->s->table : TABLE_HOLDING;
    long first = row->address - r->out->base;
    if (is_bits(row))
        row->type = (struct list_type){"bool", 0};
    else if (row->bit >= 0)
        row->type = (struct list_type){"bit", 0};
    else if (!row->type.words)
        row->type = (struct list_type){"uint16", 1};
    if (is_bits(row) && row->bit >= 0)
        tell(r, row->line, "a coil or discrete input has no bits");
    else if (first < 0 || first + (row->type.words ? row->type.words : 1) > 65536)
        tell(r, row->line, "address %ld is not between %d and %d", row->address, r->out->base,
             65536 + r->out->base - (int)(row->type.words ? row->type.words : 1));
    else
        return true;
    return false;
}

/* ---- the text ---- */

static bool is_number(const struct row *row)
{
    return row->type.words && strcmp(row->type.name, "string") != 0;
}

static void put_number(struct buf *out, const char *key, double value)
{
    char text[40];

    snprintf(text, sizeof text, "%.12g", value);
    buf_printf(out, " %s = %s%s;", key, text, strpbrk(text, ".e") ? "" : ".0");
}

static void put_write(struct reader *r, struct buf *out, const struct row *row)
{
    if (!row->writable)
        return;
    if (row->table == TABLE_INPUT || row->table == TABLE_DISCRETE) {
        tell(r, row->line, "%s is said to be writable, but %s cannot be written: it is read only", row->name,
             row->table == TABLE_INPUT ? "an input register" : "a discrete input");
        return;
    }
    buf_printf(out, " write = {");
    if (is_number(row) && !isnan(row->least))
        put_number(out, "min", row->least);
    if (is_number(row) && !isnan(row->most))
        put_number(out, "max", row->most);
    buf_printf(out, " };");
}

static void put_point(struct reader *r, struct buf *out, struct row *row, struct map *used)
{
    make_unique(used, row->name);
    buf_printf(out, "{ name = \"%s\"; at = \"%s:%ld", row->name, table_names[row->table], row->address);
    if (!strcmp(row->type.name, "bit"))
        buf_printf(out, ".%d", row->bit);
    buf_printf(out, "\"; type = \"%s\";", row->type.name);
    if (!strcmp(row->type.name, "string"))
        buf_printf(out, " length = %u;", row->type.words * 2);
    if (row->order && is_number(row))
        buf_printf(out, " order = \"%s\";", row->order);
    if (is_number(row) && row->scale != 1)
        put_number(out, "scale", row->scale);
    if (is_number(row) && row->offset != 0)
        put_number(out, "offset", row->offset);
    if (row->unit[0])
        buf_printf(out, " unit = \"%s\";", row->unit);
    put_write(r, out, row);
    if (row->help[0] && r->s->with_help)
        buf_printf(out, " help = \"%s\";", row->help);
    buf_printf(out, " }");
}

static void drop_names(struct map *used)
{
    for (struct map_node *n = map_next(used, NULL), *next; n; n = next) {
        next = map_next(used, n);
        free(container_of(n, struct used_name, node));
    }
    map_free(used);
}

static void put_list(struct reader *r, enum list_numbers numbers, const char *indent)
{
    struct buf *out = &r->out->text;
    struct map used = {0};

    buf_printf(out, "%sbase = %d;\n", indent, r->out->base);
    if (r->s->order)
        buf_printf(out, "%sorder = \"%s\";\n", indent, r->s->order);
    buf_printf(out, "%sgroups = {\n%s  all = { every = \"%s\"; points = (", indent, indent,
               r->s->every ? r->s->every : "10s");
    for (size_t i = 0; i < r->count; i++) {
        if (!settle(r, &r->rows[i], numbers))
            continue;
        buf_printf(out, "%s\n%s    ", r->out->points++ ? "," : "", indent);
        put_point(r, out, &r->rows[i], &used);
    }
    buf_printf(out, " ); };\n%s};\n", indent);
    drop_names(&used);
}

void register_list_read(struct list_result *out, struct bytes csv, const struct list_settings *s,
                        const char *indent, void (*tell_it)(void *arg, int line, const char *text), void *arg)
{
    struct reader *r = mem_alloc(sizeof *r);
    enum list_numbers numbers;

    *out = (struct list_result){0};
    *r = (struct reader){.s = s, .out = out, .tell = tell_it, .arg = arg};
    out->refused = !find_titles(r, csv);
    if (!out->refused) {
        read_rows(r);
        out->refused = !judge_numbers(r, &numbers);
    }
    if (!out->refused) {
        out->base = judge_base(r, numbers);
        put_list(r, numbers, indent);
    }
    free(r->rows);
    free(r);
}
