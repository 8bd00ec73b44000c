/* SPDX-License-Identifier: Apache-2.0 */
/* Every packet type in every version, both ways, and the small functions around them. Statements of MQTT 5.0
 * unless said. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/mqtt_samples.h"

static void samples_encode(void **state)
{
    struct buf keep = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct mqtt_packet p = sample_packet(&samples[i], &keep);
        struct buf want = packet_of(samples[i].hex);
        size_t size = mqtt_encoded_size(&p, samples[i].version);
        uint8_t *got = malloc(size + 1);
        assert_non_null(got);
        got[size] = 0xa5;
        if (size != want.len || mqtt_encode(got, &p, samples[i].version) != size ||
            memcmp(got, want.data, size) != 0)
            fail_msg("%s does not encode to its bytes", samples[i].name);
        assert_int_equal(got[size], 0xa5);
        free(got);
        buf_free(&want);
    }
    buf_free(&keep);
}

static void samples_decode(void **state)
{
    struct buf keep = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct mqtt_packet want = sample_packet(&samples[i], &keep), got;
        struct buf bytes = packet_of(samples[i].hex);
        uint8_t why, *copy;
        if (decode_exact(bytes.data, bytes.len, samples[i].version, &got, &why, &copy) || why)
            fail_msg("%s is refused: %s", samples[i].name, mqtt_reason_text(why));
        if (!packets_equal(&want, &got, samples[i].version))
            fail_msg("%s decodes to something else", samples[i].name);
        free(copy);
        buf_free(&bytes);
    }
    buf_free(&keep);
}

static void frame_finds_ends(void **state)
{
    static const struct {
        const char *hex;
        size_t max;
        int rc;
        size_t header, total;
    } rows[] = {
        {"", 1000, 0, 0, 0},
        {"30", 1000, 0, 0, 0},
        {"30 00", 1000, 1, 2, 2},
        {"30 7f", 1000, 1, 2, 129},
        {"30 80", 1000, 0, 0, 0},
        {"30 80 01", 1000, 1, 3, 131},
        {"30 ff 7f", 16386, 1, 3, 16386},
        {"30 ff 7f", 16385, -EMSGSIZE, 3, 16386},
        {"30 80 80 01", 99999, 1, 4, 16388},
        {"30 ff ff 7f", SIZE_MAX, 1, 4, 2097155},
        {"30 80 80 80", 99999, 0, 0, 0},
        {"30 80 80 80 01", SIZE_MAX, 1, 5, 2097157},
        {"30 ff ff ff 7f", SIZE_MAX, 1, 5, 268435460},
        {"30 ff ff ff 7f", 268435459, -EMSGSIZE, 5, 268435460},
        {"30 80 80 80 80", SIZE_MAX, -EBADMSG, 0, 0},    /* a fifth byte, [MQTT-1.5.5-1] */
        {"30 ff ff ff ff 00", SIZE_MAX, -EBADMSG, 0, 0}, /* 3.1.1 §2.2.3 */
        {"30 80 00", 1000, -EBADMSG, 0, 0},              /* not the shortest form */
        {"30 81 80 00", 1000, -EBADMSG, 0, 0},
        {"30 ff ff ff 00", 1000, -EBADMSG, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf b = {0};
        size_t header = 0, total = 0;
        unhex(&b, rows[i].hex);
        assert_int_equal(mqtt_frame(b.data, b.len, rows[i].max, &header, &total), rows[i].rc);
        assert_int_equal(header, rows[i].header);
        assert_int_equal(total, rows[i].total);
        buf_free(&b);
    }
}

static void varints_by_size(void **state)
{
    static const uint32_t edges[] = {0, 127, 128, 16383, 16384, 2097151, 2097152, 268435455};
    uint8_t out[5];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(edges); i++) {
        size_t header, total, size = mqtt_put_varint(out, edges[i]);
        assert_int_equal(size, i / 2 + 1);
        assert_int_equal(mqtt_varint_size(edges[i]), size);
        assert_int_equal(mqtt_put_header(out, 0x30, edges[i]), 1 + size);
        assert_int_equal(mqtt_frame(out, 1 + size, SIZE_MAX, &header, &total), 1);
        assert_int_equal(total, header + edges[i]);
    }
}

