/* SPDX-License-Identifier: Apache-2.0 */
/* What the standards demand of a packet that can be seen in it alone, by number of the statement. Each row
 * has a packet that is fine and one that differs in the one thing that is not. Numbers of 5.0 for version 5,
 * of 3.1.1 for version 4; a section where no statement is numbered. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/mqtt_properties.h"

#define C5 "10 0004 'MQTT' 05 "
#define C4 "10 0004 'MQTT' 04 "

static const struct statement {
    const char *number;
    uint8_t version;
    const char *good, *bad;
    uint8_t why;
} statements[] = {
    {"MQTT-1.5.4-1 surrogate", 5, "30 0003 efbfbd 00", "30 0003 eda080 00", BAD},
    {"MQTT-1.5.4-1 overlong", 5, "30 0002 c3a9 00", "30 0002 c0af 00", BAD},
    {"MQTT-1.5.4-1 cut", 5, "30 0002 c3a9 00", "30 0001 c3 00", BAD},
    {"MQTT-1.5.4-2", 5, "30 0003 'a' 01 'b' 00", "30 0003 'a' 00 'b' 00", BAD},
    {"MQTT-1.5.3-1", 4, "30 0003 ee8080", "30 0003 edbfbf", BAD},
    {"MQTT-1.5.3-2", 4, "30 0003 'a' 01 'b'", "30 0003 'a' 00 'b'", BAD},
    {"MQTT-1.5.4-1 client id", 5, C5 "02 0000 00 0001 'a'", C5 "02 0000 00 0001 ff", BAD},
    {"MQTT-1.5.5-1 properties", 5, "30 0001 't' 00 00", "30 0001 't' 80 00", BAD},
    {"MQTT-1.5.5-1 five bytes", 5, "30 0001 't' 00 00", "30 0001 't' 80808080 00", BAD},
    {"MQTT-1.5.5-1 value", 5, "30 0001 't' 03 0b 8101", "30 0001 't' 03 0b 8100", BAD},
    {"MQTT-1.5.7-1 name", 5, "e0 00 06 26 0001 'n' 0000", "e0 00 06 26 0001 80 0000", BAD},
    {"MQTT-1.5.7-1 value", 5, "e0 00 06 26 0000 0001 'v'", "e0 00 06 26 0000 0001 00", BAD},
    {"MQTT-2.1.3-1 PINGREQ", 5, "c0", "c1", BAD},
    {"MQTT-2.1.3-1 PINGRESP", 5, "d0", "d8", BAD},
    {"MQTT-2.1.3-1 CONNECT", 5, C5 "02 0000 00 0000", "11 0004 'MQTT' 05 02 0000 00 0000", BAD},
    {"MQTT-2.1.3-1 CONNACK", 5, "20 00 00 00", "21 00 00 00", BAD},
    {"MQTT-2.1.3-1 PUBACK", 5, "40 0001", "42 0001", BAD},
    {"MQTT-2.1.3-1 PUBREC", 5, "50 0001", "51 0001", BAD},
    {"MQTT-2.1.3-1 PUBCOMP", 5, "70 0001", "72 0001", BAD},
    {"MQTT-2.1.3-1 SUBACK", 5, "90 0001 00 00", "92 0001 00 00", BAD},
    {"MQTT-2.1.3-1 UNSUBACK", 5, "b0 0001 00 00", "b4 0001 00 00", BAD},
    {"MQTT-2.2.2-2 PUBACK", 4, "40 0001", "48 0001", BAD},
    {"MQTT-2.2.2-2 PINGREQ", 4, "c0", "c2", BAD},
    {"3.1 §2.1 DUP alone", 3, "6a 0001", "6b 0001", BAD},
    {"3.1 §2.1 PUBACK has no DUP", 3, "40 0001", "48 0001", BAD},
    {"5.0 §2.1.2 type 0", 5, "c0", "00", BAD},
    {"3.1.1 §2.2.1 type 15", 4, "c0", "f0", BAD},
    {"MQTT-2.2.1-3 SUBSCRIBE", 5, "82 0001 00 0001 'a' 00", "82 0000 00 0001 'a' 00", PROTO},
    {"MQTT-2.2.1-3 UNSUBSCRIBE", 5, "a2 0001 00 0001 'a'", "a2 0000 00 0001 'a'", PROTO},
    {"MQTT-2.2.1-3 PUBLISH", 5, "32 0001 'a' 0001 00", "32 0001 'a' 0000 00", PROTO},
    {"MQTT-2.2.1-5 PUBACK", 5, "40 0001", "40 0000", PROTO},
    {"MQTT-2.2.1-5 PUBREL", 5, "62 0001 00", "62 0000 00", PROTO},
    {"MQTT-2.2.1-6 SUBACK", 5, "90 0001 00 00", "90 0000 00 00", PROTO},
    {"MQTT-2.2.1-6 UNSUBACK", 5, "b0 0001 00 00", "b0 0000 00 00", PROTO},
    {"MQTT-2.3.1-1 PUBLISH", 4, "34 0001 'a' 0001", "34 0001 'a' 0000", PROTO},
    {"MQTT-2.3.1-1 SUBSCRIBE", 4, "82 0001 0001 'a' 00", "82 0000 0001 'a' 00", PROTO},
    {"MQTT-2.2.2-1 PUBLISH", 5, "30 0001 'a' 00", "30 0001 'a'", BAD},
    {"MQTT-2.2.2-1 CONNECT", 5, C5 "02 0000 00 0000", C5 "02 0000", BAD},
    {"MQTT-2.2.2-1 CONNACK", 5, "20 00 00 00", "20 00 00", BAD},
    {"5.0 §2.2.2.1 length beyond the packet", 5, "e0 00 05 26 0000 0000", "e0 00 06 26 0000 0000", BAD},
    {"5.0 §2.2.2.2 unknown property", 5, "30 0001 't' 02 01 00", "30 0001 't' 02 04 00", BAD},
    {"5.0 §2.2.2.2 unknown above 42", 5, "30 0001 't' 02 01 00", "30 0001 't' 02 2b 00", BAD},
    {"5.0 §2.2.2.2 identifier in two bytes", 5, "30 0001 't' 03 23 0001", "30 0001 't' 03 8100 00", BAD},
    {"5.0 §2.2.2.2 cut value", 5, "30 0001 't' 03 23 0001", "30 0001 't' 02 23 0001", BAD},
    {"5.0 §2.2.2.2 value beyond the properties", 5, "30 0001 't' 05 03 0002 'ab'",
     "30 0001 't' 05 03 0003 'abc'", BAD},

    {"MQTT-3.1.2-1", 5, C5 "02 0000 00 0000", "10 0004 'MQTX' 05 02 0000 00 0000", MQTT_BAD_VERSION},
    {"MQTT-3.1.2-1", 4, C4 "02 0000 0000", "10 0003 'MQT' 04 02 0000 0000", MQTT_BAD_VERSION},
    {"3.1 §3.1 name of 3.1", 3, "10 0006 'MQIsdp' 03 02 0000 0001 'a'", "10 0004 'MQTT' 03 02 0000 0001 'a'",
     MQTT_BAD_VERSION},
    {"3.1 §3.1 version of 3.1", 4, C4 "02 0000 0001 'a'", "10 0006 'MQIsdp' 04 02 0000 0001 'a'",
     MQTT_BAD_VERSION},
    {"MQTT-3.1.2-3", 5, C5 "02 0000 00 0000", C5 "03 0000 00 0000", BAD},
    {"MQTT-3.1.2-3", 4, C4 "02 0000 0000", C4 "03 0000 0000", BAD},
    {"MQTT-3.1.2-9", 5, C5 "06 0000 00 0000 00 0001 't' 0000", C5 "06 0000 00 0000", BAD},
    {"MQTT-3.1.2-9", 4, C4 "06 0000 0000 0001 't' 0000", C4 "06 0000 0000 0001 't'", BAD},
    {"MQTT-3.1.2-11", 5, C5 "02 0000 00 0000", C5 "0a 0000 00 0000", BAD},
    {"MQTT-3.1.2-12", 5, C5 "16 0000 00 0000 00 0001 't' 0000", C5 "1e 0000 00 0000 00 0001 't' 0000", BAD},
    {"MQTT-3.1.2-13", 5, C5 "02 0000 00 0000", C5 "22 0000 00 0000", BAD},
    {"MQTT-3.1.2-13", 4, C4 "02 0000 0000", C4 "12 0000 0000", BAD},
    {"MQTT-3.1.2-14", 4, C4 "16 0000 0000 0001 't' 0000", C4 "1e 0000 0000 0001 't' 0000", BAD},
    {"MQTT-3.1.2-15", 4, C4 "02 0000 0000", C4 "22 0000 0000", BAD},
    {"MQTT-3.1.2-16", 5, C5 "82 0000 00 0000 0001 'u'", C5 "02 0000 00 0000 0001 'u'", BAD},
    {"MQTT-3.1.2-17", 5, C5 "82 0000 00 0000 0001 'u'", C5 "82 0000 00 0000", BAD},
    {"MQTT-3.1.2-18", 5, C5 "c2 0000 00 0000 0000 0000", C5 "82 0000 00 0000 0000 0000", BAD},
    {"MQTT-3.1.2-19", 5, C5 "c2 0000 00 0000 0000 0000", C5 "c2 0000 00 0000 0000", BAD},
    {"MQTT-3.1.2-18", 4, C4 "82 0000 0000 0001 'u'", C4 "02 0000 0000 0001 'u'", BAD},
    {"MQTT-3.1.2-19", 4, C4 "82 0000 0000 0001 'u'", C4 "82 0000 0000", BAD},
    {"MQTT-3.1.2-20", 4, C4 "c2 0000 0000 0000 0000", C4 "82 0000 0000 0000 0000", BAD},
    {"MQTT-3.1.2-21", 4, C4 "c2 0000 0000 0000 0000", C4 "c2 0000 0000 0000", BAD},
    {"MQTT-3.1.2-22", 4, C4 "c2 0000 0000 0000 0000", C4 "42 0000 0000 0000", BAD},
    {"3.1 §3.1 password without user name", 3, "10 0006 'MQIsdp' 03 c2 0000 0001 'a' 0000 0000",
     "10 0006 'MQIsdp' 03 42 0000 0001 'a' 0000", BAD},
    {"MQTT-3.1.3-3", 5, C5 "02 0000 00 0000", C5 "02 0000 00", BAD},
    {"MQTT-3.1.3-4", 5, C5 "02 0000 00 0001 'a'", C5 "02 0000 00 0001 00", BAD},
    {"MQTT-3.1.3-4", 4, C4 "02 0000 0001 'a'", C4 "02 0000 0001 80", BAD},
    {"MQTT-3.1.3-11", 5, C5 "06 0000 00 0000 00 0001 't' 0000", C5 "06 0000 00 0000 00 0001 fe 0000", BAD},
    {"MQTT-3.1.3-10", 4, C4 "06 0000 0000 0001 't' 0000", C4 "06 0000 0000 0001 c1 0000", BAD},
    {"MQTT-3.1.3-12", 5, C5 "82 0000 00 0000 0001 'u'", C5 "82 0000 00 0000 0001 ff", BAD},
    {"MQTT-3.1.3-11", 4, C4 "82 0000 0000 0001 'u'", C4 "82 0000 0000 0001 00", BAD},
    {"MQTT-4.7.1-1 will", 4, C4 "06 0000 0000 0001 't' 0000", C4 "06 0000 0000 0001 '#' 0000",
     MQTT_BAD_TOPIC},
    {"MQTT-4.7.3-1 will", 5, C5 "06 0000 00 0000 00 0001 't' 0000", C5 "06 0000 00 0000 00 0000 0000",
     MQTT_BAD_TOPIC},
    {"5.0 §3.1.2.11.9 data without method", 5, C5 "02 0000 08 15 0001 'm' 16 0001 'd' 0000",
     C5 "02 0000 04 16 0001 'd' 0000", PROTO},

    {"MQTT-3.2.2-1", 5, "20 01 00 00", "20 02 00 00", BAD},
    {"3.1.1 §3.2.2.1", 4, "20 01 00", "20 80 00", BAD},
    {"MQTT-3.2.2-6", 5, "20 00 80 00", "20 01 80 00", PROTO},
    {"MQTT-3.2.2-4", 4, "20 00 02", "20 01 02", PROTO},
    {"MQTT-3.2.2-8", 5, "20 00 9f 00", "20 00 8d 00", PROTO},
    {"3.1.1 §3.2.2.3 reserved", 4, "20 00 05", "20 00 06", BAD},

    {"MQTT-3.3.1-2", 5, "3a 0001 't' 0001 00", "38 0001 't' 00", BAD},
    {"MQTT-3.3.1-2", 4, "3a 0001 't' 0001", "38 0001 't'", BAD},
    {"MQTT-3.3.1-4", 5, "34 0001 't' 0001 00", "36 0001 't' 0001 00", BAD},
    {"MQTT-3.3.1-4", 4, "34 0001 't' 0001", "36 0001 't' 0001", BAD},
    {"MQTT-3.3.2-1", 5, "30 0001 't' 00", "30 0001 ff 00", BAD},
    {"MQTT-3.3.2-1 absent", 4, "30 0001 't'", "30", BAD},
    {"MQTT-3.3.2-2", 5, "30 0001 '*' 00", "30 0001 '+' 00", MQTT_BAD_TOPIC},
    {"MQTT-3.3.2-2", 4, "30 0003 'a/b'", "30 0003 'a/#'", MQTT_BAD_TOPIC},
    {"MQTT-4.7.0-1", 5, "30 000c 'abcdefgh/ijk' 00", "30 000c 'abcdefgh/i+k' 00", MQTT_BAD_TOPIC},
    {"5.0 §3.3.2.1 no name and no alias", 5, "30 0000 03 23 0001", "30 0000 00", PROTO},
    {"MQTT-4.7.3-1 PUBLISH", 4, "30 0001 't'", "30 0000", PROTO},
    {"MQTT-3.3.2-8", 5, "30 0001 't' 03 23 0001", "30 0001 't' 03 23 0000", MQTT_BAD_ALIAS},
    {"MQTT-3.3.2-13", 5, "30 0001 't' 04 08 0001 'r'", "30 0001 't' 04 08 0001 fd", BAD},
    {"MQTT-3.3.2-14", 5, "30 0001 't' 04 08 0001 'r'", "30 0001 't' 04 08 0001 '#'", PROTO},
    {"MQTT-3.3.2-19", 5, "30 0001 't' 04 03 0001 'c'", "30 0001 't' 04 03 0001 00", BAD},
    {"5.0 §3.3.2.3.8 subscription identifier 0", 5, "30 0001 't' 02 0b 01", "30 0001 't' 02 0b 00", PROTO},

    {"MQTT-3.4.2-1", 5, "40 0001 10", "40 0001 92", PROTO},
    {"MQTT-3.5.2-1", 5, "50 0001 99", "50 0001 01", PROTO},
    {"MQTT-3.6.1-1", 5, "62 0001", "60 0001", BAD},
    {"MQTT-3.6.1-1", 4, "62 0001", "6a 0001", BAD},
    {"MQTT-3.6.2-1", 5, "62 0001 92", "62 0001 80", PROTO},
    {"MQTT-3.7.2-1", 5, "70 0001 92", "70 0001 10", PROTO},
    {"3.1.1 §3.4.1 length of PUBACK", 4, "40 0001", "40 0001 00", BAD},
    {"3.1.1 §3.5.1 length of PUBREC", 4, "50 0001", "50 00", BAD},

    {"MQTT-3.8.1-1", 5, "82 0001 00 0001 'a' 00", "80 0001 00 0001 'a' 00", BAD},
    {"MQTT-3.8.1-1", 4, "82 0001 0001 'a' 00", "8a 0001 0001 'a' 00", BAD},
    {"MQTT-3.8.3-1", 5, "82 0001 00 0001 'a' 00", "82 0001 00 0001 ff 00", BAD},
    {"MQTT-3.8.3-1", 4, "82 0001 0001 'a' 00", "82 0001 0001 00 00", BAD},
    {"MQTT-3.8.3-2", 5, "82 0001 00 0001 'a' 00", "82 0001 00", PROTO},
    {"MQTT-3.8.3-3", 4, "82 0001 0001 'a' 00", "82 0001", PROTO},
    {"MQTT-3.8.3-4", 5, "82 0001 00 000a '$share/g/a' 00", "82 0001 00 000a '$share/g/a' 04", PROTO},
    {"MQTT-3.8.3-5", 5, "82 0001 00 0001 'a' 2e", "82 0001 00 0001 'a' 6e", BAD},
    {"MQTT-3-8.3-4", 4, "82 0001 0001 'a' 02", "82 0001 0001 'a' 06", BAD},
    {"MQTT-3-8.3-4 QoS", 4, "82 0001 0001 'a' 02", "82 0001 0001 'a' 03", PROTO},
    {"5.0 §3.8.3.1 QoS 3", 5, "82 0001 00 0001 'a' 02", "82 0001 00 0001 'a' 03", PROTO},
    {"5.0 §3.8.3.1 retain handling 3", 5, "82 0001 00 0001 'a' 20", "82 0001 00 0001 'a' 30", PROTO},
    {"5.0 §3.8.3 options missing", 5, "82 0001 00 0001 'a' 02", "82 0001 00 0001 'a'", BAD},
    {"5.0 §3.8.2.1.2 identifier 0", 5, "82 0001 02 0b 01 0001 'a' 02", "82 0001 02 0b 00 0001 'a' 02", PROTO},
    {"5.0 §3.8.2.1.2 identifier twice", 5, "82 0001 02 0b 01 0001 'a' 02",
     "82 0001 04 0b 01 0b 02 0001 'a' 02", PROTO},
    {"MQTT-4.7.1-1 #", 5, "82 0001 00 0003 'a/#' 00", "82 0001 00 0002 'a#' 00", MQTT_BAD_FILTER},
    {"MQTT-4.7.1-1 # not last", 5, "82 0001 00 0003 'a/#' 00", "82 0001 00 0003 '#/a' 00", MQTT_BAD_FILTER},
    {"MQTT-4.7.1-2 +", 5, "82 0001 00 0003 '+/a' 00", "82 0001 00 0002 'a+' 00", MQTT_BAD_FILTER},
    {"MQTT-4.7.1-3 +", 4, "82 0001 0003 '+/a' 00", "82 0001 0003 '+b/' 00", MQTT_BAD_FILTER},
    {"MQTT-4.7.3-1 filter", 4, "82 0001 0001 'a' 00", "82 0001 0000 00", MQTT_BAD_FILTER},
    {"MQTT-4.8.2-1", 5, "82 0001 00 000a '$share/g/a' 00", "82 0001 00 0009 '$share//a' 00", MQTT_BAD_FILTER},
    {"MQTT-4.8.2-2 /", 5, "82 0001 00 000a '$share/g/a' 00", "82 0001 00 0008 '$share/g' 00",
     MQTT_BAD_FILTER},
    {"MQTT-4.8.2-2 no filter", 5, "82 0001 00 000a '$share/g/a' 00", "82 0001 00 0009 '$share/g/' 00",
     MQTT_BAD_FILTER},
    {"MQTT-4.8.2-2 +", 5, "82 0001 00 000a '$share/g/a' 00", "82 0001 00 000a '$share/+/a' 00",
     MQTT_BAD_FILTER},
    {"MQTT-4.8.2-2 #", 5, "82 0001 00 000a '$share/g/#' 00", "82 0001 00 0008 '$share/#' 00",
     MQTT_BAD_FILTER},

    {"MQTT-3.9.3-2", 5, "90 0001 00 02", "90 0001 00 03", PROTO},
    {"MQTT-3.9.3-2", 4, "90 0001 80", "90 0001 87", PROTO},
    {"5.0 §3.9.3 no code", 5, "90 0001 00 00", "90 0001 00", PROTO},
    {"MQTT-3.10.1-1", 5, "a2 0001 00 0001 'a'", "a0 0001 00 0001 'a'", BAD},
    {"MQTT-3.10.1-1", 4, "a2 0001 0001 'a'", "a3 0001 0001 'a'", BAD},
    {"MQTT-3.10.3-1", 5, "a2 0001 00 0001 'a'", "a2 0001 00 0001 80", BAD},
    {"MQTT-3.10.3-2", 5, "a2 0001 00 0001 'a'", "a2 0001 00", PROTO},
    {"MQTT-3.10.3-1", 4, "a2 0001 0001 'a'", "a2 0001 0001 80", BAD},
    {"MQTT-3.10.3-2", 4, "a2 0001 0001 'a'", "a2 0001", PROTO},
    {"MQTT-3.11.3-2", 5, "b0 0001 00 11", "b0 0001 00 01", PROTO},
    {"3.1.1 §3.11.3 UNSUBACK has no payload", 4, "b0 0001", "b0 0001 00", BAD},
    {"5.0 §3.12 PINGREQ has no body", 5, "c0", "c0 00", BAD},
    {"MQTT-3.14.1-1", 5, "e0", "e1", BAD},
    {"MQTT-3.14.1-1", 4, "e0", "e2", BAD},
    {"MQTT-3.14.2-1", 5, "e0 8e", "e0 8a", PROTO},
    {"3.1.1 §3.14.2 DISCONNECT has no body", 4, "e0", "e0 00", BAD},
    {"MQTT-3.15.1-1", 5, "f0", "f4", BAD},
    {"MQTT-3.15.2-1", 5, "f0 19 04 15 0001 'm'", "f0 80 04 15 0001 'm'", PROTO},
    {"5.0 §3.15.2.2.2 no method", 5, "f0 18 04 15 0001 'm'", "f0 18 00", PROTO},
    {"5.0 §3.15.2.2 no property length", 5, "f0 18 04 15 0001 'm'", "f0 18", BAD},
};

static uint8_t judge(const char *hex, uint8_t version)
{
    struct buf b = packet_of(hex);
    struct mqtt_packet p;
    uint8_t why, *copy;
    int rc = decode_exact(b.data, b.len, version, &p, &why, &copy);

    assert_int_equal(rc, why ? -EBADMSG : 0);
    free(copy);
    buf_free(&b);
    return why;
}

static void statements_hold(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(statements); i++) {
        const struct statement *s = &statements[i];
        uint8_t good = judge(s->good, s->version), bad = judge(s->bad, s->version);
        if (good)
            fail_msg("%s (version %d): what is fine is refused: %s", s->number, s->version,
                     mqtt_reason_text(good));
        if (bad != s->why)
            fail_msg("%s (version %d): 0x%02x where 0x%02x is due", s->number, s->version, bad, s->why);
    }
}

/* The packets by the letters of the properties' table, and table 2-6. */
static const struct {
    char letter;
    const char *before, *after; /* of the properties */
    const char *codes;          /* reason codes that the packet may carry */
} packets[] = {
    {'C', C5 "02 0000", "0000", NULL},
    {'W', C5 "06 0000 00 0000", "0001 't' 0000", NULL},
    {'c', "20 00 00", "", "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f"},
    {'P', "30 0001 't'", "", NULL},
    {'a', "40 0001 00", "", "00 10 80 83 87 90 91 97 99"},
    {'r', "50 0001 00", "", "00 10 80 83 87 90 91 97 99"},
    {'l', "62 0001 00", "", "00 92"},
    {'m', "70 0001 00", "", "00 92"},
    {'S', "82 0001", "0001 't' 00", NULL},
    {'s', "90 0001", "00", "00 01 02 80 83 87 8f 91 97 9e a1 a2"},
    {'U', "a2 0001", "0001 't'", NULL},
    {'u', "b0 0001", "00", "00 11 80 83 87 8f 91"},
    {'D', "e0 00", "",
     "00 04 80 81 82 83 87 89 8b 8c 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2"},
    {'A', "f0 18", "", "00 18 19"},
};

