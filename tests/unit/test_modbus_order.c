/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a point, step by step, against a unit of a few registers and coils that answers, refuses, or lies.
 * The bytes of the requests are those of Modbus Application Protocol 1.1b3, 6.5 to 6.17. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/modbus/order.h"

struct unit {
    uint16_t regs[16];
    bool coils[16];
    unsigned reads, writes, lost_reads;
    char sent[64]; /* the last write, in hex */
    bool no_mask, deaf_to_writes, loses_answers, ignores_writes;
    uint8_t refuses;
};

static const struct value_type *type_named(const char *name)
{
    for (size_t i = 0; value_type_names[i]; i++)
        if (!strcmp(value_type_names[i], name))
            return &value_types[i];
    fail_msg("no type %s", name);
    return NULL;
}

static struct modbus_point point_of(enum modbus_table table, const char *type, uint8_t function,
                                    bool readback)
{
    struct modbus_point p = {.table = table, .address = 3, .count = 1, .write = {.on = true}};

    p.spec.type = type_named(type);
    p.spec.order = &value_orders[0];
    p.spec.scale = value_scale_of(1, 0);
    if (p.spec.type->bytes > 2)
        p.count = p.spec.type->bytes / 2;
    p.write.function = function ? function : order_function(&p);
    p.write.readback = readback;
    return p;
}

