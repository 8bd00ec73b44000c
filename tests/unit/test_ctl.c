/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "base/mem.h"
#include "ctl/human.h"
#include "ctl/status_fields.h"
#include "ctl/status_view.h"
#include "ctl/table.h"

static void age(double seconds, const char *expected)
{
    assert_string_equal(human_age(seconds).s, expected);
}

static void ages(void **state)
{
    (void)state;
    age(0, "0 s");
    age(59.9, "59 s");
    age(60, "1 min");
    age(61, "1 min"); /* seconds beside minutes say nothing */
    age(3599, "59 min");
    age(3600, "1 h");
    age(7500, "2 h 5 min");
    age(36000 + 300, "10 h");
    age(86400 + 20 * 3600, "1 d 20 h");
    age(12 * 86400 + 7200, "12 d");
    age(1e9, "11574 d");
    age(-1, "-");
    age(NAN, "-");
    age(INFINITY, "-");
}

static void size(double bytes, const char *expected)
{
    assert_string_equal(human_size(bytes).s, expected);
}

static void sizes(void **state)
{
    (void)state;
    size(0, "0 B");
    size(999, "999 B");
    size(1000, "1.0 kB");
    size(1234567, "1.2 MB");
    size(99940, "99.9 kB");
    size(99960, "100 kB");
    size(999400, "999 kB");
    size(999600, "1.0 MB");
    size(2147483648.0, "2.1 GB");
    size(9e17, "900 PB");
    size(1e18, "-");
    size(-5, "-");
    size(NAN, "-");
}

static void counts(void **state)
{
    (void)state;
    assert_string_equal(human_count(0).s, "0");
    assert_string_equal(human_count(999).s, "999");
    assert_string_equal(human_count(1000).s, "1,000");
    assert_string_equal(human_count(1234567).s, "1,234,567");
    assert_string_equal(human_count(-12345).s, "-12,345");
    assert_string_equal(human_count(-123).s, "-123");
    assert_string_equal(human_count(9e17).s, "900,000,000,000,000,000");
    assert_string_equal(human_count(NAN).s, "-");
    assert_string_equal(human_share(0.623).s, "62 %");
    assert_string_equal(human_share(NAN).s, "-");
    assert_string_equal(human_share(1e300).s, "-");
}

struct page {
    FILE *out;
    char *text;
    size_t len;
};

static void page_open(struct page *p)
{
    p->out = open_memstream(&p->text, &p->len);
    assert_non_null(p->out);
}

static void page_is(struct page *p, const char *expected)
{
    fclose(p->out);
    assert_string_equal(p->text, expected);
    free(p->text);
}

static const char *const titles[] = {"NAME", ">COUNT", "EMPTY", "WHY", NULL};

static void columns_line_up(void **state)
{
    struct table *t = table_new(titles);
    struct page p;

    (void)state;
    const char *const cells[] = {"a", "1", "", "", "b\xc3\xb6iler", "12,345", "", "late"};
    for (size_t i = 0; i < ARRAY_SIZE(cells); i++)
        table_cell(t, PAINT_BAD, cells[i]);
    assert_int_equal(table_rows(t), 2);
    page_open(&p);
    table_print(t, p.out, false);
    page_is(&p, "  NAME     COUNT  WHY\n"
                "  a            1\n"
                "  b\xc3\xb6iler  12,345  late\n");
    table_free(t);
}

static void terminals_are_not_steered(void **state)
{
    struct page p;

    (void)state;
    page_open(&p);
    paint_text(p.out, false, PAINT_BAD,
               "a\033[2J\n\x7f\xc2\x9b"
               "1m");
    page_is(&p, "a?[2J????1m");
}

static void colours_only_when_asked_for(void **state)
{
    struct page p;

    (void)state;
    page_open(&p);
    paint_text(p.out, true, PAINT_GOOD, "ok");
    paint_text(p.out, true, PAINT_NONE, "ok");
    paint_text(p.out, false, PAINT_GOOD, "ok");
    page_is(&p, "\033[32mok\033[0mokok");
}

static void collect(void *arg, enum paint paint, const char *what, const char *text)
{
    fprintf(arg, "%d %s: %s\n", paint, what, text);
}

static void problems(const char *json, const char *expected)
{
    cJSON *status = cJSON_Parse(json);
    struct page p;

    assert_non_null(status);
    page_open(&p);
    status_problems(status, collect, p.out);
    page_is(&p, expected);
    cJSON_Delete(status);
}

