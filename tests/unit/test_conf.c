/* SPDX-License-Identifier: Apache-2.0 */
/* Every mistake is reported once, with its place and the exact words; what is right has its row's value. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/conf.h"
#include "base/mem.h"

static const char *const policies[] = {"drop-oldest", "drop-newest", "refuse", NULL};
static const char *const protocols[] = {"modbus-rtu", "mqtt-sn", "can", NULL};

static const struct conf_row rtu_rows[] = {
    {.name = "baud", .type = CONF_INT, .def = "19200", .min = 300, .max = 921600, .help = "bits a second"},
    {0},
};
static const struct conf_row sn_rows[] = {
    {.name = "prefix", .type = CONF_STRING, .max = 10},
    {0},
};

static const struct conf_row *line_kind(const char *kind)
{
    return !strcmp(kind, "modbus-rtu") ? rtu_rows : !strcmp(kind, "mqtt-sn") ? sn_rows : NULL;
}

static const struct conf_row line_rows[] = {
    {.name = "name", .type = CONF_NAME, .flags = CONF_REQUIRED},
    {.name = "protocol", .type = CONF_CHOICE, .flags = CONF_REQUIRED, .choices = protocols},
    {.name = "port", .type = CONF_STRING, .flags = CONF_REQUIRED, .help = "where it is plugged in"},
    {0},
};
static const struct conf_row group_rows[] = {
    {.name = "every", .type = CONF_DURATION, .flags = CONF_REQUIRED, .min = 10, .max = 86400e3},
    {0},
};
static const struct conf_row store_rows[] = {
    {.name = "max", .type = CONF_SIZE, .def = "64M", .min = 65536, .max = 1e300},
    {.name = "linger", .type = CONF_DURATION, .def = "0s", .max = 1000},
    {.name = "full", .type = CONF_CHOICE, .def = "drop-oldest", .choices = policies},
    {0},
};
static const struct conf_row first_rows[] = {
    {.name = "site", .type = CONF_NAME, .flags = CONF_REQUIRED, .help = "what the site is called"},
    {.name = "scale", .type = CONF_FLOAT, .def = "0.5"},
    {.name = "count", .type = CONF_INT},
    {.name = "on", .type = CONF_BOOL, .def = "true"},
    {.name = "key", .type = CONF_PATH},
    {.name = "url", .type = CONF_STRINGS},
    {.name = "password", .type = CONF_STRING, .flags = CONF_SECRET, .min = 8, .max = 20},
    {0},
};
static const struct conf_row second_rows[] = {
    {.name = "store", .type = CONF_GROUP, .def = "", .rows = store_rows},
    {.name = "lines", .type = CONF_LIST, .rows = line_rows, .kind_key = "protocol", .kind_rows = line_kind},
    {.name = "groups", .type = CONF_TABLE, .rows = group_rows},
    {.name = "tls", .type = CONF_BOOL},
    {0},
};
static const struct conf_row *const tables[] = {first_rows, NULL, second_rows};
static const struct conf_absent absent[] = {
    {"bridges", "CONFIG_BRIDGE"},
    {"tls", "CONFIG_TLS"},
    {"protocol=can", "CONFIG_CAN"},
    {NULL, NULL},
};

static char folder[64];

static void write_bytes(const char *name, const void *data, size_t len)
{
    char *path = mem_format("%s/%s", folder, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
    free(path);
}

static void write_file(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

static struct conf *load(void)
{
    char *path = mem_format("%s/a.conf", folder);
    struct conf *c = conf_load(path, tables, ARRAY_SIZE(tables), absent);

    free(path);
    return c;
}

static struct conf *load_text(const char *text)
{
    write_file("a.conf", text);
    return load();
}

static void collect(void *arg, bool is_error, const char *text)
{
    (void)is_error;
    buf_printf(arg, "%s\n", text);
}

/* The reports with the test's folder taken off. */
static char *reports(const struct conf *c)
{
    struct buf b = {0};
    char *at;

    buf_printf(&b, "%s", "");
    conf_each_report(c, collect, &b);
    while ((at = strstr((char *)b.data, folder)) != NULL) {
        char *rest = at + strlen(folder);
        rest += *rest == '/';
        memmove(at, rest, strlen(rest) + 1);
    }
    return (char *)b.data;
}

