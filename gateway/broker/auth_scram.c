/* SPDX-License-Identifier: Apache-2.0 */
/* SCRAM (RFC 5802, RFC 7677) by libgsasl, from verifiers: the password itself never comes here. Somebody who
 * has none is asked like one who has, with a salt that stays the same, and fails at the end. */
#include <errno.h>
#include <gsasl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/users.h"
#include "broker/auth_private.h"
#include "codec/mqtt.h"

enum { DATA_MOST = 4096 };

struct scram {
    Gsasl *library;
    enum crypto_hash hash;
    const struct user *stand_in; /* some user with a verifier */
};

/* ---- what libgsasl asks ---- */

static struct scram_verifier false_verifier(const struct scram *s, const char *name)
{
    const struct scram_verifier *seed = user_scram(s->stand_in, s->hash);
    size_t len = crypto_hash_len(s->hash);
    struct scram_verifier v = {.hash = s->hash, .count = seed->count, .salt_len = seed->salt_len};
    uint8_t made[CRYPTO_MOST_LEN];

    /* Of what nobody outside knows and a restart does not change. */
    crypto_hmac(CRYPTO_SHA512, seed->server, len, name, strlen(name), made);
    memcpy(v.salt, made, v.salt_len < sizeof(made) ? v.salt_len : sizeof(made));
    crypto_random(v.stored, len);
    crypto_random(v.server, len);
    return v;
}

static int set_bytes(Gsasl_session *session, Gsasl_property name, const uint8_t *data, size_t len)
{
    char *text = crypto_base64(data, len);
    int err = gsasl_property_set(session, name, text);

    free(text);
    return err;
}

/* The name is there with the client's first message. */
static int set_verifier(struct auth_login *l, Gsasl_session *session)
{
    const struct scram *s = l->own;
    const char *name = gsasl_property_fast(session, GSASL_AUTHID);
    char count[16];

    if (!name || user_name_wrong(name))
        return GSASL_AUTHENTICATION_ERROR;
    free(l->user);
    l->user = mem_strdup(name);
    const struct user *user = users_find(l->realm->users, bytes_of(name));
    const struct scram_verifier *known = user ? user_scram(user, s->hash) : NULL;
    struct scram_verifier v = known ? *known : false_verifier(s, name);
    free(l->secret);
    l->secret = known ? scram_text(known) : NULL;
    snprintf(count, sizeof(count), "%u", v.count);
    size_t len = crypto_hash_len(s->hash);
    int err = gsasl_property_set(session, GSASL_SCRAM_ITER, count);
    err = err ? err : set_bytes(session, GSASL_SCRAM_SALT, v.salt, v.salt_len);
    err = err ? err : set_bytes(session, GSASL_SCRAM_STOREDKEY, v.stored, len);
    return err ? err : set_bytes(session, GSASL_SCRAM_SERVERKEY, v.server, len);
}

static int on_question(Gsasl *library, Gsasl_session *session, Gsasl_property what)
{
    struct auth_login *l = gsasl_session_hook_get(session);

    (void)library;
    if (what != GSASL_SCRAM_ITER && what != GSASL_SCRAM_SALT)
        return GSASL_NO_CALLBACK;    /* the keys are set with these; there is no channel binding */
    return set_verifier(l, session); /* all of it, so it is asked once */
}

/* ---- the row ---- */

static void *load(const struct auth_backend *b, const struct realm *realm, const struct conf_node *root)
{
    const struct user *stand_in = users_with_scram(realm->users, b->hash);
    struct scram *s;

    (void)root;
    if (!stand_in)
        return NULL;
    s = mem_alloc(sizeof(*s));
    s->hash = b->hash;
    s->stand_in = stand_in;
    if (gsasl_init(&s->library) != GSASL_OK)
        abort(); /* there is no memory */
    gsasl_callback_set(s->library, on_question);
    return s;
}

static void unload(void *own)
{
    struct scram *s = own;

    gsasl_done(s->library);
    free(s);
}

static bool takes(const struct auth_request *r, const struct realm *realm, const void *own)
{
    (void)r, (void)realm;
    return own != NULL;
}

/* Who it is to act as can only be itself. */
static enum auth_step judge(struct auth_login *l, Gsasl_session *session)
{
    const char *as = gsasl_property_fast(session, GSASL_AUTHZID);

    if (as && *as && strcmp(as, l->user) != 0)
        return auth_refuse(l, MQTT_NOT_AUTHORIZED, "it asks to be somebody else");
    return l->secret ? AUTH_ADMIT : auth_refuse(l, MQTT_BAD_CREDENTIALS, "wrong user name or password");
}

static enum auth_step go_on(struct auth_login *l, struct bytes data)
{
    Gsasl_session *session = l->exchange;
    char *out = NULL;
    size_t len = 0;

    if (data.len > DATA_MOST)
        return auth_refuse(l, MQTT_PROTOCOL_ERROR, "authentication data of that size");
    int result = gsasl_step(session, (const char *)data.data, data.len, &out, &len);
    if (result == GSASL_OK || result == GSASL_NEEDS_MORE)
        buf_append(&l->data, out, len);
    gsasl_free(out);
    if (result == GSASL_NEEDS_MORE)
        return AUTH_CONTINUE;
    if (result == GSASL_OK)
        return judge(l, session);
    auth_place_failed(l->place);
    if (result == GSASL_AUTHENTICATION_ERROR)
        return auth_refuse(l, MQTT_BAD_CREDENTIALS, "wrong user name or password");
    return auth_refuse(l, MQTT_PROTOCOL_ERROR, gsasl_strerror_name(result));
}

static enum auth_step begin(struct auth_login *l, const struct auth_request *r)
{
    const struct scram *s = l->own;
    Gsasl_session *session;

    free(l->user);
    l->user = NULL; /* the exchange has its own */
    if (!auth_place_may_try(l->place))
        return auth_refuse_guesses(l);
    if (gsasl_server_start(s->library, l->backend->name, &session) != GSASL_OK)
        return auth_refuse(l, MQTT_SERVER_UNAVAILABLE, "libgsasl cannot begin");
    gsasl_session_hook_set(session, l);
    l->exchange = session;
    return go_on(l, r->data);
}

static void drop(struct auth_login *l)
{
    gsasl_finish(l->exchange);
}

#define SCRAM(method, of)                                                                                    \
    {                                                                                                        \
        .name = method, .by_method = true, .hash = of, .load = load, .unload = unload, .takes = takes,       \
        .begin = begin, .go_on = go_on, .still_valid = realm_has_secret, .drop = drop                        \
    }
const struct auth_backend auth_scram_sha_256 = SCRAM("SCRAM-SHA-256", CRYPTO_SHA256);
const struct auth_backend auth_scram_sha_1 = SCRAM("SCRAM-SHA-1", CRYPTO_SHA1);
