/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of Modbus TCP: whole, in pieces, and wrong in each way. Messaging on TCP/IP 1.0b, 3.1.3. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/modbus/tcp_frame.h"

static const uint8_t read_two[] = {3, 0, 100, 0, 2}, answer_two[] = {3, 4, 1, 2, 3, 4};

static struct bytes of(const uint8_t *data, size_t len)
{
    return (struct bytes){data, len};
}

static void a_frame_is_that_of_the_standard(void **state)
{
    static const uint8_t want[] = {0x15, 0x01, 0, 0, 0, 6, 0xff, 3, 0, 100, 0, 2};
    struct buf out = {0};
    struct tcp_frame f;

    (void)state;
    tcp_frame_put(&out, 0x1501, 0xff, of(read_two, sizeof read_two));
    assert_int_equal(out.len, sizeof want);
    assert_memory_equal(out.data, want, sizeof want);
    for (size_t len = 0; len < sizeof want; len++)
        assert_int_equal(tcp_frame_next(out.data, len, &f), 0);
    assert_int_equal(tcp_frame_next(out.data, out.len, &f), sizeof want);
    assert_int_equal(f.id, 0x1501);
    assert_int_equal(f.unit, 0xff);
    assert_true(bytes_equal(f.pdu, of(read_two, sizeof read_two)));
    buf_free(&out);
}

static void what_is_no_modbus_is_seen(void **state)
{
    struct tcp_frame f;

    (void)state;
    assert_int_equal(tcp_frame_next((const uint8_t *)"HTTP/1.1 400", 12, &f), -EBADMSG);
    assert_int_equal(tcp_frame_next((const uint8_t[]){0, 1, 0, 0, 0, 1, 1, 3}, 8, &f),
                     -EBADMSG); /* no function */
    assert_int_equal(tcp_frame_next((const uint8_t[]){0, 1, 0, 0, 0, 255, 1, 3}, 8, &f), -EBADMSG);
    srand(9);
    for (int i = 0; i < 100000; i++) {
        size_t len = (size_t)rand() % 300;
        uint8_t *data = malloc(len + 1);
        for (size_t k = 0; k < len; k++)
            data[k] = (uint8_t)(k == 2 || k == 3 || k == 4 ? 0 : rand());
        int got = tcp_frame_next(data, len, &f);
        assert_true(got <= (int)len);
        free(data);
    }
}

static enum exchange_verdict judge(uint8_t unit, const uint8_t *pdu, size_t len)
{
    const struct tcp_frame f = {7, unit, {pdu, len}};
    uint8_t exception = 0;
    enum exchange_verdict v = tcp_frame_judge(&f, 1, of(read_two, sizeof read_two), 4, &exception);

    assert_true(v != EXCHANGE_EXCEPTION || exception == 11);
    return v;
}

static void an_answer_has_unit_function_and_length_of_its_request(void **state)
{
    uint8_t bad[sizeof answer_two];

    (void)state;
    assert_int_equal(judge(1, answer_two, 6), EXCHANGE_OK);
    assert_int_equal(judge(2, answer_two, 6), EXCHANGE_CRC);
    assert_int_equal(judge(1, answer_two, 5), EXCHANGE_CRC);
    for (size_t at = 0; at < 2; at++) {
        memcpy(bad, answer_two, sizeof bad);
        bad[at] ^= 1;
        assert_int_equal(judge(1, bad, sizeof bad), EXCHANGE_CRC);
    }
    assert_int_equal(judge(1, (const uint8_t[]){0x83, 11}, 2), EXCHANGE_EXCEPTION);
    assert_int_equal(judge(1, (const uint8_t[]){0x84, 11}, 2), EXCHANGE_CRC);
    assert_int_equal(judge(1, (const uint8_t[]){0x83}, 1), EXCHANGE_CRC);
}

static void the_answer_to_a_write_repeats_its_head(void **state)
{
    static const struct {
        uint8_t request[16], answer[8];
        size_t len, answer_len;
    } rows[] = {
        {{5, 0, 1, 0xff, 0}, {5, 0, 1, 0xff, 0}, 5, 5},
        {{6, 0, 1, 0, 3}, {6, 0, 1, 0, 3}, 5, 5},
        {{16, 0, 1, 0, 1, 2, 0, 9}, {16, 0, 1, 0, 1}, 8, 5},
        {{22, 0, 4, 0, 0xf2, 0, 0x25}, {22, 0, 4, 0, 0xf2, 0, 0x25}, 7, 7},
    };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct bytes request = of(rows[i].request, rows[i].len);
        uint8_t answer[8], exception;
        for (size_t at = 0; at <= rows[i].answer_len; at++) {
            memcpy(answer, rows[i].answer, 8);
            if (at < rows[i].answer_len)
                answer[at] ^= 1;
            const struct tcp_frame f = {7, 1, {answer, rows[i].answer_len}};
            assert_int_equal(tcp_frame_judge(&f, 1, request, 0, &exception),
                             at == rows[i].answer_len ? EXCHANGE_OK : EXCHANGE_CRC);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_that_of_the_standard),
        cmocka_unit_test(what_is_no_modbus_is_seen),
        cmocka_unit_test(an_answer_has_unit_function_and_length_of_its_request),
        cmocka_unit_test(the_answer_to_a_write_repeats_its_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