static void expect(struct conf *c, const char *wanted)
{
    char *got = reports(c);

    assert_string_equal(got, wanted);
    free(got);
    conf_free(c);
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test_conf.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    char *command = mem_format("rm -r %s", folder);
    int status = system(command);

    (void)state;
    free(command);
    return status;
}

static const struct {
    const char *text, *wanted;
} bad[] = {
    {"", "a.conf: `site` is missing; add site = \"plant7\" (what the site is called)\n"},
    {"site = \"a\";\nsiet = 1;", "a.conf:2: unknown key `siet`; did you mean `site`?\n"},
    {"site = \"a\";\nzzzzzz = 1;",
     "a.conf:2: unknown key `zzzzzz`; known here: site, scale, count, on, key, url, "
     "password, store, lines, groups, tls\n"},
    {"site = 7;", "a.conf:1: `site` is an integer; a name is expected, such as site = \"plant7\"\n"},
    {"site = \"a b\";", "a.conf:1: `site` = \"a b\" is no name; use 1 to 64 of A-Z a-z 0-9 _ . -\n"},
    {"site = \"\";", "a.conf:1: `site` = \"\" is no name; use 1 to 64 of A-Z a-z 0-9 _ . -\n"},
    {"site = \"a\"; count = \"3\";",
     "a.conf:1: `count` is a string; an integer is expected, such as count = 10\n"},
    {"site = \"a\"; count = 1.5;",
     "a.conf:1: `count` is a number with a point; an integer is expected, such as count = 10\n"},
    {"site = \"a\"; count = 5000000000;", "a.conf:1: 5000000000 is beyond 32 bits; write 5000000000L\n"},
    {"site = \"a\"; count = 0x1FFFFFFFF;", "a.conf:1: 0x1FFFFFFFF is beyond 32 bits; write 0x1FFFFFFFFL\n"},
    {"site = \"a\";\n\ncount = 99999999999999999999L;",
     "a.conf:3: 99999999999999999999 is beyond 64 bits; at most 9223372036854775807L\n"},
    {"site = \"a\"; on = 1;", "a.conf:1: `on` is an integer; true or false is expected, such as on = true\n"},
    {"site = \"a\"; scale = \"1\";",
     "a.conf:1: `scale` is a string; a number is expected, such as scale = 0.5\n"},
    {"site = \"a\"; scale = 1e999;", "a.conf:1: `scale` is beyond what a number can hold\n"},
    {"site = \"a\"; key = \"\";", "a.conf:1: `key` is empty; name a file\n"},
    {"site = \"a\"; url = ( \"x\", 3 );",
     "a.conf:1: `url` is an integer; a string or a list of strings is expected, such as url = \"text\"\n"},
    {"site = \"a\"; password = \"hunter2\";",
     "a.conf:1: `password` has the wrong form; a string is expected\n"},
    {"site = \"a\"; store = 3;",
     "a.conf:1: `store` is an integer; a group is expected, such as store = { … }\n"},
    {"site = \"a\"; store = { max = \"1k\"; };", "a.conf:1: `max` = \"1k\" is out of range; at least 64k\n"},
    {"site = \"a\"; store = { max = 17; };", "a.conf:1: `max` = 17 is out of range; at least 64k\n"},
    {"site = \"a\"; store = { max = -1; };",
     "a.conf:1: `max` = -1 is no size; write bytes or a string such as \"64k\" or \"2G\"\n"},
    {"site = \"a\"; store = { max = \"2 GB\"; };",
     "a.conf:1: `max` = \"2 GB\" is no size; write bytes or a string such as \"64k\" or \"2G\"\n"},
    {"site = \"a\"; store = { max = \"9999999999T\"; };",
     "a.conf:1: `max` = \"9999999999T\" is no size; write bytes or a string such as \"64k\" or \"2G\"\n"},
    {"site = \"a\"; store = { linger = 5; };",
     "a.conf:1: `linger` is an integer; a duration with its unit is expected, such as linger = \"0s\"\n"},
    {"site = \"a\"; store = { linger = \"5\"; };", "a.conf:1: `linger` = \"5\" is no duration; write a whole "
                                                   "number and one of ms, s, m, h, d, such as \"500ms\" or "
                                                   "\"30d\"\n"},
    {"site = \"a\"; store = { linger = \"2s\"; };",
     "a.conf:1: `linger` = \"2s\" is out of range; 0s to 1s\n"},
    {"site = \"a\"; store = { full = \"drop_oldest\"; };",
     "a.conf:1: `full` = \"drop_oldest\" is unknown; did you mean \"drop-oldest\"? (drop-oldest, drop-newest "
     "or refuse)\n"},
    {"site = \"a\"; store = { full = \"no\"; };",
     "a.conf:1: `full` = \"no\" is unknown; choose drop-oldest, drop-newest or refuse\n"},
    {"site = \"a\"; groups = { fast = { every = \"5ms\"; }; };",
     "a.conf:1: `every` = \"5ms\" is out of range; 10ms to 1d\n"},
    {"site = \"a\"; groups = {\n fast = { };\n};",
     "a.conf:2: `every` is missing in `groups`; add every = \"10s\"\n"},
    {"site = \"a\"; groups = { fast = 1; };",
     "a.conf:1: `fast` in `groups` is an integer; a group { … } is expected\n"},
    {"site = \"a\"; groups = { a*b = { every = \"1s\"; }; };",
     "a.conf:1: `a*b` is no name; use 1 to 64 of A-Z a-z 0-9 _ . -\n"},
    {"site = \"a\"; lines = { name = \"x\"; };",
     "a.conf:1: `lines` is a group; a list of groups is expected, such as lines = ( { … } )\n"},
    {"site = \"a\"; lines = ( \"x\" );",
     "a.conf:1: an element of `lines` is a string; a group { … } is expected\n"},
    {"site = \"a\";\nlines = (\n {\n  name = \"x\"; protocol = \"modbus-rtu\"; }\n);",
     "a.conf:3: `port` is missing in `lines`; add port = \"text\" (where it is plugged in)\n"},
    {"site = \"a\"; lines = ( { name = \"x\"; protocol = \"modbus-rtu\"; port = \"p\";\n boud = 9600; } );",
     "a.conf:2: unknown key `boud` in `lines`; did you mean `baud`?\n"},
    {"site = \"a\"; lines = ( { name = \"x\"; baud = 200; port = \"p\"; protocol = \"modbus-rtu\"; } );",
     "a.conf:1: `baud` = 200 is out of range; 300 to 921600\n"},
    {"site = \"a\"; lines = ( { name = \"x\"; protocol = \"mqtt-sn\"; port = \"p\"; prefix = "
     "\"12345678901\"; } );",
     "a.conf:1: `prefix` is 11 bytes long; 0 to 10 are allowed\n"},
    {"site = \"a\"; lines = ( { name = \"x\"; protocol = \"modbus\"; port = \"p\"; baud = 1; } );",
     "a.conf:1: `protocol` = \"modbus\" is unknown; choose modbus-rtu, mqtt-sn or can\n"},
    {"site = \"a\"; lines = ( { name = \"x\"; port = \"p\"; baud = 1; } );",
     "a.conf:1: `protocol` is missing in `lines`; add protocol = \"modbus-rtu\"\n"},
    {"site = \"a\"; lines = ( { name = \"x\"; protocol = \"can\"; port = \"p\"; rate = 1; } );",
     "a.conf:1: `protocol` = \"can\" needs CONFIG_CAN, which this build lacks: enable it with make "
     "menuconfig\n"},
    {"site = \"a\";\nbridges = ( { name = \"cloud\"; } );",
     "a.conf:2: `bridges` needs CONFIG_BRIDGE, which this build lacks: enable it with make menuconfig\n"},
    {"site = \"a\";\ntls = true;",
     "a.conf:2: `tls` needs CONFIG_TLS, which this build lacks: enable it with make menuconfig\n"},
    {"site = \"a\";\nsite = \"b\";", "a.conf:2: duplicate setting name\n"},
    {"site = \"a\";\ncount = ;", "a.conf:2: syntax error\n"},
    {"site = \"a\";\ncount = 1x;\non = 3;", "a.conf:2: syntax error\n"},
    /* Several at once, in the order of their lines. */
    {"on = 2;\nscale = true;\nsite = \"?\";\n",
     "a.conf:1: `on` is an integer; true or false is expected, such as on = true\n"
     "a.conf:2: `scale` is true or false; a number is expected, such as scale = 0.5\n"
     "a.conf:3: `site` = \"?\" is no name; use 1 to 64 of A-Z a-z 0-9 _ . -\n"},
};

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct conf *c = load_text(bad[i].text);
        assert_true(conf_errors(c) > 0);
        expect(c, bad[i].wanted);
    }
}

