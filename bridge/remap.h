/* SPDX-License-Identifier: Apache-2.0 */
/* Which topics pass a bridge and under which name: a rule takes what its filter matches, strips a prefix and
 * adds another. The first rule that matches decides. Out is from here to the upstream. What would come back
 * by one of the bridge's own `in` rules never goes out, and neither does the presence topic, which the bridge
 * publishes itself. Pure but for the buffer that receives the name. */
#ifndef SLUICE_BRIDGE_REMAP_H
#define SLUICE_BRIDGE_REMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Of an `out` rule: which queue its messages wait in. */
enum rule_lane { RULE_BY_TOPIC, /* alarms are urgent */ RULE_NORMAL, RULE_URGENT };

struct rule {
    char *match; /* a filter of the side that the message comes from */
    char *strip; /* what `match` begins with literally; "" for nothing */
    char *add;
    uint8_t qos;
    bool upgrade; /* out: a message of lower QoS is raised to qos */
    uint8_t lane; /* enum rule_lane */
};

struct remap {
    struct rule *out, *in;
    size_t out_count, in_count;
    char *presence; /* upstream topic; NULL: none */
    char *alarms;   /* the topic here of alarms */
};

enum remap_verdict {
    REMAP_OK,
    REMAP_NO_RULE,  /* no rule matches */
    REMAP_NO_TOPIC, /* stripped and added to, it is no topic name */
    REMAP_LOOP,     /* an `in` rule would take it back */
    REMAP_PRESENCE, /* it is the presence topic */
};

/* The name that topic gets; *out is emptied first and is only valid with REMAP_OK. */
enum remap_verdict remap_out(const struct remap *r, struct bytes topic, struct buf *out);
enum remap_verdict remap_in(const struct remap *r, struct bytes topic, struct buf *out);

/* Whether messages of this topic go the urgent way. */
bool remap_urgent(const struct remap *r, struct bytes topic);
/* The rule by which alarms go the urgent way without one of their own; NULL: none. */
const struct rule *remap_alarms(const struct remap *r);
/* Whether anything can. */
bool remap_has_urgent(const struct remap *r);
/* A copy of the rules, and no rules. */
struct rule *rules_copy(const struct rule *rules, size_t count);
void rules_free(struct rule *rules, size_t count);

/* The filter that matches what the rule makes of what its own filter matches. False when strip is not what
 * match literally begins with, or when the result is no filter. */
bool remap_filter(const struct rule *r, struct buf *out);

/* True when some topic is matched by both filters. */
bool remap_overlap(struct bytes a, struct bytes b);

#endif
