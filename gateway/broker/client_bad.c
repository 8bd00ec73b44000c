/* SPDX-License-Identifier: Apache-2.0 */
/* What a client sends that cannot be taken: says what it was, and ends the connection. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/client_private.h"

enum { SHOWN_BYTES = 12 /* of a packet that cannot be read */ };

void client_refuse_unreadable(struct client *c, struct bytes whole, uint8_t reason)
{
    char why[96];
    int at =
        snprintf(why, sizeof(why), "%s that cannot be read; it begins", mqtt_type_name(*whole.data >> 4));

    for (size_t i = 0; i < whole.len && i < SHOWN_BYTES; i++)
        at += snprintf(why + at, sizeof(why) - (size_t)at, " %02x", whole.data[i]);
    client_refuse(c, reason, why);
}

/* A second CONNECT ([MQTT-3.1.0-2]), or what only a server sends. */
void client_refuse_misplaced(struct client *c, const struct mqtt_packet *p)
{
    char why[64];

    snprintf(why, sizeof(why), "no client sends %s here", mqtt_type_name(p->type));
    client_refuse(c, MQTT_PROTOCOL_ERROR, why);
}

static bool is_connect_5(struct bytes data)
{
    static const uint8_t head[] = {0, 4, 'M', 'Q', 'T', 'T', MQTT_5};
    size_t header = 1;

    while (header < data.len && data.data[header++] & 0x80)
        ;
    return data.len - header >= sizeof(head) && !memcmp(data.data + header, head, sizeof(head));
}

void client_refuse_length(struct client *c, int err, size_t total, size_t most, struct bytes data)
{
    char why[64];

    if (err != -EMSGSIZE) {
        client_refuse(c, MQTT_MALFORMED, "packet length of more than 4 bytes");
        return;
    }
    c->port->refused[REFUSED_PACKET]++;
    snprintf(why, sizeof(why), "packet of %zu bytes where %zu are the most", total, most);
    if (c->state == CLIENT_NEW && is_connect_5(data))
        client_on_bad_connect(c, MQTT_PACKET_TOO_LARGE);
    else
        client_refuse(c, MQTT_PACKET_TOO_LARGE, why);
}

/* [MQTT-3.1.0-1], and what people connect to the wrong port with. */
bool client_begins_well(struct client *c, struct bytes data)
{
    static const struct {
        const char *begin, *why;
    } others[] = {{"\x16\x03", "it speaks TLS, and this listener does not"},
                  {"GET ", "it speaks HTTP, and this listener does not"},
                  {"PROXY ", "it speaks the PROXY protocol, and this listener does not"}};

    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        size_t size = strlen(others[i].begin);
        if (data.len < size || memcmp(data.data, others[i].begin, size))
            continue;
        client_refuse(c, MQTT_PROTOCOL_ERROR, others[i].why);
        return false;
    }
    if (*data.data >> 4 == MQTT_CONNECT)
        return true;
    client_refuse(c, MQTT_PROTOCOL_ERROR, "the first packet is not CONNECT");
    return false;
}
