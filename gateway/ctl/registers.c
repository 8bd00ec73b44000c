/* SPDX-License-Identifier: Apache-2.0 */
/* sluicectl read, write: a device's registers by hand, while the service polls. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "ctl/ask.h"
#include "ctl/command.h"
#include "ctl/status_fields.h"
#include "ctl/table.h"

enum { ORDERS_MAX = 4 /* side by side */ };

/* The answer, or NULL. Takes question over. */
static cJSON *ask_socket(const struct options *o, cJSON *question)
{
    char *path = socket_path(o);
    cJSON *answer = NULL;

    if (path)
        answer = ask(path, question);
    else
        cJSON_Delete(question);
    free(path);
    return answer;
}

static void add_text(cJSON *to, const char *member, const char *text)
{
    if (text)
        cJSON_AddStringToObject(to, member, text);
}

/* ---- read ---- */

static void registers_of(const cJSON *value, struct buf *out)
{
    const cJSON *word;

    cJSON_ArrayForEach(word, field(value, "registers"))
        buf_printf(out, "%s%s", out->len ? " " : "", cJSON_GetStringValue(word));
}

static struct table *new_table(const cJSON *answer, const char *titles[5 + ORDERS_MAX])
{
    const cJSON *first = cJSON_GetArrayItem(field(answer, "values"), 0), *order;
    size_t n = 0;

    titles[n++] = "AT";
    titles[n++] = "REGISTERS";
    if (field(first, "orders"))
        cJSON_ArrayForEach(order, field(first, "orders")) titles[n++] = order->string;
    else
        titles[n++] = "VALUE";
    titles[n++] = "";
    titles[n] = NULL;
    return table_new(titles);
}

static void add_row(struct table *t, const cJSON *answer, const cJSON *value)
{
    const cJSON *order;
    struct buf words = {0};

    registers_of(value, &words);
    table_cell(t, PAINT_NONE, field_text(value, "at"));
    table_cell(t, PAINT_FAINT, words.len ? (const char *)words.data : "");
    if (field(value, "orders"))
        cJSON_ArrayForEach(order, field(value, "orders"))
            table_cell(t, PAINT_NONE, cJSON_IsString(order) ? order->valuestring : "-");
    else
        table_cell(t, PAINT_NONE,
                   *field_text(value, "text") ? field_text(value, "text") : "no value of this type");
    table_cell(t, PAINT_NONE, field_text(answer, "measure"));
    buf_free(&words);
}

/* Eight orders of long numbers do not fit side by side: one below the other. */
static void print_orders(const cJSON *answer)
{
    static const char *const titles[] = {"AT", "REGISTERS", "ORDER", "VALUE", NULL};
    struct table *t = table_new(titles);
    const cJSON *value, *order;

    cJSON_ArrayForEach(value, field(answer, "values")) cJSON_ArrayForEach(order, field(value, "orders"))
    {
        bool first = order == field(value, "orders")->child;
        struct buf words = {0};
        registers_of(value, &words);
        table_cell(t, PAINT_NONE, first ? field_text(value, "at") : "");
        table_cell(t, PAINT_FAINT, first && words.len ? (const char *)words.data : "");
        table_cell(t, PAINT_NONE, order->string);
        table_cell(t, PAINT_NONE, cJSON_IsString(order) ? order->valuestring : "-");
        buf_free(&words);
    }
    table_print(t, stdout, want_colours());
    table_free(t);
}

static void print_values(const cJSON *answer)
{
    const char *titles[5 + ORDERS_MAX];
    const cJSON *value, *first = cJSON_GetArrayItem(field(answer, "values"), 0);

    printf("%s, unit %.0f on line %s, %s, answered after %.1f ms\n", field_text(answer, "device"),
           field_number(answer, "unit"), field_text(answer, "line"), field_text(answer, "type"),
           field_number(answer, "took_ms"));
    if (cJSON_GetArraySize(field(first, "orders")) > ORDERS_MAX) {
        print_orders(answer);
        return;
    }
    struct table *t = new_table(answer, titles);
    cJSON_ArrayForEach(value, field(answer, "values")) add_row(t, answer, value);
    table_print(t, stdout, want_colours());
    table_free(t);
}

/* One reading of many: a line each, with the time. */
static void print_brief(const cJSON *answer)
{
    const cJSON *value;
    time_t now = time(NULL);
    char at[16];

    strftime(at, sizeof at, "%H:%M:%S", localtime(&now));
    cJSON_ArrayForEach(value, field(answer, "values"))
    {
        struct buf words = {0};
        registers_of(value, &words);
        printf("%s  %s  %s  %s %s\n", at, field_text(value, "at"), words.len ? (const char *)words.data : "",
               *field_text(value, "text") ? field_text(value, "text") : "no value of this type",
               field_text(answer, "measure"));
        buf_free(&words);
    }
    fflush(stdout);
}

