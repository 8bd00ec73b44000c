/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "ops/health.h"

static void shortened(const char *status, const char *expected)
{
    cJSON *from = cJSON_Parse(status), *into = cJSON_CreateObject();

    assert_non_null(from);
    health_shorten(from, into);
    char *text = cJSON_PrintUnformatted(into);
    assert_string_equal(text, expected);
    free(text);
    cJSON_Delete(into);
    cJSON_Delete(from);
}

static void health_is_short(void **state)
{
    (void)state;
    shortened("{}", "{}");
    shortened("{\"ok\":true,\"gateway\":{\"version\":\"1\",\"pid\":7,\"boot\":2},\"listeners\":[{}],"
              "\"bridges\":[{\"name\":\"a\",\"url\":\"x\",\"state\":\"online\",\"backlog\":3,\"dropped\":5,"
              "\"drops\":{}}],"
              "\"devices\":[{\"name\":\"p\",\"state\":\"online\"},{\"name\":\"q\",\"state\":\"dead\"},"
              "{\"name\":\"r\",\"state\":\"online\"},{}]}",
              "{\"gateway\":{\"version\":\"1\",\"boot\":2},"
              "\"bridges\":[{\"name\":\"a\",\"state\":\"online\",\"backlog\":3,\"dropped\":5}],"
              "\"devices\":{\"online\":2,\"dead\":1}}");
    shortened("{\"gateway\":7,\"store\":\"x\",\"devices\":{\"state\":1}}", "{\"devices\":{}}");
}

static void collect(void *arg, const char *kind, cJSON *what)
{
    char *text = cJSON_PrintUnformatted(what);

    fprintf(arg, "%s %s\n", kind, text);
    free(text);
    cJSON_Delete(what);
}

static void changes(const char *before, const char *after, const char *expected)
{
    cJSON *a = cJSON_Parse(before), *b = cJSON_Parse(after);
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_true(a && b && out);
    health_compare(a, b, collect, out);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
    cJSON_Delete(a);
    cJSON_Delete(b);
}

static void a_changed_state_is_an_event(void **state)
{
    (void)state;
    changes("{\"bridges\":[{\"name\":\"a\",\"state\":\"online\",\"since\":\"1\"},"
            "{\"name\":\"b\",\"state\":\"online\",\"since\":\"1\"}]}",
            "{\"bridges\":[{\"name\":\"b\",\"state\":\"online\",\"since\":\"1\",\"backlog\":5},"
            "{\"name\":\"a\",\"state\":\"offline\",\"since\":\"2\",\"error\":\"refused\",\"sent\":7}]}",
            "bridge {\"name\":\"a\",\"state\":\"offline\",\"since\":\"2\",\"error\":\"refused\"}\n");
    changes("{\"store\":{\"state\":\"ok\"},\"lines\":[{\"name\":\"l\",\"state\":\"ok\"}]}",
            "{\"store\":{\"state\":\"failing\",\"error\":\"Input/output "
            "error\"},\"lines\":[{\"name\":\"l\",\"state\":"
            "\"absent\"}]}",
            "store {\"state\":\"failing\",\"error\":\"Input/output error\"}\n"
            "bus {\"name\":\"l\",\"state\":\"absent\"}\n");
}

/* It went and came between two looks. */
static void a_new_since_is_an_event(void **state)
{
    (void)state;
    changes("{\"bridges\":[{\"name\":\"a\",\"state\":\"online\",\"since\":\"1\"}]}",
            "{\"bridges\":[{\"name\":\"a\",\"state\":\"online\",\"since\":\"2\"}]}",
            "bridge {\"name\":\"a\",\"state\":\"online\",\"since\":\"2\"}\n");
}

static void what_came_or_went_is_none(void **state)
{
    (void)state;
    changes("{}", "{\"bridges\":[{\"name\":\"a\",\"state\":\"online\"}],\"store\":{\"state\":\"ok\"}}", "");
    changes("{\"bridges\":[{\"name\":\"a\",\"state\":\"online\"}],\"store\":{\"state\":\"ok\"}}", "{}", "");
    changes("{\"bridges\":[{\"state\":\"online\"}]}", "{\"bridges\":[{\"state\":\"offline\"}]}", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health_is_short),
        cmocka_unit_test(a_changed_state_is_an_event),
        cmocka_unit_test(a_new_since_is_an_event),
        cmocka_unit_test(what_came_or_went_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
