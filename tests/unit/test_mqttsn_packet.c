/* SPDX-License-Identifier: Apache-2.0 */
/* MQTT-SN messages by hand, cut at every byte, with lengths that lie, and in envelopes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/mqttsn_samples.h"

static void reads_and_writes(void **state)
{
    (void)state;
    bool seen[MQTTSN_TYPES] = {false};

    for (size_t i = 0; i < ARRAY_SIZE(sn_samples); i++) {
        const struct sn_sample *s = &sn_samples[i];
        struct buf b = sn_message_of(s->hex);
        struct mqttsn_packet p;
        uint8_t *copy, out[64];
        assert_int_equal(sn_decode_exact(b.data, b.len, &p, &copy), 0);
        assert_true(sn_packets_equal(&p, &s->packet));
        assert_int_equal(mqttsn_size(&mqttsn_12, &s->packet), b.len);
        assert_int_equal(mqttsn_encode(&mqttsn_12, out, &s->packet), b.len);
        assert_memory_equal(out, b.data, b.len);
        assert_string_not_equal(mqttsn_type_name(p.type), "unknown");
        seen[p.type] = true;
        free(copy);
        buf_free(&b);
    }
    for (size_t type = 0; type < MQTTSN_TYPES; type++)
        assert_true(seen[type]);
    assert_string_equal(mqttsn_type_name(MQTTSN_TYPES), "unknown");
}

/* The same with a length of three octets. */
static void reads_long_lengths(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sn_samples); i++) {
        struct buf b = sn_message_of(sn_samples[i].hex), wide = {0};
        struct mqttsn_packet p;
        uint8_t *copy;
        buf_u8(&wide, 1);
        buf_u16(&wide, (uint16_t)(b.len + 2));
        buf_append(&wide, b.data + 1, b.len - 1);
        assert_int_equal(sn_decode_exact(wide.data, wide.len, &p, &copy), 0);
        assert_true(sn_packets_equal(&p, &sn_samples[i].packet));
        free(copy);
        buf_free(&b);
        buf_free(&wide);
    }
}

/* What may be cut is a text at the end, or all that may be missing. */
static bool may_be(const struct sn_sample *s, size_t len)
{
    return (s->least && len >= s->least && s->packet.type != MQTTSN_DISCONNECT) || len == s->least ||
           (len == 2 && (s->packet.type == MQTTSN_WILLTOPIC || s->packet.type == MQTTSN_WILLTOPICUPD));
}

static void cut_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sn_samples); i++) {
        struct buf b = sn_message_of(sn_samples[i].hex);
        struct mqttsn_packet p;
        uint8_t *copy;
        for (size_t len = 0; len < b.len; len++) {
            b.data[0] = (uint8_t)b.len;
            assert_int_equal(sn_decode_exact(b.data, len, &p, &copy), -EBADMSG);
            free(copy);
            b.data[0] = (uint8_t)len; /* so that the cut is found inside */
            int rc = sn_decode_exact(b.data, len, &p, &copy);
            assert_int_equal(rc, len && may_be(&sn_samples[i], len) ? 0 : -EBADMSG);
            free(copy);
        }
        buf_free(&b);
    }
}

static void lengths_that_lie(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sn_samples); i++) {
        struct buf b = sn_message_of(sn_samples[i].hex);
        struct mqttsn_packet p;
        uint8_t *copy;
        for (unsigned length = 0; length < 256; length++) {
            if (length == b.len)
                continue;
            b.data[0] = (uint8_t)length;
            assert_int_equal(sn_decode_exact(b.data, b.len, &p, &copy), -EBADMSG);
            free(copy);
        }
        buf_free(&b);
    }
}

static int frame(const char *hex, size_t *header, size_t *total)
{
    struct buf b = {0};

    unhex(&b, hex);
    int rc = mqttsn_frame(b.data, b.len, header, total);
    buf_free(&b);
    return rc;
}

static void frames(void **state)
{
    size_t header, total;

    (void)state;
    assert_int_equal(mqttsn_frame(NULL, 0, &header, &total), 0);
    assert_int_equal(frame("00", &header, &total), -EBADMSG);
    assert_int_equal(frame("02", &header, &total), 1);
    assert_true(header == 1 && total == 2);
    assert_int_equal(frame("ff", &header, &total), 1);
    assert_int_equal(frame("01", &header, &total), 0);
    assert_int_equal(frame("01 00", &header, &total), 0);
    for (unsigned length = 0; length <= 3; length++) {
        char text[] = "01 00 00";
        text[7] = (char)('0' + length);
        assert_int_equal(frame(text, &header, &total), -EBADMSG);
    }
    assert_int_equal(frame("01 00 04", &header, &total), 1);
    assert_true(header == 3 && total == 4);
    assert_int_equal(frame("01 ff ff", &header, &total), 1);
    assert_true(header == 3 && total == 65535);
}

static void large_messages(void **state)
{
    static uint8_t data[65536], out[65536];
    struct mqttsn_packet p = {.type = MQTTSN_PUBLISH, .topic_id = 1, .text = {data, 248}}, q;

    (void)state;
    assert_int_equal(mqttsn_size(&mqttsn_12, &p), 255);
    p.text.len = 249; /* one more octet of it needs two more of length */
    assert_int_equal(mqttsn_size(&mqttsn_12, &p), 258);
    p.text.len = 65535 - 9;
    assert_int_equal(mqttsn_encode(&mqttsn_12, out, &p), 65535);
    assert_int_equal(mqttsn_decode(&mqttsn_12, (struct bytes){out, 65535}, &q), 0);
    assert_true(sn_packets_equal(&p, &q));
    p.text.len++;
    assert_int_equal(mqttsn_size(&mqttsn_12, &p), 0);
    assert_int_equal(mqttsn_encode(&mqttsn_12, out, &p), 0);
}

