/* SPDX-License-Identifier: Apache-2.0 */
/* What the judge makes of bytes: the answer, and everything that is not. Section numbers are those of Modbus
 * over Serial Line 1.02. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/modbus/crc.h"
#include "drivers/modbus/judge.h"

enum { COUNT = 10, REPLY_LEN = 5 + 2 * COUNT };

static uint8_t request[8], reply[REPLY_LEN];

static void make_frames(void)
{
    const uint8_t head[] = {17, 3, 0, 107, 0, COUNT};

    memcpy(request, head, sizeof head);
    crc_append(request, 6);
    reply[0] = 17;
    reply[1] = 3;
    reply[2] = 2 * COUNT;
    for (unsigned i = 0; i < 2 * COUNT; i++)
        reply[3 + i] = (uint8_t)(i * 37 + 5);
    crc_append(reply, REPLY_LEN - 2);
}

static struct judge awaiting(void)
{
    struct judge j;

    make_frames();
    judge_init(&j, rtu_timing(19200, 11));
    judge_expect(&j, (struct bytes){request, 8}, REPLY_LEN);
    return j;
}

/* The events of bytes that come at once and are followed by silence, as letters; the data of a reply is
 * checked. */
static const char *events(struct judge *j, const uint8_t *data, size_t len)
{
    static char text[64];
    const char letters[] = ".REeFBN";
    size_t count = 0;

    judge_feed(j, data, len, 1000);
    for (uint64_t now = 1000; now < 2000000; now += 100000)
        for (struct judge_event e; (e = judge_next(j, now)).kind != JUDGE_NOTHING && count < 60;) {
            if (e.kind == JUDGE_REPLY)
                assert_memory_equal(e.frame.data, reply, REPLY_LEN);
            text[count++] = letters[e.kind];
        }
    text[count] = 0;
    assert_int_equal(j->len - j->used, 0);
    return text;
}

/* 6.2.2: the frame of the example has this CRC. Also the well known check value of the CRC. */
static void the_crc_is_that_of_the_standard(void **state)
{
    uint8_t frame[] = {0x02, 0x07, 0, 0};

    (void)state;
    assert_int_equal(crc_append(frame, 2), 4);
    assert_int_equal(frame[2], 0x41);
    assert_int_equal(frame[3], 0x12);
    assert_int_equal(crc_of((const uint8_t *)"123456789", 9), 0x4b37);
}

/* 2.5.1.1: 3.5 characters, and fixed 1750 µs above 19200 baud. */
static void the_silence_is_that_of_the_standard(void **state)
{
    (void)state;
    assert_int_equal(rtu_timing(9600, 11).silence_us, 4011);
    assert_int_equal(rtu_timing(19200, 11).silence_us, 2006);
    assert_int_equal(rtu_timing(19200, 10).silence_us, 1823);
    assert_int_equal(rtu_timing(38400, 11).silence_us, 1750);
    assert_int_equal(rtu_timing(115200, 10).silence_us, 1750);
    assert_int_equal(rtu_wire_us(&(struct rtu_timing){.char_ns = 86806}, 8), 695);
}

static void a_reply_is_taken_whole_and_byte_by_byte(void **state)
{
    struct judge j = awaiting();

    (void)state;
    judge_feed(&j, reply, REPLY_LEN, 5000);
    struct judge_event e = judge_next(&j, 5000);
    assert_int_equal(e.kind, JUDGE_REPLY);
    assert_int_equal(e.last_us, 5000);
    j = awaiting();
    for (size_t i = 0; i < REPLY_LEN; i++) {
        judge_feed(&j, reply + i, 1, 1000 + i * 573);
        e = judge_next(&j, 1000 + i * 573);
        assert_int_equal(e.kind, i == REPLY_LEN - 1 ? JUDGE_REPLY : JUDGE_NOTHING);
    }
}

static void no_damaged_bit_passes(void **state)
{
    uint8_t bad[REPLY_LEN];

    (void)state;
    for (size_t bit = 0; bit < 8 * REPLY_LEN; bit++)
        for (size_t other = bit; other < 8 * REPLY_LEN; other++) {
            struct judge j = awaiting();
            memcpy(bad, reply, REPLY_LEN);
            bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (other != bit)
                bad[other / 8] ^= (uint8_t)(1 << other % 8);
            assert_null(strchr(events(&j, bad, REPLY_LEN), 'R'));
        }
}

