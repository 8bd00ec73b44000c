/* SPDX-License-Identifier: Apache-2.0 */
/* MQTT-SN inside a function of Modbus RTU: the gateway's side, the reference node, and the bytes that
 * docs/serial-motes.md shows between them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drivers/mqttsn/bus.h"
#include "drivers/mqttsn/node/node.h"

enum { UNIT = 20, SILENCE_US = 1750 };

struct got {
    unsigned count;
    bool full;
    uint8_t packet[NODE_PACKET_MAX];
    size_t len;
};

static bool on_packet(void *arg, const uint8_t *packet, size_t len)
{
    struct got *g = arg;

    if (g->full)
        return false;
    g->count++;
    memcpy(g->packet, packet, len);
    g->len = len;
    return true;
}

static struct node node_of(struct got *g)
{
    *g = (struct got){0};
    return (struct node){
        .unit = UNIT, .function = 65, .silence_us = SILENCE_US, .on_packet = on_packet, .arg = g};
}

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t len = 0;
    int used;

    for (unsigned byte; sscanf(hex, "%2x%n", &byte, &used) == 1; hex += used)
        out[len++] = (uint8_t)byte;
    return len;
}

/* The node hears a frame, then silence. */
static size_t hear(struct node *n, const char *hex, uint8_t *answer)
{
    uint8_t frame[NODE_FRAME_MAX];
    uint32_t now = n->last_us + 100000;

    node_feed(n, frame, from_hex(hex, frame), now);
    assert_int_equal(node_step(n, now + SILENCE_US - 1, answer), 0);
    return node_step(n, now + SILENCE_US, answer);
}

static void assert_says(struct node *n, const char *poll, const char *want)
{
    uint8_t answer[NODE_FRAME_MAX], frame[NODE_FRAME_MAX];
    size_t len = from_hex(want, frame);

    assert_int_equal(hear(n, poll, answer), len);
    assert_memory_equal(answer, frame, len);
}

static void a_node_speaks_as_is_written(void **state)
{
    const uint8_t ping[] = {2, 0x16};
    struct got g;
    struct node n = node_of(&g);

    (void)state;
    assert_says(&n, "14 41 41 00 00 50 2B", "14 41 C1 00 00 51 C3");
    assert_true(node_send(&n, ping, sizeof ping));
    assert_false(node_send(&n, ping, sizeof ping));
    assert_says(&n, "14 41 02 00 00 A1 FF", "14 41 82 10 02 02 16 1D A0");
    assert_says(&n, "14 41 03 11 02 02 17 E1 82", "14 41 83 11 00 FD 87");
    assert_int_equal(g.count, 1);
    assert_memory_equal(g.packet, "\x02\x17", 2);
    /* The answer was lost: the same comes again, and is not taken again. */
    assert_says(&n, "14 41 03 11 02 02 17 E1 82", "14 41 83 11 00 FD 87");
    assert_int_equal(g.count, 1);
    assert_int_equal(n.repeats, 1);
    assert_true(node_send(&n, ping, sizeof ping));
}

static void the_gateway_speaks_as_is_written(void **state)
{
    struct bus_poll b = {.function = 65};
    struct bus_answer a;
    uint8_t pdu[BUS_PDU_MAX], answer[BUS_PDU_MAX];
    const struct bytes pong = {(const uint8_t *)"\x02\x17", 2}, none = {0};

    (void)state;
    assert_int_equal(bus_poll_put(&b, pong, false, pdu), 4);
    assert_memory_equal(pdu, "\x41\x41\x00\x00", 4);
    assert_int_equal(bus_poll_take(&b, (struct bytes){answer, from_hex("41 C1 00 00", answer)}, &a), 0);
    assert_true(a.started && b.synced);
    assert_int_equal(bus_poll_put(&b, none, false, pdu), 4);
    assert_memory_equal(pdu, "\x41\x02\x00\x00", 4);
    assert_int_equal(bus_poll_take(&b, (struct bytes){answer, from_hex("41 82 10 02 02 16", answer)}, &a), 0);
    assert_int_equal(a.packet.len, 2);
    assert_int_equal(bus_poll_put(&b, pong, false, pdu), 6);
    assert_memory_equal(pdu, "\x41\x03\x11\x02\x02\x17", 6);
    assert_int_equal(bus_poll_take(&b, (struct bytes){answer, from_hex("41 83 11 00", answer)}, &a), 0);
    assert_true(a.delivered && !a.packet.len && !b.pending);
}

/* The gateway in the middle of a talk: poll 3 has carried its packet 1. */
static struct bus_poll talking(void)
{
    struct bus_poll b = {.function = 65, .synced = true, .number = 2, .taken = 1};
    uint8_t pdu[BUS_PDU_MAX];

