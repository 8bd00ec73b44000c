/* SPDX-License-Identifier: Apache-2.0 */
/* Rules: the first that matches decides, what none matches is denied; who a rule is for; %u and %c; when one
 * filter covers another, against random topics; and what --check says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "broker/acl_view.h"
#include "codec/mqtt.h"

static const struct conf_row rows[] = {{.name = "acl", .type = CONF_LIST, .rows = acl_rule_rows}, {0}};

static struct conf *conf_of(const char *text)
{
    static const struct conf_row *const tables[] = {rows};
    char path[] = "/tmp/sluice-acl-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    struct conf *c = conf_load_alone(path, tables, 1, NULL);
    unlink(path);
    acl_check(c);
    return c;
}

static struct acl *acl_of(const char *text)
{
    struct conf *c = conf_of(text);
    struct acl *a = acl_new();

    conf_report(c, stderr);
    assert_int_equal(conf_errors(c), 0);
    acl_add_all(a, conf_root(c));
    conf_free(c);
    return a;
}

static struct acl_who who(const char *user, const char *client)
{
    return (struct acl_who){user, bytes_of(client), NULL};
}

static struct acl_verdict verdict(struct acl *a, struct acl_who w, enum acl_action action, const char *topic)
{
    struct acl_view *v = acl_view_get(a, &w, NULL);
    struct acl_verdict out =
        action == ACL_SUBSCRIBE ? acl_filter(v, bytes_of(topic)) : acl_topic(v, action, bytes_of(topic));

    if (action != ACL_SUBSCRIBE) /* once more, from memory */
        assert_int_equal(acl_topic(v, action, bytes_of(topic)).allow, out.allow);
    acl_view_drop(v);
    return out;
}

static bool may(struct acl *a, const char *user, enum acl_action action, const char *topic)
{
    return verdict(a, who(user, "c1"), action, topic).allow;
}

static void test_first_match_decides(void **state)
{
    struct acl *a = acl_of("acl = ( { deny = \"all\"; topic = \"a/secret/#\"; },\n"
                           "        { allow = \"publish\"; topic = \"a/#\"; },\n"
                           "        { deny = \"all\"; topic = \"a/late\"; } );");

    (void)state;
    assert_true(may(a, "u", ACL_PUBLISH, "a/b"));
    assert_true(may(a, "u", ACL_PUBLISH, "a/late")); /* an earlier rule has allowed it */
    assert_false(may(a, "u", ACL_PUBLISH, "a/secret/x"));
    assert_false(may(a, "u", ACL_PUBLISH, "a/secret"));
    assert_false(may(a, "u", ACL_PUBLISH, "b")); /* none matches */
    assert_false(may(a, "u", ACL_RECEIVE, "a/b"));
    assert_false(may(a, "u", ACL_SUBSCRIBE, "a/b"));
    acl_drop(a);
}

static void test_empty_list_denies(void **state)
{
    struct acl *a = acl_of("acl = ( );");

    (void)state;
    assert_false(may(a, "u", ACL_PUBLISH, "a"));
    assert_false(may(a, NULL, ACL_SUBSCRIBE, "a"));
    acl_drop(a);
}

