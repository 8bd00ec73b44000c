/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a packet: the first byte chooses the version and a limit, the rest is what a peer sends. What
 * decodes is walked and encoded; the result must say the same, and encode to itself. */
#include <errno.h>

#include "tests/unit/mqtt_support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            __builtin_trap();                                                                                \
    } while (0)

static void walk_filters(const struct mqtt_packet *p)
{
    const struct mqtt_subscribe *s = &p->subscribe;
    struct cursor at = cursor_of(s->filters.data, s->filters.len);
    struct mqtt_filter f;
    size_t total = 0, count = 0;

    for (; mqtt_filter_next(&at, p->type, &f); count++) {
        uint8_t out[3 + UINT16_MAX];
        size_t len = mqtt_filter_put(out, p->type, &f);
        MUST(mqtt_filter_ok(f.filter) && f.qos <= 2 && f.retain_handling <= 2);
        MUST(!memcmp(out, s->filters.data + total, len));
        total += len;
    }
    MUST(count && total == s->filters.len);
}

static void walk_props(const struct mqtt_props *p)
{
    struct cursor at = cursor_of(p->raw.data, p->raw.len);
    struct mqtt_property one;
    uint64_t seen = 0;
    size_t total = 0;

    while (mqtt_props_next(&at, &one)) {
        seen |= UINT64_C(1) << one.id;
        total += one.whole.len;
        if (one.id == MQTT_USER_PROPERTY)
            MUST(mqtt_utf8_ok(one.name) && mqtt_utf8_ok(one.text));
    }
    MUST(seen == p->present && total == p->raw.len && !p->extra.len);
}

static void walk(struct mqtt_packet *p, uint8_t version)
{
    if (p->type == MQTT_CONNECT)
        version = p->connect.version;
    if (version == MQTT_5 && props_of(p))
        walk_props(props_of(p));
    if (version == MQTT_5 && p->type == MQTT_CONNECT && p->connect.has_will)
        walk_props(&p->connect.will.props);
    if (p->type == MQTT_SUBSCRIBE || p->type == MQTT_UNSUBSCRIBE)
        walk_filters(p);
    if (p->type == MQTT_PUBLISH && p->publish.topic.len)
        MUST(mqtt_topic_ok(p->publish.topic));
}

static void survive(struct mqtt_packet *p, size_t len, uint8_t version)
{
    struct buf once = encode_again(p, version), twice;
    struct mqtt_packet q;
    uint8_t why, *copy;

    MUST(once.len && once.len <= len + 2);
    MUST(!decode_exact(once.data, once.len, version, &q, &why, &copy));
    MUST(packets_equal(p, &q, version));
    twice = encode_again(&q, version);
    MUST(twice.len == once.len && !memcmp(twice.data, once.data, once.len));
    free(copy);
    buf_free(&once);
    buf_free(&twice);
}

static void frame_agrees(const uint8_t *data, size_t len, int rc)
{
    size_t header = 0, total = 0;
    int framed = mqtt_frame(data, len, SIZE_MAX, &header, &total);

    MUST(framed == 0 || framed == 1 || framed == -EBADMSG);
    MUST(rc || (framed == 1 && total == len));
    if (framed == 1) {
        MUST(header >= 2 && header <= 5 && header <= total);
        MUST(mqtt_frame(data, len, total - 1, &header, &total) == -EMSGSIZE);
        MUST(mqtt_frame(data, len, total, &header, &total) == 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t versions[] = {MQTT_3_1, MQTT_3_1_1, MQTT_5, 0};
    struct mqtt_packet p;
    uint8_t why, *copy, version;

    if (!size)
        return 0;
    version = versions[data[0] % ARRAY_SIZE(versions)];
    data++, size--;
    int rc = decode_exact(data, size, version, &p, &why, &copy);
    frame_agrees(data, size, rc);
    MUST(rc ? rc == -EBADMSG && why >= MQTT_UNSPECIFIED : why == 0);
    if (!rc && (p.type != MQTT_CONNECT || (p.connect.version >= MQTT_3_1 && p.connect.version <= MQTT_5))) {
        walk(&p, version);
        survive(&p, size, version);
    }
    free(copy);
    return 0;
}
