/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of upstreams, and what --check says about bridges: each mistake with what would be right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "bridge/settings.h"
#include "codec/mqtt.h"

/* ---- url ---- */

static void expect_url(const char *text, const char *host, uint16_t port, bool tls, bool loopback)
{
    char error[256];
    struct url u;

    assert_int_equal(url_parse(&u, text, error, sizeof(error)), 0);
    assert_string_equal(u.text, text);
    assert_string_equal(u.host, host);
    assert_int_equal(u.port, port);
    assert_int_equal(u.tls, tls);
    assert_int_equal(url_is_loopback(&u), loopback);
    url_free(&u);
}

static void test_urls(void **state)
{
    (void)state;
    expect_url("mqtt://localhost", "localhost", 1883, false, true);
    expect_url("mqtts://mq.example.com", "mq.example.com", 8883, true, false);
    expect_url("MQTTS://mq.example.com:443", "mq.example.com", 443, true, false);
    expect_url("mqtt://127.0.0.1:65535", "127.0.0.1", 65535, false, true);
    expect_url("mqtt://[::1]:1884", "::1", 1884, false, true);
    expect_url("mqtts://[2001:db8::7]", "2001:db8::7", 8883, true, false);
    expect_url("mqtt://[fe80::1%eth0]:1", "fe80::1%eth0", 1, false, false);
}

static void test_bad_urls(void **state)
{
    static const char *const bad[] = {
        "",
        "mq.example.com",
        "http://mq.example.com",
        "mqtt:/mq",
        "mqtt://",
        "mqtt://:1883",
        "mqtt://host:",
        "mqtt://host:0",
        "mqtt://host:65536",
        "mqtt://host:999999999999",
        "mqtt://host:18x",
        "mqtt://host:1883/",
        "mqtt://host/path",
        "mqtt://ho st",
        "mqtt://user:word@host",
        "mqtt://[::1",
        "mqtt://[]",
        "mqtt://[host]",
        "mqtt://[::1]1883",
        "mqtt://::1",
    };
    char error[256];
    struct url u;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        error[0] = 0;
        if (!url_parse(&u, bad[i], error, sizeof(error)))
            fail_msg("\"%s\" was taken", bad[i]);
        assert_true(strlen(error) > 20);
    }
}

/* ---- the configuration ---- */

static const struct conf_absent nothing_absent[] = {{0}};
static const struct conf_row *const tables[] = {bridge_rows};
static char *folder;

static char *path_of(const char *name)
{
    return mem_format("%s/%s", folder, name);
}

static void write_file(const char *name, const char *text)
{
    char *path = path_of(name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    free(path);
}

static struct conf *load(const char *bridge)
{
    char *path = path_of("sluice.conf");
    char *text = mem_format("bridges = (\n%s\n);\n", bridge);

    write_file("sluice.conf", text);
    struct conf *c = conf_load(path, tables, 1, nothing_absent);
    settings_check(c, NULL);
    free(text);
    free(path);
    return c;
}

static char *report_of(const struct conf *c)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);

    conf_report(c, f);
    fclose(f);
    return text;
}

static void expect_report(const char *bridge, size_t errors, const char *says)
{
    struct conf *c = load(bridge);
    char *text = report_of(c);

    if (conf_errors(c) != errors || !strstr(text, says))
        fail_msg("%zu mistakes, \"%s\" expected of\n%s\nbut it says %zu:\n%s", errors, says, bridge,
                 conf_errors(c), text);
    free(text);
    conf_free(c);
}

#define GOOD "name = \"cloud\"; url = \"mqtt://127.0.0.1\"; "
#define OUT  "out = ( { match = \"a/#\"; } ); "

static void test_mistakes(void **state)
{
    (void)state;
    expect_report("{ " GOOD OUT "}", 0, "");
    expect_report("{ " GOOD "}", 1, "moves nothing");
    expect_report("{ name = \"c\"; url = \"tcp://h\"; " OUT "}", 1, "mqtt://HOST:PORT");
    expect_report("{ name = \"c\"; url = (\"mqtt://h\", \"mqtts://h:0\"); " OUT "}", 1, "mqtts://HOST:PORT");
    expect_report("{ name = \"c\"; url = (); " OUT "}", 1, "url");
    expect_report("{ " GOOD OUT "}, { " GOOD OUT "}", 1, "another name");
    expect_report("{ " GOOD "out = ( { match = \"a/#/b\"; } ); }", 1, "no topic filter");
    expect_report("{ " GOOD "out = ( { match = \"a/+/b\"; strip = \"a/+/\"; } ); }", 1, "\"a/\" or less");
    expect_report("{ " GOOD "in = ( { match = \"a/b\"; strip = \"x\"; } ); }", 1, "what `match` begins with");
    expect_report("{ " GOOD "in = ( { match = \"a/b\"; add = \"x/+/\"; } ); }", 1, "no wildcards");
    expect_report("{ " GOOD "out = ( { match = \"a\"; }, { match = \"a\"; qos = 2; } ); }", 1, "twice");
    expect_report("{ " GOOD "out = ( { match = \"a\"; qos = 3; } ); }", 1, "qos");
    expect_report("{ " GOOD OUT "presence = { topic = \"a/#\"; }; }", 1, "without wildcards");
    expect_report("{ " GOOD OUT "password = \"x\"; }", 1, "add user");
    expect_report("{ " GOOD OUT "user = \"u\"; password_file = \"none.txt\"; }", 1, "none.txt");
    expect_report("{ " GOOD OUT "backoff = { min = \"2m\"; max = \"1m\"; }; }", 1, "more than `max`");
    expect_report("{ " GOOD OUT "tls = { ca = \"ca.pem\"; }; }", 1, "mqtts://");
    expect_report("{ name = \"c\"; url = \"mqtts://h\"; " OUT "tls = { ca = \"none.pem\"; }; }", 1,
                  "none.pem");
    expect_report("{ name = \"c\"; url = \"mqtts://h\"; " OUT "tls = { cert = \"c.pem\"; }; }", 1,
                  "come together");
}

