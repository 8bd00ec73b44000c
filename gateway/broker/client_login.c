/* SPDX-License-Identifier: Apache-2.0 */
/* Who a client is: what its CONNECT shows, what auth.h says to it, and AUTH packets to and fro until that is
 * known (MQTT 5.0 §4.12), for the first time or again. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/users.h"
#include "broker/client_private.h"

struct client_login {
    struct auth_login *under_way;
    char *method;  /* NULL: none */
    bool our_turn; /* the client has said its part */
    size_t len;    /* of the CONNECT that waits; 0: it is connected and authenticates again */
    uint8_t packet[];
};

static void login_free(struct client_login *l)
{
    if (!l)
        return;
    explicit_bzero(l->packet, l->len); /* a password is in it */
    free(l->method);
    free(l);
}

void client_cancel_login(struct client *c)
{
    if (c->login)
        auth_cancel(c->login->under_way);
    login_free(c->login);
    c->login = NULL;
}

bool client_owes_auth(const struct client *c)
{
    return c->state == CLIENT_AUTHENTICATING && c->login && !c->login->our_turn;
}

/* ---- telling ---- */

void client_set_auth(const struct client *c, struct mqtt_props *props, struct bytes data)
{
    if (!c->who || !c->who->by_method)
        return;
    mqtt_set_text(props, MQTT_AUTH_METHOD, bytes_of(c->who->how)); /* [MQTT-4.12.0-5] */
    if (data.len)
        mqtt_set_text(props, MQTT_AUTH_DATA, data);
}

static bool send_auth(struct client *c, uint8_t reason, const char *method, struct bytes data)
{
    struct mqtt_packet p = {.type = MQTT_AUTH};

    p.ack.reason = reason;
    mqtt_set_text(&p.ack.props, MQTT_AUTH_METHOD, bytes_of(method));
    if (data.len)
        mqtt_set_text(&p.ack.props, MQTT_AUTH_DATA, data);
    if (c->most_packet && mqtt_encoded_size(&p, c->version) > c->most_packet)
        return false;
    client_send_free(c, &p);
    return true;
}

/* Table 3-13 has no codes for a login that is wrong, and none for a server that cannot. */
static uint8_t disconnect_reason(uint8_t reason)
{
    switch (reason) {
    case MQTT_BAD_CREDENTIALS:
    case MQTT_BAD_AUTH_METHOD:
        return MQTT_NOT_AUTHORIZED;
    case MQTT_SERVER_UNAVAILABLE:
        return MQTT_SERVER_BUSY;
    default:
        return reason;
    }
}

/* By CONNACK before it is connected, else by DISCONNECT ([MQTT-4.12.1-2]); closed in both cases. auth has
 * told of it, within bounds: a flood of them must not fill the log. */
static void refuse(struct client *c, const struct auth_answer *answer)
{
    if (c->state == CLIENT_CONNECTED)
        client_refuse(c, disconnect_reason(answer->reason), answer->why);
    else
        client_turn_away(c, answer->reason, answer->why);
}

static void refuse_too_small(struct client *c)
{
    static const char why[] = "it takes no packet as large as its authentication needs";

    if (c->state == CLIENT_CONNECTED)
        client_refuse(c, MQTT_PACKET_TOO_LARGE, why);
    else
        client_refuse_connect(c, MQTT_PACKET_TOO_LARGE, why);
}

/* ---- answers ---- */

/* login is whole and the client's no more. */
static void admit_first(struct client *c, const struct client_login *login, struct bytes data)
{
    struct mqtt_packet packet;
    uint8_t why;

    if (!mqtt_decode(login->packet, login->len, c->version, &packet, &why)) /* as it was the first time */
        client_admit(c, &packet.connect, data);
}

static void admit_again(struct client *c, struct identity *who, struct bytes data)
{
    struct bytes id = {(const uint8_t *)c->session->name, c->session->name_len};
    const char *why = "it came as somebody else before";
    bool same = who && who->user && c->who->user && !strcmp(who->user, c->who->user);
    uint8_t reason = same ? auth_bind(c->port->auth, &who, id, c->port->loopback, &why) : MQTT_NOT_AUTHORIZED;

    if (!reason) {
        identity_free(c->who);
        c->who = who;
        if (!send_auth(c, MQTT_OK, who->how, data))
            refuse_too_small(c);
        return;
    }
    identity_free(who);
    client_refuse(c, reason, why);
}

/* The login has come to its end. */
static void conclude(struct client *c, struct auth_answer *answer)
{
    struct client_login *login = c->login;
    struct bytes data = {answer->data.data, answer->data.len};

    c->login = NULL;
    if (answer->reason) {
        refuse(c, answer);
    } else if (login->len) {
        c->who = answer->who;
        admit_first(c, login, data);
    } else {
        admit_again(c, answer->who, data);
    }
    buf_free(&answer->data);
    login_free(login);
}

static void on_answer(void *arg, struct auth_answer *answer)
{
    struct client *c = arg;

    conclude(c, answer);
    if (c->state != CLIENT_CLOSED)
        client_unhold(c, HOLD_LOGIN);
}

