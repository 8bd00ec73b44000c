/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/auth.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/users.h"
#include "broker/auth_private.h"
#include "codec/mqtt.h"

enum {
    CACHE_MOST = 20000,
    PLACES_MOST = 4096,
    RUNNING_MOST = 2, /* of the pool's four threads: names are looked up there too */
    NOTES_MOST = 20,
    MINUTE_MS = 60000,
};

/* ---- without a secret ---- */

static bool takes_certificate(const struct auth_request *r, const struct realm *realm, const void *own)
{
    (void)own;
    return r->certificate && (!r->has_password || !realm->asks);
}

static enum auth_step begin_certificate(struct auth_login *l, const struct auth_request *r)
{
    free(l->user);
    l->user = mem_strdup(r->certificate);
    if (user_name_wrong(l->user))
        return auth_refuse(l, MQTT_NOT_AUTHORIZED, "the common name of its certificate is no user's name");
    return AUTH_ADMIT;
}

static bool takes_anonymous(const struct auth_request *r, const struct realm *realm, const void *own)
{
    (void)own;
    return r->anonymous && ((!r->has_user && !r->has_password) || !realm->asks);
}

static enum auth_step begin_anonymous(struct auth_login *l, const struct auth_request *r)
{
    (void)r;
    free(l->user);
    l->user = NULL;
    return AUTH_ADMIT;
}

const struct auth_backend auth_certificate = {
    .name = "certificate", .takes = takes_certificate, .begin = begin_certificate};
const struct auth_backend auth_anonymous = {
    .name = "anonymous", .takes = takes_anonymous, .begin = begin_anonymous};

/* ---- logins ---- */

void auth_login_free(struct auth_login *l)
{
    if (l->exchange)
        l->backend->drop(l);
    auth_place_leave(l->place);
    realm_drop(l->realm);
    if (l->password)
        explicit_bzero(l->password, l->password_len);
    free(l->password);
    buf_free(&l->data);
    free(l->secret);
    free(l->client);
    acl_drop(l->rules);
    free(l->user);
    free(l);
}

enum auth_step auth_refuse(struct auth_login *l, uint8_t reason, const char *why)
{
    l->answer = (struct auth_answer){.reason = reason, .why = why};
    return AUTH_REFUSE;
}

enum auth_step auth_refuse_guesses(struct auth_login *l)
{
    struct auth *a = l->auth;

    a->counts.limited++;
    a->guesses_until_ms = uv_now(a->loop) + MINUTE_MS;
    memcpy(a->guesser, l->peer, sizeof(a->guesser));
    return auth_refuse(l, MQTT_CONNECTION_RATE, "its address failed too often lately");
}

const char *auth_guesser(const struct auth *a)
{
    return uv_now(a->loop) < a->guesses_until_ms ? a->guesser : NULL;
}

/* Who it is; NULL: somebody without a name. What the login has goes over to it. */
static struct identity *identity_of(struct auth_login *l)
{
    if (!l->user)
        return NULL;
    struct identity *who = mem_alloc(sizeof(*who));
    *who = (struct identity){.user = l->user,
                             .how = l->backend->name,
                             .by_method = l->backend->by_method,
                             .by = l->backend,
                             .secret = l->secret,
                             .client = l->client,
                             .own = l->rules,
                             .until_s = l->until_s};
    l->user = l->secret = l->client = NULL;
    l->rules = NULL;
    return who;
}

static struct auth_answer refused(struct auth_login *l)
{
    struct auth *a = l->auth;

    a->counts.refused++;
    auth_note(a, "client at %s refused: %s%s%.64s", l->peer, l->answer.why, l->user ? ", user " : "",
              l->user ? l->user : "");
    return l->answer;
}

static struct auth_answer answer_of(struct auth_login *l, enum auth_step step)
{
    struct auth *a = l->auth;

    if (step == AUTH_REFUSE)
        return refused(l);
    struct identity *who = identity_of(l);
    if (!auth_still_valid(a, who)) { /* the configuration has changed meanwhile */
        identity_free(who);
        auth_refuse(l, MQTT_BAD_CREDENTIALS, "what it showed does not hold any more");
        return refused(l);
    }
    a->counts.admitted++;
    struct auth_answer answer = {.who = who, .data = l->data};
    l->data = (struct buf){0};
    return answer;
}

void auth_conclude(struct auth_login *l)
{
    enum auth_step step = l->backend->finish(l);

    if (l->done) {
        struct auth_answer answer = answer_of(l, step);
        l->done(l->arg, &answer);
    }
    auth_login_free(l);
}

