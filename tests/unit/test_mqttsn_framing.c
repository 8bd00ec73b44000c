/* SPDX-License-Identifier: Apache-2.0 */
/* Framings of MQTT-SN on serial lines: each packet in each piece, garbage of all kinds around it, lies about
 * lengths, frames without a space between them, and noise. docs/serial-motes.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drivers/mqttsn/framing.h"

enum { MOST = 255, GAP_US = 100000, NODE = 0x1234 };

struct octets {
    uint8_t data[2 * FRAMING_MOST + 64];
    size_t len;
};

static struct octets hex(const char *text)
{
    struct octets o = {.len = 0};
    unsigned value;
    int used;

    while (sscanf(text, " %2x%n", &value, &used) == 1) {
        o.data[o.len++] = (uint8_t)value;
        text += used;
    }
    return o;
}

static void add(struct octets *to, const struct octets *what)
{
    memcpy(to->data + to->len, what->data, what->len);
    to->len += what->len;
}

struct line {
    struct framing f;
    uint8_t in[FRAMING_ROOM(FRAMING_MOST)];
    uint64_t now_us;
    struct octets got; /* packets, one behind the other */
    size_t count;
    uint64_t address; /* of the last one */
};

static void on_packet(void *arg, uint64_t address, struct bytes packet)
{
    struct line *l = arg;

    if (l->got.len + packet.len <= sizeof(l->got.data)) {
        memcpy(l->got.data + l->got.len, packet.data, packet.len);
        l->got.len += packet.len;
    }
    l->count++;
    l->address = address;
}

static struct line *line_of(const struct framing_kind *kind, size_t most)
{
    struct line *l = mem_alloc(sizeof *l);

    l->f = (struct framing){
        .kind = kind, .most = most, .gap_us = GAP_US, .emit = on_packet, .arg = l, .in = l->in};
    framing_reset(&l->f);
    return l;
}

static void forget(struct line *l)
{
    l->got.len = l->count = 0;
    l->f.counts = (struct framing_counts){0};
}

static void feed(struct line *l, const uint8_t *data, size_t len)
{
    l->now_us += 1000;
    framing_idle(&l->f, l->now_us);
    framing_feed(&l->f, l->now_us, data, len);
}

static void silence(struct line *l)
{
    l->now_us += GAP_US;
    framing_idle(&l->f, l->now_us);
    assert_int_equal(framing_deadline(&l->f), UINT64_MAX);
}

static void feed_hex(struct line *l, const char *text)
{
    struct octets o = hex(text);

    feed(l, o.data, o.len);
}

static void got(struct line *l, const char *packets, size_t count)
{
    struct octets want = hex(packets);

    assert_int_equal(l->count, count);
    assert_int_equal(l->got.len, want.len);
    assert_memory_equal(l->got.data, want.data, want.len);
    forget(l);
}

/* One of each kind of message that a gateway hears. */
static const char *const packets[] = {
    "03 01 00",                                           /* SEARCHGW */
    "0a 04 04 01 00 3c 6d 6f 74 65",                      /* CONNECT */
    "08 07 10 77 69 6c 6c 73",                            /* WILLTOPIC */
    "05 09 62 79 65",                                     /* WILLMSG */
    "09 0a 00 00 00 01 61 2f 62",                         /* REGISTER */
    "07 0b 00 07 00 02 00",                               /* REGACK */
    "0c 0c 20 00 07 00 03 c0 db 7e 7d 11",                /* PUBLISH with octets that framings know */
    "07 0d 00 07 00 04 00",                               /* PUBACK */
    "04 0e 00 05",                                        /* PUBCOMP */
    "08 12 00 00 06 61 2f 23",                            /* SUBSCRIBE */
    "02 16",                                              /* PINGREQ */
    "02 18",                                              /* DISCONNECT */
    "01 00 0e 0c 00 00 07 00 00 78 78 78 78 78",          /* a length of three octets */
    "05 fe 01 00 09 0c 0c 62 00 01 00 00 78 78 78 78 78", /* in an envelope with a node id of two octets */
    "04 fe 01 01 02 16",                                  /* … and of one */
};

static struct octets sample(size_t i)
{
    return hex(packets[i]);
}

/* As a radio passes it on, without escapes. */
static struct octets radio(const char *head, const struct octets *packet)
{
    struct octets h = hex(head), o = {.len = 3};
    uint8_t sum = 0;

