/* SPDX-License-Identifier: Apache-2.0 */
/* Paho C's blocking client as a client that a test drives. */
#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

static MQTTClient client;
static int version;

static void on_lost(void *arg, char *cause)
{
    (void)arg;
    say("lost %s", cause ? cause : "");
}

static void on_disconnected(void *arg, MQTTProperties *props, enum MQTTReasonCodes reason)
{
    (void)arg;
    (void)props;
    say("lost %d", reason);
}

static int on_message(void *arg, char *topic, int topic_len, MQTTClient_message *m)
{
    (void)arg;
    say_message(topic, topic_len ? (size_t)topic_len : strlen(topic), m->payload, (size_t)m->payloadlen,
                m->qos, m->retained);
    MQTTClient_freeMessage(&m);
    MQTTClient_free(topic);
    return 1;
}

/* Of MQTT 5 the reason is in the response. */
static void tell(int code, int reason)
{
    if (code != MQTTCLIENT_SUCCESS)
        say("failed %d", code);
    else
        say("done %d", reason);
}

static void connect_5(MQTTClient_connectOptions *options, const struct settings *s)
{
    MQTTProperties props = MQTTProperties_initializer;
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                           .value.integer4 = s->expiry_s};

    options->cleansession = 0;
    options->cleanstart = s->clean;
    if (s->expiry_s)
        MQTTProperties_add(&props, &expiry);
    MQTTResponse r = MQTTClient_connect5(client, options, &props, NULL);
    if (r.reasonCode != MQTTREASONCODE_SUCCESS)
        say("refused %d", r.reasonCode);
    else
        say("connected %d", options->returned.sessionPresent);
    MQTTResponse_free(r);
    MQTTProperties_free(&props);
}

static void connect_3(MQTTClient_connectOptions *options, const struct settings *s)
{
    options->cleansession = s->clean;
    int code = MQTTClient_connect(client, options);
    if (code)
        say("refused %d", code);
    else
        say("connected %d", options->returned.sessionPresent);
}

static void connect_to(const struct settings *s)
{
    MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
    MQTTClient_connectOptions options3 = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions options5 = MQTTClient_connectOptions_initializer5;
    MQTTClient_connectOptions *options = s->version == 5 ? &options5 : &options3;
    MQTTClient_willOptions will = MQTTClient_willOptions_initializer;
    MQTTClient_SSLOptions ssl = MQTTClient_SSLOptions_initializer;
    char uri[64];

    version = create.MQTTVersion = s->version;
    snprintf(uri, sizeof(uri), "%s://localhost:%d", s->ca ? "ssl" : "tcp", s->port);
    if (MQTTClient_createWithOptions(&client, uri, s->id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create))
        exit(1);
    MQTTClient_setCallbacks(client, NULL, on_lost, on_message, NULL);
    if (s->version == 5)
        MQTTClient_setDisconnected(client, NULL, on_disconnected);
    options->MQTTVersion = s->version;
    if (s->will) {
        will.topicName = s->will;
        will.message = "gone";
        will.qos = 1;
        options->will = &will;
    }
    if (s->ca) {
        ssl.trustStore = s->ca;
        ssl.keyStore = s->cert;
        ssl.privateKey = s->key;
        ssl.verify = 1;
        options->ssl = &ssl;
    }
    (s->version == 5 ? connect_5 : connect_3)(options, s);
}

static void subscribe(const char *filter, int qos)
{
    if (version < 5) {
        tell(MQTTClient_subscribe(client, filter, qos), qos);
        return;
    }
    MQTTResponse r = MQTTClient_subscribe5(client, filter, qos, NULL, NULL);
    say("done %d", r.reasonCode);
    MQTTResponse_free(r);
}

static void unsubscribe(const char *filter)
{
    if (version < 5) {
        tell(MQTTClient_unsubscribe(client, filter), 0);
        return;
    }
    MQTTResponse r = MQTTClient_unsubscribe5(client, filter, NULL);
    say("done %d", r.reasonCode);
    MQTTResponse_free(r);
}

static int send(const char *topic, const void *data, size_t len, int qos, bool retain,
                MQTTClient_deliveryToken *token)
{
    if (version < 5)
        return MQTTClient_publish(client, topic, (int)len, data, qos, retain, token);
    MQTTResponse r = MQTTClient_publish5(client, topic, (int)len, data, qos, retain, NULL, token);
    int reason = r.reasonCode;
    MQTTResponse_free(r);
    return reason;
}

static void publish(const char *topic, const void *data, size_t len, int qos, bool retain)
{
    MQTTClient_deliveryToken token = 0;
    int err = send(topic, data, len, qos, retain, &token);

    tell(err ? err : MQTTClient_waitForCompletion(client, token, 20000), 0);
}

static void disconnect(void)
{
    int err = version < 5 ? MQTTClient_disconnect(client, 5000)
                          : MQTTClient_disconnect5(client, 5000, MQTTREASONCODE_NORMAL_DISCONNECTION, NULL);

    say("lost %d", err);
}

int main(int argc, char **argv)
{
    return drive(argc, argv, &(struct library){connect_to, subscribe, unsubscribe, publish, disconnect});
}
