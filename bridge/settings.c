/* SPDX-License-Identifier: Apache-2.0 */
#include "bridge/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/mqtt.h"
#include "net/tls.h"

enum { PASSWORD_MOST = 65535 };

static char *copy(const char *text)
{
    return text ? mem_strdup(text) : NULL;
}

static void read_urls(struct settings *s, const struct conf_node *bridge)
{
    char error[256];

    s->urls = mem_alloc(conf_count(bridge, "url") * sizeof(*s->urls));
    for (size_t i = 0; i < conf_count(bridge, "url"); i++)
        if (!url_parse(&s->urls[s->url_count], conf_at(bridge, "url", i)->s, error, sizeof(error)))
            s->url_count++;
}

static struct rule *read_rules(const struct conf_node *bridge, const char *direction, size_t *count)
{
    bool out = !strcmp(direction, "out");
    struct rule *rules;

    *count = conf_count(bridge, direction);
    rules = mem_alloc((*count + 1) * sizeof(*rules));
    for (size_t i = 0; i < *count; i++) {
        const struct conf_node *n = conf_at(bridge, direction, i);
        rules[i] = (struct rule){
            .match = copy(conf_string(n, "match")),
            .strip = copy(conf_string(n, "strip")),
            .add = copy(conf_string(n, "add")),
            .qos = (uint8_t)conf_int(n, "qos"),
            .upgrade = out && conf_bool(n, "upgrade"),
            .lane = (uint8_t)(out ? conf_int(n, "lane") : RULE_NORMAL),
        };
    }
    return rules;
}

static void read_remap(struct remap *r, const struct conf_node *bridge, const char *root)
{
    const struct conf_node *presence = conf_get(bridge, "presence");
    const char *topic = conf_string(presence, "topic");

    r->out = read_rules(bridge, "out", &r->out_count);
    r->in = read_rules(bridge, "in", &r->in_count);
    if (conf_bool(presence, "on"))
        r->presence = topic ? mem_strdup(topic) : mem_format("%s/state", root);
    r->alarms = mem_format("%s/event/alarm", root);
}

static void read_store(struct settings *s, const struct conf_node *store)
{
    static const enum queue_full policies[] = {QUEUE_DROP_OLDEST, QUEUE_DROP_NEWEST, QUEUE_REFUSE};

    s->limits.bytes = (uint64_t)conf_int(store, "max");
    s->urgent_bytes = (uint64_t)conf_int(store, "urgent_max");
    s->limits.keep_s = (uint64_t)conf_int(store, "keep") / 1000;
    s->limits.full = policies[conf_int(store, "full")];
    s->drain_rate = (uint32_t)conf_int(store, "drain_rate");
}

static void read_times(struct settings *s, const struct conf_node *bridge)
{
    const struct conf_node *backoff = conf_get(bridge, "backoff");

    s->backoff_min_ms = (uint32_t)conf_int(backoff, "min");
    s->backoff_max_ms = (uint32_t)conf_int(backoff, "max");
    s->connect_ms = (uint32_t)conf_int(bridge, "connect_timeout");
    s->ack_ms = (uint32_t)conf_int(bridge, "ack_timeout");
    s->keepalive_s = (uint32_t)(conf_int(bridge, "keepalive") / 1000);
}

static void read_identity(struct settings *s, const struct conf_node *bridge, const char *site)
{
    static const uint8_t versions[] = {MQTT_3_1_1, MQTT_5};
    const char *id = conf_string(bridge, "client_id");

    s->name = copy(conf_string(bridge, "name"));
    s->client_id = id ? mem_strdup(id) : mem_format("%s-%s", site, s->name);
    s->user = copy(conf_string(bridge, "user"));
    s->password = copy(conf_string(bridge, "password"));
    s->password_file = copy(conf_string(bridge, "password_file"));
    s->server_name = copy(conf_string(conf_get(bridge, "tls"), "server_name"));
    s->version = versions[conf_int(bridge, "version")];
    s->window = (uint16_t)conf_int(bridge, "window");
    s->clean = conf_bool(bridge, "clean");
}

/* 0 with *out NULL when no url wants TLS. */
static int make_tls(struct tls_context **out, const struct settings *s, const struct conf_node *bridge,
                    char *error, size_t size)
{
    const struct conf_node *tls = conf_get(bridge, "tls");
    struct tls_client_config config = {
        .ca = conf_string(tls, "ca"),
        .cert = conf_string(tls, "cert"),
        .key = conf_string(tls, "key"),
        .alpn = conf_string(tls, "alpn"),
    };

    *out = NULL;
    for (size_t i = 0; i < s->url_count; i++)
        if (s->urls[i].tls)
            return tls_client_new(out, &config, error, size);
    return 0;
}