    add(&o, &h);
    add(&o, packet);
    for (size_t i = 3; i < o.len; i++)
        sum = (uint8_t)(sum + o.data[i]);
    o.data[0] = 0x7e;
    o.data[1] = (uint8_t)((o.len - 3) >> 8);
    o.data[2] = (uint8_t)(o.len - 3);
    o.data[o.len++] = (uint8_t)(0xff - sum);
    return o;
}

static struct octets escaped(const struct octets *plain)
{
    struct octets o = {.len = 1, .data = {plain->data[0]}};

    for (size_t i = 1; i < plain->len; i++) {
        uint8_t byte = plain->data[i];
        if (byte == 0x7e || byte == 0x7d || byte == 0x11 || byte == 0x13) {
            o.data[o.len++] = 0x7d;
            byte ^= 0x20;
        }
        o.data[o.len++] = byte;
    }
    return o;
}

/* A packet as it comes from NODE. */
static struct octets wire(const struct framing_kind *kind, const struct octets *packet)
{
    struct line *l = line_of(kind, FRAMING_MOST);
    struct octets o = radio("90 00 13 a2 00 40 52 12 34 ff fe 01", packet);

    if (kind == &framing_xbee_escaped)
        o = escaped(&o);
    else if (kind != &framing_xbee)
        o.len = framing_put(&l->f, NODE, (struct bytes){packet->data, packet->len}, o.data);
    free(l);
    return o;
}

static uint64_t address_of(const struct framing_kind *kind)
{
    return kind == &framing_plain ? 0 : kind == &framing_slip_crc ? NODE : 0x0013a20040521234;
}

static void each_packet_comes_whole_however_it_is_cut(void **state)
{
    (void)state;
    for (const struct framing_kind *const *k = framings; *k; k++)
        for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
            struct octets packet = sample(i), frame = wire(*k, &packet);
            for (size_t cut = 0; cut <= frame.len; cut++) {
                struct line *l = line_of(*k, MOST);
                feed(l, frame.data, cut);
                feed(l, frame.data + cut, frame.len - cut);
                assert_int_equal(l->count, 1);
                assert_int_equal(l->address, address_of(*k));
                assert_int_equal(l->got.len, packet.len);
                assert_memory_equal(l->got.data, packet.data, packet.len);
                assert_int_equal(l->f.counts.skipped + l->f.counts.gaps + l->f.counts.bad_sums, 0);
                assert_int_equal(l->f.counts.packets, 1);
                assert_int_equal(l->f.counts.bytes, frame.len);
                free(l);
            }
        }
}

static void a_packet_that_is_cut_off_is_counted_and_the_next_one_is_there(void **state)
{
    (void)state;
    for (const struct framing_kind *const *k = framings; *k; k++)
        for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
            struct octets packet = sample(i), frame = wire(*k, &packet);
            for (size_t cut = 1; cut < frame.len; cut++) {
                struct line *l = line_of(*k, MOST);
                feed(l, frame.data, cut);
                silence(l);
                size_t before = l->count; /* what of an envelope or a text is a packet for itself */
                feed(l, frame.data, frame.len);
                silence(l);
                /* A frame of SLIP that lacks its end alone has it from the next one. */
                bool ended = *k == &framing_slip_crc && cut == frame.len - 1;
                if (l->count - before != (ended ? 2 : 1))
                    fail_msg("%s: packet %zu cut at %zu: %zu", (*k)->name, i, cut, l->count - before);
                assert_int_equal(l->address, address_of(*k));
                assert_true(before == 0 || *k == &framing_plain);
                assert_true(l->f.counts.skipped > 0 || before || ended ||
                            (*k == &framing_slip_crc && cut == 1));
                free(l);
            }
        }
}

static void frames_without_a_space_are_all_there(void **state)
{
    (void)state;
    for (const struct framing_kind *const *k = framings; *k; k++)
        for (size_t piece = 1; piece < 40; piece++) {
            struct octets all = {.len = 0}, want = {.len = 0};
            struct line *l = line_of(*k, MOST);
            for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
                struct octets packet = sample(i), frame = wire(*k, &packet);
                add(&all, &frame);
                add(&want, &packet);
            }
            for (size_t at = 0; at < all.len; at += piece)
                feed(l, all.data + at, at + piece < all.len ? piece : all.len - at);
            assert_int_equal(l->count, ARRAY_SIZE(packets));
            assert_memory_equal(l->got.data, want.data, want.len);
            assert_int_equal(l->f.counts.skipped, 0);
            free(l);
        }
}