static void test_values(void **state)
{
    struct conf *c = load_text("# 5000000000 in a comment, \"in a string\" // and\n/* 6000000000 */\n"
                               "site = \"a\"; scale = 2; count = 5000000000L; on = false; key = \"k.pem\";\n"
                               "url = [ \"x 7000000000\", \"y\" ]; password = \"long enough\";\n"
                               "store : { max = \"2g\"; linger = \"500ms\"; };\n"
                               "groups = { fast-9000000000 = { every = \"1m\"; }; };\n"
                               "lines = ( { port = \"p\"; protocol = \"modbus-rtu\"; name = \"x\"; } );");
    const struct conf_node *root = conf_root(c), *line, *store;

    (void)state;
    assert_int_equal(conf_errors(c), 0);
    assert_string_equal(conf_string(root, "site"), "a");
    assert_true(conf_float(root, "scale") == 2.0);
    assert_true(conf_int(root, "count") == 5000000000);
    assert_false(conf_bool(root, "on"));
    char *path = mem_format("%s/k.pem", folder);
    assert_string_equal(conf_string(root, "key"), path);
    free(path);
    assert_int_equal(conf_count(root, "url"), 2);
    assert_string_equal(conf_at(root, "url", 1)->s, "y");
    store = conf_get(root, "store");
    assert_true(conf_int(store, "max") == (int64_t)2 << 30);
    assert_int_equal(conf_int(store, "linger"), 500);
    assert_false(conf_get(store, "full")->given);
    assert_int_equal(conf_int(store, "full"), 0);
    assert_string_equal(conf_string(store, "full"), "drop-oldest");
    line = conf_at(root, "lines", 0);
    assert_string_equal(line->name, "x");
    assert_int_equal(line->line, 7);
    assert_int_equal(conf_int(line, "baud"), 19200);
    assert_string_equal(line->kids[0]->name, "name");
    assert_string_equal(conf_at(root, "groups", 0)->name, "fast-9000000000");
    assert_int_equal(conf_int(conf_at(root, "groups", 0), "every"), 60000);
    conf_free(c);
}