struct settings *settings_new(const struct conf_node *bridge, const char *site, const char *root, char *error,
                              size_t size)
{
    struct settings *s = mem_alloc(sizeof(*s));

    read_identity(s, bridge, site);
    read_urls(s, bridge);
    read_remap(&s->remap, bridge, root);
    read_store(s, conf_get(bridge, "store"));
    read_times(s, bridge);
    if (make_tls(&s->tls, s, bridge, error, size)) {
        settings_free(s);
        return NULL;
    }
    return s;
}

void settings_free(struct settings *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->url_count; i++)
        url_free(&s->urls[i]);
    free(s->urls);
    free(s->name);
    free(s->client_id);
    free(s->user);
    free(s->password);
    free(s->password_file);
    free(s->server_name);
    tls_context_free(s->tls);
    rules_free(s->remap.out, s->remap.out_count);
    rules_free(s->remap.in, s->remap.in_count);
    free(s->remap.presence);
    free(s->remap.alarms);
    free(s);
}

char *settings_password(const struct settings *s, char *error, size_t size)
{
    error[0] = 0;
    if (!s->password_file)
        return copy(s->password);
    FILE *f = fopen(s->password_file, "re");
    char *text = mem_alloc(PASSWORD_MOST + 1);
    size_t len = f ? fread(text, 1, PASSWORD_MOST, f) : 0;

    if (!f || ferror(f)) {
        snprintf(error, size, "%s: %s", s->password_file, strerror(errno));
        free(text);
        text = NULL;
    } else {
        text[len] = 0;
        text[strcspn(text, "\r\n")] = 0;
    }
    if (f)
        fclose(f);
    return text;
}

/* ---- what rows cannot see ---- */

static void check_urls(struct conf *conf, const struct conf_node *bridge)
{
    const struct conf_node *tls = conf_get(bridge, "tls");
    size_t plain = 0, secure = 0;
    char error[256];

    for (size_t i = 0; i < conf_count(bridge, "url"); i++) {
        const struct conf_node *n = conf_at(bridge, "url", i);
        struct url url;
        if (url_parse(&url, n->s, error, sizeof(error))) {
            conf_error(conf, n, "%s", error);
            continue;
        }
        if (!url.tls && conf_string(bridge, "user") && !url_is_loopback(&url))
            conf_warn(conf, n, "the password goes to %s in the clear; mqtts:// protects it", url.host);
        secure += url.tls;
        plain += !url.tls;
        url_free(&url);
    }
    if (!plain && !secure && !conf_count(bridge, "url"))
        conf_error(conf, conf_get(bridge, "url"), "`url` is empty; mqtt://HOST:PORT or mqtts://HOST:PORT");
    if (tls && plain && !secure)
        conf_error(conf, tls,
                   "`tls` is for mqtts:// alone, and every url here is mqtt://; mqtts://HOST:PORT");
    if (plain && secure)
        conf_warn(conf, bridge, "some urls are mqtt://: when the others fail, everything goes in the clear");
}

static void check_tls(struct conf *conf, const struct conf_node *bridge)
{
    const struct conf_node *tls = conf_get(bridge, "tls");
    struct tls_context *context = NULL;
    struct settings s = {0};
    char error[512] = "";

    if (!conf_string(tls, "cert") != !conf_string(tls, "key")) {
        conf_error(conf, tls, "`cert` and `key` come together; name the other one too");
        return;
    }
    read_urls(&s, bridge);
    if (make_tls(&context, &s, bridge, error, sizeof(error)))
        conf_error(conf, tls ? tls : bridge, "%s", error);
    tls_context_free(context);
    for (size_t i = 0; i < s.url_count; i++)
        url_free(&s.urls[i]);
    free(s.urls);
}

static void check_credentials(struct conf *conf, const struct conf_node *bridge)
{
    const struct conf_node *password = conf_get(bridge, "password"),
                           *file = conf_get(bridge, "password_file");
    char error[512];

    if (password && file)
        conf_error(conf, file, "both `password` and `password_file`; one of them");
    if ((password || file) && !conf_string(bridge, "user")) /* [MQTT-3.1.2-22] */
        conf_error(conf, password ? password : file, "a password without `user`; add user = \"…\"");
    if (!file)
        return;
    struct settings s = {.password_file = (char *)(uintptr_t)file->s};
    free(settings_password(&s, error, sizeof(error)));
    if (error[0])
        conf_error(conf, file, "%s", error);
}