/* Garbage in front of a packet, glued to it, costs garbage alone. */
static void garbage_before_a_packet_does_not_take_it_along(void **state)
{
    static const char *const garbage[] = {
        "00",       "ff",          "00 00 00",    "30", "30 0c", "01",          "01 00",    "01 ff ff",
        "01 00 02", "55 aa 55 aa", "0c 0c 20 00", "7e", "7e 00", "7e 00 10 90", "7e ff ff", "7d",
        "c0",       "c0 c0",       "c0 db",       "db", "fe",    "05 fe 01 00", "33 33 33"};

    (void)state;
    for (const struct framing_kind *const *k = framings; *k; k++)
        for (size_t g = 0; g < ARRAY_SIZE(garbage); g++)
            for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
                struct octets packet = sample(i), frame = wire(*k, &packet), all = hex(garbage[g]);
                struct line *l = line_of(*k, MOST);
                /* These begin a packet, of which without a sum what follows is a part. */
                bool wraps = *k == &framing_plain &&
                             (!strcmp(garbage[g], "05 fe 01 00") || !strcmp(garbage[g], "01 00") ||
                              !strcmp(garbage[g], "0c 0c 20 00"));
                size_t extra = all.len;
                add(&all, &frame);
                feed(l, all.data, all.len);
                silence(l);
                if (!wraps) {
                    if (l->count != 1 || l->got.len != packet.len)
                        fail_msg("%s: packet %zu behind %s: %zu", (*k)->name, i, garbage[g], l->count);
                    assert_memory_equal(l->got.data, packet.data, packet.len);
                    assert_in_range(l->f.counts.skipped, *k == &framing_slip_crc ? 0 : extra - 1, extra);
                }
                free(l);
            }
}

static void plain_believes_nothing_inside_a_damaged_packet(void **state)
{
    struct line *l = line_of(&framing_plain, MOST);

    (void)state;
    /* PUBLISH whose length has become longer, with what looks like DISCONNECT in its data. */
    feed_hex(l, "4c 0c 00 00 07 00 00 02 18 55 55 55");
    silence(l);
    got(l, "", 0);
    /* … shorter: what is behind is no packet. */
    feed_hex(l, "09 0c 00 00 07 00 00 02 18 55 55 55");
    assert_int_equal(l->count, 1);
    forget(l);
    silence(l);
    assert_int_equal(l->f.counts.skipped, 3);
    got(l, "", 0);
    /* A reserved type. */
    feed_hex(l, "0c 03 00 00 07 00 00 02 18 55 55 55");
    silence(l);
    assert_int_equal(l->f.counts.skipped, 12);
    assert_int_equal(l->f.counts.gaps, 1);
    got(l, "", 0);
    feed_hex(l, "02 16");
    got(l, "02 16", 1);
    free(l);
}

static void plain_forgives_glitches_of_a_driver(void **state)
{
    struct line *l = line_of(&framing_plain, MOST);

    (void)state;
    feed_hex(l, "ff 07 0d 00 07 00 04 00 02 16 00 ff");
    assert_int_equal(l->count, 0);
    silence(l);
    assert_int_equal(l->f.counts.skipped, 3);
    got(l, "07 0d 00 07 00 04 00 02 16", 2);
    feed_hex(l, "02 16 00");
    got(l, "02 16", 1);
    silence(l);
    feed_hex(l, "02 18");
    got(l, "02 18", 1);
    free(l);
}

/* A line on which nobody is ever silent finds its packets again. */
static void plain_finds_its_place_on_a_line_that_is_never_silent(void **state)
{
    struct line *l = line_of(&framing_plain, MOST);
    struct octets packet = sample(6);
    size_t sent = 0;

    (void)state;
    feed_hex(l, "00");
    for (; sent < 400; sent++)
        feed(l, packet.data, packet.len);
    assert_in_range(l->count, sent - FRAMING_ROOM(MOST) / packet.len - 1, sent);
    assert_in_range(l->f.counts.skipped, 1, 1 + packet.len);
    assert_int_equal(l->f.counts.gaps, 0);
    memset(l->in, 0, sizeof l->in);
    for (int i = 0; i < 100000; i++)
        feed(l, (const uint8_t[]){0}, 1);
    assert_in_range(l->f.counts.skipped, 100000 - FRAMING_ROOM(MOST), 100000 + 2 * packet.len);
    free(l);
}