    bus_poll_put(&b, (struct bytes){(const uint8_t *)"\x02\x17", 2}, false, pdu);
    return b;
}

static void what_is_no_answer_changes_nothing(void **state)
{
    static const char *const wrong[] = {
        "",
        "41",
        "41 83 11",          /* cut */
        "41 03 11 00",       /* our own, come back */
        "41 82 11 00",       /* of the poll before */
        "42 83 11 00",       /* of another function */
        "41 83 11 02 02",    /* shorter than it says */
        "41 83 11 01 02 16", /* longer */
        "41 C3 00 02 02 16", /* a start has no packet */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct bus_poll b = talking(), before = b;
        uint8_t answer[BUS_PDU_MAX];
        struct bus_answer a;
        size_t len = from_hex(wrong[i], answer);
        assert_int_equal(bus_poll_take(&b, (struct bytes){answer, len}, &a), -EBADMSG);
        assert_memory_equal(&b, &before, sizeof b);
    }
}

/* What was under way is given up, since it may have arrived. */
static void numbers_that_do_not_fit_are_a_new_start(void **state)
{
    static const char *const lost[] = {
        "41 83 15 00",       /* it has taken what was never sent */
        "41 83 31 02 02 16", /* a packet is missing before this one */
        "41 C3 00 00",       /* it has begun anew */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lost); i++) {
        struct bus_poll b = talking();
        uint8_t answer[BUS_PDU_MAX], pdu[BUS_PDU_MAX];
        struct bus_answer a;
        size_t len = from_hex(lost[i], answer);
        assert_int_equal(bus_poll_take(&b, (struct bytes){answer, len}, &a), 0);
        assert_true((a.lost || a.delivered) && !a.packet.len && !b.synced);
        bus_poll_put(&b, (struct bytes){0}, false, pdu);
        assert_memory_equal(pdu, "\x41\x44\x00\x00", 4);
    }
}

static void a_node_finds_its_poll_and_no_other(void **state)
{
    struct got g;
    struct node n = node_of(&g);
    uint8_t answer[NODE_FRAME_MAX];

    (void)state;
    /* Another's answer right before it. */
    assert_says(&n, "01 03 02 00 D7 F8 1A 14 41 41 00 00 50 2B", "14 41 C1 00 00 51 C3");
    static const char *const others[] = {
        "15 41 41 00 00 50 2B", /* for another */
        "14 41 41 00 00 50 2C", /* damaged */
        "14 41 C1 00 00 51 C3", /* an answer: our own */
        "14 41 41 00 00 50",    /* cut */
        "14 41 41 00 01 50 2B", "00",
    };
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_int_equal(hear(&n, others[i], answer), 0);
    assert_int_equal(n.foreign, ARRAY_SIZE(others));
    /* A register is asked for: it has none. */
    assert_says(&n, "14 03 00 00 00 01 86 CF", "14 83 01 91 34");
}

static void a_node_without_room_gets_it_again(void **state)
{
    struct got g;
    struct node n = node_of(&g);

    (void)state;
    assert_says(&n, "14 41 41 00 00 50 2B", "14 41 C1 00 00 51 C3");
    g.full = true;
    assert_says(&n, "14 41 03 10 02 02 17 E0 7E", "14 41 83 00 00 F1 D7");
    g.full = false;
    assert_says(&n, "14 41 03 10 02 02 17 E0 7E", "14 41 83 01 00 F0 47");
    assert_int_equal(g.count, 1);
}

/* What nobody can know is given up; what has never been said is kept. */
static void a_start_forgets_what_was_said(void **state)
{
    const uint8_t ping[] = {2, 0x16};
    struct got g;
    struct node n = node_of(&g);

    (void)state;
    assert_true(node_send(&n, ping, sizeof ping));
    assert_says(&n, "14 41 02 00 00 A1 FF", "14 41 C2 00 00 A1 C3"); /* it knows no start */
    assert_says(&n, "14 41 41 00 00 50 2B", "14 41 C1 00 00 51 C3");
    assert_says(&n, "14 41 02 00 00 A1 FF", "14 41 82 10 02 02 16 1D A0");
    assert_says(&n, "14 41 41 00 00 50 2B", "14 41 C1 00 00 51 C3");
    assert_int_equal(n.lost, 1);
    assert_true(node_send(&n, ping, sizeof ping));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_speaks_as_is_written),
        cmocka_unit_test(the_gateway_speaks_as_is_written),
        cmocka_unit_test(what_is_no_answer_changes_nothing),
        cmocka_unit_test(numbers_that_do_not_fit_are_a_new_start),
        cmocka_unit_test(a_node_finds_its_poll_and_no_other),
        cmocka_unit_test(a_node_without_room_gets_it_again),
        cmocka_unit_test(a_start_forgets_what_was_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
