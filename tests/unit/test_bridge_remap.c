/* SPDX-License-Identifier: Apache-2.0 */
/* Which topics pass a bridge, under which name, and what must not go in circles (statements of MQTT 3.1.1).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "bridge/remap.h"
#include "codec/mqtt.h"

static struct buf name;

static void expect(enum remap_verdict got, enum remap_verdict want, const char *topic)
{
    assert_int_equal(got, want);
    if (want != REMAP_OK)
        return;
    assert_int_equal(name.len, strlen(topic));
    assert_memory_equal(name.data, topic, name.len);
}

static void out(const struct remap *r, const char *topic, enum remap_verdict want, const char *renamed)
{
    expect(remap_out(r, bytes_of(topic), &name), want, renamed);
}

static void in(const struct remap *r, const char *topic, enum remap_verdict want, const char *renamed)
{
    expect(remap_in(r, bytes_of(topic), &name), want, renamed);
}

static void test_prefixes(void **state)
{
    struct rule to[] = {{"sluice/p7/#", "sluice/p7/", "sites/7/", 1, true, 0},
                        {"plain/+", "", "", 1, true, 0},
                        {"more/#", "", "x/", 1, true, 0}};
    struct rule from[] = {{"sites/7/cmd/#", "sites/7/", "sluice/p7/", 1, false, 0}};
    struct remap r = {to, from, 3, 1, NULL, NULL};

    (void)state;
    out(&r, "sluice/p7/boiler/data/fast", REMAP_OK, "sites/7/boiler/data/fast");
    out(&r, "sluice/p7/", REMAP_OK, "sites/7/");
    out(&r, "plain/a", REMAP_OK, "plain/a");
    out(&r, "plain/a/b", REMAP_NO_RULE, NULL);
    out(&r, "more", REMAP_OK, "x/more");
    out(&r, "other", REMAP_NO_RULE, NULL);
    /* "sluice/p7/#" also matches "sluice/p7", from which "sluice/p7/" cannot be taken. */
    out(&r, "sluice/p7", REMAP_NO_TOPIC, NULL);
    in(&r, "sites/7/cmd/valve", REMAP_OK, "sluice/p7/cmd/valve");
    in(&r, "sites/8/cmd/valve", REMAP_NO_RULE, NULL);
}

static void test_first_rule_decides(void **state)
{
    struct rule to[] = {{"a/b/#", "a/b/", "first/", 1, true, 0}, {"a/#", "", "second/", 1, true, 0}};
    struct remap r = {to, NULL, 2, 0, NULL, NULL};

    (void)state;
    out(&r, "a/b/c", REMAP_OK, "first/c");
    out(&r, "a/c", REMAP_OK, "second/a/c");
}

/* Stripped to nothing, or beyond 65,535 bytes, it is no topic name ([MQTT-4.7.3-1], -3). */
static void test_no_topic(void **state)
{
    struct rule to[] = {{"whole", "whole", "", 1, true, 0}, {"#", "", "0123456789", 1, true, 0}};
    struct remap r = {to, NULL, 2, 0, NULL, NULL};
    char *longest = mem_alloc(65536);

    (void)state;
    memset(longest, 'x', 65535);
    out(&r, "whole", REMAP_NO_TOPIC, NULL);
    out(&r, longest, REMAP_NO_TOPIC, NULL);
    longest[65525] = 0;
    assert_int_equal(remap_out(&r, bytes_of(longest), &name), REMAP_OK);
    assert_int_equal(name.len, 65535);
    free(longest);
}

static void test_loop(void **state)
{
    struct rule to[] = {{"sluice/p7/#", "", "", 1, true, 0}, {"away/#", "away/", "back/", 1, true, 0}};
    struct rule from[] = {{"sluice/p7/+/set/+", "", "", 1, false, 0}, {"back/#", "", "", 1, false, 0}};
    struct remap r = {to, from, 2, 2, NULL, NULL};

    (void)state;
    out(&r, "sluice/p7/boiler/data/fast", REMAP_OK, "sluice/p7/boiler/data/fast");
    out(&r, "sluice/p7/boiler/set/point", REMAP_LOOP, NULL);
    out(&r, "away/x", REMAP_LOOP, NULL);
}

static void test_presence(void **state)
{
    struct rule to[] = {{"#", "", "", 1, true, 0}};
    struct remap r = {to, NULL, 1, 0, (char *)(uintptr_t) "sluice/p7/state", NULL};

    (void)state;
    out(&r, "sluice/p7/state", REMAP_PRESENCE, NULL);
    out(&r, "sluice/p7/state/x", REMAP_OK, "sluice/p7/state/x");
    out(&r, "$SYS/x", REMAP_NO_RULE, NULL); /* [MQTT-4.7.2-1] */
}

