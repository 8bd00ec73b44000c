/* SPDX-License-Identifier: Apache-2.0 */
/* What a scan goes through, read from what people write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drivers/modbus/scan_plan.h"
#include "drivers/port.h"

static struct scan_plan plan;
static char why[256];

static bool units(const char *text)
{
    return scan_read_units(text, 1, 247, &plan, why, sizeof why);
}

static bool speeds(const char *bauds, const char *formats)
{
    return scan_read_speeds(bauds, formats, 19200, 1, &plan, why, sizeof why);
}

static void units_are_read(void **state)
{
    (void)state;
    assert_true(units("7"));
    assert_true(plan.units[7]);
    assert_int_equal(plan.unit_count, 1);
    assert_true(units("1-10,20,5-12"));
    assert_int_equal(plan.unit_count, 13);
    assert_true(plan.units[12] && plan.units[20] && !plan.units[13] && !plan.units[7 + 14]);
    assert_true(units("1-247"));
    assert_int_equal(plan.unit_count, 247);
}

static void what_is_no_list_of_units_is_refused(void **state)
{
    static const char *const bad[] = {"",   "0",   "248", "1-248", "10-1", "1,",    ",1",
                                      "1-", "-1",  "a",   "1 2",   "1;2",  "1-2-3", "99999999999999999999",
                                      "+1", "1,,2"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(units(bad[i]));
        assert_non_null(strstr(why, "1 to 247"));
    }
}

static void each_speed_goes_with_each_format(void **state)
{
    (void)state;
    assert_true(speeds(NULL, NULL));
    assert_int_equal(plan.speed_count, 1);
    assert_int_equal(plan.speeds[0].baud, 19200);
    assert_int_equal(plan.speeds[0].format, 1);
    assert_true(speeds("9600,115200", "8N1,8E1,8O1"));
    assert_int_equal(plan.speed_count, 6);
    assert_int_equal(plan.speeds[5].baud, 115200);
    assert_string_equal(serial_formats[plan.speeds[5].format].name, "8O1");
    assert_true(speeds(NULL, "8N2"));
    assert_int_equal(plan.speeds[0].baud, 19200);
}

static void what_is_no_speed_or_format_is_refused(void **state)
{
    static const char *const bauds[] = {
        "",           "0",
        "299",        "4000001",
        "9600,",      "9600;",
        "fast",       "-9600",
        "9600 19200", "300,301,302,303,304,305,306,307,308,309,310,311,312,313,314,315,316"};
    static const char *const formats[] = {"", "8N", "7E1", "8N1,", "8N1 8E1", "8N11", "8n1"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bauds); i++)
        assert_false(speeds(bauds[i], NULL));
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
        assert_false(speeds(NULL, formats[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_are_read),
        cmocka_unit_test(what_is_no_list_of_units_is_refused),
        cmocka_unit_test(each_speed_goes_with_each_format),
        cmocka_unit_test(what_is_no_speed_or_format_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