static void the_worst_comes_first(void **state)
{
    (void)state;
    problems("{\"gateway\":{\"time\":\"2026-11-22T08:12:00.000Z\",\"clock_set\":false},"
             "\"bridges\":[{\"name\":\"hq\",\"state\":\"connecting\",\"backlog\":1},"
             "{\"name\":\"cloud\",\"state\":\"offline\",\"since\":\"2026-11-22T06:12:00.000Z\","
             "\"error\":\"refused\",\"backlog\":1200}],"
             "\"devices\":[{\"name\":\"pump\",\"line\":\"a\",\"state\":\"dead\",\"since\":1795335060},"
             "{\"name\":\"good\",\"state\":\"online\"}],"
             "\"lines\":[{\"name\":\"a\",\"state\":\"ok\",\"load\":0.99}],"
             "\"store\":{\"state\":\"failing\",\"failing_s\":12,\"error\":\"No space left on "
             "device\",\"commits\":7,\"free_bytes\":1000000}}",
             "3 store: failing for 12 s: No space left on device\n"
             "3 bridge cloud: offline for 2 h: refused; 1,200 messages wait\n"
             "3 device pump: dead for 1 min on a\n"
             "2 store: only 1.0 MB are free on its file system\n"
             "2 bridge hq: connecting; 1 message waits\n"
             "2 line a: 99 % busy: polls come later than asked for\n"
             "2 clock: not set: readings wait for their time, nothing expires\n");
}

static void a_line_speaks_for_its_devices(void **state)
{
    (void)state;
    problems("{\"lines\":[{\"name\":\"a\",\"state\":\"down\",\"error\":\"no such "
             "port\"},{\"name\":\"b\",\"state\":\"open\"}],"
             "\"devices\":[{\"name\":\"p\",\"line\":\"a\",\"state\":\"dead\"},{\"name\":\"q\",\"line\":\"a\","
             "\"state\":\"dead\"},"
             "{\"name\":\"r\",\"line\":\"b\",\"state\":\"dead\",\"reason\":\"timeout\"}]}",
             "3 line a: down: no such port; 2 devices are on it\n"
             "3 device r: dead on b: timeout\n");
}

static void nothing_is_wrong(void **state)
{
    (void)state;
    problems("{}", "");
    problems("{\"gateway\":{\"clock_set\":true},\"store\":{\"state\":\"ok\",\"free_bytes\":1e10}}", "");
}

/* A daemon of another release: members of the wrong kind, none at all, unknown ones. */
static void any_answer_can_be_shown(void **state)
{
    static const char *const answers[] = {
        "{}",
        "[]",
        "{\"gateway\":[],\"store\":7,\"broker\":\"x\",\"lines\":{},\"devices\":3,\"bridges\":\"none\"}",
        "{\"gateway\":{},\"store\":{},\"broker\":{},\"lines\":[],\"devices\":[],\"bridges\":[],\"listeners\":"
        "[]}",
        "{\"gateway\":{\"time\":7,\"uptime_s\":-1,\"boot\":1e300,\"site\":3},\"lines\":[1,null,{\"load\":"
        "\"x\"}],"
        "\"devices\":[{\"since\":\"yesterday\",\"groups\":{\"n\":{}},\"unit\":\"x\"}],\"bridges\":[{\"url\":["
        "]}]}",
        "{\"unheard\":{\"of\":[]},\"devices\":[{\"groups\":[{\"n\":1e300},7]}]}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        cJSON *status = cJSON_Parse(answers[i]);
        struct page p;
        assert_non_null(status);
        page_open(&p);
        assert_true(status_view(status, NULL, p.out, true));
        assert_true(status_view(status, "devices", p.out, false));
        assert_false(status_view(status, "motors", p.out, false));
        fclose(p.out);
        assert_null(strstr(p.text, "nan"));
        free(p.text);
        cJSON_Delete(status);
    }
}

static void a_long_list_shows_what_is_not_well(void **state)
{
    cJSON *status = cJSON_CreateObject(), *devices = cJSON_AddArrayToObject(status, "devices");
    struct page p;

    (void)state;
    for (int i = 0; i < 100; i++) {
        cJSON *d = cJSON_CreateObject();
        char *name = mem_format("d%d", i);
        cJSON_AddStringToObject(d, "name", name);
        cJSON_AddStringToObject(d, "state", i == 71 ? "dead" : "online");
        cJSON_AddItemToArray(devices, d);
        free(name);
    }
    page_open(&p);
    status_view(status, NULL, p.out, false);
    fclose(p.out);
    assert_non_null(strstr(p.text, "  d71   dead\n  and 99 more"));
    assert_null(strstr(p.text, "d70"));
    free(p.text);
    page_open(&p);
    status_view(status, "devices", p.out, false);
    fclose(p.out);
    assert_non_null(strstr(p.text, "d70"));
    free(p.text);
    cJSON_Delete(status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ages),
        cmocka_unit_test(sizes),
        cmocka_unit_test(counts),
        cmocka_unit_test(columns_line_up),
        cmocka_unit_test(terminals_are_not_steered),
        cmocka_unit_test(colours_only_when_asked_for),
        cmocka_unit_test(the_worst_comes_first),
        cmocka_unit_test(a_line_speaks_for_its_devices),
        cmocka_unit_test(nothing_is_wrong),
        cmocka_unit_test(any_answer_can_be_shown),
        cmocka_unit_test(a_long_list_shows_what_is_not_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
