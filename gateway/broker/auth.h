/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets in: a client's word for itself (user name and password, a token, its certificate, or nothing)
 * against what the configuration says. A way of proving oneself is a row of a table in auth.c. What takes
 * long happens on libuv's worker pool, a few at a time; meanwhile a bounded number waits. What somebody may
 * do once inside is acl_view.h's. Loop thread only. */
#ifndef SLUICE_BROKER_AUTH_H
#define SLUICE_BROKER_AUTH_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "broker/acl_view.h"

struct auth;
struct auth_login;
struct auth_backend;
struct conf_node;

/* Who a client is, once it is in. A NULL identity is one without a name that may do everything. */
struct identity {
    char *user;      /* NULL: anonymous */
    const char *how; /* "password", "certificate", … */
    bool by_method;  /* how is an authentication method, by which it can authenticate again */
    const struct auth_backend *by;
    char *secret;          /* what it was checked against, when there is something */
    char *client;          /* the client identifier that it must have; NULL: any */
    struct acl *own;       /* rules that it brought with it, or NULL */
    int64_t until_s;       /* seconds since 1970 when it ends; 0: never */
    struct acl_view *view; /* NULL: may do everything */
};

/* What a CONNECT and its connection say. All borrowed. */
struct auth_request {
    bool has_user, has_password, has_method;
    bool anonymous;          /* the listener takes clients without a name */
    const char *certificate; /* common name of the verified certificate; NULL: there is none */
    const char *peer;        /* "192.0.2.7:51234" */
    struct bytes user, password;
    struct bytes method, data; /* of enhanced authentication; has_method */
};

/* reason 0: admitted as who, which is the receiver's. MQTT_CONTINUE_AUTH: data is for the client, whose
 * answer goes to auth_continue. Else why says it for the log. */
struct auth_answer {
    uint8_t reason;
    const char *why;
    struct identity *who;
    struct buf data; /* the receiver's; also of an admission */
};
typedef void auth_done(void *arg, struct auth_answer *answer);

struct auth *auth_new(uv_loop_t *loop);
/* Its work on the pool must have come to an end: auth_idle. Logins under way are never answered. */
void auth_stop(struct auth *a);
bool auth_idle(const struct auth *a);
void auth_free(struct auth *a);
/* Takes a checked configuration. 0, or -EINVAL when the users file is no longer right (logged). */
int auth_load(struct auth *a, const struct conf_node *root);

/* The answer at once (NULL), or a login that is answered through done later, unless the answer is
 * MQTT_CONTINUE_AUTH. */
struct auth_login *auth_begin(struct auth *a, const struct auth_request *r, auth_done *done, void *arg,
                              struct auth_answer *answer);
/* What the client says to the last answer's data. The same. */
struct auth_login *auth_continue(struct auth_login *l, struct bytes data, struct auth_answer *answer);
/* done will not be called. NULL is fine. */
void auth_cancel(struct auth_login *l);

/* Gives who, who may be NULL, the view that the rules in force give it. loopback: as in the request. 0, or a
 * reason not to let it in; *why for the log. *who may be made for one that had none, because it may not do
 * everything. */
uint8_t auth_bind(struct auth *a, struct identity **who, struct bytes client, bool loopback,
                  const char **why);
/* After auth_load, and when time has passed: false when who would not get in any more. */
bool auth_still_valid(const struct auth *a, const struct identity *who);
/* How long it may stay yet; UINT32_MAX: for ever. */
uint32_t identity_left_s(const struct identity *who);
/* One that its port vouches for, of a user of this name. */
struct identity *identity_of_port(const char *user);
void identity_free(struct identity *who); /* NULL is fine */

/* What the rules say of an action ("publish", "subscribe", "receive") of a user, who need not be connected.
 * user NULL: anonymous. false: *why says what is wrong with the question, or with who asks. *everything: no
 * rule is asked. */
bool auth_test(struct auth *a, const char *user, struct bytes client, enum acl_action action,
               struct bytes topic, struct acl_verdict *verdict, bool *everything, const char **why);

/* A line of security: "security: …", but not more than some in a minute. */
void auth_note(struct auth *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct auth_counts {
    uint64_t admitted, refused, cached, busy, limited;
    uint64_t denied_publish, denied_subscribe, denied_receive, denied_connect;
    uint32_t waiting; /* for the pool, now */
};
struct auth_counts *auth_counts(struct auth *a);
/* The peer whose guesses were refused in the last minute; NULL: there is none. */
const char *auth_guesser(const struct auth *a);

#endif