/* A number of 64 bits keeps its digits, which reading the answer has cost it. */
static void give_digits_back(cJSON *answer)
{
    cJSON *value;

    cJSON_ArrayForEach(value, field(answer, "values"))
    {
        const char *text = cJSON_GetStringValue(field(value, "text"));
        if (text)
            cJSON_ReplaceItemInObjectCaseSensitive(value, "value", cJSON_CreateRaw(text));
    }
}

static int read_once(const struct options *o, char **words, long count, bool brief)
{
    cJSON *question = cJSON_CreateObject();

    cJSON_AddStringToObject(question, "do", "read");
    cJSON_AddStringToObject(question, "device", words[0]);
    cJSON_AddStringToObject(question, "at", words[1]);
    add_text(question, "type", words[2]);
    add_text(question, "order", o->value[OPTION_ORDER]);
    cJSON_AddNumberToObject(question, "count", (double)count);
    cJSON_AddBoolToObject(question, "all_orders", o->value[OPTION_ALL_ORDERS] != NULL);
    cJSON *answer = ask_socket(o, question);
    int status = !answer ? NO_DAEMON : DONE;
    if (answer && o->json) {
        give_digits_back(answer);
        print_json_line(answer);
        status = cJSON_IsTrue(field(answer, "ok")) ? DONE : REFUSED;
    } else if (answer) {
        status = check_answer(answer);
        if (status == DONE && brief)
            print_brief(answer);
        else if (status == DONE)
            print_values(answer);
    }
    cJSON_Delete(answer);
    return status;
}

int do_read(const struct options *o, char **words)
{
    long count = 1, every_ms = 0;

    if (o->value[OPTION_COUNT] && number_option(o, OPTION_COUNT, 1, 2000, &count))
        return WRONG_USE;
    if (o->value[OPTION_EVERY] && duration_option(o, OPTION_EVERY, 50, 3600000, &every_ms))
        return WRONG_USE;
    if (every_ms && o->value[OPTION_ALL_ORDERS])
        return wrong_use("--every shows one order", ", --all-orders all of them");
    int status = read_once(o, words, count, every_ms);
    while (every_ms && status != NO_DAEMON && !ferror(stdout)) {
        const struct timespec pause = {every_ms / 1000, every_ms % 1000 * 1000000};
        nanosleep(&pause, NULL);
        status = read_once(o, words, count, true);
    }
    return status;
}

/* ---- write ---- */

static cJSON *ask_write(const struct options *o, char **words, bool yes)
{
    cJSON *question = cJSON_CreateObject();

    cJSON_AddStringToObject(question, "do", "write");
    cJSON_AddStringToObject(question, "device", words[0]);
    cJSON_AddStringToObject(question, "at", words[1]);
    add_text(question, "type", words[3] ? words[2] : NULL);
    cJSON_AddStringToObject(question, "value", words[3] ? words[3] : words[2]);
    add_text(question, "order", o->value[OPTION_ORDER]);
    cJSON_AddBoolToObject(question, "verify", o->value[OPTION_VERIFY] != NULL);
    cJSON_AddBoolToObject(question, "yes", yes);
    return ask_socket(o, question);
}

/* People are asked, programs say --yes. */
static bool means_it(const cJSON *answer)
{
    char line[16] = "";

    if (!cJSON_IsTrue(field(answer, "needs_yes")) || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return false;
    fprintf(stderr, "%s\nWrite there all the same? [y/N] ", field_text(answer, "error"));
    return fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y');
}

static void print_written(const cJSON *answer)
{
    printf("%s %s: written", field_text(answer, "device"), field_text(answer, "at"));
    if (isfinite(field_number(answer, "took_ms")))
        printf(", answered after %.1f ms", field_number(answer, "took_ms"));
    printf("%s\n", cJSON_IsTrue(field(answer, "verified")) ? ", and reads back so" : "");
}

int do_write(const struct options *o, char **words)
{
    cJSON *answer = ask_write(o, words, o->value[OPTION_YES]);

    if (answer && !o->json && means_it(answer)) {
        cJSON_Delete(answer);
        answer = ask_write(o, words, true);
    }
    int status = !answer ? NO_DAEMON : o->json ? print_json(answer) : check_answer(answer);
    if (status == DONE && !o->json)
        print_written(answer);
    cJSON_Delete(answer);
    return status;
}
