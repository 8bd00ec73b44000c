/* SPDX-License-Identifier: Apache-2.0 */
#include "bridge/lanes.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "broker/router.h"

/* ---- which messages a session takes ---- */

struct lane_choice {
    struct choice base;
    struct remap rules; /* a copy of what decides */
    bool urgent;
    uint64_t own; /* who publishes what came from the upstream */
};

/* What the upstream sent does not go back, by either session; subscriptions see to that for their own alone.
 */
static bool takes(const struct choice *base, const struct message *m)
{
    const struct lane_choice *c = container_of(base, struct lane_choice, base);

    return m->publisher != c->own && remap_urgent(&c->rules, m->topic) == c->urgent;
}

static void free_choice(struct choice *base)
{
    struct lane_choice *c = container_of(base, struct lane_choice, base);

    rules_free(c->rules.out, c->rules.out_count);
    free(c->rules.alarms);
    free(c);
}

static void choose(struct session *s, const struct lanes *l, const struct remap *rules)
{
    struct lane_choice *c = mem_alloc(sizeof(*c));

    c->base = (struct choice){takes, free_choice};
    c->rules.out = rules_copy(rules->out, rules->out_count);
    c->rules.out_count = rules->out_count;
    c->rules.alarms = mem_strdup(rules->alarms);
    c->urgent = s == l->urgent;
    c->own = l->normal->key;
    session_choose(s, &c->base);
}

/* ---- subscriptions ---- */

/* other: the other lane's session. A filter that changes lanes has had its retained messages. */
static void subscribe(struct session *s, const struct session *other, const char *filter,
                      const struct rule *r, bool replay)
{
    struct subscription_options o = {.qos = r->qos,
                                     .no_local = true,
                                     .retain_as_published = true,
                                     .raise = r->upgrade && r->qos,
                                     .retain_handling = 1};

    if (!replay ||
        (other && !session_subscribes(s, bytes_of(filter)) && session_subscribes(other, bytes_of(filter))))
        o.retain_handling = 2;
    session_subscribe(s, bytes_of(filter), &o);
}

static bool is_urgent(const struct lanes *l, const struct rule *r)
{
    return l->urgent && r->lane == RULE_URGENT;
}

static void subscribe_rules(const struct lanes *l, const struct remap *rules)
{
    const struct rule *alarms = remap_alarms(rules);

    for (size_t i = 0; i < rules->out_count; i++) {
        const struct rule *r = &rules->out[i];
        bool urgent = is_urgent(l, r);
        subscribe(urgent ? l->urgent : l->normal, urgent ? l->normal : l->urgent, r->match, r, true);
    }
    if (alarms && l->urgent)
        subscribe(l->urgent, l->normal, rules->alarms, alarms, false);
}

static bool is_wanted(const struct lanes *l, const struct session *s, const struct remap *rules,
                      struct bytes filter)
{
    bool urgent = s == l->urgent;

    for (size_t i = 0; i < rules->out_count; i++)
        if (is_urgent(l, &rules->out[i]) == urgent && bytes_equal(bytes_of(rules->out[i].match), filter))
            return true;
    return urgent && remap_alarms(rules) && bytes_equal(bytes_of(rules->alarms), filter);
}

static void drop_stale(const struct lanes *l, struct session *s, const struct remap *rules)
{
    list_for_safe(it, &s->subscriptions)
    {
        struct subscription *sub = list_entry(it, struct subscription, in_session);
        struct bytes filter = {(const uint8_t *)sub->filter, sub->filter_len};
        if (!is_wanted(l, s, rules, filter))
            session_unsubscribe(s, filter);
    }
}

/* ---- the sessions ---- */

const char *lanes_bridge(const struct session *s)
{
    static const char *const prefixes[] = {LANES_NORMAL, LANES_URGENT};

    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (!strncmp(s->name, prefixes[i], strlen(prefixes[i])))
            return s->name + strlen(prefixes[i]);
    return NULL;
}