static void no_truncated_doubled_or_dropped_byte_passes(void **state)
{
    uint8_t bad[REPLY_LEN + 1];

    (void)state;
    for (size_t at = 0; at < REPLY_LEN; at++) {
        struct judge j = awaiting();
        assert_null(strchr(events(&j, reply, at), 'R'));
        j = awaiting();
        memcpy(bad, reply, at);
        memcpy(bad + at, reply + at + 1, REPLY_LEN - at - 1);
        assert_null(strchr(events(&j, bad, REPLY_LEN - 1), 'R'));
        j = awaiting();
        memcpy(bad, reply, at + 1);
        memcpy(bad + at + 1, reply + at, REPLY_LEN - at);
        /* A doubled first byte is a glitch before a whole frame, a doubled last one behind it; a doubled byte
         * in a run of the same cannot be seen to be one. */
        const char *got = events(&j, bad, REPLY_LEN + 1);
        if (at != 0 && at != REPLY_LEN - 1 && bad[at] != bad[at + 2])
            assert_null(strchr(got, 'R'));
    }
}

static void wrong_unit_function_or_count_is_somebody_elses(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {{0, 16}, {0, 18}, {1, 4}, {1, 1}};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct judge j = awaiting();
        reply[changes[i].at] = changes[i].value;
        crc_append(reply, REPLY_LEN - 2);
        assert_string_equal(events(&j, reply, REPLY_LEN), "F");
    }
    struct judge j = awaiting();
    reply[2] -= 2;
    size_t len = crc_append(reply, REPLY_LEN - 4);
    assert_string_equal(events(&j, reply, len), "F");
}

static void an_echo_is_stripped(void **state)
{
    uint8_t both[8 + REPLY_LEN];
    struct judge j = awaiting();

    (void)state;
    memcpy(both, request, 8);
    memcpy(both + 8, reply, REPLY_LEN);
    assert_string_equal(events(&j, both, sizeof both), "eR");
    j = awaiting();
    assert_string_equal(events(&j, both, 8), "e");
}

/* 24 coils at 0x0300: a reply of three bytes is as long as the request and can equal it. */
static void an_echo_is_no_reply_even_if_it_looks_like_one(void **state)
{
    uint8_t ask[8] = {17, 1, 3, 0, 0, 24};
    struct judge j;

    (void)state;
    crc_append(ask, 6);
    judge_init(&j, rtu_timing(19200, 11));
    judge_expect(&j, (struct bytes){ask, 8}, 8);
    assert_string_equal(events(&j, ask, 8), "e");
}

static void glued_frames_are_taken_apart(void **state)
{
    uint8_t glued[8 + 8 + 5 + REPLY_LEN + REPLY_LEN];
    uint8_t other_request[8] = {5, 6, 0, 1, 0, 2}, exception[5] = {6, 0x83, 2};
    struct judge j = awaiting();

    (void)state;
    crc_append(other_request, 6);
    crc_append(exception, 3);
    memcpy(glued, request, 8);
    memcpy(glued + 8, other_request, 8);
    memcpy(glued + 16, exception, 5);
    memcpy(glued + 21, reply, REPLY_LEN);
    memcpy(glued + 21 + REPLY_LEN, reply, REPLY_LEN);
    assert_string_equal(events(&j, glued, sizeof glued), "eFFRR");
}