static void test_a_mistake_is_found_at_its_line(void **state)
{
    (void)state;
    expect_report("{ " GOOD "\n\n out = ( { match = \"+a\"; } ); }", 1, "sluice.conf:4: ");
}

static void test_password_is_never_told(void **state)
{
    struct conf *c = load("{ " GOOD OUT "password = \"sesame\"; }");
    char *text = report_of(c);

    (void)state;
    assert_null(strstr(text, "sesame"));
    free(text);
    conf_free(c);
}

static void test_warnings(void **state)
{
    (void)state;
    expect_report("{ " GOOD "out = ( { match = \"s/#\"; } ); in = ( { match = \"s/+/set/+\"; } ); }", 0,
                  "would go in circles");
    expect_report("{ " GOOD "out = ( { match = \"a/#\"; strip = \"a/\"; add = \"up/\"; } ); "
                  "in = ( { match = \"up/x\"; } ); }",
                  0, "would go in circles");
    expect_report("{ name = \"c\"; url = \"mqtt://far\"; user = \"u\"; password = \"x\"; " OUT "}", 0,
                  "in the clear");
    struct conf *c =
        load("{ " GOOD "out = ( { match = \"a/#\"; add = \"up/\"; } ); in = ( { match = \"a/#\"; } ); }");
    char *text = report_of(c);
    assert_string_equal(text, "");
    free(text);
    conf_free(c);
}

static void test_what_is_read(void **state)
{
    char error[256];
    struct conf *c =
        load("{ name = \"cloud\"; url = (\"mqtt://a:1\", \"mqtt://b\"); version = \"5.0\";\n"
             "  user = \"u\"; password_file = \"word\"; keepalive = \"5s\"; window = 7;\n"
             "  out = ( { match = \"s/#\"; qos = 2; strip = \"s/\"; add = \"t/\"; upgrade = false; } );\n"
             "  store = { max = \"2G\"; keep = \"1d\"; full = \"refuse\"; drain_rate = 9; }; }");

    (void)state;
    write_file("word", "sesame\nsecond line\n");
    struct settings *s =
        settings_new(conf_at(conf_root(c), "bridges", 0), "p7", "sluice/p7", error, sizeof(error));
    assert_non_null(s);
    conf_free(c); /* settings outlive it */
    assert_string_equal(s->client_id, "p7-cloud");
    assert_string_equal(s->remap.presence, "sluice/p7/state");
    assert_int_equal(s->url_count, 2);
    assert_string_equal(s->urls[1].host, "b");
    assert_int_equal(s->version, MQTT_5);
    assert_int_equal(s->keepalive_s, 5);
    assert_int_equal(s->window, 7);
    assert_int_equal(s->remap.out[0].qos, 2);
    assert_string_equal(s->remap.out[0].strip, "s/");
    assert_false(s->remap.out[0].upgrade);
    assert_int_equal(s->limits.bytes, 2ull << 30);
    assert_int_equal(s->limits.keep_s, 86400);
    assert_int_equal(s->limits.full, QUEUE_REFUSE);
    assert_int_equal(s->drain_rate, 9);
    assert_int_equal(s->backoff_min_ms, 1000);
    char *password = settings_password(s, error, sizeof(error));
    assert_string_equal(password, "sesame");
    free(password);
    settings_free(s);
}

static int make_folder(void **state)
{
    char name[] = "/tmp/test_bridge_settings.XXXXXX";

    (void)state;
    if (!mkdtemp(name))
        return -1;
    folder = mem_strdup(name);
    write_file("word", "sesame\n");
    return 0;
}

static int remove_folder(void **state)
{
    static const char *const files[] = {"sluice.conf", "word"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        char *path = path_of(files[i]);
        unlink(path);
        free(path);
    }
    rmdir(folder);
    free(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_a_mistake_is_found_at_its_line),
        cmocka_unit_test(test_password_is_never_told),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_what_is_read),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