/* What auth_begin or auth_continue says. */
static void take_answer(struct client *c, struct auth_login *under_way, struct auth_answer *answer)
{
    struct bytes data = {answer->data.data, answer->data.len};

    if (!under_way) {
        conclude(c, answer);
        return;
    }
    c->login->under_way = under_way;
    if (answer->reason == MQTT_CONTINUE_AUTH) {
        c->login->our_turn = false;
        if (!send_auth(c, MQTT_CONTINUE_AUTH, c->login->method, data)) /* [MQTT-4.12.0-2] */
            refuse_too_small(c);
    } else {
        client_hold(c, HOLD_LOGIN); /* nothing more is read until it is known who it is */
    }
    buf_free(&answer->data);
}

/* ---- questions ---- */

static void begin(struct client *c, struct auth_request *r, const struct mqtt_props *props,
                  struct bytes connect)
{
    char peer[64], name[USER_NAME_MOST + 2];
    struct bytes method = mqtt_text(props, MQTT_AUTH_METHOD);
    struct auth_answer answer;

    conn_peer(&c->conn, peer);
    r->peer = peer;
    r->anonymous = c->port->anonymous;
    r->certificate = c->port->certificates && conn_peer_name(&c->conn, name, sizeof(name)) ? name : NULL;
    if (c->version == MQTT_5 && mqtt_has(props, MQTT_AUTH_METHOD)) {
        r->has_method = true;
        r->method = method;
        r->data = mqtt_text(props, MQTT_AUTH_DATA);
    }
    c->login = mem_alloc(sizeof(*c->login) + connect.len);
    c->login->method = r->has_method ? mem_strndup((const char *)method.data, method.len) : NULL;
    c->login->our_turn = true;
    c->login->len = connect.len;
    if (connect.len)
        memcpy(c->login->packet, connect.data, connect.len);
    struct auth_login *under_way = auth_begin(c->port->auth, r, on_answer, c, &answer);
    take_answer(c, under_way, &answer);
}

void client_on_connect(struct client *c, const struct mqtt_connect *p, struct bytes whole)
{
    struct auth_request request = {
        .has_user = p->has_user, .has_password = p->has_password, .user = p->user, .password = p->password};
    const char *why = NULL;

    c->version = p->version > MQTT_5 ? MQTT_5 : p->version < MQTT_3_1 ? MQTT_3_1 : p->version;
    if (c->version == MQTT_5 && p->version == MQTT_5) {
        c->most_packet = mqtt_number(&p->props, MQTT_MAXIMUM_PACKET_SIZE, 0);
        c->most_aliases = (uint16_t)mqtt_number(&p->props, MQTT_TOPIC_ALIAS_MAXIMUM, 0);
        c->no_problem_info = !mqtt_number(&p->props, MQTT_REQUEST_PROBLEM_INFO, 1);
    }
    c->bridge = p->bridge;
    uint8_t reason = client_judge_connect(c, p, &why);
    if (reason) {
        client_refuse_connect(c, reason, why);
        return;
    }
    c->state = CLIENT_AUTHENTICATING;
    begin(c, &request, &p->props, whole);
}

static void go_on(struct client *c, const struct mqtt_ack *p)
{
    struct auth_answer answer;
    struct bytes data = mqtt_text(&p->props, MQTT_AUTH_DATA);

    c->login->our_turn = true;
    struct auth_login *under_way = auth_continue(c->login->under_way, data, &answer);
    take_answer(c, under_way, &answer);
}

static bool is_method(const struct mqtt_props *p, const char *method)
{
    return mqtt_has(p, MQTT_AUTH_METHOD) && bytes_equal(mqtt_text(p, MQTT_AUTH_METHOD), bytes_of(method));
}

/* [MQTT-3.1.2-30]: until CONNACK a client that named a method may send AUTH and DISCONNECT alone. */
void client_on_early(struct client *c, const struct mqtt_packet *p)
{
    if (p->type == MQTT_DISCONNECT)
        conn_close(&c->conn);
    else if (p->type != MQTT_AUTH || p->ack.reason != MQTT_CONTINUE_AUTH)
        client_refuse_connect(c, MQTT_PROTOCOL_ERROR, "it has not authenticated yet");
    else if (!is_method(&p->ack.props, c->login->method))
        client_refuse_connect(c, MQTT_PROTOCOL_ERROR, "AUTH by another method than CONNECT");
    else
        go_on(c, &p->ack);
}

void client_on_auth(struct client *c, const struct mqtt_packet *packet, struct bytes whole)
{
    const struct mqtt_ack *p = &packet->ack;
    struct auth_request request = {0};

    (void)whole;
    if (!c->who || !c->who->by_method)
        client_refuse(c, MQTT_PROTOCOL_ERROR, "AUTH without an authentication method");
    else if (!is_method(&p->props, c->who->how)) /* [MQTT-4.12.1-1] */
        client_refuse(c, MQTT_PROTOCOL_ERROR, "AUTH by another method than CONNECT");
    else if (p->reason != (c->login ? MQTT_CONTINUE_AUTH : MQTT_REAUTHENTICATE))
        client_refuse(c, MQTT_PROTOCOL_ERROR, "AUTH out of turn");
    else if (c->login)
        go_on(c, p);
    else
        begin(c, &request, &p->props, (struct bytes){0});
}
