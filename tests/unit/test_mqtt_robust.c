/* SPDX-License-Identifier: Apache-2.0 */
/* Packets that are cut, bent or made at random: nothing is read beyond them, and what decodes says after
 * encoding and decoding what it said before. MQTT_SEED=N repeats a run, MQTT_ROUNDS=N makes it longer. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/mqtt_properties.h"
#include "tests/unit/mqtt_samples.h"

/* Decodes anything. What is taken must survive encoding and decoding. */
static int decodes_and_survives(const uint8_t *data, size_t len, uint8_t version)
{
    struct mqtt_packet p, q;
    uint8_t why, *copy, *copy_again;
    int rc = decode_exact(data, len, version, &p, &why, &copy);

    assert_true(rc == 0 || (rc == -EBADMSG && why >= MQTT_UNSPECIFIED));
    if (!rc) {
        struct buf again = encode_again(&p, version);
        if (p.type != MQTT_CONNECT || (p.connect.version >= MQTT_3_1 && p.connect.version <= MQTT_5)) {
            assert_true(again.len > 0 && again.len <= len + 2);
            assert_int_equal(decode_exact(again.data, again.len, version, &q, &why, &copy_again), 0);
            assert_true(packets_equal(&p, &q, version));
            free(copy_again);
        }
        buf_free(&again);
    }
    free(copy);
    return rc;
}

static void cut_packets(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct buf b = packet_of(samples[i].hex), cut = {0};
        size_t header = 2; /* no sample is longer than 127 bytes */
        for (size_t len = 0; len < b.len; len++)
            assert_int_equal(decodes_and_survives(b.data, len, samples[i].version), -EBADMSG);
        buf_append(&cut, b.data, b.len);
        for (size_t len = header; len < b.len; len++) {
            cut.data[1] = (uint8_t)(len - header); /* so that the cut is found inside */
            int rc = decodes_and_survives(cut.data, len, samples[i].version);
            if (samples[i].packet.type == MQTT_CONNECT && samples[i].version != MQTT_3_1)
                assert_int_equal(rc, -EBADMSG);
        }
        buf_append(&b, "", 1);
        assert_int_equal(decodes_and_survives(b.data, b.len, samples[i].version), -EBADMSG);
        buf_free(&b);
        buf_free(&cut);
    }
}

static void bent_packets(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct buf b = packet_of(samples[i].hex);
        for (size_t at = 0; at < b.len; at++) {
            uint8_t kept = b.data[at];
            for (unsigned byte = 0; byte < 256; byte++) {
                b.data[at] = (uint8_t)byte;
                for (uint8_t version = MQTT_3_1; version <= MQTT_5; version++)
                    decodes_and_survives(b.data, b.len, version);
            }
            b.data[at] = kept;
        }
        buf_free(&b);
    }
}

/* --- at random
 * ------------------------------------------------------------------------------------------------ */
static uint64_t seed, random_state;

static uint32_t roll(uint32_t sides)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 16) % sides);
}

static uint32_t random_number(uint32_t least, uint32_t most)
{
    uint32_t value = roll(4) ? roll(300) : (uint32_t)(random_state >> 32);

    return value < least ? least : value > most ? most : value;
}

/* What a random packet points into. */
static uint8_t pool[1 << 18];
static size_t pooled;

static struct bytes pool_end(size_t start)
{
    assert_true(pooled <= sizeof(pool));
    return (struct bytes){pool + start, pooled - start};
}

static struct bytes random_binary(size_t least)
{
    size_t len = least + roll(roll(50) ? 12 : 3000), start = pooled;

    while (len--)
        pool[pooled++] = (uint8_t)roll(256);
    return pool_end(start);
}