static void exceptions_are_answers(void **state)
{
    uint8_t frame[5] = {17, 0x83, 2};
    struct judge j = awaiting();

    (void)state;
    crc_append(frame, 3);
    assert_string_equal(events(&j, frame, 5), "E");
    for (unsigned bit = 0; bit < 40; bit++) {
        j = awaiting();
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_null(strchr(events(&j, frame, 5), 'E'));
        frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    j = awaiting();
    frame[1] = 0x84; /* refuses something else */
    crc_append(frame, 3);
    assert_string_equal(events(&j, frame, 5), "F");
}

static void a_glitch_before_the_frame_does_no_harm(void **state)
{
    uint8_t data[5 + REPLY_LEN] = {0};
    struct judge j;

    (void)state;
    for (size_t glitch = 1; glitch <= 5; glitch++) {
        j = awaiting();
        memset(data, 0xff, glitch);
        memcpy(data + glitch, reply, REPLY_LEN);
        assert_string_equal(events(&j, data, glitch + REPLY_LEN), glitch <= JUDGE_GLITCH_MAX ? "NR" : "N");
    }
}

static void nothing_is_a_reply_when_none_is_awaited(void **state)
{
    struct judge j = awaiting();

    (void)state;
    judge_expect_none(&j);
    assert_string_equal(events(&j, reply, REPLY_LEN), "F");
}

static void a_babbling_line_is_bounded(void **state)
{
    struct judge j = awaiting();
    uint8_t babble[3000];

    (void)state;
    memset(babble, 0x55, sizeof babble);
    judge_feed(&j, babble, sizeof babble, 1000);
    assert_true(j.dropped > 2000);
    assert_true(j.len <= sizeof j.rx);
}

/* Modbus Application Protocol 1.1b3, 6.5, 6.6, 6.11, 6.12, 6.16: what is asked, and what answers it. */
static const struct {
    size_t len, reply_len, mirrored;
    uint8_t head[16];
} writes[] = {
    {8, 8, 6, {17, 5, 0, 172, 255, 0}},         {8, 8, 6, {17, 6, 0, 1, 0, 3}},
    {10, 8, 6, {17, 15, 0, 19, 0, 1, 1, 1}},    {13, 8, 6, {17, 16, 0, 1, 0, 2, 4, 0, 10, 1, 2}},
    {10, 10, 8, {17, 22, 0, 4, 0, 242, 0, 37}},
};

static struct judge writing(size_t row, uint8_t *frame, uint8_t *answer)
{
    struct judge j;

    memcpy(frame, writes[row].head, writes[row].len - 2);
    crc_append(frame, writes[row].len - 2);
    memcpy(answer, writes[row].head, writes[row].mirrored);
    crc_append(answer, writes[row].mirrored);
    judge_init(&j, rtu_timing(19200, 11));
    judge_expect(&j, (struct bytes){frame, writes[row].len}, writes[row].reply_len);
    return j;
}

static const char *kinds(struct judge *j, const uint8_t *data, size_t len)
{
    static char text[16];
    size_t count = 0;

    judge_feed(j, data, len, 1000);
    for (uint64_t now = 1000; now < 2000000; now += 100000)
        for (struct judge_event e; (e = judge_next(j, now)).kind != JUDGE_NOTHING && count < 15;)
            text[count++] = ".REeFBN"[e.kind];
    text[count] = 0;
    return text;
}

static void the_answer_to_a_write_repeats_its_head(void **state)
{
    uint8_t frame[16], answer[16], bad[16];

    (void)state;
    for (size_t row = 0; row < 5; row++) {
        size_t len = writes[row].reply_len;
        struct judge j = writing(row, frame, answer);
        assert_string_equal(kinds(&j, answer, len), "R");
        for (size_t at = 2; at < writes[row].mirrored; at++) {
            j = writing(row, frame, answer);
            memcpy(bad, answer, len);
            bad[at] ^= 1;
            crc_append(bad, len - 2);
            assert_null(strchr(kinds(&j, bad, len), 'R')); /* a whole frame, for another address or value */
        }
        for (size_t bit = 0; bit < 8 * len; bit++) {
            j = writing(row, frame, answer);
            memcpy(bad, answer, len);
            bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_null(strchr(kinds(&j, bad, len), 'R'));
        }
    }
}

static void an_echo_is_not_the_answer_to_a_write(void **state)
{
    uint8_t frame[16], answer[16], both[32];

    (void)state;
    for (size_t row = 0; row < 5; row++) {
        struct judge j = writing(row, frame, answer);
        j.echoing = true;
        assert_string_equal(kinds(&j, frame, writes[row].len), "e");
        assert_string_equal(kinds(&j, answer, writes[row].reply_len), "R");
        j = writing(row, frame, answer);
        j.echoing = true;
        memcpy(both, frame, writes[row].len);
        memcpy(both + writes[row].len, answer, writes[row].reply_len);
        assert_string_equal(kinds(&j, both, writes[row].len + writes[row].reply_len), "eR");
        /* A glitch before an echo does not make it an answer. */
        j = writing(row, frame, answer);
        j.echoing = true;
        both[0] = 0;
        memcpy(both + 1, frame, writes[row].len);
        assert_null(strchr(kinds(&j, both, writes[row].len + 1), 'R'));
    }
}

/* ---- answers of unknown length ---- */

static struct judge awaiting_open(uint8_t *frame, uint8_t *answer, bool echo_unknown)
{
    static const uint8_t ask[] = {17, 70, 1, 2}, said[] = {17, 70, 9, 8, 7, 6, 5};
    struct judge j;

    memcpy(frame, ask, sizeof ask);
    crc_append(frame, sizeof ask);
    memcpy(answer, said, sizeof said);
    crc_append(answer, sizeof said);
    judge_init(&j, rtu_timing(19200, 11));
    judge_expect(&j, (struct bytes){frame, 6}, 0);
    j.echo_unknown = echo_unknown;
    return j;
}

static void an_answer_of_unknown_length_ends_by_silence(void **state)
{
    uint8_t frame[8], answer[16], both[32] = {0};
    const uint8_t refusal[5] = {17, 70 | 0x80, 1};

    (void)state;
    struct judge j = awaiting_open(frame, answer, false);
    judge_feed(&j, answer, 9, 1000);
    assert_int_equal(judge_next(&j, 1000).kind, JUDGE_NOTHING); /* there may be more */
    assert_int_equal(judge_next(&j, judge_wake_us(&j)).kind, JUDGE_REPLY);
    /* One that stalls half-way is waited for. */
    j = awaiting_open(frame, answer, false);
    judge_feed(&j, answer, 5, 1000);
    assert_int_equal(judge_next(&j, 1000 + 2 * j.timing.gap_us).kind, JUDGE_NOTHING);
    assert_string_equal(kinds(&j, answer + 5, 4), "R");
    /* It may be what was asked, as with a loopback test (6.8). */
    j = awaiting_open(frame, answer, false);
    assert_string_equal(kinds(&j, frame, 6), "R");
    j = awaiting_open(frame, answer, false);
    memcpy(both, refusal, 3);
    crc_append(both, 3);
    assert_string_equal(kinds(&j, both, 5), "E");
    /* A glitch before it, and after it; another's frame. */
    j = awaiting_open(frame, answer, false);
    both[0] = 0xff;
    memcpy(both + 1, answer, 9);
    assert_string_equal(kinds(&j, both, 10), "NR");
    j = awaiting_open(frame, answer, false);
    assert_string_equal(kinds(&j, both + 1, 10), "RN");
    j = awaiting_open(frame, answer, false);
    both[10] = 0x55;
    assert_string_equal(kinds(&j, both + 1, 10), "B");
    j = awaiting_open(frame, answer, false);
    answer[0] = 18;
    crc_append(answer, 7);
    assert_null(strchr(kinds(&j, answer, 9), 'R'));
}

static void an_echo_is_not_the_answer_of_unknown_length(void **state)
{
    uint8_t frame[8], answer[16], both[32];

    (void)state;
    for (unsigned known = 0; known < 2; known++) {
        struct judge j = awaiting_open(frame, answer, !known);
        j.echoing = known;
        memcpy(both, frame, 6);
        memcpy(both + 6, answer, 9);
        assert_string_equal(kinds(&j, both, 15), "eR");
        j = awaiting_open(frame, answer, !known);
        j.echoing = known;
        assert_string_equal(kinds(&j, frame, 6), "e");
        assert_string_equal(kinds(&j, answer, 9), "R");
        /* Where it is not known, an answer that is no echo is one all the same. */
        j = awaiting_open(frame, answer, !known);
        j.echoing = known;
        assert_string_equal(kinds(&j, answer, 9), "R");
    }
}

static void flipped_bits_never_make_an_answer_of_unknown_length(void **state)
{
    uint8_t frame[8], answer[16], bad[16];

    (void)state;
    for (size_t bit = 0; bit < 72; bit++) {
        struct judge j = awaiting_open(frame, answer, false);
        memcpy(bad, answer, 9);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_null(strchr(kinds(&j, bad, 9), 'R'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_crc_is_that_of_the_standard),
        cmocka_unit_test(the_silence_is_that_of_the_standard),
        cmocka_unit_test(a_reply_is_taken_whole_and_byte_by_byte),
        cmocka_unit_test(no_damaged_bit_passes),
        cmocka_unit_test(no_truncated_doubled_or_dropped_byte_passes),
        cmocka_unit_test(wrong_unit_function_or_count_is_somebody_elses),
        cmocka_unit_test(an_echo_is_stripped),
        cmocka_unit_test(an_echo_is_no_reply_even_if_it_looks_like_one),
        cmocka_unit_test(glued_frames_are_taken_apart),
        cmocka_unit_test(exceptions_are_answers),
        cmocka_unit_test(a_glitch_before_the_frame_does_no_harm),
        cmocka_unit_test(nothing_is_a_reply_when_none_is_awaited),
        cmocka_unit_test(the_answer_to_a_write_repeats_its_head),
        cmocka_unit_test(an_echo_is_not_the_answer_to_a_write),
        cmocka_unit_test(a_babbling_line_is_bounded),
        cmocka_unit_test(an_answer_of_unknown_length_ends_by_silence),
        cmocka_unit_test(an_echo_is_not_the_answer_of_unknown_length),
        cmocka_unit_test(flipped_bits_never_make_an_answer_of_unknown_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
