/* SPDX-License-Identifier: Apache-2.0 */
/* The router against the rule of one filter and one topic (MQTT 3.1.1 [MQTT-4.7.1-2], [MQTT-4.7.1-3],
 * [MQTT-4.7.2-1]), with random filters that come and go; and messages as they are kept and stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "broker/router.h"
#include "codec/mqtt.h"

enum { SESSIONS = 6, SUBSCRIPTIONS = 60, ROUNDS = 4000 };

static unsigned seed;

static unsigned dice(unsigned below)
{
    return (unsigned)rand_r(&seed) % below;
}

static void random_text(char *out, bool filter)
{
    static const char *const words[] = {"", "a", "b", "$x", "ab"};
    unsigned levels = 1 + dice(5);

    *out = 0;
    for (unsigned i = 0; i < levels; i++) {
        if (i)
            strcat(out, "/");
        if (filter && dice(4) == 0)
            strcat(out, "+");
        else if (filter && i + 1 == levels && dice(3) == 0)
            strcat(out, "#");
        else
            strcat(out, words[dice(5)]);
    }
    if (!*out)
        strcpy(out, "a");
}

static struct subscription *subscribe(struct router *r, struct session *s, const char *filter, uint8_t qos,
                                      uint32_t id)
{
    struct subscription *sub = mem_alloc(sizeof(*sub) + strlen(filter) + 1);

    sub->session = s;
    sub->options.qos = qos;
    sub->options.id = id;
    sub->filter_len = (uint16_t)strlen(filter);
    strcpy(sub->filter, filter);
    router_add(r, sub);
    return sub;
}

/* What should come out for one session: its highest QoS and how many of its filters match. */
static bool expected(struct subscription *const *subs, const struct session *s, struct bytes topic,
                     uint8_t *qos, unsigned *count)
{
    *count = 0;
    *qos = 0;
    for (unsigned i = 0; i < SUBSCRIPTIONS; i++) {
        if (!subs[i] || subs[i]->session != s || !mqtt_topic_matches(bytes_of(subs[i]->filter), topic))
            continue;
        ++*count;
        if (subs[i]->options.qos > *qos)
            *qos = subs[i]->options.qos;
    }
    return *count > 0;
}

static void check_route(struct router *r, struct subscription *const *subs, struct session *sessions,
                        const char *topic)
{
    const struct route *route = router_match(r, bytes_of(topic));
    unsigned targets = 0, count;
    uint8_t qos;

    for (unsigned s = 0; s < SESSIONS; s++)
        targets += expected(subs, &sessions[s], bytes_of(topic), &qos, &count);
    assert_int_equal(route->count, targets);
    for (uint32_t i = 0; i < route->count; i++) {
        const struct target *t = &route->targets[i];
        assert_true(expected(subs, t->session, bytes_of(topic), &qos, &count));
        assert_int_equal(t->qos, qos);
        assert_int_equal(t->sub_ids[0], count);
    }
}

static void matches_the_rule(void **state)
{
    struct session *sessions = mem_alloc(SESSIONS * sizeof(*sessions));
    struct subscription *subs[SUBSCRIPTIONS] = {NULL};
    struct router *r = router_new();
    char text[64];

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned at = dice(SUBSCRIPTIONS);
        if (subs[at]) {
            router_remove(r, subs[at]);
            free(subs[at]);
            subs[at] = NULL;
        } else {
            random_text(text, true);
            struct session *s = &sessions[dice(SESSIONS)];
            if (mqtt_filter_ok(bytes_of(text)) && !router_find(r, s, bytes_of(text)))
                subs[at] = subscribe(r, s, text, (uint8_t)dice(3), at + 1);
        }
        for (unsigned i = 0; i < 5; i++) {
            random_text(text, false);
            check_route(r, subs, sessions, text);
        }
    }
    for (unsigned i = 0; i < SUBSCRIPTIONS; i++) {
        if (!subs[i])
            continue;
        assert_ptr_equal(router_find(r, subs[i]->session, bytes_of(subs[i]->filter)), subs[i]);
        router_remove(r, subs[i]);
        free(subs[i]);
    }
    router_free(r);
    free(sessions);
}

