/* SPDX-License-Identifier: Apache-2.0 */
/* The properties of MQTT 5.0 table 2-4, written down again for the tests. */
#ifndef SLUICE_TESTS_MQTT_PROPERTIES_H
#define SLUICE_TESTS_MQTT_PROPERTIES_H

#include "tests/unit/mqtt_support.h"

#define BAD   MQTT_MALFORMED
#define PROTO MQTT_PROTOCOL_ERROR

static const struct {
    enum mqtt_prop id;
    char kind; /* b yte, 2 and 4 bytes, v ariable, s tring, t opic, x binary, p air */
    const char *low, *high, *below, *above; /* values at and beyond the limits */
    const char *packets;
    const char *repeats;
    uint8_t why;
} properties[] = {
    /* C connect, c connack, P publish, W will, a ack, r rec, l rel, m comp, S subscribe, s suback, U
     * unsubscribe, u unsuback, D disconnect, A auth */
    {MQTT_PAYLOAD_FORMAT, 'b', "00", "01", NULL, "02", "PW", "", PROTO},
    {MQTT_MESSAGE_EXPIRY, '4', "00000000", "ffffffff", NULL, NULL, "PW", "", 0},
    {MQTT_CONTENT_TYPE, 's', "0000", "0001 'c'", NULL, "0001 00", "PW", "", BAD},
    {MQTT_RESPONSE_TOPIC, 't', "0001 'a'", "0001 'r'", "0000", "0001 '+'", "PW", "", PROTO},
    {MQTT_CORRELATION_DATA, 'x', "0000", "0001 00", NULL, NULL, "PW", "", 0},
    {MQTT_SUBSCRIPTION_ID, 'v', "01", "ffffff7f", "00", NULL, "PS", "P", PROTO},
    {MQTT_SESSION_EXPIRY, '4', "00000000", "ffffffff", NULL, NULL, "CcD", "", 0},
    {MQTT_ASSIGNED_CLIENT_ID, 's', "0000", "0001 'c'", NULL, "0001 ff", "c", "", BAD},
    {MQTT_SERVER_KEEP_ALIVE, '2', "0000", "ffff", NULL, NULL, "c", "", 0},
    {MQTT_AUTH_METHOD, 's', "0000", "0001 'm'", NULL, "0001 ff", "CcA", "", BAD},
    {MQTT_AUTH_DATA, 'x', "0000", "0001 00", NULL, NULL, "CcA", "", 0},
    {MQTT_REQUEST_PROBLEM_INFO, 'b', "00", "01", NULL, "02", "C", "", PROTO},
    {MQTT_WILL_DELAY, '4', "00000000", "ffffffff", NULL, NULL, "W", "", 0},
    {MQTT_REQUEST_RESPONSE_INFO, 'b', "00", "01", NULL, "ff", "C", "", PROTO},
    {MQTT_RESPONSE_INFO, 's', "0000", "0001 'i'", NULL, "0001 80", "c", "", BAD},
    {MQTT_SERVER_REFERENCE, 's', "0000", "0001 's'", NULL, "0001 80", "cD", "", BAD},
    {MQTT_REASON_STRING, 's', "0000", "0001 'r'", NULL, "0001 80", "carlmsuDA", "", BAD},
    {MQTT_RECEIVE_MAXIMUM, '2', "0001", "ffff", "0000", NULL, "Cc", "", PROTO},
    {MQTT_TOPIC_ALIAS_MAXIMUM, '2', "0000", "ffff", NULL, NULL, "Cc", "", 0},
    {MQTT_TOPIC_ALIAS, '2', "0001", "ffff", "0000", NULL, "P", "", MQTT_BAD_ALIAS},
    {MQTT_MAXIMUM_QOS, 'b', "00", "01", NULL, "02", "c", "", PROTO},
    {MQTT_RETAIN_AVAILABLE, 'b', "00", "01", NULL, "02", "c", "", PROTO},
    {MQTT_USER_PROPERTY, 'p', "0000 0000", "0001 'k' 0001 'v'", NULL, "0001 80 0000", "CcPWarlmSsUuDA",
     "CcPWarlmSsUuDA", BAD},
    {MQTT_MAXIMUM_PACKET_SIZE, '4', "00000001", "ffffffff", "00000000", NULL, "Cc", "", PROTO},
    {MQTT_WILDCARD_AVAILABLE, 'b', "00", "01", NULL, "02", "c", "", PROTO},
    {MQTT_SUBSCRIPTION_ID_AVAILABLE, 'b', "00", "01", NULL, "02", "c", "", PROTO},
    {MQTT_SHARED_AVAILABLE, 'b', "00", "01", NULL, "02", "c", "", PROTO},
};

#endif