static void not_encodable(void **state)
{
    static uint8_t big[65536];
    struct bytes most = {big, 65535}, over = {big, 65536}, huge = {big, 268435456}, fits = {big, 268435452};
    struct mqtt_packet p = {.type = MQTT_PUBLISH, .publish = {.topic = most}};

    (void)state;
    assert_int_equal(mqtt_encoded_size(&p, MQTT_3_1_1), 4 + 2 + 65535);
    p.publish.topic = over; /* [MQTT-4.7.3-3] */
    assert_int_equal(mqtt_encoded_size(&p, MQTT_3_1_1), 0);
    p.publish = (struct mqtt_publish){.topic = bytes_of("t"), .payload = fits};
    assert_int_equal(mqtt_encoded_size(&p, MQTT_3_1_1), 268435460);
    assert_int_equal(mqtt_encoded_size(&p, MQTT_5), 0);
    p.publish.payload = huge;
    assert_int_equal(mqtt_encoded_size(&p, MQTT_3_1_1), 0);
    p = (struct mqtt_packet){.type = MQTT_PUBLISH, .publish = {.topic = bytes_of("t")}};
    mqtt_set_text(&p.publish.props, MQTT_CONTENT_TYPE, over);
    assert_int_equal(mqtt_encoded_size(&p, MQTT_5), 0);
    assert_int_equal(mqtt_encode(big, &p, MQTT_5), 0);
    assert_int_equal(mqtt_encoded_size(&p, MQTT_3_1_1), 5);
    p.publish.props = (struct mqtt_props){.extra = huge};
    assert_int_equal(mqtt_encoded_size(&p, MQTT_5), 0);
    p = (struct mqtt_packet){.type = MQTT_AUTH};
    assert_int_equal(mqtt_encoded_size(&p, MQTT_3_1_1), 0);
    assert_int_equal(mqtt_encoded_size(&p, MQTT_5), 2);
    p.type = 0;
    assert_int_equal(mqtt_encoded_size(&p, MQTT_5), 0);
    p.type = 16;
    assert_int_equal(mqtt_encoded_size(&p, MQTT_5), 0);
}

static void connect_not_encodable(void **state)
{
    static uint8_t big[65536];
    struct bytes over = {big, sizeof(big)};
    struct mqtt_packet p = {.type = MQTT_CONNECT, .connect = {.version = 4}};
    struct mqtt_connect *c = &p.connect;

    (void)state;
    assert_int_equal(mqtt_encoded_size(&p, 0), 14);
    c->client_id = over;
    assert_int_equal(mqtt_encoded_size(&p, 0), 0);
    *c = (struct mqtt_connect){.version = 4, .has_user = true, .user = over};
    assert_int_equal(mqtt_encoded_size(&p, 0), 0);
    *c = (struct mqtt_connect){.version = 5, .has_password = true, .password = over};
    assert_int_equal(mqtt_encoded_size(&p, 0), 0);
    *c = (struct mqtt_connect){.version = 5, .has_will = true, .will.payload = over};
    assert_int_equal(mqtt_encoded_size(&p, 0), 0);
    *c = (struct mqtt_connect){.version = 4, .has_password = true}; /* 3.1.1 [MQTT-3.1.2-22] */
    assert_int_equal(mqtt_encoded_size(&p, 0), 0);
    *c = (struct mqtt_connect){.version = 6};
    assert_int_equal(mqtt_encoded_size(&p, 0), 0);
}

static void unknown_versions_are_told(void **state)
{
    static const struct {
        const char *hex;
        uint8_t version;
    } rows[] = {
        {"10 0004 'MQTT' 06 02 003c 0000", 6}, /* [MQTT-3.1.2-2] */
        {"10 0004 'MQTT' 00", 0},
        {"10 0006 'MQIsdp' 02 ff ff", 2},
        {"10 0004 'MQTT' 85", 0x85},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf b = packet_of(rows[i].hex);
        struct mqtt_packet p;
        uint8_t why, *copy;
        assert_int_equal(decode_exact(b.data, b.len, 0, &p, &why, &copy), 0);
        assert_int_equal(p.connect.version, rows[i].version);
        assert_false(p.connect.has_will || p.connect.has_user || p.connect.has_password ||
                     p.connect.client_id.len);
        free(copy);
        buf_free(&b);
    }
}