static void put_property(struct buf *out, enum mqtt_prop id, const char *value)
{
    buf_u8(out, (uint8_t)id);
    unhex(out, value);
}

/* What a packet with these values of a property is judged. Data needs a method, and so does AUTH. */
static uint8_t judge_property(size_t packet, enum mqtt_prop id, const char *first, const char *second)
{
    struct buf props = {0}, body = {0}, out = {0};
    struct mqtt_packet p;
    uint8_t why, *copy, length[4];
    bool method = packets[packet].letter == 'A' || id == MQTT_AUTH_DATA;

    if (method && id != MQTT_AUTH_METHOD)
        put_property(&props, MQTT_AUTH_METHOD, "0000");
    put_property(&props, id, first);
    if (second)
        put_property(&props, id, second);
    unhex(&body, packets[packet].before);
    buf_append(&body, length, mqtt_put_varint(length, (uint32_t)props.len));
    buf_append(&body, props.data, props.len);
    unhex(&body, packets[packet].after);
    out.len = mqtt_put_header(buf_extend(&out, 5), body.data[0], body.len - 1);
    buf_append(&out, body.data + 1, body.len - 1);
    decode_exact(out.data, out.len, MQTT_5, &p, &why, &copy);
    free(copy);
    buf_free(&props);
    buf_free(&body);
    buf_free(&out);
    return why;
}