static unsigned word_at(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static void set_registers(struct unit *u, unsigned at, const uint8_t *data, unsigned count)
{
    for (unsigned i = 0; i < count && !u->ignores_writes; i++)
        u->regs[at + i] = (uint16_t)word_at(data + 2 * i);
}

static void write_to(struct unit *u, const uint8_t *pdu)
{
    unsigned at = word_at(pdu + 1);

    switch (pdu[0]) {
    case 5:
        u->coils[at] = u->ignores_writes ? u->coils[at] : pdu[3];
        break;
    case 6:
        set_registers(u, at, pdu + 3, 1);
        break;
    case 15:
        u->coils[at] = u->ignores_writes ? u->coils[at] : pdu[6] & 1;
        break;
    case 16:
        set_registers(u, at, pdu + 6, word_at(pdu + 3));
        break;
    case 22:
        if (!u->ignores_writes)
            u->regs[at] =
                (uint16_t)((u->regs[at] & word_at(pdu + 3)) | (word_at(pdu + 5) & ~word_at(pdu + 3)));
        break;
    case 23:
        set_registers(u, word_at(pdu + 5), pdu + 10, word_at(pdu + 7));
        break;
    }
}

static void read_from(const struct unit *u, const struct plan_block *b, uint8_t *data)
{
    for (unsigned i = 0; i < b->count; i++) {
        data[2 * i] = (uint8_t)(u->regs[b->address + i] >> 8);
        data[2 * i + 1] = (uint8_t)u->regs[b->address + i];
    }
    if (table_is_bits(b->table))
        data[0] = u->coils[b->address];
}

static struct modbus_result answer_write(struct unit *u, const struct order_request *q, uint8_t *data)
{
    u->writes++;
    for (size_t i = 0; i < q->len && i < 31; i++)
        snprintf(u->sent + 2 * i, 3, "%02x", q->pdu[i]);
    if (u->deaf_to_writes)
        return (struct modbus_result){.verdict = EXCHANGE_TIMEOUT};
    if (u->refuses || (u->no_mask && q->pdu[0] == 22))
        return (struct modbus_result){.verdict = EXCHANGE_EXCEPTION,
                                      .exception = u->refuses ? u->refuses : 1};
    write_to(u, q->pdu);
    if (u->loses_answers)
        return (struct modbus_result){.verdict = EXCHANGE_TIMEOUT};
    if (q->pdu[0] == 23) {
        assert_int_equal(q->reply_len, 5 + 2 * word_at(q->pdu + 3));
        const struct plan_block b = {TABLE_HOLDING, (uint16_t)word_at(q->pdu + 1),
                                     (uint16_t)word_at(q->pdu + 3)};
        read_from(u, &b, data);
    } else {
        assert_int_equal(q->reply_len, q->pdu[0] == 22 ? 10 : 8);
    }
    return (struct modbus_result){.verdict = EXCHANGE_OK, .data = data};
}

static struct modbus_order order;
static bool learnt_no_mask;

static enum order_verdict carry_out(struct unit *u, const struct modbus_point *p, struct value v, bool first,
                                    bool doubt)
{
    struct order_run run;
    struct order_request q;
    enum order_step step;
    uint8_t data[VALUE_BYTES_MAX];

    assert_int_equal(value_write(&p->spec, &v, order.data), 0);
    order_begin(&run, &order, p, learnt_no_mask, first, doubt);
    while ((step = order_next(&run, &q)) != ORDER_ENDED) {
        struct modbus_result r = {.verdict = EXCHANGE_OK, .data = data};
        if (step == ORDER_SEND_WRITE) {
            r = answer_write(u, &q, data);
        } else {
            u->reads++;
            read_from(u, &q.read, data);
            if (u->lost_reads && u->lost_reads--)
                r = (struct modbus_result){.verdict = EXCHANGE_TIMEOUT};
        }
        order_took(&run, &r);
        assert_true(u->reads + u->writes < 10);
    }
    learnt_no_mask = run.no_mask;
    return order.verdict;
}

static struct value whole(int64_t i)
{
    return (struct value){.kind = VALUE_INT, .i = i};
}

static void each_code_sends_its_request(void **state)
{
    static const struct {
        enum modbus_table table;
        const char *type;
        uint8_t function;
        int64_t value;
        const char *pdu;
    } rows[] = {
        {TABLE_COIL, "bool", 5, 1, "050003ff00"},
        {TABLE_COIL, "bool", 5, 0, "0500030000"},
        {TABLE_COIL, "bool", 15, 1, "0f000300010101"},
        {TABLE_HOLDING, "int16", 6, -2, "060003fffe"},
        {TABLE_HOLDING, "int16", 16, -2, "100003000102fffe"},
        {TABLE_HOLDING, "int32", 16, -2, "100003000204fffffffe"},
        {TABLE_HOLDING, "bit", 22, 1, "160003fffb0004"},
        {TABLE_HOLDING, "bit", 22, 0, "160003fffb0000"},
        {TABLE_HOLDING, "uint32", 23, 0x10002, "1700030002000300020400010002"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct unit u = {0};
        struct modbus_point p = point_of(rows[i].table, rows[i].type, rows[i].function, false);
        p.spec.bit = 2;
        assert_int_equal(carry_out(&u, &p, whole(rows[i].value), false, false), ORDER_OK);
        assert_string_equal(u.sent, rows[i].pdu);
        assert_int_equal(u.reads, 0);
        assert_int_equal(u.writes, 1);
    }
}

static void the_first_code_that_fits_is_the_default(void **state)
{
    (void)state;
    assert_int_equal(point_of(TABLE_COIL, "bool", 0, false).write.function, 5);
    assert_int_equal(point_of(TABLE_HOLDING, "bit", 0, false).write.function, 22);
    assert_int_equal(point_of(TABLE_HOLDING, "uint16", 0, false).write.function, 6);
    assert_int_equal(point_of(TABLE_HOLDING, "float32", 0, false).write.function, 16);
    assert_int_equal(point_of(TABLE_INPUT, "uint16", 0, false).write.function, 0);
    assert_int_equal(point_of(TABLE_DISCRETE, "bool", 0, false).write.function, 0);
}

static void a_refusal_is_told_with_its_code(void **state)
{
    struct unit u = {.refuses = 4};
    struct modbus_point p = point_of(TABLE_HOLDING, "int16", 0, true);
    struct buf text = {0};

    (void)state;
    assert_int_equal(carry_out(&u, &p, whole(5), false, false), ORDER_EXCEPTION);
    order_print(&text, order.verdict, order.exception);
    assert_string_equal((const char *)text.data, "exception 4");
    buf_free(&text);
    assert_int_equal(u.reads, 0);
}

static void silence_is_no_success(void **state)
{
    struct unit deaf = {.deaf_to_writes = true};
    struct modbus_point p = point_of(TABLE_HOLDING, "int16", 0, false);

    (void)state;
    assert_int_equal(carry_out(&deaf, &p, whole(5), false, false), ORDER_TIMEOUT);
    assert_int_equal(deaf.writes, 1); /* never sent again by itself */
    p = point_of(TABLE_HOLDING, "int16", 0, true);
    assert_int_equal(carry_out(&deaf, &p, whole(5), false, false), ORDER_TIMEOUT);
}

/* Only the answer was lost: a read tells. */
static void a_read_tells_what_a_lost_answer_would_have(void **state)
{
    struct unit u = {.loses_answers = true};
    struct modbus_point p = point_of(TABLE_HOLDING, "int16", 0, true);

    (void)state;
    assert_int_equal(carry_out(&u, &p, whole(5), false, false), ORDER_OK);
    assert_true(order.have_read);
    assert_int_equal(u.reads, 1);
}

static void a_lost_read_is_made_again_once(void **state)
{
    struct unit u = {.lost_reads = 1};
    struct modbus_point p = point_of(TABLE_HOLDING, "int16", 0, true);

    (void)state;
    assert_int_equal(carry_out(&u, &p, whole(5), false, false), ORDER_OK);
    assert_int_equal(u.reads, 2);
    assert_int_equal(u.writes, 1);
    u = (struct unit){.lost_reads = 2};
    assert_int_equal(carry_out(&u, &p, whole(5), false, false), ORDER_UNVERIFIED);
}

static void a_unit_that_says_yes_and_does_nothing_is_found_out(void **state)
{
    static const char *const types[] = {"int16", "bit", "float32"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct unit u = {.ignores_writes = true};
        struct modbus_point p = point_of(TABLE_HOLDING, types[i], 0, true);
        assert_int_equal(carry_out(&u, &p, whole(1), false, false), ORDER_UNVERIFIED);
        p.write.readback = false;
        assert_int_equal(carry_out(&u, &p, whole(1), false, false), ORDER_OK); /* as it was asked */
        assert_int_equal(carry_out(&u, &p, whole(1), false, true), ORDER_UNVERIFIED);
    }
    struct unit u = {.ignores_writes = true};
    struct modbus_point p = point_of(TABLE_COIL, "bool", 0, true);
    assert_int_equal(carry_out(&u, &p, whole(1), false, false), ORDER_UNVERIFIED);
    p = point_of(TABLE_HOLDING, "uint16", 23, false); /* its answer is a read */
    assert_int_equal(carry_out(&u, &p, whole(1), false, false), ORDER_UNVERIFIED);
}

static void a_bit_is_changed_alone_where_code_22_is_unknown(void **state)
{
    struct unit u = {.no_mask = true};
    struct modbus_point p = point_of(TABLE_HOLDING, "bit", 0, false);

    (void)state;
    p.spec.bit = 9;
    u.regs[3] = 0x1234;
    assert_int_equal(carry_out(&u, &p, whole(0), false, false), ORDER_OK);
    assert_int_equal(u.regs[3], 0x1034);
    assert_int_equal(u.writes, 2); /* 22 was tried */
    assert_int_equal(u.reads, 2);  /* before and after */
    assert_true(learnt_no_mask);
    u.reads = u.writes = 0;
    assert_int_equal(carry_out(&u, &p, whole(1), false, false), ORDER_OK);
    assert_int_equal(u.regs[3], 0x1234);
    assert_int_equal(u.writes, 1); /* not tried again */
    learnt_no_mask = false;
    /* A register that the wire holds the other way round. */
    p.spec.order = &value_orders[2];
    assert_string_equal(p.spec.order->name, "BADC");
    u = (struct unit){0};
    assert_int_equal(carry_out(&u, &p, whole(1), false, false), ORDER_OK);
    assert_int_equal(u.regs[3], 0x0002);
}

static void an_unknown_line_is_read_first(void **state)
{
    struct unit u = {0};
    struct modbus_point p = point_of(TABLE_HOLDING, "int16", 0, false);

    (void)state;
    assert_int_equal(carry_out(&u, &p, whole(5), true, false), ORDER_OK);
    assert_int_equal(u.reads, 1);
    assert_int_equal(u.writes, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_code_sends_its_request),
        cmocka_unit_test(the_first_code_that_fits_is_the_default),
        cmocka_unit_test(a_refusal_is_told_with_its_code),
        cmocka_unit_test(silence_is_no_success),
        cmocka_unit_test(a_read_tells_what_a_lost_answer_would_have),
        cmocka_unit_test(a_lost_read_is_made_again_once),
        cmocka_unit_test(a_unit_that_says_yes_and_does_nothing_is_found_out),
        cmocka_unit_test(a_bit_is_changed_alone_where_code_22_is_unknown),
        cmocka_unit_test(an_unknown_line_is_read_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