static struct bytes random_string(size_t least)
{
    static const char *const pieces[] = {
        "a", "b", "/", "-", "$", " ", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    size_t count = least + roll(roll(50) ? 12 : 2000), start = pooled;

    while (count--) {
        const char *piece = pieces[roll(ARRAY_SIZE(pieces))];
        memcpy(pool + pooled, piece, strlen(piece));
        pooled += strlen(piece);
    }
    return pool_end(start);
}

static void random_extra(struct buf *extra, enum mqtt_prop id)
{
    size_t count = roll(3);

    while (count--) {
        buf_u8(extra, (uint8_t)id);
        if (id == MQTT_SUBSCRIPTION_ID) {
            uint8_t value[4];
            buf_append(extra, value, mqtt_put_varint(value, 1 + roll(268435455)));
            continue;
        }
        for (int i = 0; i < 2; i++) {
            struct bytes text = random_string(0);
            buf_u16(extra, (uint16_t)text.len);
            buf_append(extra, text.data, text.len);
        }
    }
}

static void random_prop(struct mqtt_props *p, size_t row, struct buf *extra, char packet)
{
    enum mqtt_prop id = properties[row].id;
    uint32_t least = properties[row].below != NULL;

    switch (properties[row].kind) {
    case 'b':
        mqtt_set_number(p, id, roll(2));
        break;
    case '2':
        mqtt_set_number(p, id, random_number(least, UINT16_MAX));
        break;
    case '4':
        mqtt_set_number(p, id, random_number(least, UINT32_MAX));
        break;
    case 'v':
        mqtt_set_number(p, id, random_number(1, 268435455));
        if (packet == 'P')
            random_extra(extra, id);
        break;
    case 'p':
        random_extra(extra, id);
        break;
    default:
        mqtt_set_text(p, id, properties[row].kind == 'x' ? random_binary(0) : random_string(least));
    }
}

static void random_props(struct mqtt_props *p, char packet)
{
    struct buf extra = {0};

    for (size_t row = 0; row < ARRAY_SIZE(properties); row++)
        if (strchr(properties[row].packets, packet) && !roll(3))
            random_prop(p, row, &extra, packet);
    if (mqtt_has(p, MQTT_AUTH_DATA) || packet == 'A')
        mqtt_set_text(p, MQTT_AUTH_METHOD, random_string(0));
    size_t start = pooled;
    if (extra.len)
        memcpy(pool + pooled, extra.data, extra.len);
    pooled += extra.len;
    p->extra = pool_end(start);
    buf_free(&extra);
}

static void random_connect(struct mqtt_connect *p, uint8_t version)
{
    *p = (struct mqtt_connect){.version = version,
                               .clean = roll(2),
                               .has_will = roll(2),
                               .has_user = roll(2),
                               .keep_alive = (uint16_t)roll(65536),
                               .bridge = version != MQTT_5 && !roll(4),
                               .client_id = random_string(0)};
    p->has_password = roll(2) && (p->has_user || version == MQTT_5);
    p->user = random_string(0);
    p->password = random_binary(0);
    p->will = (struct mqtt_will){
        .topic = random_string(1), .payload = random_binary(0), .qos = (uint8_t)roll(3), .retain = roll(2)};
    random_props(&p->will.props, 'W');
}

static void random_publish(struct mqtt_publish *p)
{
    p->qos = (uint8_t)roll(3);
    p->dup = p->qos && roll(2);
    p->retain = roll(2);
    p->id = p->qos ? (uint16_t)(1 + roll(65535)) : 0;
    p->topic = random_string(1);
    p->payload = random_binary(0);
}

static uint8_t random_code(uint8_t type, uint8_t version)
{
    static const char *const codes[] = {[MQTT_CONNACK] = "\0\x84\x85\x86\x87\x88",
                                        [MQTT_PUBACK] = "\0\x10\x80\x83\x87\x90\x91\x97\x99",
                                        [MQTT_PUBREC] = "\0\x10\x80\x83\x87\x90",
                                        [MQTT_PUBREL] = "\0\x92",
                                        [MQTT_PUBCOMP] = "\0\x92",
                                        [MQTT_SUBACK] = "\0\1\2\x80",
                                        [MQTT_UNSUBACK] = "\0\x11\x80\x8f",
                                        [MQTT_DISCONNECT] = "\0\x04\x80\x8e\x9d\xa2",
                                        [MQTT_AUTH] = "\0\x18\x19"};
    bool coded = version == MQTT_5 || type == MQTT_CONNACK || type == MQTT_SUBACK;

    return coded ? (uint8_t)codes[type][roll((uint32_t)strlen(codes[type] + 1) + 1)] : 0;
}

static struct bytes random_codes(uint8_t type, uint8_t version)
{
    size_t start = pooled;

