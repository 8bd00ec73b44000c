/* SPDX-License-Identifier: Apache-2.0 */
/* libmosquitto as a client that a test drives. */
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

static struct mosquitto *mosq;
static bool connected;

static void check(int err)
{
    if (err)
        say("failed %d", err);
}

static void on_connect(struct mosquitto *m, void *arg, int code, int flags)
{
    (void)m;
    (void)arg;
    connected = !code;
    if (connected)
        say("connected %d", flags & 1);
}

/* The library's own thread would connect again by itself. */
static void *serve(void *arg)
{
    int err;

    while (!(err = mosquitto_loop(mosq, 50, 1)))
        continue;
    say("%s %d", connected ? "lost" : "refused", err);
    return arg;
}

static void on_disconnect(struct mosquitto *m, void *arg, int code)
{
    (void)m;
    (void)arg;
    if (!code)
        say("lost 0");
}

static void on_subscribe(struct mosquitto *m, void *arg, int mid, int count, const int *granted)
{
    (void)m;
    (void)arg;
    (void)mid;
    say("done %d", count ? granted[0] : -1);
}

static void on_done(struct mosquitto *m, void *arg, int mid)
{
    (void)m;
    (void)arg;
    (void)mid;
    say("done 0");
}

static void on_message(struct mosquitto *m, void *arg, const struct mosquitto_message *msg)
{
    (void)m;
    (void)arg;
    say_message(msg->topic, strlen(msg->topic), msg->payload, (size_t)msg->payloadlen, msg->qos, msg->retain);
}

static void connect_to(const struct settings *s)
{
    mosquitto_property *props = NULL;
    pthread_t thread;

    mosquitto_lib_init();
    mosq = mosquitto_new(s->id, s->clean, NULL);
    if (!mosq)
        exit(1);
    check(mosquitto_int_option(mosq, MOSQ_OPT_PROTOCOL_VERSION, s->version));
    mosquitto_connect_with_flags_callback_set(mosq, on_connect);
    mosquitto_disconnect_callback_set(mosq, on_disconnect);
    mosquitto_subscribe_callback_set(mosq, on_subscribe);
    mosquitto_unsubscribe_callback_set(mosq, on_done);
    mosquitto_publish_callback_set(mosq, on_done);
    mosquitto_message_callback_set(mosq, on_message);
    if (s->will)
        check(mosquitto_will_set(mosq, s->will, 4, "gone", 1, false));
    if (s->ca)
        check(mosquitto_tls_set(mosq, s->ca, NULL, s->cert, s->key, NULL));
    if (s->version == 5 && s->expiry_s)
        check(mosquitto_property_add_int32(&props, MQTT_PROP_SESSION_EXPIRY_INTERVAL, s->expiry_s));
    check(mosquitto_connect_bind_v5(mosq, "localhost", s->port, 60, NULL, props));
    mosquitto_property_free_all(&props);
    check(mosquitto_threaded_set(mosq, true));
    if (pthread_create(&thread, NULL, serve, NULL))
        exit(1);
}

static void subscribe(const char *filter, int qos)
{
    check(mosquitto_subscribe(mosq, NULL, filter, qos));
}

static void unsubscribe(const char *filter)
{
    check(mosquitto_unsubscribe(mosq, NULL, filter));
}

static void publish(const char *topic, const void *data, size_t len, int qos, bool retain)
{
    check(mosquitto_publish(mosq, NULL, topic, (int)len, data, qos, retain));
}

static void disconnect(void)
{
    check(mosquitto_disconnect(mosq));
}

int main(int argc, char **argv)
{
    return drive(argc, argv, &(struct library){connect_to, subscribe, unsubscribe, publish, disconnect});
}