/* Reserved numbers, bits and kinds of topics. */
static void reserved(void **state)
{
    static const char wide[] = "\x04\x00\x00\x00";
    struct mqttsn_packet p;
    unsigned known = 0;

    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        uint8_t message[4];
        memcpy(message, wide, sizeof(message));
        message[1] = (uint8_t)type;
        known += mqttsn_decode(&mqttsn_12, (struct bytes){message, 4}, &p) != -ENOTSUP;
    }
    assert_int_equal(known, 27);
    struct buf b = sn_message_of("0c 03 0001 0000"); /* TopicIdType 3 */
    assert_int_equal(mqttsn_decode(&mqttsn_12, (struct bytes){b.data, b.len}, &p), -EBADMSG);
    buf_free(&b);
    b = sn_message_of("04 f3 01 0000"); /* bits that CONNECT does not have are ignored */
    assert_int_equal(mqttsn_decode(&mqttsn_12, (struct bytes){b.data, b.len}, &p), 0);
    assert_true(!p.dup && !p.qos && !p.retain && !p.topic && !p.will && !p.clean);
    buf_free(&b);
    uint8_t out[8]; /* and none leak out */
    p = (struct mqttsn_packet){.type = MQTTSN_SUBACK, .dup = true, .will = true, .topic = 2, .qos = 1};
    mqttsn_encode(&mqttsn_12, out, &p);
    assert_int_equal(out[2], 0x20);
}

static void repeats(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sn_samples); i++) {
        struct buf b = sn_message_of(sn_samples[i].hex);
        struct mqttsn_packet p = sn_samples[i].packet, q;
        p.dup |= p.type == MQTTSN_PUBLISH || p.type == MQTTSN_SUBSCRIBE || p.type == MQTTSN_UNSUBSCRIBE;
        mqttsn_set_dup(&mqttsn_12, b.data, b.len);
        assert_int_equal(mqttsn_decode(&mqttsn_12, (struct bytes){b.data, b.len}, &q), 0);
        assert_true(sn_packets_equal(&p, &q));
        buf_free(&b);
    }
}

/* ---- forwarders ---- */

static int unwrap(const char *hex, struct mqttsn_envelope *envelope, struct buf *whole, struct bytes *inner)
{
    whole->len = 0;
    unhex(whole, hex);
    return mqttsn_unwrap((struct bytes){whole->data, whole->len}, envelope, inner);
}

static void envelopes(void **state)
{
    struct mqttsn_envelope e;
    struct buf b = {0};
    struct bytes inner;
    uint8_t out[255];

    (void)state;
    assert_int_equal(unwrap("02 16", &e, &b, &inner), 0);
    assert_int_equal(inner.len, 2);
    assert_int_equal(unwrap("05 fe 02 0a0b 02 16", &e, &b, &inner), 1);
    assert_int_equal(e.control, 2);
    assert_int_equal(e.node.len, 2);
    assert_memory_equal(e.node.data, "\x0a\x0b", 2);
    assert_int_equal(inner.len, 2);
    assert_int_equal(mqttsn_wrap(out, &e), 5);
    assert_memory_equal(out, b.data, 5);
    assert_int_equal(unwrap("01 0007 fe 00 0a0b 02 16", &e, &b, &inner), 1); /* a length of three octets */
    assert_int_equal(e.node.len, 2);
    assert_int_equal(unwrap("03 fe 00 02 16", &e, &b, &inner), 1); /* a node without a name */
    assert_int_equal(e.node.len, 0);
    assert_int_equal(unwrap("03 fe 00", &e, &b, &inner), -EBADMSG);          /* empty */
    assert_int_equal(unwrap("02 fe", &e, &b, &inner), -EBADMSG);             /* cut */
    assert_int_equal(unwrap("09 fe 00 0a 02 16", &e, &b, &inner), -EBADMSG); /* a length that lies */
    assert_int_equal(unwrap("04 fe 00 0a 04 fe 00 0b 02 16", &e, &b, &inner), -EBADMSG); /* one in another */
    assert_int_equal(unwrap("04 fe 00 0a 01 0006 fe 00 0b", &e, &b, &inner), -EBADMSG);
    buf_free(&b);
}

static void cut_envelopes(void **state)
{
    struct mqttsn_envelope e;
    struct bytes inner;
    struct mqttsn_packet p;

    (void)state;
    struct buf b = {0};
    unhex(&b, "06 fe 02 0a0b0c 04 18 0e10");
    for (size_t len = 0; len < b.len; len++) {
        uint8_t *copy = memcpy(malloc(len + 1), b.data, len);
        int rc = mqttsn_unwrap((struct bytes){copy, len}, &e, &inner);
        if (rc >= 0)
            assert_int_equal(mqttsn_decode(&mqttsn_12, inner, &p), -EBADMSG);
        free(copy);
    }
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes), cmocka_unit_test(reads_long_lengths),
        cmocka_unit_test(cut_messages),     cmocka_unit_test(lengths_that_lie),
        cmocka_unit_test(frames),           cmocka_unit_test(large_messages),
        cmocka_unit_test(reserved),         cmocka_unit_test(repeats),
        cmocka_unit_test(envelopes),        cmocka_unit_test(cut_envelopes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