static void lengths_that_lie_take_no_room(void **state)
{
    (void)state;
    for (const struct framing_kind *const *k = framings; *k; k++)
        for (size_t most = 32; most <= FRAMING_MOST; most *= 2) {
            struct line *l = line_of(*k, most);
            struct octets big = {.data = {1, (uint8_t)((most + 1) >> 8), (uint8_t)(most + 1), 0x0c},
                                 .len = most + 1},
                          small = hex("02 16"), frame = wire(*k, &big), next = wire(*k, &small);
            feed(l, frame.data, frame.len);
            silence(l);
            if (*k == &framing_plain || *k == &framing_slip_crc)
                assert_int_equal(l->count, 0);
            forget(l);
            feed(l, next.data, next.len);
            silence(l);
            got(l, "02 16", 1);
            free(l);
        }
}

static void slip_is_what_the_page_says(void **state)
{
    struct line *l = line_of(&framing_slip_crc, MOST);
    struct octets packet = sample(6), out;
    /* 12 34 0c 0c 20 00 07 00 03 c0 db 7e 7d 11 has the sum 0863. */
    struct octets want = hex("c0 12 34 0c 0c 20 00 07 00 03 db dc db dd 7e 7d 11 63 08 c0");

    (void)state;
    out.len = framing_put(&l->f, NODE, (struct bytes){packet.data, packet.len}, out.data);
    assert_memory_equal(out.data, want.data, want.len);
    assert_int_equal(out.data[out.len - 1], 0xc0);
    /* The example of the page. */
    feed_hex(l, "c0 00 05 02 16 64 83 c0");
    if (l->count == 0)
        fail_msg("the example of docs/serial-motes.md is wrong");
    got(l, "02 16", 1);
    assert_int_equal(l->address, 5);
    free(l);
}

static void slip_takes_no_frame_with_a_wrong_bit(void **state)
{
    struct octets packet = sample(6), frame = wire(&framing_slip_crc, &packet);

    (void)state;
    for (size_t bit = 0; bit < frame.len * 8; bit++) {
        struct line *l = line_of(&framing_slip_crc, MOST);
        struct octets bad = frame;
        bad.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        feed(l, bad.data, bad.len);
        feed(l, (const uint8_t[]){0xc0}, 1);
        /* Without its first delimiter, it is whole still. */
        assert_true(l->count == 0 || bit / 8 == frame.len - 1);
        if (bit / 8 && bit / 8 < frame.len - 1)
            assert_int_equal(l->f.counts.bad_sums > 0, 1);
        forget(l);
        feed(l, frame.data, frame.len);
        assert_int_equal(l->count, 1);
        free(l);
    }
}

static void a_radio_is_answered_as_it_speaks(void **state)
{
    static const struct {
        const char *head;
        uint64_t address;
        const char *answer;
    } rows[] = {
        {"90 00 13 a2 00 40 52 12 34 ff fe 01", 0x0013a20040521234,
         "7e 00 10 10 01 00 13 a2 00 40 52 12 34 ff fe 00 00 02 17 4d"},
        {"80 00 13 a2 00 40 52 12 34 28 00", 0x0013a20040521234,
         "7e 00 0d 00 01 00 13 a2 00 40 52 12 34 00 02 17 5a"},
        {"81 00 07 28 00", 7, "7e 00 07 01 01 00 07 00 02 17 dd"},
    };
    struct octets ping = hex("02 16"), pong = hex("02 17");

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct line *l = line_of(&framing_xbee, MOST);
        struct octets frame = radio(rows[i].head, &ping), want = hex(rows[i].answer), out;
        feed(l, frame.data, frame.len);
        assert_int_equal(l->address, rows[i].address);
        got(l, "02 16", 1);
        out.len = framing_put(&l->f, rows[i].address, (struct bytes){pong.data, pong.len}, out.data);
        want.len--; /* the sum is judged for itself */
        assert_int_equal(out.len, want.len + 1);
        assert_memory_equal(out.data, want.data, want.len);
        uint8_t sum = 0;
        for (size_t at = 3; at < out.len; at++)
            sum = (uint8_t)(sum + out.data[at]);
        assert_int_equal(sum, 0xff);
        free(l);
    }
}