static void test_absent(void **state)
{
    struct conf *c = load_text("\xef\xbb\xbfsite = \"a\"; # what some editors put in front\r\n");
    const struct conf_node *root = conf_root(c);

    (void)state;
    assert_int_equal(conf_errors(c), 0);
    assert_null(conf_get(root, "count"));
    assert_int_equal(conf_int(root, "count"), 0);
    assert_true(conf_float(root, "scale") == 0.5);
    assert_true(isnan(conf_float(NULL, "scale")));
    assert_null(conf_string(root, "key"));
    assert_int_equal(conf_count(root, "lines"), 0);
    assert_null(conf_at(root, "lines", 0));
    assert_int_equal(conf_int(conf_get(root, "store"), "max"), 64 << 20);
    conf_free(c);
}

/* Services look for mistakes of their own in a tree that has some: what is required is there, defaults hold.
 */
static void test_tree_with_mistakes(void **state)
{
    struct conf *c = load_text(
        "store = 1; url = ( 1 ); lines = ( { baud = \"x\"; }, { protocol = \"mqtt-sn\"; prefix = 1; } );");
    const struct conf_node *root = conf_root(c);

    (void)state;
    assert_string_equal(conf_string(root, "site"), "");
    assert_int_equal(conf_int(conf_get(root, "store"), "max"), 64 << 20);
    assert_int_equal(conf_count(root, "url"), 0);
    assert_string_equal(conf_string(conf_at(root, "lines", 0), "name"), "");
    assert_string_equal(conf_string(conf_at(root, "lines", 0), "protocol"), "modbus-rtu");
    assert_int_equal(conf_int(conf_at(root, "lines", 0), "baud"), 19200);
    conf_free(c);
}