/* A method that the client names is that row's alone; the others are tried in their order. */
static bool is_meant(const struct auth_backend *b, const struct auth_request *r)
{
    return b->by_method ? r->has_method && bytes_equal(bytes_of(b->name), r->method) : !r->has_method;
}

static void choose_backend(struct auth_login *l, const struct auth_request *r)
{
    for (size_t i = 0; auth_backends[i] && !l->backend; i++) {
        const struct auth_backend *b = auth_backends[i];
        if (!is_meant(b, r) || !b->takes(r, l->realm, l->realm->own[i]))
            continue;
        l->backend = b;
        l->own = l->realm->own[i];
    }
}

static enum auth_step begin(struct auth_login *l, const struct auth_request *r)
{
    choose_backend(l, r);
    if (l->backend)
        return l->backend->begin(l, r);
    if (r->has_method)
        return auth_refuse(l, MQTT_BAD_AUTH_METHOD, "unknown authentication method");
    if (r->has_password || r->has_user)
        return auth_refuse(l, MQTT_BAD_CREDENTIALS,
                           "nobody can say whether its user name and password are right");
    return auth_refuse(l, MQTT_NOT_AUTHORIZED, "this listener takes no anonymous clients");
}

static struct auth_login *login_new(struct auth *a, const struct auth_request *r)
{
    struct auth_login *l = mem_alloc(sizeof(*l));

    l->auth = a;
    l->realm = a->realm;
    l->realm->refs++;
    l->place = auth_place_enter(a->places, r->peer);
    l->user = r->has_user ? mem_strndup((const char *)r->user.data, r->user.len) : NULL;
    strncpy(l->peer, r->peer, sizeof(l->peer) - 1);
    list_init(&l->queued);
    list_init(&l->followers);
    return l;
}

/* The login goes on, or the answer is there and the login gone. */
static struct auth_login *settle(struct auth_login *l, enum auth_step step, struct auth_answer *answer)
{
    if (step == AUTH_CONTINUE) {
        *answer = (struct auth_answer){.reason = MQTT_CONTINUE_AUTH, .data = l->data};
        l->data = (struct buf){0};
        return l;
    }
    *answer = answer_of(l, step);
    auth_login_free(l);
    return NULL;
}

struct auth_login *auth_begin(struct auth *a, const struct auth_request *r, auth_done *done, void *arg,
                              struct auth_answer *answer)
{
    struct auth_login *l = login_new(a, r);
    enum auth_step step = begin(l, r);

    l->done = done;
    l->arg = arg;
    *answer = (struct auth_answer){0};
    if (step == AUTH_WORK && auth_queue_add(l))
        return l;
    if (step == AUTH_WORK) {
        a->counts.busy++;
        step = auth_refuse(l, MQTT_SERVER_BUSY, "too many wait for their passwords to be checked");
    }
    return settle(l, step, answer);
}

struct auth_login *auth_continue(struct auth_login *l, struct bytes data, struct auth_answer *answer)
{
    return settle(l, l->backend->go_on(l, data), answer);
}

void auth_cancel(struct auth_login *l)
{
    if (l)
        auth_queue_cancel(l);
}

/* ---- the rules ---- */

struct auth *auth_new(uv_loop_t *loop)
{
    struct auth *a = mem_alloc(sizeof(*a));
    uint32_t cores = uv_available_parallelism();

    a->loop = loop;
    a->notes.most = NOTES_MOST;
    a->cache = auth_cache_new(CACHE_MOST);
    a->places = auth_places_new(loop, PLACES_MOST);
    a->most_running = cores < RUNNING_MOST ? cores : RUNNING_MOST;
    return a;
}

int auth_load(struct auth *a, const struct conf_node *root)
{
    const struct conf_node *limits = conf_get(root, "logins");
    struct realm *next = realm_new(root);

    if (!next)
        return -EINVAL;
    realm_drop(a->realm);
    a->realm = next;
    a->most_waiting = (uint32_t)conf_int(limits, "waiting");
    auth_places_limit(a->places, (uint32_t)conf_int(limits, "failures"));
    return 0;
}

void auth_stop(struct auth *a)
{
    a->stopping = true;
    auth_queue_stop(a);
}

bool auth_idle(const struct auth *a)
{
    return !a->running;
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    realm_drop(a->realm);
    map_free(&a->leaders);
    auth_cache_free(a->cache);
    auth_places_free(a->places);
    free(a);
}