static void test_words(void **state)
{
    struct acl *a =
        acl_of("acl = ( { allow = \"read\"; topic = \"r/#\"; }, { allow = \"write\"; topic = \"w/#\"; },\n"
               "{ allow = \"all\"; topic = \"all/#\"; }, { allow = \"receive\"; topic = \"got\"; } );");

    (void)state;
    assert_true(may(a, "u", ACL_SUBSCRIBE, "r/#") && may(a, "u", ACL_RECEIVE, "r/x"));
    assert_false(may(a, "u", ACL_PUBLISH, "r/x"));
    assert_true(may(a, "u", ACL_PUBLISH, "w/x"));
    assert_false(may(a, "u", ACL_SUBSCRIBE, "w/x") || may(a, "u", ACL_RECEIVE, "w/x"));
    assert_true(may(a, "u", ACL_PUBLISH, "all/x") && may(a, "u", ACL_SUBSCRIBE, "all/+") &&
                may(a, "u", ACL_RECEIVE, "all/x"));
    assert_true(may(a, "u", ACL_RECEIVE, "got"));
    assert_false(may(a, "u", ACL_SUBSCRIBE, "got"));
    assert_int_equal(acl_action("publish"), ACL_PUBLISH);
    assert_int_equal(acl_action("subscribe"), ACL_SUBSCRIBE);
    assert_int_equal(acl_action("receive"), ACL_RECEIVE);
    assert_int_equal(acl_action("read"), 0);
    assert_int_equal(acl_action("write"), 0);
    assert_int_equal(acl_action("all"), 0);
    assert_int_equal(acl_action(""), 0);
    acl_drop(a);
}

static void test_who_a_rule_is_for(void **state)
{
    static const char *const roles[] = {"viewer", "operator", NULL};
    struct acl *a = acl_of("acl = ( { user = \"ann\"; allow = \"all\"; topic = \"ann\"; },\n"
                           "{ role = \"operator\"; allow = \"all\"; topic = \"op\"; },\n"
                           "{ client = \"c7\"; allow = \"all\"; topic = \"c7\"; },\n"
                           "{ anonymous = true; allow = \"all\"; topic = \"any\"; },\n"
                           "{ allow = \"all\"; topic = \"both\"; } );");

    (void)state;
    assert_true(may(a, "ann", ACL_PUBLISH, "ann"));
    assert_false(may(a, "bob", ACL_PUBLISH, "ann") || may(a, NULL, ACL_PUBLISH, "ann"));
    struct acl_who w = {"bob", bytes_of("c7"), roles};
    assert_true(verdict(a, w, ACL_PUBLISH, "op").allow);
    assert_false(may(a, "bob", ACL_PUBLISH, "op"));
    assert_true(verdict(a, w, ACL_PUBLISH, "c7").allow);
    assert_false(may(a, "bob", ACL_PUBLISH, "c7"));
    assert_true(may(a, NULL, ACL_PUBLISH, "any"));
    assert_false(may(a, "ann", ACL_PUBLISH, "any"));
    assert_true(may(a, NULL, ACL_PUBLISH, "both") && may(a, "ann", ACL_PUBLISH, "both"));
    acl_drop(a);
}

static void test_names_in_topics(void **state)
{
    static const char *const bad[] = {"a+", "#", "a/b", "/", "$SYS", ""};
    struct acl *a = acl_of("acl = ( { allow = \"all\"; topic = \"u/%u/c/%c/#\"; } );");
    struct acl_who w = who("ann", "c1");

    (void)state;
    assert_null(acl_who_wrong(a, &w));
    assert_true(may(a, "ann", ACL_PUBLISH, "u/ann/c/c1/x"));
    assert_true(may(a, "ann", ACL_SUBSCRIBE, "u/ann/c/c1/#"));
    assert_false(may(a, "ann", ACL_PUBLISH, "u/bob/c/c1/x") || may(a, "ann", ACL_PUBLISH, "u/ann/c/c2/x"));
    assert_false(may(a, "ann", ACL_PUBLISH, "u/%u/c/%c/x"));
    assert_false(may(a, "ann", ACL_SUBSCRIBE, "u/+/c/c1/#"));
    assert_false(verdict(a, who(NULL, "c1"), ACL_PUBLISH, "u//c/c1/x").allow); /* nobody has no name */
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        w = who(bad[i], "c1");
        assert_string_equal(acl_who_wrong(a, &w), "user name");
        w = who("ann", bad[i]);
        assert_string_equal(acl_who_wrong(a, &w), "client identifier");
    }
    w = who(NULL, "a/b"); /* the rule needs a user, and is not for this one */
    assert_null(acl_who_wrong(a, &w));
    acl_drop(a);
}

