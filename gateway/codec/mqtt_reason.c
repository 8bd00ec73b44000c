/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "codec/mqtt_wire.h"

#define IN(type) (1u << MQTT_##type)
#define RECEIVED (IN(PUBACK) | IN(PUBREC))
#define RELEASED (IN(PUBREL) | IN(PUBCOMP))
#define ANSWERED (IN(SUBACK) | IN(UNSUBACK))
#define ENDED    (IN(CONNACK) | IN(DISCONNECT))

/* MQTT 5.0 §2.4 and the tables of §3: what a code is called and which packets may carry it. */
static const struct {
    const char *text;
    uint16_t packets;
} reasons[] = {
    [MQTT_OK] = {"success", ENDED | RECEIVED | RELEASED | ANSWERED | IN(AUTH)},
    [MQTT_GRANTED_1] = {"granted QoS 1", IN(SUBACK)},
    [MQTT_GRANTED_2] = {"granted QoS 2", IN(SUBACK)},
    [MQTT_DISCONNECT_WITH_WILL] = {"disconnect with will message", IN(DISCONNECT)},
    [MQTT_NO_SUBSCRIBERS] = {"no matching subscribers", RECEIVED},
    [MQTT_NO_SUBSCRIPTION] = {"no subscription existed", IN(UNSUBACK)},
    [MQTT_CONTINUE_AUTH] = {"continue authentication", IN(AUTH)},
    [MQTT_REAUTHENTICATE] = {"re-authenticate", IN(AUTH)},
    [MQTT_UNSPECIFIED] = {"unspecified error", ENDED | RECEIVED | ANSWERED},
    [MQTT_MALFORMED] = {"malformed packet", ENDED},
    [MQTT_PROTOCOL_ERROR] = {"protocol error", ENDED},
    [MQTT_IMPLEMENTATION_ERROR] = {"implementation specific error", ENDED | RECEIVED | ANSWERED},
    [MQTT_BAD_VERSION] = {"unsupported protocol version", IN(CONNACK)},
    [MQTT_BAD_CLIENT_ID] = {"client identifier not valid", IN(CONNACK)},
    [MQTT_BAD_CREDENTIALS] = {"bad user name or password", IN(CONNACK)},
    [MQTT_NOT_AUTHORIZED] = {"not authorized", ENDED | RECEIVED | ANSWERED},
    [MQTT_SERVER_UNAVAILABLE] = {"server unavailable", IN(CONNACK)},
    [MQTT_SERVER_BUSY] = {"server busy", ENDED},
    [MQTT_BANNED] = {"banned", IN(CONNACK)},
    [MQTT_SHUTTING_DOWN] = {"server shutting down", IN(DISCONNECT)},
    [MQTT_BAD_AUTH_METHOD] = {"bad authentication method", ENDED},
    [MQTT_KEEPALIVE_TIMEOUT] = {"keep alive timeout", IN(DISCONNECT)},
    [MQTT_TAKEN_OVER] = {"session taken over", IN(DISCONNECT)},
    [MQTT_BAD_FILTER] = {"topic filter invalid", ANSWERED | IN(DISCONNECT)},
    [MQTT_BAD_TOPIC] = {"topic name invalid", ENDED | RECEIVED},
    [MQTT_ID_IN_USE] = {"packet identifier in use", RECEIVED | ANSWERED},
    [MQTT_ID_NOT_FOUND] = {"packet identifier not found", RELEASED},
    [MQTT_RECEIVE_MAXIMUM_EXCEEDED] = {"receive maximum exceeded", IN(DISCONNECT)},
    [MQTT_BAD_ALIAS] = {"topic alias invalid", IN(DISCONNECT)},
    [MQTT_PACKET_TOO_LARGE] = {"packet too large", ENDED},
    [MQTT_RATE_TOO_HIGH] = {"message rate too high", IN(DISCONNECT)},
    [MQTT_QUOTA_EXCEEDED] = {"quota exceeded", ENDED | RECEIVED | IN(SUBACK)},
    [MQTT_ADMINISTRATIVE] = {"administrative action", IN(DISCONNECT)},
    [MQTT_BAD_PAYLOAD_FORMAT] = {"payload format invalid", ENDED | RECEIVED},
    [MQTT_NO_RETAIN] = {"retain not supported", ENDED},
    [MQTT_NO_QOS] = {"QoS not supported", ENDED},
    [MQTT_USE_ANOTHER_SERVER] = {"use another server", ENDED},
    [MQTT_SERVER_MOVED] = {"server moved", ENDED},
    [MQTT_NO_SHARED] = {"shared subscriptions not supported", IN(SUBACK) | IN(DISCONNECT)},
    [MQTT_CONNECTION_RATE] = {"connection rate exceeded", ENDED},
    [MQTT_MAXIMUM_CONNECT_TIME] = {"maximum connect time", IN(DISCONNECT)},
    [MQTT_NO_SUBSCRIPTION_IDS] = {"subscription identifiers not supported", IN(SUBACK) | IN(DISCONNECT)},
    [MQTT_NO_WILDCARDS] = {"wildcard subscriptions not supported", IN(SUBACK) | IN(DISCONNECT)},
};

bool mqtt_reason_fits(uint8_t reason, unsigned packet)
{
    return reason < ARRAY_SIZE(reasons) && (reasons[reason].packets >> packet & 1);
}

const char *mqtt_reason_text(uint8_t reason)
{
    const char *text = reason < ARRAY_SIZE(reasons) ? reasons[reason].text : NULL;

    return text ? text : "unknown reason";
}

uint8_t mqtt_connack_3(uint8_t reason)
{
    switch (reason) {
    case MQTT_OK:
        return 0;
    case MQTT_BAD_VERSION:
        return 1;
    case MQTT_BAD_CLIENT_ID:
        return 2;
    case MQTT_BAD_CREDENTIALS:
    case MQTT_BAD_AUTH_METHOD:
        return 4;
    case MQTT_NOT_AUTHORIZED:
    case MQTT_BANNED:
        return 5;
    default:
        return 3;
    }
}

uint8_t mqtt_connack_5(uint8_t return_code)
{
    static const uint8_t codes[] = {MQTT_OK,
                                    MQTT_BAD_VERSION,
                                    MQTT_BAD_CLIENT_ID,
                                    MQTT_SERVER_UNAVAILABLE,
                                    MQTT_BAD_CREDENTIALS,
                                    MQTT_NOT_AUTHORIZED};

    return return_code < ARRAY_SIZE(codes) ? codes[return_code] : MQTT_UNSPECIFIED;
}