/* Every property in every packet: allowed, at its limits, beyond them, and twice. */
static void properties_belong(void **state)
{
    (void)state;
    assert_int_equal(ARRAY_SIZE(properties), 27);
    for (size_t i = 0; i < ARRAY_SIZE(properties); i++)
        for (size_t k = 0; k < ARRAY_SIZE(packets); k++) {
            enum mqtt_prop id = properties[i].id;
            bool allowed = strchr(properties[i].packets, packets[k].letter);
            bool again = strchr(properties[i].repeats, packets[k].letter);
            uint8_t expected = allowed ? 0 : BAD, beyond = allowed ? properties[i].why : BAD;
            assert_int_equal(judge_property(k, id, properties[i].low, NULL), expected);
            assert_int_equal(judge_property(k, id, properties[i].high, NULL), expected);
            assert_int_equal(judge_property(k, id, properties[i].high, properties[i].low), !allowed ? BAD
                                                                                           : again  ? 0
                                                                                                    : PROTO);
            if (properties[i].below)
                assert_int_equal(judge_property(k, id, properties[i].below, NULL), beyond);
            if (properties[i].above)
                assert_int_equal(judge_property(k, id, properties[i].above, NULL), beyond);
        }
}

/* Puts a code into a packet: where its template has the first one. */
static uint8_t judge_code(size_t packet, unsigned code)
{
    static const char forms[][24] = {
        ['c'] = "20 00 %02x 00",   ['a'] = "40 0001 %02x", ['r'] = "50 0001 %02x",
        ['l'] = "62 0001 %02x",    ['m'] = "70 0001 %02x", ['s'] = "90 0001 00 %02x",
        ['u'] = "b0 0001 00 %02x", ['D'] = "e0 %02x",      ['A'] = "f0 %02x 03 15 0000"};
    char hex[32];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(hex, sizeof(hex), forms[(int)packets[packet].letter], code);
#pragma GCC diagnostic pop
    return judge(hex, MQTT_5);
}