static void test_limits(void **state)
{
    struct acl *a = acl_of("acl = ( { allow = \"all\"; topic = \"one\"; max_qos = 1; retain = false; },\n"
                           "        { allow = \"all\"; topic = \"all\"; } );");
    struct acl_verdict v = verdict(a, who("u", "c"), ACL_PUBLISH, "one");

    (void)state;
    assert_true(v.allow);
    assert_int_equal(v.max_qos, 1);
    assert_false(v.retain);
    v = verdict(a, who("u", "c"), ACL_PUBLISH, "all");
    assert_true(v.allow && v.retain);
    assert_int_equal(v.max_qos, 2);
    acl_drop(a);
}

static void test_shared_subscriptions(void **state)
{
    struct acl *a = acl_of("acl = ( { allow = \"subscribe\"; topic = \"a/#\"; } );");

    (void)state;
    assert_true(may(a, "u", ACL_SUBSCRIBE, "$share/g/a/+")); /* by the filter behind the name */
    assert_false(may(a, "u", ACL_SUBSCRIBE, "$share/g/b"));
    assert_false(may(a, "u", ACL_SUBSCRIBE, "$share/a/#"));
    acl_drop(a);
}

/* Clients of a user share a view; where a rule looks at the client identifier they do not. */
static void test_views_are_shared(void **state)
{
    struct acl *a = acl_of("acl = ( { allow = \"all\"; topic = \"a/#\"; },\n"
                           "        { user = \"ann\"; allow = \"all\"; topic = \"%c\"; } );");
    struct acl_who bob_1 = who("bob", "c1"), bob_2 = who("bob", "c2"), ann_1 = who("ann", "c1"),
                   ann_2 = who("ann", "c2");
    struct acl_view *v1 = acl_view_get(a, &bob_1, NULL), *v2 = acl_view_get(a, &bob_2, NULL);

    (void)state;
    assert_ptr_equal(v1, v2);
    acl_view_drop(v1);
    acl_view_drop(v2);
    v1 = acl_view_get(a, &ann_1, NULL);
    v2 = acl_view_get(a, &ann_2, NULL);
    assert_ptr_not_equal(v1, v2);
    for (int i = 0; i < 1000; i++) { /* more topics than are remembered */
        char topic[32];
        snprintf(topic, sizeof(topic), i % 2 ? "a/%d" : "b/%d", i);
        assert_int_equal(acl_topic(v1, ACL_PUBLISH, bytes_of(topic)).allow, i % 2);
    }
    assert_true(acl_topic(v1, ACL_PUBLISH, bytes_of("c1")).allow);
    assert_false(acl_topic(v2, ACL_PUBLISH, bytes_of("c1")).allow);
    acl_drop(a); /* the views hold it */
    assert_true(acl_topic(v2, ACL_PUBLISH, bytes_of("c2")).allow);
    acl_view_drop(v1);
    acl_view_drop(v2);
}

/* A rule of the client's own is asked after the denials of the list alone. */
static void test_own_rules(void **state)
{
    struct acl
        *a = acl_of(
            "acl = ( { deny = \"all\"; topic = \"a/secret\"; }, { allow = \"all\"; topic = \"b\"; } );"),
        *own = acl_of("acl = ( { allow = \"publish\"; topic = \"a/#\"; } );");
    struct acl_who w = who("ann", "c1");
    struct acl_view *v = acl_view_get(a, &w, own);

    (void)state;
    assert_true(acl_topic(v, ACL_PUBLISH, bytes_of("a/x")).allow);
    assert_false(acl_topic(v, ACL_PUBLISH, bytes_of("a/secret")).allow);
    assert_false(acl_topic(v, ACL_PUBLISH, bytes_of("b")).allow);
    acl_view_drop(v);
    acl_drop(a);
    acl_drop(own);
}

/* ---- covering ---- */