    if (type == MQTT_UNSUBACK && version != MQTT_5)
        return (struct bytes){0};
    for (size_t count = 1 + roll(5); count; count--)
        pool[pooled++] = random_code(type, version);
    return pool_end(start);
}

static struct bytes random_filters(uint8_t type, uint8_t version)
{
    static const char *const ends[] = {"", "/#", "/+", "/+/x"};
    size_t start = pooled;

    for (size_t count = 1 + roll(4); count; count--) {
        struct mqtt_filter f = {.qos = (uint8_t)roll(3)};
        uint8_t text[16384];
        const char *end = ends[roll(ARRAY_SIZE(ends))];
        size_t text_start = pooled, len = random_string(1).len;
        memcpy(text, pool + text_start, len);
        memcpy(text + len, end, strlen(end));
        pooled = text_start;
        f.filter = (struct bytes){text, len + strlen(end)};
        if (version == MQTT_5) {
            f.no_local = roll(2);
            f.retain_as_published = roll(2);
            f.retain_handling = (uint8_t)roll(3);
        }
        pooled += mqtt_filter_put(pool + pooled, type, &f);
    }
    return pool_end(start);
}

static void random_packet(struct mqtt_packet *p, uint8_t type, uint8_t version)
{
    static const char letters[] = "?CcParlmSsUu??DA";

    *p = (struct mqtt_packet){.type = type};
    pooled = 0;
    if (type == MQTT_CONNECT) {
        random_connect(&p->connect, version);
    } else if (type == MQTT_CONNACK) {
        p->connack.reason = random_code(type, version);
        p->connack.session_present = version != MQTT_3_1 && !p->connack.reason && roll(2);
    } else if (type == MQTT_PUBLISH) {
        random_publish(&p->publish);
    } else if (type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE) {
        p->subscribe.id = (uint16_t)(1 + roll(65535));
        p->subscribe.filters = random_filters(type, version);
    } else if (type != MQTT_PINGREQ && type != MQTT_PINGRESP) {
        bool coded = type == MQTT_SUBACK || type == MQTT_UNSUBACK;
        p->ack.id = type == MQTT_DISCONNECT || type == MQTT_AUTH ? 0 : (uint16_t)(1 + roll(65535));
        p->ack.reason = coded ? 0 : random_code(type, version);
        p->ack.codes = coded ? random_codes(type, version) : (struct bytes){0};
    }
    if (version == MQTT_5 && props_of(p))
        random_props(props_of(p), letters[type]);
}

static void random_packets(void **state)
{
    const char *rounds_text = getenv("MQTT_ROUNDS");
    long rounds = rounds_text ? atol(rounds_text) : 2000;

    (void)state;
    for (long round = 0; round < rounds; round++)
        for (uint8_t version = MQTT_3_1; version <= MQTT_5; version++)
            for (uint8_t type = MQTT_CONNECT; type <= (version == MQTT_5 ? MQTT_AUTH : MQTT_DISCONNECT);
                 type++) {
                struct mqtt_packet p, q;
                uint8_t why, *copy;
                random_packet(&p, type, version);
                size_t size = mqtt_encoded_size(&p, version), header, total;
                uint8_t *out = malloc(size);
                assert_non_null(out);
                assert_int_equal(mqtt_encode(out, &p, version), size);
                assert_int_equal(mqtt_frame(out, size, SIZE_MAX, &header, &total), 1);
                assert_int_equal(total, size);
                if (decode_exact(out, size, version, &q, &why, &copy) || !packets_equal(&p, &q, version))
                    fail_msg("%s of version %d, round %ld, why 0x%02x; MQTT_SEED=%llu", mqtt_type_name(type),
                             version, round, why, (unsigned long long)seed);
                struct buf again = encode_again(&q, version);
                assert_int_equal(again.len, size);
                assert_memory_equal(again.data, out, size);
                buf_free(&again);
                free(copy);
                free(out);
            }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_packets),
        cmocka_unit_test(bent_packets),
        cmocka_unit_test(random_packets),
    };
    const char *given = getenv("MQTT_SEED");

    seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    printf("MQTT_SEED=%llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