static void test_several_files(void **state)
{
    char *part = mem_format("%s/conf.d", folder);

    (void)state;
    assert_int_equal(mkdir(part, 0700), 0);
    free(part);
    write_file("conf.d/20-b.conf", "count = 3;\nstore = { full = \"refuse\"; };\n"
                                   "lines = ( { name = \"two\"; protocol = \"mqtt-sn\"; port = \"q\"; } );");
    write_file("conf.d/10-a.conf", "count = 2; store = { max = \"1M\"; };");
    write_file("conf.d/.hidden.conf", "nonsense");
    write_file("conf.d/note.txt", "nonsense");
    struct conf *c = load_text("site = \"a\"; count = 1;\n"
                               "lines = ( { name = \"one\"; protocol = \"mqtt-sn\"; port = \"p\"; } );");
    const struct conf_node *root = conf_root(c);
    assert_int_equal(conf_errors(c), 0);
    assert_int_equal(conf_int(root, "count"), 3);
    assert_int_equal(conf_int(conf_get(root, "store"), "max"), 1 << 20);
    assert_int_equal(conf_int(conf_get(root, "store"), "full"), 2);
    assert_int_equal(conf_count(root, "lines"), 2);
    assert_string_equal(conf_string(conf_at(root, "lines", 1), "name"), "two");
    assert_int_equal(conf_at(root, "lines", 1)->line, 3);
    conf_free(c);

    /* One that cannot be parsed does not hide the others' mistakes; what it may hold is not called missing.
     */
    write_file("conf.d/10-a.conf", "count = 2;\nstore = { max = ");
    write_file("conf.d/20-b.conf",
               "\ncount = \"3\";\nlines = ( { protocol = \"mqtt-sn\"; port = \"q\"; } );");
    expect(load_text("on = 5;"),
           "a.conf:1: `on` is an integer; true or false is expected, such as on = true\n"
           "conf.d/10-a.conf:2: syntax error\n"
           "conf.d/20-b.conf:2: `count` is a string; an integer is expected, such as count = 10\n"
           "conf.d/20-b.conf:3: `name` is missing in `lines`; add name = \"plant7\"\n");
}

static void test_include(void **state)
{
    char *sub = mem_format("%s/sub", folder);

    (void)state;
    assert_int_equal(mkdir(sub, 0700), 0);
    free(sub);
    write_file("sub/part.inc", "\ncount = 4;\nkey = \"k.pem\";\n");
    struct conf *c = load_text("site = \"a\";\n@include \"sub/part.inc\"\non = false;\n");
    const struct conf_node *key = conf_get(conf_root(c), "key");
    assert_int_equal(conf_errors(c), 0);
    assert_int_equal(conf_int(conf_root(c), "count"), 4);
    assert_non_null(strstr(key->file, "/sub/part.inc"));
    assert_int_equal(key->line, 3);
    assert_non_null(strstr(key->s, "/sub/k.pem"));
    assert_int_equal(conf_get(conf_root(c), "on")->line, 3);
    conf_free(c);

    write_file("sub/part.inc", "\n\ncount = true; on = 7;\nkey = 8000000000;");
    expect(load_text("site = 1;\n@include \"sub/part.inc\"\nscale = false;\n"),
           "a.conf:1: `site` is an integer; a name is expected, such as site = \"plant7\"\n"
           "a.conf:3: `scale` is true or false; a number is expected, such as scale = 0.5\n"
           "sub/part.inc:3: `count` is true or false; an integer is expected, such as count = 10\n"
           "sub/part.inc:3: `on` is an integer; true or false is expected, such as on = true\n"
           "sub/part.inc:4: 8000000000 is beyond 32 bits; write 8000000000L\n"
           "sub/part.inc:4: `key` is an integer; a file name is expected, such as key = \"/path/to/file\"\n");
    expect(load_text("\n@include \"none.inc\"\n"), "a.conf:2: cannot include \"none.inc\": No such file or "
                                                   "directory; its name is taken from the folder \n");
    expect(load_text("\n@include \"sub\"\n"),
           "a.conf:2: cannot include \"sub\": not a file; its name is taken from the folder \n");
    expect(load_text("site = \"a\";\n@include \"a.conf\"\n"),
           "a.conf:2: cannot include \"a.conf\": files include each other too deeply; its name is taken from "
           "the folder \n");
}