static void check_rule(struct conf *conf, const struct conf_node *at, const struct rule *r,
                       struct buf *filter)
{
    const struct conf_node *strip = conf_get(at, "strip"), *add = conf_get(at, "add");

    if (!mqtt_filter_ok(bytes_of(r->match)))
        conf_error(conf, conf_get(at, "match"),
                   "\"%s\" is no topic filter; + stands alone in its level, # last", r->match);
    else if (strpbrk(r->add, "+#") || !mqtt_utf8_ok(bytes_of(r->add)))
        conf_error(conf, add, "\"%s\" is no beginning of a topic; no wildcards there", r->add);
    else if (!remap_filter(r, filter))
        conf_error(conf, strip,
                   "`strip` must be what `match` begins with, before any wildcard; \"%.*s\" or less",
                   (int)strcspn(r->match, "+#"), r->match);
}

/* True when all rules of this direction are fine. */
static bool check_rules(struct conf *conf, const struct conf_node *bridge, const char *direction,
                        const struct rule *rules, size_t count)
{
    size_t before = conf_errors(conf);
    struct buf filter = {0};

    for (size_t i = 0; i < count; i++) {
        const struct conf_node *at = conf_at(bridge, direction, i);
        check_rule(conf, at, &rules[i], &filter);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(rules[k].match, rules[i].match))
                conf_error(conf, at, "`%s` has \"%s\" twice; one rule for each filter", direction,
                           rules[i].match);
    }
    buf_free(&filter);
    return conf_errors(conf) == before;
}

static void warn_overlaps(struct conf *conf, const struct conf_node *bridge, const struct remap *r)
{
    struct buf filter = {0};

    for (size_t o = 0; o < r->out_count; o++) {
        for (size_t i = 0; i < r->in_count; i++) {
            if (!remap_filter(&r->out[o], &filter) ||
                !remap_overlap((struct bytes){filter.data, filter.len}, bytes_of(r->in[i].match)))
                continue;
            conf_warn(
                conf, conf_at(bridge, "out", o),
                "topics that `out` \"%s\" sends as \"%.*s\" and `in` \"%s\" takes would go in circles: a "
                "message for one of them is not sent",
                r->out[o].match, (int)filter.len, (const char *)filter.data, r->in[i].match);
        }
    }
    buf_free(&filter);
}

static void check_topics(struct conf *conf, const struct conf_node *bridge)
{
    const struct conf_node *topic = conf_get(conf_get(bridge, "presence"), "topic");
    struct remap r = {0};

    read_remap(&r, bridge, "");
    bool fine = check_rules(conf, bridge, "out", r.out, r.out_count);
    fine &= check_rules(conf, bridge, "in", r.in, r.in_count);
    if (fine)
        warn_overlaps(conf, bridge, &r);
    if (!r.out_count && !r.in_count)
        conf_error(conf, bridge, "the bridge moves nothing; add out = ( { match = \"…\"; } ) or `in`");
    if (topic && (!mqtt_topic_ok(bytes_of(topic->s)) || !mqtt_utf8_ok(bytes_of(topic->s))))
        conf_error(conf, topic, "\"%s\" is no topic; without wildcards", topic->s);
    rules_free(r.out, r.out_count);
    rules_free(r.in, r.in_count);
    free(r.presence);
    free(r.alarms);
}

static void check_bridge(struct conf *conf, const struct conf_node *bridge)
{
    const struct conf_node *backoff = conf_get(bridge, "backoff");

    check_urls(conf, bridge);
    check_tls(conf, bridge);
    check_credentials(conf, bridge);
    check_topics(conf, bridge);
    if (conf_int(backoff, "min") > conf_int(backoff, "max"))
        conf_error(conf, backoff, "`min` is more than `max`; the first wait is the shorter one");
}

void settings_check(struct conf *conf, FILE *report)
{
    const struct conf_node *root = conf_root(conf);

    (void)report;
    for (size_t i = 0; i < conf_count(root, "bridges"); i++) {
        const struct conf_node *bridge = conf_at(root, "bridges", i);
        check_bridge(conf, bridge);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(conf_at(root, "bridges", k)->name, bridge->name))
                conf_error(conf, bridge, "a bridge \"%s\" is there already, at %s:%d; another name",
                           bridge->name, conf_at(root, "bridges", k)->file,
                           conf_at(root, "bridges", k)->line);
    }
}