/* What is legal but not how we would write it. */
static void other_forms_decode(void **state)
{
    static const struct {
        uint8_t version;
        const char *hex, *ours;
    } rows[] = {
        {5, "40 0001 00", "40 0001"},
        {5, "40 0001 00 00", "40 0001"},
        {5, "40 0001 10 00", "40 0001 10"},
        {5, "e0 00", "e0"},
        {5, "e0 00 00", "e0"},
        {5, "e0 04 00", "e0 04"},
        {5, "20 00 01", "20 00 84 00"}, /* a 3.1.1 server's refusal */
        {5, "30 0001 't' 05 23 0001 01 01", "30 0001 't' 05 01 01 23 0001"},
        {3, "10 0006 'MQIsdp' 03 c2 003c 0001 'a'", "10 0006 'MQIsdp' 03 02 003c 0001 'a'"}, /* 3.1 §3.1 */
        {3, "10 0006 'MQIsdp' 03 c2 003c 0001 'a' 0001 'u'", "10 0006 'MQIsdp' 03 82 003c 0001 'a' 0001 'u'"},
        {3, "10 0006 'MQIsdp' 03 03 003c 0001 'a'", "10 0006 'MQIsdp' 03 02 003c 0001 'a'"},
        {3, "6a 0001", "62 0001"}, /* 3.1 §2.1: DUP of what is sent again */
        {3, "8a 0001 0001 'a' 00", "82 0001 0001 'a' 00"},
        {3, "20 07 00", "20 00 00"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf b = packet_of(rows[i].hex);
        struct mqtt_packet p;
        uint8_t why, *copy;
        int rc = decode_exact(b.data, b.len, rows[i].version, &p, &why, &copy);
        assert_int_equal(rc, 0);
        struct buf again = encode_again(&p, rows[i].version), want = packet_of(rows[i].ours);
        assert_int_equal(again.len, want.len);
        assert_memory_equal(again.data, want.data, want.len);
        buf_free(&again);
        buf_free(&want);
        free(copy);
        buf_free(&b);
    }
}

static void codes_of_old_versions(void **state)
{
    struct mqtt_packet p = {.type = MQTT_SUBACK, .ack = {.id = 1, .codes = B("\0\2\x80\x87\xa2")}};
    uint8_t out[16];

    (void)state;
    assert_int_equal(mqtt_encode(out, &p, MQTT_3_1_1), 9);
    assert_memory_equal(out, "\x90\x07\0\1\0\2\x80\x80\x80", 9); /* 3.1.1 [MQTT-3.9.3-2] */
    p.type = MQTT_UNSUBACK;
    assert_int_equal(mqtt_encode(out, &p, MQTT_3_1_1), 4);
    for (unsigned code = 0; code <= 5; code++)
        assert_int_equal(mqtt_connack_3(mqtt_connack_5((uint8_t)code)), code);
    assert_int_equal(mqtt_connack_3(MQTT_BANNED), 5);
    assert_int_equal(mqtt_connack_3(MQTT_BAD_AUTH_METHOD), 4);
    assert_int_equal(mqtt_connack_3(MQTT_QUOTA_EXCEEDED), 3);
    assert_int_equal(mqtt_connack_5(6), MQTT_UNSPECIFIED);
}

/* What a version or a QoS has no place for does not get out. */
static void impossible_flags_are_left_out(void **state)
{
    struct mqtt_packet p = {.type = MQTT_CONNACK, .connack = {.session_present = true}};
    uint8_t out[16];

    (void)state;
    assert_int_equal(mqtt_encode(out, &p, MQTT_3_1), 4);
    assert_memory_equal(out, "\x20\x02\0\0", 4);
    assert_int_equal(mqtt_encode(out, &p, MQTT_3_1_1), 4);
    assert_memory_equal(out, "\x20\x02\1\0", 4);
    p = (struct mqtt_packet){.type = MQTT_PUBLISH, .publish = {.dup = true, .topic = B("t")}};
    assert_int_equal(mqtt_encode(out, &p, MQTT_3_1_1), 5);
    assert_int_equal(out[0], 0x30); /* [MQTT-3.3.1-2] */
}

static void filters_are_walked(void **state)
{
    static const struct mqtt_filter filters[] = {
        {.filter = B("a/#"), .qos = 2, .no_local = true, .retain_handling = 2},
        {.filter = B("+"), .qos = 0, .retain_as_published = true, .retain_handling = 1},
        {.filter = B("$share/g/x"), .qos = 1},
    };
    static const enum mqtt_type types[] = {MQTT_SUBSCRIBE, MQTT_UNSUBSCRIBE};

    (void)state;
    for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
        struct buf b = {0};
        struct mqtt_filter got;
        for (size_t i = 0; i < ARRAY_SIZE(filters); i++) {
            uint8_t *at = buf_extend(&b, 3 + filters[i].filter.len);
            b.len -= 3 + filters[i].filter.len - mqtt_filter_put(at, types[t], &filters[i]);
        }
        struct cursor at = cursor_of(b.data, b.len);
        bool options = types[t] == MQTT_SUBSCRIBE;
        for (size_t i = 0; i < ARRAY_SIZE(filters); i++) {
            assert_true(mqtt_filter_next(&at, types[t], &got));
            assert_true(bytes_equal(got.filter, filters[i].filter));
            assert_int_equal(got.qos, options ? filters[i].qos : 0);
            assert_int_equal(got.no_local, options && filters[i].no_local);
            assert_int_equal(got.retain_as_published, options && filters[i].retain_as_published);
            assert_int_equal(got.retain_handling, options ? filters[i].retain_handling : 0);
        }
        assert_false(mqtt_filter_next(&at, types[t], &got));
        buf_free(&b);
    }
}

