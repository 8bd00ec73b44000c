/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl import: a maker's register list, as a file of comma-separated values, becomes a profile or a
 * device. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "ctl/command.h"
#include "drivers/modbus/csv.h"
#include "drivers/modbus/register_list.h"

enum { FILE_MOST = 16 << 20 };

struct request {
    const char *file, *name, *line, *unit; /* line: a device on it; NULL: a profile */
    struct list_settings settings;
    char folded[65]; /* room for a name made of the file's */
};

/* ---- words ---- */

static bool take_base(struct request *q, const char *value)
{
    q->settings.base = value[0] - '0';
    return !strcmp(value, "0") || !strcmp(value, "1");
}

static bool take_table(struct request *q, const char *value)
{
    q->settings.table = register_list_table(value);
    return q->settings.table >= 0;
}

static bool take_numbers(struct request *q, const char *value)
{
    q->settings.numbers = !strcmp(value, "plain")   ? NUMBERS_PLAIN
                          : !strcmp(value, "40001") ? NUMBERS_40001
                                                    : 0;
    return q->settings.numbers != NUMBERS_UNSAID;
}

static bool take_order(struct request *q, const char *value)
{
    q->settings.order = list_order(value);
    return q->settings.order;
}

static bool take_every(struct request *q, const char *value)
{
    size_t digits = strspn(value, "0123456789");
    const char *unit = value + digits;

    q->settings.every = value;
    return digits && digits < 8 &&
           (!strcmp(unit, "ms") || !strcmp(unit, "s") || !strcmp(unit, "m") || !strcmp(unit, "h"));
}

static bool is_name(const char *text)
{
    size_t len = strlen(text);

    return len && len <= 64 &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == len;
}

static bool take_name(struct request *q, const char *value)
{
    q->name = value;
    return is_name(value);
}

static bool take_line(struct request *q, const char *value)
{
    q->line = value;
    return is_name(value);
}

static bool take_unit(struct request *q, const char *value)
{
    q->unit = value;
    return strspn(value, "0123456789") == strlen(value) && atoi(value) >= 1 && atoi(value) <= 247;
}

static const struct {
    const char *key, *takes;
    bool (*take)(struct request *q, const char *value);
} words_known[] = {
    {"base", "0 or 1", take_base},
    {"table", "coil, discrete, input or holding", take_table},
    {"numbers", "40001 or plain", take_numbers},
    {"order", "ABCD, CDAB, BADC or DCBA", take_order},
    {"every", "a duration, as in 10s", take_every},
    {"name", "a name of letters, digits and _ . -", take_name},
    {"line", "the name of a line", take_line},
    {"unit", "1 to 247", take_unit},
};

static int take_word(struct request *q, const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(words_known); i++) {
        size_t len = strlen(words_known[i].key);
        if (strncmp(word, words_known[i].key, len) != 0 || word[len] != '=')
            continue;
        if (words_known[i].take(q, word + len + 1))
            return DONE;
        fprintf(stderr, "sluicectl: %s= takes %s\n", words_known[i].key, words_known[i].takes);
        return WRONG_USE;
    }
    return wrong_use("import does not know ", word);
}

/* "SDM 630 (v2).csv" is sdm-630-v2. */
static void fold_name(struct request *q)
{
    const char *slash = strrchr(q->file, '/'), *from = slash ? slash + 1 : q->file, *dot = strrchr(from, '.');
    size_t len = 0;

    for (const char *p = from; *p && p != dot && len < 64; p++)
        if (isalnum((unsigned char)*p))
            q->folded[len++] = (char)tolower((unsigned char)*p);
        else if (len && q->folded[len - 1] != '-')
            q->folded[len++] = '-';
    while (len && q->folded[len - 1] == '-')
        len--;
    q->folded[len] = 0;
    q->name = len ? q->folded : "imported";
}

/* ---- the file ---- */

static bool read_file(const char *path, struct buf *out)
{
    struct stat st;
    FILE *f = fopen(path, "re");
    const char *why = !f || fstat(fileno(f), &st) ? strerror(errno) : NULL;

    if (!why && !S_ISREG(st.st_mode))
        why = "not a file";
    if (!why && st.st_size > FILE_MOST)
        why = "larger than 16 MB";
    if (!why) {
        uint8_t *data = buf_extend(out, (size_t)st.st_size + 1);
        out->len = fread(data, 1, (size_t)st.st_size, f);
    } else {
        fprintf(stderr, "sluicectl: %s: %s\n", path, why);
    }
    if (f)
        fclose(f);
    return !why;
}

static void tell(void *arg, int line, const char *text)
{
    const struct request *q = arg;

    if (line)
        fprintf(stderr, "%s:%d: %s\n", q->file, line, text);
    else
        fprintf(stderr, "%s: %s\n", q->file, text);
}

/* ---- what comes out ---- */

static void put_head(const struct request *q, const struct list_result *r)
{
    printf("# Made of a register list: %zu points of %zu rows. Addresses %s.\n", r->points, r->rows,
           r->base ? "count from 1"
                   : "are those that go over the wire (a list that counts from 1 is imported with base=1)");
    if (q->line)
        printf("devices = (\n  { name = \"%s\"; line = \"%s\"; unit = %s;\n", q->name, q->line,
               q->unit ? q->unit : "1");
    else
        printf("version = 1;\ntitle = \"%s\";\nmaker = \"unknown\";\ndocument = \"%s.csv\";\n", q->name,
               q->name);
}

static int put_all(const struct request *q, const struct list_result *r)
{
    if (r->refused || !r->points) {
        if (!r->refused)
            fprintf(stderr, "%s: no row could be used\n", q->file);
        return REFUSED;
    }
    put_head(q, r);
    fwrite(r->text.data, 1, r->text.len, stdout);
    if (q->line)
        printf("  }\n);\n");
    fprintf(stderr, "%zu points of %zu rows\n", r->points, r->rows);
    return ferror(stdout) || fflush(stdout) ? REFUSED : DONE;
}

static int do_import(const struct options *o, char **words)
{
    struct request q = {.file = words[0], .settings = {.base = -1, .table = -1}};
    struct list_result r;
    struct buf file = {0}, text = {0};
    int status = DONE;

    (void)o;
    fold_name(&q);
    for (char **w = words + 1; *w && status == DONE; w++)
        status = take_word(&q, *w);
    if (status == DONE && q.unit && !q.line)
        status = wrong_use("unit= goes with line=", "");
    if (status == DONE && !read_file(q.file, &file))
        status = REFUSED;
    if (status == DONE) {
        q.settings.with_help = !q.line;
        csv_to_utf8((struct bytes){file.data, file.len}, &text);
        register_list_read(&r, (struct bytes){text.data, text.len}, &q.settings, q.line ? "    " : "", tell,
                           &q);
        status = put_all(&q, &r);
        buf_free(&r.text);
    }
    buf_free(&text);
    buf_free(&file);
    return status;
}

extern const struct ctl_command command_import;
const struct ctl_command command_import = {
    "import", do_import, 1, 10,
    "  sluicectl import FILE.csv [base=0|1] [numbers=40001|plain] [table=holding|input|coil|discrete]\n"
    "                   [order=ABCD|CDAB|BADC|DCBA] [every=10s] [name=NAME] [line=LINE [unit=N]]\n"
    "                               a profile (with line=, a device) of a maker's register list, on standard "
    "output;\n"
    "                               rows that it cannot use are told\n"};