static void test_files_that_are_none(void **state)
{
    (void)state;
    struct conf *c = conf_load(folder, tables, ARRAY_SIZE(tables), absent);
    expect(c, ": cannot be read: not a file\n");
    expect(conf_load("/nowhere/a.conf", tables, ARRAY_SIZE(tables), absent),
           "/nowhere/a.conf: cannot be read: No such file or directory\n");
    write_bytes("a.conf", "site = \"a\";\n\0on = 1;", 20);
    expect(load(), "a.conf:2: a zero byte; a configuration is text\n");
}

static void test_service_reports(void **state)
{
    struct conf *c =
        load_text("site = \"a\";\nlines = ( { name = \"x\"; protocol = \"mqtt-sn\"; port = \"p\"; } );");
    const struct conf_node *line = conf_at(conf_root(c), "lines", 0);

    (void)state;
    conf_warn(c, line, "line %s has no devices", line->name);
    assert_int_equal(conf_errors(c), 0);
    conf_error(c, line, "first");
    conf_error(c, line, "second");
    conf_error(c, NULL, "of all");
    assert_int_equal(conf_errors(c), 3);
    expect(c,
           "a.conf: of all\na.conf:2: first\na.conf:2: second\na.conf:2: warning: line x has no devices\n");
}

static void test_same(void **state)
{
    struct conf *a = load_text("site = \"a\"; store = { linger = \"1s\"; }; groups = { f = { every = \"1s\"; "
                               "}; g = { every = \"2s\"; }; };");
    struct conf *b = load_text("groups = { g = { every = \"2000ms\"; };\n f = { every = \"1s\"; }; };\n "
                               "store = { max = \"64M\"; linger = \"1000ms\"; }; site = \"a\";");
    struct conf *d =
        load_text("groups = { g = { every = \"2s\"; }; f = { every = \"1s\"; }; }; site = \"b\";");

    (void)state;
    assert_int_equal(conf_errors(a) + conf_errors(b) + conf_errors(d), 0);
    assert_true(conf_same(conf_root(a), conf_root(b)));
    assert_false(conf_same(conf_root(a), conf_root(d)));
    assert_true(conf_same(conf_get(conf_root(a), "groups"), conf_get(conf_root(d), "groups")));
    assert_false(conf_same(conf_get(conf_root(a), "store"), conf_get(conf_root(d), "store")));
    assert_false(conf_same(conf_root(a), NULL));
    assert_true(conf_same(NULL, NULL));
    conf_free(a);
    conf_free(b);
    conf_free(d);
}

static void test_nearest(void **state)
{
    static const char *const names[] = {"baud", "parity", "name", "port"};

    (void)state;
    assert_string_equal(conf_nearest("buad", names, 4), "baud");
    assert_string_equal(conf_nearest("Partiy", names, 4), "parity");
    assert_null(conf_nearest("x", names, 4));
    assert_null(conf_nearest("", names, 4));
    assert_null(conf_nearest("speed", names, 4));
}

static void test_manual(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    conf_manual(tables, ARRAY_SIZE(tables), out);
    fclose(out);
    assert_non_null(strstr(text, "| `site` | a name | required | what the site is called |\n"));
    assert_non_null(strstr(text, "| `max` | a size, at least 64k | 64M |  |\n"));
    assert_non_null(strstr(text, "### lines with protocol = \"modbus-rtu\"\n"));
    assert_non_null(strstr(text, "| `baud` | an integer, 300 to 921600 | 19200 | bits a second |\n"));
    assert_non_null(strstr(text, "## groups.NAME\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mistakes, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(test_values, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(test_absent, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(test_tree_with_mistakes, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(test_several_files, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(test_include, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(test_files_that_are_none, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(test_service_reports, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(test_same, make_folder, drop_folder),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_manual),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