static int find_or_make(struct session **s, struct broker *b, const char *prefix, const char *bridge,
                        bool make)
{
    char *name = mem_format("%s%s", prefix, bridge);
    int err = 0;

    if (!*s)
        *s = session_find(b, bytes_of(name));
    if (!*s && make && !(err = session_new(s, b, bytes_of(name), true))) {
        (*s)->expiry_s = UINT32_MAX;
        session_save(*s);
    }
    free(name);
    return err;
}

static void share(struct lanes *l, const struct settings *settings)
{
    l->urgent->lane = LANE_URGENT;
    session_queue(l->urgent)->limits = settings->limits;
    l->urgent->queue->limits.bytes = settings->urgent_bytes;
    choose(l->urgent, l, &settings->remap);
    choose(l->normal, l, &settings->remap);
}

/* What waits in it is still sent when no rule wants it any more. */
static void end_needless(struct lanes *l, bool wanted)
{
    if (wanted || session_backlog(l->urgent))
        return;
    session_end(l->urgent);
    l->urgent = NULL;
    session_choose(l->normal, NULL);
}

int lanes_open(struct lanes *l, struct broker *b, const struct settings *settings)
{
    const struct remap *rules = &settings->remap;
    bool wanted = remap_has_urgent(rules);
    int err = find_or_make(&l->normal, b, LANES_NORMAL, settings->name, true);

    if (err)
        return err;
    l->normal->lane = LANE_NORMAL;
    session_queue(l->normal)->limits = settings->limits;
    session_choose(l->normal, NULL);
    err = find_or_make(&l->urgent, b, LANES_URGENT, settings->name, wanted);
    if (err)
        log_error("bridge %s: no session for what is urgent, which waits with the rest: %s", settings->name,
                  strerror(-err));
    if (l->urgent)
        share(l, settings);
    subscribe_rules(l, rules);
    drop_stale(l, l->normal, rules);
    if (l->urgent) {
        drop_stale(l, l->urgent, rules);
        end_needless(l, wanted);
    }
    return 0;
}

void lanes_attach(struct lanes *l, const struct session_ops *ops, void *reader, uint16_t window)
{
    l->window = window;
    if (l->urgent)
        session_attach(l->urgent, ops, reader, window);
    /* One place stays free, so that what is urgent need not wait for an acknowledgement. */
    session_attach(l->normal, ops, reader, l->urgent && window > 1 ? (uint16_t)(window - 1) : window);
}

void lanes_detach(struct lanes *l)
{
    session_detach(l->normal);
    if (l->urgent)
        session_detach(l->urgent);
}

void lanes_end(struct lanes *l)
{
    session_end(l->normal);
    if (l->urgent)
        session_end(l->urgent);
    *l = (struct lanes){0};
}

/* ---- sending ---- */

void lanes_wake(const struct lanes *l)
{
    if (l->urgent)
        session_wake(l->urgent);
    session_wake(l->normal);
}

bool lanes_may_send(const struct lanes *l, const struct session *s)
{
    if (s == l->normal && l->urgent && session_presses(l->urgent))
        return false;
    /* The window holds back PUBLISH alone (5.0 [MQTT-3.3.4-10]). */
    return !session_publishes_next(s) || lanes_in_flight(l) < l->window;
}

void lanes_pumped(const struct lanes *l, const struct session *s)
{
    if (s == l->urgent && !session_presses(s))
        session_wake(l->normal);
}

void lanes_acked(const struct lanes *l)
{
    if (l->urgent)
        lanes_wake(l);
}

struct session *lanes_owner(const struct lanes *l, uint16_t id)
{
    return l->urgent && session_has_id(l->urgent, id) ? l->urgent : l->normal;
}

uint64_t lanes_backlog(const struct lanes *l)
{
    return session_backlog(l->normal) + (l->urgent ? session_backlog(l->urgent) : 0);
}

uint32_t lanes_in_flight(const struct lanes *l)
{
    return l->normal->queue->in_flight + (l->urgent ? l->urgent->queue->in_flight : 0U);
}