static void properties_are_walked(void **state)
{
    struct buf b = packet_of("30 0001 't' 12 0b 05 26 0001 'k' 0002 'v1' 0b 06 26 0001 'k' 0000");
    struct mqtt_packet p;
    struct mqtt_property one;
    uint8_t why;

    (void)state;
    assert_int_equal(mqtt_decode(b.data, b.len, MQTT_5, &p, &why), 0);
    assert_int_equal(mqtt_number(&p.publish.props, MQTT_SUBSCRIPTION_ID, 0), 5);
    assert_true(mqtt_has(&p.publish.props, MQTT_USER_PROPERTY));
    assert_int_equal(mqtt_number(&p.publish.props, MQTT_TOPIC_ALIAS, 77), 77);
    assert_int_equal(mqtt_text(&p.publish.props, MQTT_CONTENT_TYPE).len, 0);
    struct cursor at = cursor_of(p.publish.props.raw.data, p.publish.props.raw.len);
    assert_true(mqtt_props_next(&at, &one) && one.id == MQTT_SUBSCRIPTION_ID && one.number == 5);
    assert_true(mqtt_props_next(&at, &one) && one.id == MQTT_USER_PROPERTY);
    assert_true(bytes_equal(one.name, bytes_of("k")) && bytes_equal(one.text, bytes_of("v1")));
    assert_int_equal(one.whole.len, 8);
    assert_true(mqtt_props_next(&at, &one) && one.number == 6);
    assert_true(mqtt_props_next(&at, &one) && one.text.len == 0);
    assert_false(mqtt_props_next(&at, &one));
    buf_free(&b);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(mqtt_reason_text(MQTT_NOT_AUTHORIZED), "not authorized");
    assert_string_equal(mqtt_type_name(MQTT_UNSUBACK), "UNSUBACK");
    for (unsigned i = 0; i < 256; i++) {
        assert_non_null(mqtt_reason_text((uint8_t)i));
        assert_non_null(mqtt_type_name((uint8_t)i));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_encode),
        cmocka_unit_test(samples_decode),
        cmocka_unit_test(frame_finds_ends),
        cmocka_unit_test(varints_by_size),
        cmocka_unit_test(not_encodable),
        cmocka_unit_test(connect_not_encodable),
        cmocka_unit_test(unknown_versions_are_told),
        cmocka_unit_test(other_forms_decode),
        cmocka_unit_test(codes_of_old_versions),
        cmocka_unit_test(impossible_flags_are_left_out),
        cmocka_unit_test(filters_are_walked),
        cmocka_unit_test(properties_are_walked),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