void identity_free(struct identity *who)
{
    if (!who)
        return;
    acl_view_drop(who->view);
    acl_drop(who->own);
    free(who->client);
    free(who->user);
    free(who->secret);
    free(who);
}

/* Without users and rules whoever got in may do everything; without rules so may those without a name on this
 * box. */
static bool may_do_all(const struct realm *r, const char *user, bool loopback)
{
    return !r->with_acl && (!r->asks || (!user && loopback));
}

static struct acl_who who_of(const struct realm *r, const char *user, struct bytes client)
{
    const struct user *known = user ? users_find(r->users, bytes_of(user)) : NULL;

    return (struct acl_who){user, client, known ? known->roles : NULL};
}

uint8_t auth_bind(struct auth *a, struct identity **who, struct bytes client, bool loopback, const char **why)
{
    struct identity *i = *who;
    const char *user = i ? i->user : NULL;

    if (i) {
        acl_view_drop(i->view);
        i->view = NULL;
    }
    if (i && i->client && !bytes_equal(bytes_of(i->client), client)) {
        *why = "its token is for another client identifier";
        return MQTT_NOT_AUTHORIZED;
    }
    if (!(i && i->own) && may_do_all(a->realm, user, loopback))
        return MQTT_OK;
    struct acl_who asking = who_of(a->realm, user, client);
    const char *wrong = acl_who_wrong(a->realm->acl, &asking);
    if (!wrong && i && i->own)
        wrong = acl_who_wrong(i->own, &asking);
    if (wrong) {
        *why = *wrong == 'u' ? "a rule stands on its user name, which holds + # / or begins with $"
                             : "a rule stands on its client identifier, which holds + # / or begins with $";
        return *wrong == 'u' ? MQTT_NOT_AUTHORIZED : MQTT_BAD_CLIENT_ID;
    }
    if (!i) {
        i = *who = mem_alloc(sizeof(*i));
        i->how = auth_anonymous.name;
    }
    i->view = acl_view_get(a->realm->acl, &asking, i->own);
    return MQTT_OK;
}

bool auth_still_valid(const struct auth *a, const struct identity *who)
{
    if (!who || !who->by || !who->by->still_valid)
        return true;
    for (size_t i = 0; auth_backends[i]; i++)
        if (auth_backends[i] == who->by)
            return who->by->still_valid(who, a->realm, a->realm->own[i]);
    return false;
}

struct identity *identity_of_port(const char *user)
{
    struct identity *who = mem_alloc(sizeof(*who));

    who->user = mem_strdup(user);
    who->how = "port";
    return who;
}

uint32_t identity_left_s(const struct identity *who)
{
    if (!who || !who->until_s)
        return UINT32_MAX;
    int64_t left = who->until_s - clock_wall_us() / 1000000;
    return left < 0 ? 0 : left < UINT32_MAX ? (uint32_t)left : UINT32_MAX - 1;
}

bool auth_test(struct auth *a, const char *user, struct bytes client, enum acl_action action,
               struct bytes topic, struct acl_verdict *verdict, bool *everything, const char **why)
{
    struct acl_who asking = who_of(a->realm, user, client);
    const char *wrong = acl_who_wrong(a->realm->acl, &asking);
    struct bytes text = topic;

    *everything = may_do_all(a->realm, user, true);
    if (action == ACL_SUBSCRIBE ? !mqtt_filter_ok(text) : !mqtt_topic_ok(text))
        *why = action == ACL_SUBSCRIBE ? "is no topic filter" : "is no topic: + and # are for subscriptions";
    else if (wrong)
        *why = "would not get in: a rule stands on its user name or client identifier, which holds + # / or "
               "begins "
               "with $";
    else
        *why = NULL;
    if (*why)
        return false;
    struct acl_view *v = acl_view_get(a->realm->acl, &asking, NULL);
    *verdict = action == ACL_SUBSCRIBE ? acl_filter(v, topic) : acl_topic(v, action, topic);
    acl_view_drop(v); /* the rule stays: the list has it */
    return true;
}

void auth_note(struct auth *a, const char *fmt, ...)
{
    va_list args;

    if (!log_may(&a->notes, "security"))
        return;
    va_start(args, fmt);
    char *text = mem_vformat(fmt, args);
    va_end(args);
    for (char *at = text; *at; at++) /* names and topics are the peer's */
        if ((unsigned char)*at < ' ' || *at == 127)
            *at = '?';
    log_warn("security: %s", text);
    free(text);
}

struct auth_counts *auth_counts(struct auth *a)
{
    return &a->counts;
}