static void test_covers(void **state)
{
    static const struct {
        const char *rule, *filter;
        bool covers;
    } cases[] = {
        {"#", "#", true},
        {"#", "a/+/b", true},
        {"#", "$SYS/x", false},
        {"+/x", "$SYS/x", false},
        {"$SYS/#", "$SYS/x", true},
        {"a/#", "a", true},
        {"a/#", "a/#", true},
        {"a/+", "a/+", true},
        {"a/+", "a/#", false},
        {"a/+", "+/b", false},
        {"+/b", "a/b", true},
        {"a/b", "a/+", false},
        {"a/+/c", "a/b/c", true},
        {"a/+", "a", false},
        {"a", "a/b", false},
        {"a/b", "a", false},
        {"+", "", true},
        {"a/+", "a/", true},
        {"+/+", "/x", true},
        {"a/#", "ab", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (acl_covers(bytes_of(cases[i].rule), bytes_of(cases[i].filter)) != cases[i].covers)
            fail_msg("\"%s\" covers \"%s\"?", cases[i].rule, cases[i].filter);
}

static unsigned seed;

static void random_text(char *out, bool filter)
{
    static const char *const words[] = {"a", "b", "", "$x"};
    int levels = 1 + rand_r(&seed) % 4;

    *out = 0;
    for (int i = 0; i < levels; i++) {
        if (i)
            strcat(out, "/");
        int dice = rand_r(&seed) % 8;
        if (filter && dice < 3)
            strcat(out, "+");
        else if (filter && dice == 3 && i + 1 == levels)
            strcat(out, "#");
        else
            strcat(out, words[rand_r(&seed) % 4]);
    }
}

/* No topic gets through a filter that the rule allows but not the rule itself. */
static void test_covers_no_topic_beyond(void **state)
{
    char rule[64], filter[64], topic[64];
    unsigned covered = 0, matched = 0;

    (void)state;
    seed = (unsigned)time(NULL);
    for (int i = 0; i < 200000; i++) {
        random_text(rule, true);
        random_text(filter, true);
        random_text(topic, false);
        if (!*rule || !*filter || !*topic || !acl_covers(bytes_of(rule), bytes_of(filter)))
            continue;
        covered++;
        if (!mqtt_topic_matches(bytes_of(filter), bytes_of(topic)))
            continue;
        matched++;
        if (!mqtt_topic_matches(bytes_of(rule), bytes_of(topic)))
            fail_msg("seed %u: \"%s\" covers \"%s\", but not of it \"%s\"", seed, rule, filter, topic);
    }
    assert_true(covered > 1000 && matched > 100);
}

/* ---- check ---- */

static void test_check(void **state)
{
    static const char *const wrong[] = {
        "topic = \"a\";",
        "allow = \"all\"; deny = \"all\"; topic = \"a\";",
        "allow = \"everything\"; topic = \"a\";",
        "allow = \"all\";",
        "allow = \"all\"; topic = \"a/#/b\";",
        "allow = \"all\"; topic = \"a+\";",
        "allow = \"all\"; topic = \"\";",
        "deny = \"all\"; topic = \"a\"; max_qos = 1;",
        "deny = \"all\"; topic = \"a\"; retain = false;",
        "allow = \"all\"; topic = \"a\"; max_qos = 3;",
        "allow = \"all\"; topic = \"a\"; anonymous = true; user = \"u\";",
        "allow = \"all\"; topic = \"a\"; anonymous = true; role = \"r\";",
        "allow = \"all\"; topic = \"a\"; users = \"u\";",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        char *text = mem_format("acl = ( { %s } );", wrong[i]);
        struct conf *c = conf_of(text);
        if (!conf_errors(c))
            fail_msg("taken: %s", text);
        conf_free(c);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_match_decides),
        cmocka_unit_test(test_empty_list_denies),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_who_a_rule_is_for),
        cmocka_unit_test(test_names_in_topics),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_shared_subscriptions),
        cmocka_unit_test(test_views_are_shared),
        cmocka_unit_test(test_own_rules),
        cmocka_unit_test(test_covers),
        cmocka_unit_test(test_covers_no_topic_beyond),
        cmocka_unit_test(test_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
