/* SPDX-License-Identifier: Apache-2.0 */
/* What the doctor makes of a line's numbers, also of those that no pseudo terminal shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "ctl/doctor_rules.h"

#define WELL                                                                                                 \
    "\"state\":\"open\",\"protocol\":\"modbus-rtu\",\"requests\":100,\"ok\":100,\"load\":0.2,\"predicted_"   \
    "load\":0.2"
#define DEAF  "\"state\":\"open\",\"protocol\":\"modbus-rtu\",\"requests\":100,\"timeouts\":100"
#define BEGAN "\"state\":\"open\",\"requests\":0,\"ok\":0"

static void add(void *arg, enum doctor_level level, const char *what, const char *advice)
{
    static const char *const marks[] = {"note", "warn", "bad"};

    assert_true(strlen(advice) > 20);
    buf_printf(arg, "%s: %s; ", marks[level], what);
}

static cJSON *status_of(const char *line, const char *devices)
{
    char text[4096];

    snprintf(text, sizeof text, "{\"lines\":[{\"name\":\"other\"},{\"name\":\"a\",%s}],\"devices\":[%s]}",
             line, devices);
    cJSON *status = cJSON_Parse(text);
    assert_non_null(status);
    return status;
}

/* The findings as text, one after the other. */
static const char *findings(const char *line, const char *devices, const struct doctor_heard *heard,
                            int worst)
{
    static const struct doctor_heard nothing;
    static struct buf out;
    cJSON *before = status_of(BEGAN, ""), *after = status_of(line, devices);

    buf_free(&out);
    out = (struct buf){0};
    struct doctor_case c = {before, after, "a", 10, heard ? heard : &nothing, add, &out};
    assert_int_equal(doctor_judge(&c), worst);
    cJSON_Delete(before);
    cJSON_Delete(after);
    return out.len ? (const char *)out.data : "";
}

static void a_line_that_is_well_has_no_findings(void **state)
{
    (void)state;
    assert_string_equal(findings(WELL, "", NULL, -1), "");
    assert_string_equal(
        findings(WELL ",\"tty\":{\"latency_ms\":1,\"counters\":{\"rx\":900,\"frame\":0}}",
                 "{\"name\":\"d\",\"line\":\"a\",\"state\":\"online\",\"requests\":9,\"turnaround_ms\":4}",
                 NULL, -1),
        "");
}

