/* SPDX-License-Identifier: Apache-2.0 */
/* Paho C's asynchronous client as a client that a test drives. */
#include <MQTTAsync.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

static MQTTAsync client;
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

static int on_message(void *arg, char *topic, int topic_len, MQTTAsync_message *m)
{
    (void)arg;
    say_message(topic, topic_len ? (size_t)topic_len : strlen(topic), m->payload, (size_t)m->payloadlen,
                m->qos, m->retained);
    MQTTAsync_freeMessage(&m);
    MQTTAsync_free(topic);
    return 1;
}

static void on_connected(void *arg, MQTTAsync_successData *d)
{
    (void)arg;
    say("connected %d", d->alt.connect.sessionPresent);
}

static void on_connected_5(void *arg, MQTTAsync_successData5 *d)
{
    (void)arg;
    say("connected %d", d->alt.connect.sessionPresent);
}

static void on_refused(void *arg, MQTTAsync_failureData *d)
{
    (void)arg;
    say("refused %d", d->code);
}

static void on_refused_5(void *arg, MQTTAsync_failureData5 *d)
{
    (void)arg;
    say("refused %d", d->reasonCode);
}

static void on_subscribed(void *arg, MQTTAsync_successData *d)
{
    (void)arg;
    say("done %d", d->alt.qos);
}

static void on_done(void *arg, MQTTAsync_successData *d)
{
    (void)arg;
    (void)d;
    say("done 0");
}

static void on_done_5(void *arg, MQTTAsync_successData5 *d)
{
    (void)arg;
    say("done %d", d->reasonCode);
}

static void on_failure(void *arg, MQTTAsync_failureData *d)
{
    (void)arg;
    say("failed %d", d->code);
}

static void on_failure_5(void *arg, MQTTAsync_failureData5 *d)
{
    (void)arg;
    say("failed %d", d->reasonCode);
}

static void on_bye(void *arg, MQTTAsync_successData *d)
{
    (void)arg;
    (void)d;
    say("lost 0");
}

static void on_bye_5(void *arg, MQTTAsync_successData5 *d)
{
    (void)arg;
    (void)d;
    say("lost 0");
}

static void check(int code)
{
    if (code != MQTTASYNC_SUCCESS)
        say("failed %d", code);
}

static void set_callbacks(MQTTAsync_connectOptions *options, const struct settings *s, MQTTProperties *props)
{
    MQTTProperty expiry = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                           .value.integer4 = s->expiry_s};

    if (s->version < 5) {
        options->cleansession = s->clean;
        options->onSuccess = on_connected;
        options->onFailure = on_refused;
        return;
    }
    options->cleanstart = s->clean;
    options->onSuccess5 = on_connected_5;
    options->onFailure5 = on_refused_5;
    if (s->expiry_s)
        MQTTProperties_add(props, &expiry);
    options->connectProperties = props;
}

static void connect_to(const struct settings *s)
{
    MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer;
    MQTTAsync_connectOptions options3 = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions options5 = MQTTAsync_connectOptions_initializer5;
    MQTTAsync_connectOptions *options = s->version == 5 ? &options5 : &options3;
    MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
    MQTTAsync_SSLOptions ssl = MQTTAsync_SSLOptions_initializer;
    MQTTProperties props = MQTTProperties_initializer;
    char uri[64];

    version = create.MQTTVersion = s->version;
    snprintf(uri, sizeof(uri), "%s://localhost:%d", s->ca ? "ssl" : "tcp", s->port);
    if (MQTTAsync_createWithOptions(&client, uri, s->id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create))
        exit(1);
    MQTTAsync_setCallbacks(client, NULL, on_lost, on_message, NULL);
    if (s->version == 5)
        MQTTAsync_setDisconnected(client, NULL, on_disconnected);
    set_callbacks(options, s, &props);
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
    check(MQTTAsync_connect(client, options));
}

static MQTTAsync_responseOptions response(MQTTAsync_onSuccess *on_success)
{
    MQTTAsync_responseOptions r = MQTTAsync_responseOptions_initializer;

    if (version < 5) {
        r.onSuccess = on_success;
        r.onFailure = on_failure;
    } else {
        r.onSuccess5 = on_done_5;
        r.onFailure5 = on_failure_5;
    }
    return r;
}

static void subscribe(const char *filter, int qos)
{
    MQTTAsync_responseOptions r = response(on_subscribed);
    check(MQTTAsync_subscribe(client, filter, qos, &r));
}

static void unsubscribe(const char *filter)
{
    MQTTAsync_responseOptions r = response(on_done);
    check(MQTTAsync_unsubscribe(client, filter, &r));
}

static void publish(const char *topic, const void *data, size_t len, int qos, bool retain)
{
    MQTTAsync_responseOptions r = response(on_done);
    check(MQTTAsync_send(client, topic, (int)len, data, qos, retain, &r));
}

static void disconnect(void)
{
    MQTTAsync_disconnectOptions options = MQTTAsync_disconnectOptions_initializer;

    options.timeout = 5000;
    if (version < 5)
        options.onSuccess = on_bye;
    else
        options.onSuccess5 = on_bye_5;
    check(MQTTAsync_disconnect(client, &options));
}

int main(int argc, char **argv)
{
    return drive(argc, argv, &(struct library){connect_to, subscribe, unsubscribe, publish, disconnect});
}