static void test_lanes(void **state)
{
    char alarms[] = "p7/event/alarm";
    struct rule to[] = {{"p7/hot/+", "", "", 1, true, RULE_URGENT},
                        {"p7/quiet/#", "", "", 1, true, RULE_NORMAL},
                        {"p7/#", "", "", 1, true, RULE_BY_TOPIC},
                        {"p7/late", "", "", 1, true, RULE_URGENT}};
    struct remap r = {to, NULL, 4, 0, NULL, alarms};

    (void)state;
    assert_true(remap_urgent(&r, bytes_of("p7/hot/a")));
    assert_false(remap_urgent(&r, bytes_of("p7/hot/a/b")));
    assert_true(remap_urgent(&r, bytes_of("p7/event/alarm")));
    assert_false(remap_urgent(&r, bytes_of("p7/event/alarms")));
    assert_false(remap_urgent(&r, bytes_of("p7/quiet/a")));
    assert_false(remap_urgent(&r, bytes_of("p7/late"))); /* the first rule decides */
    assert_false(remap_urgent(&r, bytes_of("other")));
    assert_true(remap_has_urgent(&r));
    assert_ptr_equal(remap_alarms(&r), &to[2]);
    struct remap none = {to + 1, NULL, 1, 0, NULL, alarms};
    assert_false(remap_has_urgent(&none));
    /* alarms have a rule of their own, which says that they wait with the rest */
    struct rule own[] = {{"p7/event/alarm", "", "", 1, true, RULE_NORMAL},
                         {"p7/#", "", "", 1, true, RULE_BY_TOPIC}};
    struct remap without = {own, NULL, 2, 0, NULL, alarms};
    assert_false(remap_has_urgent(&without));
    struct rule *copy = rules_copy(own, 2);
    assert_true(copy[0].match != own[0].match && !strcmp(copy[0].match, own[0].match));
    assert_int_equal(copy[0].lane, RULE_NORMAL);
    rules_free(copy, 2);
}

static void test_filter(void **state)
{
    struct rule good = {"a/b/+/c", "a/", "z/", 1, true, 0}, late = {"a/+/b", "a/+/", "", 1, true, 0},
                other = {"a/b", "b/", "", 1, true, 0}, empty = {"a", "a", "", 1, true, 0},
                cut = {"a/#", "a", "z", 1, true, 0};

    (void)state;
    assert_true(remap_filter(&good, &name));
    assert_int_equal(name.len, 7);
    assert_memory_equal(name.data, "z/b/+/c", 7);
    assert_false(remap_filter(&late, &name));
    assert_false(remap_filter(&other, &name));
    assert_false(remap_filter(&empty, &name));
    assert_true(remap_filter(&cut, &name));
}

/* Every combination of the levels up to a depth, joined by slashes. */
struct words {
    char *text[1024];
    size_t count;
};

static void combine(struct words *w, const char *const *levels, size_t level_count, unsigned depth,
                    const char *head, bool (*fits)(struct bytes text))
{
    for (size_t i = 0; i < level_count; i++) {
        char *text = head ? mem_format("%s/%s", head, levels[i]) : mem_strdup(levels[i]);
        if (depth > 1)
            combine(w, levels, level_count, depth - 1, text, fits);
        if (fits(bytes_of(text)))
            w->text[w->count++] = text;
        else
            free(text);
    }
}

static void free_words(struct words *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->text[i]);
}

static bool share_a_topic(const char *a, const char *b, const struct words *topics)
{
    for (size_t t = 0; t < topics->count; t++)
        if (mqtt_topic_matches(bytes_of(a), bytes_of(topics->text[t])) &&
            mqtt_topic_matches(bytes_of(b), bytes_of(topics->text[t])))
            return true;
    return false;
}

/* The answer without wildcards in mind: is there a topic that both match? */
static void test_overlap_of_all_small_filters(void **state)
{
    static const char *const filter_levels[] = {"a", "b", "", "+", "#", "$s"};
    static const char *const topic_levels[] = {"a", "b", "", "c", "$s"};
    struct words filters = {0}, topics = {0};
    size_t overlaps = 0;

    (void)state;
    combine(&filters, filter_levels, 6, 3, NULL, mqtt_filter_ok);
    combine(&topics, topic_levels, 5, 4, NULL, mqtt_topic_ok);
    topics.text[topics.count++] = mem_strdup(""); /* no topic, but simpler to count as one: "/#" and "+" */
    for (size_t a = 0; a < filters.count; a++) {
        for (size_t b = 0; b < filters.count; b++) {
            bool want = share_a_topic(filters.text[a], filters.text[b], &topics);
            if (remap_overlap(bytes_of(filters.text[a]), bytes_of(filters.text[b])) != want)
                fail_msg("\"%s\" and \"%s\": %d expected", filters.text[a], filters.text[b], want);
            overlaps += want;
        }
    }
    assert_true(filters.count > 100 && topics.count > 500 && overlaps > 1000);
    free_words(&filters);
    free_words(&topics);
}

static int free_name(void **state)
{
    (void)state;
    buf_free(&name);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefixes), cmocka_unit_test(test_first_rule_decides),
        cmocka_unit_test(test_no_topic), cmocka_unit_test(test_loop),
        cmocka_unit_test(test_presence), cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_filter),   cmocka_unit_test(test_overlap_of_all_small_filters),
    };

    return cmocka_run_group_tests(tests, NULL, free_name);
}