/* Every reason code in every packet that has one. */
static void reason_codes_belong(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(packets); k++) {
        struct buf codes = {0};
        if (!packets[k].codes)
            continue;
        unhex(&codes, packets[k].codes);
        for (unsigned code = 0; code < 256; code++)
            assert_int_equal(judge_code(k, code), memchr(codes.data, (int)code, codes.len) ? 0 : PROTO);
        buf_free(&codes);
    }
}

/* [MQTT-1.5.4-3]: a byte order mark is a character like others. */
static void byte_order_mark_stays(void **state)
{
    struct buf b = packet_of("30 0004 efbbbf 'a' 00");
    struct mqtt_packet p;
    uint8_t why;

    (void)state;
    assert_int_equal(mqtt_decode(b.data, b.len, MQTT_5, &p, &why), 0);
    assert_true(bytes_equal(p.publish.topic, bytes_of("\xef\xbb\xbf"
                                                      "a")));
    buf_free(&b);
}

/* 3.1.1 knows no shared subscriptions; such a filter is a filter. */
static void shared_is_of_5_alone(void **state)
{
    (void)state;
    assert_int_equal(judge("82 0001 0008 '$share/g' 00", MQTT_3_1_1), 0);
    assert_int_equal(judge("82 0001 00 0006 '$share' 00", MQTT_5), 0);
}

/* [MQTT-3.1.0-1]: on a connection without a version yet, nothing but CONNECT decodes. */
static void connect_is_first(void **state)
{
    (void)state;
    assert_int_equal(judge(C4 "02 0000 0000", 0), 0);
    assert_int_equal(judge("c0", 0), BAD);
    assert_int_equal(judge("30 0001 't'", 0), BAD);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(statements_hold),      cmocka_unit_test(properties_belong),
        cmocka_unit_test(reason_codes_belong),  cmocka_unit_test(byte_order_mark_stays),
        cmocka_unit_test(shared_is_of_5_alone), cmocka_unit_test(connect_is_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
