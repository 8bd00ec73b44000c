/* SPDX-License-Identifier: Apache-2.0 */
#include "bridge/remap.h"

#include <stdlib.h>

#include "base/mem.h"
#include "codec/mqtt.h"

static const struct rule *find(const struct rule *rules, size_t count, struct bytes topic)
{
    for (size_t i = 0; i < count; i++)
        if (mqtt_topic_matches(bytes_of(rules[i].match), topic))
            return &rules[i];
    return NULL;
}

static bool begins(struct bytes text, const char *prefix)
{
    size_t len = strlen(prefix);

    return text.len >= len && !memcmp(text.data, prefix, len);
}

static void rename_topic(const struct rule *r, struct bytes topic, struct buf *out)
{
    size_t strip = strlen(r->strip);

    out->len = 0;
    buf_append(out, r->add, strlen(r->add));
    buf_append(out, topic.data + strip, topic.len - strip);
}

static enum remap_verdict apply(const struct rule *rules, size_t count, struct bytes topic, struct buf *out)
{
    const struct rule *r = find(rules, count, topic);

    if (!r)
        return REMAP_NO_RULE;
    if (!begins(topic, r->strip)) /* "a/#" also matches "a", from which "a/" cannot be stripped */
        return REMAP_NO_TOPIC;
    rename_topic(r, topic, out);
    return mqtt_topic_ok((struct bytes){out->data, out->len}) ? REMAP_OK : REMAP_NO_TOPIC;
}

enum remap_verdict remap_out(const struct remap *r, struct bytes topic, struct buf *out)
{
    enum remap_verdict verdict = apply(r->out, r->out_count, topic, out);
    struct bytes name = {out->data, out->len};

    if (verdict != REMAP_OK)
        return verdict;
    if (r->presence && bytes_equal(name, bytes_of(r->presence)))
        return REMAP_PRESENCE;
    return find(r->in, r->in_count, name) ? REMAP_LOOP : REMAP_OK;
}

enum remap_verdict remap_in(const struct remap *r, struct bytes topic, struct buf *out)
{
    return apply(r->in, r->in_count, topic, out);
}

bool remap_urgent(const struct remap *r, struct bytes topic)
{
    const struct rule *rule = find(r->out, r->out_count, topic);

    if (!rule || rule->lane != RULE_BY_TOPIC)
        return rule && rule->lane == RULE_URGENT;
    return bytes_equal(topic, bytes_of(r->alarms));
}

const struct rule *remap_alarms(const struct remap *r)
{
    const struct rule *rule = find(r->out, r->out_count, bytes_of(r->alarms));

    return rule && rule->lane == RULE_BY_TOPIC ? rule : NULL;
}

bool remap_has_urgent(const struct remap *r)
{
    for (size_t i = 0; i < r->out_count; i++)
        if (r->out[i].lane == RULE_URGENT)
            return true;
    return remap_alarms(r);
}

struct rule *rules_copy(const struct rule *rules, size_t count)
{
    struct rule *copy = mem_alloc((count + 1) * sizeof(*copy));

    for (size_t i = 0; i < count; i++) {
        copy[i] = rules[i];
        copy[i].match = mem_strdup(rules[i].match);
        copy[i].strip = mem_strdup(rules[i].strip);
        copy[i].add = mem_strdup(rules[i].add);
    }
    return copy;
}

void rules_free(struct rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(rules[i].match);
        free(rules[i].strip);
        free(rules[i].add);
    }
    free(rules);
}

bool remap_filter(const struct rule *r, struct buf *out)
{
    size_t literal = strcspn(r->match, "+#");

    if (strlen(r->strip) > literal || !begins(bytes_of(r->match), r->strip))
        return false;
    rename_topic(r, bytes_of(r->match), out);
    return mqtt_filter_ok((struct bytes){out->data, out->len});
}

/* The first level of *rest, which loses it; *last says that nothing follows. */
static struct bytes take_level(struct bytes *rest, bool *last)
{
    const uint8_t *slash = memchr(rest->data, '/', rest->len);
    struct bytes level = {rest->data, slash ? (size_t)(slash - rest->data) : rest->len};

    *last = !slash;
    if (slash)
        *rest = (struct bytes){slash + 1, rest->len - level.len - 1};
    return level;
}

static bool is_level(struct bytes level, char wildcard)
{
    return level.len == 1 && level.data[0] == (uint8_t)wildcard;
}

static bool wild(struct bytes level)
{
    return is_level(level, '+') || is_level(level, '#');
}

/* "#" also matches the level above it, and neither it nor "+" matches a leading "$" (MQTT 3.1.1 §4.7.1.2,
 * §4.7.2). */
bool remap_overlap(struct bytes a, struct bytes b)
{
    bool last_a = false, last_b = false, first = true;

    for (;; first = false) {
        struct bytes x = take_level(&a, &last_a), y = take_level(&b, &last_b);

        if (first && ((wild(x) && y.len && y.data[0] == '$') || (wild(y) && x.len && x.data[0] == '$')))
            return false;
        if (is_level(x, '#') || is_level(y, '#'))
            return true;
        if (!wild(x) && !wild(y) && !bytes_equal(x, y))
            return false;
        if (last_a && last_b)
            return true;
        if (last_a)
            return bytes_equal(b, bytes_of("#"));
        if (last_b)
            return bytes_equal(a, bytes_of("#"));
    }
}