static void depth_is_no_danger(void **state)
{
    enum { LEVELS = 32000 };
    struct session s = {0};
    struct router *r = router_new();
    char *filter = mem_alloc(LEVELS * 2 + 2), *topic = mem_alloc(LEVELS + 1);

    (void)state;
    for (unsigned i = 0; i < LEVELS; i++)
        strcat(filter + i * 2, "+/");
    strcat(filter, "#");
    memset(topic, '/', LEVELS);
    struct subscription *deep = subscribe(r, &s, filter, 1, 0);
    struct subscription *all = subscribe(r, &s, "#", 2, 0);
    assert_int_equal(router_match(r, bytes_of(topic))->count, 1);
    assert_int_equal(router_match(r, bytes_of(topic))->targets[0].qos, 2);
    router_remove(r, all);
    assert_int_equal(router_match(r, bytes_of(topic))->targets[0].qos, 1);
    router_remove(r, deep);
    assert_int_equal(router_match(r, bytes_of(topic))->count, 0);
    free(deep);
    free(all);
    free(filter);
    free(topic);
    router_free(r);
}

static void kept_once_and_stored_whole(void **state)
{
    uint8_t payload[300], prop[] = {3, 0, 1, 'x'};
    struct buf record = {0};

    (void)state;
    memset(payload, 'p', sizeof(payload));
    struct message m = {.topic = bytes_of("a/b"),
                        .payload = {payload, sizeof(payload)},
                        .props = {prop, sizeof(prop)},
                        .qos = 2,
                        .retain = true,
                        .expires = true,
                        .expiry_s = 100,
                        .boot = 7,
                        .born_us = (int64_t)clock_boot_us() - 40000000};
    struct message *one = message_keep(&m), *two = message_keep(&m);
    assert_ptr_equal(one, two);
    message_done(&m);
    message_drop(two);
    message_write(&record, one, true);
    struct message *back = message_read((struct bytes){record.data, record.len}, NULL);
    assert_non_null(back);
    assert_true(bytes_equal(back->topic, one->topic) && bytes_equal(back->payload, one->payload));
    assert_true(bytes_equal(back->props, one->props));
    assert_int_equal(back->qos, 2);
    assert_true(back->retain);
    assert_in_range(message_left_s(back), 58, 60); /* what it has aged counts after a restart too */
    message_drop(back);
    for (size_t len = 0; len < record.len - sizeof(payload); len++)
        assert_null(message_read((struct bytes){record.data, len}, NULL));
    message_drop(one);
    buf_free(&record);
}

static unsigned encoded;

static void encode_upper(struct buf *out, struct bytes record, bool known, int64_t offset_us)
{
    encoded++;
    buf_printf(out, "%.*s/%d/%lld", (int)record.len, record.data, known, (long long)offset_us);
}

static bool offset_of(void *arg, uint32_t boot, int64_t *offset_us)
{
    (void)arg;
    *offset_us = boot * 10;
    return boot > 1;
}

static void encoded_at_first_delivery(void **state)
{
    static const struct message_encoder upper = {"test-upper", encode_upper};
    struct buf record = {0};

    (void)state;
    message_encoder_add(&upper);
    message_offset_source(offset_of, NULL);
    struct message m = {
        .topic = bytes_of("t"), .payload = bytes_of("rec"), .encoder = &upper, .boot = 3, .qos = 1};
    struct message *kept = message_keep(&m);
    assert_int_equal(encoded, 0);
    message_write(&record, kept, true); /* the disk keeps the record */
    assert_true(bytes_equal(message_payload(&m), bytes_of("rec/1/30")));
    assert_true(bytes_equal(message_payload(kept), bytes_of("rec/1/30")));
    assert_int_equal(encoded, 1);
    message_done(&m);
    message_drop(kept);
    struct message *back = message_read((struct bytes){record.data, record.len}, NULL);
    assert_true(bytes_equal(message_payload(back), bytes_of("rec/1/30")));
    message_drop(back);
    struct message plain = {.topic = bytes_of("t"), .payload = bytes_of("rec"), .encoder = &upper, .boot = 1};
    assert_true(bytes_equal(message_payload(&plain), bytes_of("rec/0/10")));
    message_done(&plain);
    buf_free(&record);
    message_offset_source(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_rule),
        cmocka_unit_test(depth_is_no_danger),
        cmocka_unit_test(kept_once_and_stored_whole),
        cmocka_unit_test(encoded_at_first_delivery),
    };

    const char *given = getenv("SLUICE_SEED");
    seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    printf("seed %u\n", seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