static void silence_is_told_apart(void **state)
{
    static const struct {
        const char *more, *says;
    } cases[] = {
        {"", "bad: nobody answers; "},
        {",\"tty\":{\"counters\":{\"rx\":0}}", "not a single byte has come"},
        {",\"tty\":{\"counters\":{\"rx\":90,\"frame\":40,\"break\":30}}",
         "breaks (30) and framing errors (40)"},
        {",\"tty\":{\"counters\":{\"rx\":90,\"frame\":40,\"break\":1}}",
         "nobody is understood; the receiver sees framing errors (40)"},
        {",\"tty\":{\"counters\":{\"rx\":90,\"frame\":1,\"parity\":40}}", "parity errors (40)"},
        {",\"echoes\":100", "only our own bytes come back"},
        {",\"stray\":300", "bytes come, but never an answer"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char line[512];
        snprintf(line, sizeof line, DEAF "%s", cases[i].more);
        const char *said =
            findings(line, "{\"name\":\"d\",\"line\":\"a\",\"state\":\"dead\",\"reason\":\"timeout\"}", NULL,
                     DOCTOR_BAD);
        assert_non_null(strstr(said, cases[i].says));
        assert_null(strstr(said, "device d")); /* the line is to blame */
    }
    assert_non_null(strstr(
        findings("\"state\":\"open\",\"protocol\":\"modbus-tcp\",\"requests\":9", "", NULL, DOCTOR_BAD),
        "the connection is open, but no unit answers"));
    assert_non_null(
        strstr(findings("\"state\":\"open\",\"requests\":0", "", NULL, DOCTOR_NOTE), "nothing was asked"));
}

static void what_is_wrong_with_a_line_that_answers_is_told(void **state)
{
    static const struct {
        const char *more, *says;
        int worst;
    } cases[] = {
        {",\"tty\":{\"counters\":{\"frame\":3,\"parity\":2}}",
         "warn: the receiver sees framing errors (3), parity errors (2)", DOCTOR_WARN},
        {",\"tty\":{\"counters\":{\"overrun\":3,\"lost\":1}}", "warn: the port has lost bytes (4)",
         DOCTOR_WARN},
        {",\"stray\":7", "warn: stray bytes between the frames (7 in 10 s)", DOCTOR_WARN},
        {",\"crc\":2", "warn: damaged answers (2 of 100)", DOCTOR_WARN},
        {",\"crc\":20", "bad: damaged answers (20 of 100)", DOCTOR_BAD},
        {",\"echoes\":100", "note: the adapter hears itself", DOCTOR_NOTE},
        {",\"late\":2,\"late_ms_most\":340.5",
         "warn: answers come after their time (2; the latest after 340 ms)", DOCTOR_WARN},
        {",\"overruns\":5", "warn: polls fell out for want of time (5)", DOCTOR_WARN},
        {",\"tty\":{\"latency_ms\":16}", "warn: the USB adapter keeps bytes back for 16 ms", DOCTOR_WARN},
        {",\"tty\":{\"rs485_lost\":\"rts_on_send\"}",
         "bad: the driver does not keep the RS-485 mode: rts_on_send", DOCTOR_BAD},
        {",\"visit\":{\"tool\":\"sniff\",\"user\":\"root\"}",
         "warn: somebody has the line to himself: sniff by root", DOCTOR_WARN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char line[512];
        snprintf(line, sizeof line, WELL "%s", cases[i].more);
        assert_non_null(strstr(findings(line, "", NULL, cases[i].worst), cases[i].says));
    }
    assert_non_null(
        strstr(findings("\"state\":\"open\",\"requests\":9,\"ok\":9,\"load\":0.97", "", NULL, DOCTOR_BAD),
               "bad: the line has no time left (97 %)"));
    assert_non_null(
        strstr(findings("\"state\":\"open\",\"requests\":9,\"ok\":9,\"load\":0.6,\"predicted_load\":0.3", "",
                        NULL, DOCTOR_WARN),
               "busier (60 %) than planned (30 %)"));
    assert_string_equal(findings("\"state\":\"down\",\"error\":\"no such file\"", "", NULL, DOCTOR_BAD),
                        "bad: the line is down: no such file; ");
}

static void devices_are_told_apart(void **state)
{
    const char *devices =
        "{\"name\":\"b\",\"line\":\"a\",\"unit\":2,\"state\":\"online\",\"requests\":50,\"timeouts\":5,"
        "\"turnaround_ms\":4},"
        "{\"name\":\"c\",\"line\":\"a\",\"unit\":3,\"state\":\"online\",\"requests\":50,\"exceptions\":50,"
        "\"turnaround_ms\":6},"
        "{\"name\":\"slow\",\"line\":\"a\",\"unit\":4,\"state\":\"online\",\"requests\":50,\"turnaround_ms\":"
        "310},"
        "{\"name\":\"gone\",\"line\":\"a\",\"unit\":5,\"state\":\"dead\",\"reason\":\"timeout\"},"
        "{\"name\":\"elsewhere\",\"line\":\"x\",\"unit\":5,\"state\":\"dead\",\"reason\":\"timeout\"}";
    const char *said = findings(WELL, devices, NULL, DOCTOR_BAD);

    (void)state;
    assert_non_null(strstr(said, "warn: device b left requests without an answer (5 of 50)"));
    assert_non_null(strstr(said, "warn: device c refuses requests (50 of 50)"));
    assert_non_null(strstr(said, "warn: device slow takes 310 ms to begin its answer; the others take 6"));
    assert_non_null(strstr(said, "bad: device gone (unit 5) is dead: timeout"));
    assert_null(strstr(said, "elsewhere"));
}

static void others_on_the_wire_are_told(void **state)
{
    static const char *const frames[] = {"{\"kind\":\"foreign\",\"way\":\"answer\",\"unit\":7}",
                                         "{\"kind\":\"foreign\",\"way\":\"answer\",\"unit\":7}",
                                         "{\"kind\":\"reply\",\"unit\":3}",
                                         "{\"kind\":\"noise\",\"hex\":\"0102\"}",
                                         "{\"kind\":\"foreign\",\"unit\":300}",
                                         "{}"};
    struct doctor_heard heard = {.noises = 0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
        cJSON *frame = cJSON_Parse(frames[i]);
        doctor_hear(&heard, frame);
        cJSON_Delete(frame);
    }
    assert_int_equal(heard.noise_bytes, 2);
    assert_string_equal(findings(WELL, "", &heard, DOCTOR_BAD),
                        "bad: unit 7 answers when it has not been asked (2 times); ");
    heard.foreign_requests = 4;
    assert_string_equal(findings(WELL, "", &heard, DOCTOR_BAD),
                        "bad: another master speaks on this line (4 requests); ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_that_is_well_has_no_findings),
        cmocka_unit_test(silence_is_told_apart),
        cmocka_unit_test(what_is_wrong_with_a_line_that_answers_is_told),
        cmocka_unit_test(devices_are_told_apart),
        cmocka_unit_test(others_on_the_wire_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