static void what_a_radio_says_of_itself_is_counted(void **state)
{
    struct line *l = line_of(&framing_xbee, MOST);
    struct octets none = {.len = 0};
    static const char *const said[] = {"8b 01 12 34 00 00 00",
                                       "8b 01 12 34 00 21 00",
                                       "89 01 00",
                                       "89 01 02",
                                       "8a 06",
                                       "88 01 4e 49 00",
                                       "8b 01",
                                       "90 00 13"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(said); i++) {
        struct octets frame = radio(said[i], &none);
        feed(l, frame.data, frame.len);
    }
    assert_int_equal(l->f.counts.sent, 2);
    assert_int_equal(l->f.counts.unsent, 2);
    assert_int_equal(l->f.counts.restarts, 1);
    assert_int_equal(l->f.counts.foreign, 3);
    assert_int_equal(l->f.counts.skipped, 0);
    assert_int_equal(l->count, 0);
    free(l);
}

static void escapes_undo_each_other(void **state)
{
    struct line *l = line_of(&framing_xbee, MOST), *e = line_of(&framing_xbee_escaped, MOST);
    struct octets packet = sample(6), plain, out;

    (void)state;
    plain.len = framing_put(&l->f, 0x0013a20040117d7e, (struct bytes){packet.data, packet.len}, plain.data);
    out.len = framing_put(&e->f, 0x0013a20040117d7e, (struct bytes){packet.data, packet.len}, out.data);
    struct octets want = escaped(&plain);
    assert_int_equal(out.len, want.len);
    assert_memory_equal(out.data, want.data, want.len);
    for (size_t i = 1; i < out.len; i++)
        assert_int_not_equal(out.data[i], 0x7e);
    free(l);
    free(e);
}

/* Noise between frames, bits that flip: nothing breaks, every octet is accounted for, and after a silence the
 * next frame is there. */
static void noise_is_survived(void **state)
{
    (void)state;
    srand(5);
    for (const struct framing_kind *const *k = framings; *k; k++)
        for (int round = 0; round < 3000; round++) {
            struct line *l = line_of(*k, (size_t)(32 + rand() % 224));
            for (int n = rand() % 30; n > 0; n--) {
                struct octets packet = sample((size_t)rand() % ARRAY_SIZE(packets)),
                              frame = wire(*k, &packet);
                for (int flips = rand() % 3; flips > 0; flips--)
                    frame.data[(size_t)rand() % frame.len] ^= (uint8_t)(1 << rand() % 8);
                feed(l, frame.data, (size_t)rand() % (frame.len + 1));
                for (int noise = rand() % 4; noise > 0; noise--)
                    feed(l, (const uint8_t[]){(uint8_t)rand()}, 1);
                l->now_us += rand() % 4 ? 0 : GAP_US;
            }
            silence(l);
            struct octets end = hex("c0"), packet = sample(6), frame = wire(*k, &packet);
            if (*k == &framing_slip_crc)
                feed(l, end.data, 1);
            if (*k == &framing_plain) /* without any other frame each octet is one or the other */
                assert_int_equal(l->f.counts.bytes, l->f.counts.skipped + l->got.len);
            forget(l);
            feed(l, frame.data, frame.len);
            assert_int_equal(l->count, 1);
            assert_memory_equal(l->got.data, packet.data, packet.len);
            free(l);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_packet_comes_whole_however_it_is_cut),
        cmocka_unit_test(a_packet_that_is_cut_off_is_counted_and_the_next_one_is_there),
        cmocka_unit_test(frames_without_a_space_are_all_there),
        cmocka_unit_test(garbage_before_a_packet_does_not_take_it_along),
        cmocka_unit_test(plain_believes_nothing_inside_a_damaged_packet),
        cmocka_unit_test(plain_forgives_glitches_of_a_driver),
        cmocka_unit_test(plain_finds_its_place_on_a_line_that_is_never_silent),
        cmocka_unit_test(lengths_that_lie_take_no_room),
        cmocka_unit_test(slip_is_what_the_page_says),
        cmocka_unit_test(slip_takes_no_frame_with_a_wrong_bit),
        cmocka_unit_test(a_radio_is_answered_as_it_speaks),
        cmocka_unit_test(what_a_radio_says_of_itself_is_counted),
        cmocka_unit_test(escapes_undo_each_other),
        cmocka_unit_test(noise_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
