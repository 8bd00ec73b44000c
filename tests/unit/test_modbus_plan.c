/* SPDX-License-Identifier: Apache-2.0 */
/* Points to requests: limits, holes by cost, tables apart; the cost against an exhaustive search. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "drivers/modbus/plan.h"

static struct plan_cost cost_at(uint32_t baud, unsigned bits, uint32_t turnaround_us)
{
    return (struct plan_cost){rtu_timing(baud, bits), turnaround_us};
}

static const struct plan_limits most = {
    PLAN_REGISTERS_MAX, PLAN_BITS_MAX, PLAN_GAP_BY_COST, NULL, 0, NULL, 0};

static size_t plan(uint32_t baud, uint32_t turnaround_us, struct plan_item *items, size_t count,
                   struct plan_block **blocks)
{
    struct plan_cost c = cost_at(baud, 10, turnaround_us);

    return plan_make(&c, &most, items, count, blocks);
}

static void adjacent_points_are_one_request(void **state)
{
    struct plan_item items[] = {
        {TABLE_HOLDING, 12, 2, 0}, {TABLE_HOLDING, 10, 2, 0}, {TABLE_HOLDING, 14, 1, 0}};
    struct plan_block *b;

    (void)state;
    assert_int_equal(plan(9600, 0, items, 3, &b), 1);
    assert_int_equal(b[0].address, 10);
    assert_int_equal(b[0].count, 5);
    free(b);
}

static void tables_stay_apart(void **state)
{
    struct plan_item items[] = {
        {TABLE_HOLDING, 1, 1, 0}, {TABLE_INPUT, 2, 1, 0}, {TABLE_COIL, 3, 1, 0}, {TABLE_DISCRETE, 4, 1, 0}};
    struct plan_block *b;

    (void)state;
    assert_int_equal(plan(9600, 0, items, 4, &b), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(b[items[i].block].table, items[i].table);
        assert_int_equal(b[items[i].block].address, items[i].address);
    }
    free(b);
}

/* The break-even hole at no turnaround: 9600 8N1 10 registers, 115200 26 (13 characters and two silences
 * against 2 characters a register). */
static void holes_are_filled_while_they_are_cheaper(void **state)
{
    static const struct {
        uint32_t baud, turnaround_us;
        unsigned hole;
    } rows[] = {{9600, 0, 9}, {19200, 0, 9}, {115200, 0, 26}, {9600, 20000, 19}};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct plan_item items[] = {{TABLE_HOLDING, 0, 1, 0}, {TABLE_HOLDING, 0, 1, 0}};
        struct plan_block *b;
        unsigned hole = 0;
        do {
            items[1].address = (uint16_t)(2 + hole);
            size_t count = plan(rows[i].baud, rows[i].turnaround_us, items, 2, &b);
            free(b);
            if (count == 2)
                break;
        } while (++hole < 200);
        assert_in_range(hole, rows[i].hole, rows[i].hole + 2);
    }
}

static void no_request_is_larger_than_allowed(void **state)
{
    struct plan_item items[2100];
    struct plan_block *b;

    (void)state;
    for (unsigned i = 0; i < 300; i++)
        items[i] = (struct plan_item){TABLE_INPUT, (uint16_t)i, 1, 0};
    assert_int_equal(plan(9600, 0, items, 300, &b), 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(b[i].count <= PLAN_REGISTERS_MAX);
    free(b);
    for (unsigned i = 0; i < 2100; i++)
        items[i] = (struct plan_item){TABLE_COIL, (uint16_t)i, 1, 0};
    assert_int_equal(plan(9600, 0, items, 2100, &b), 2);
    assert_true(b[0].count <= PLAN_BITS_MAX && b[1].count <= PLAN_BITS_MAX);
    assert_int_equal(b[0].count + b[1].count, 2100);
    free(b);
    /* At the end of the table. */
    struct plan_item last = {TABLE_HOLDING, 65532, 4, 0};
    assert_int_equal(plan(9600, 0, &last, 1, &b), 1);
    assert_int_equal(b[0].address + b[0].count, 65536);
    free(b);
}

static uint64_t total_us(const struct plan_cost *c, const struct plan_block *b, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += plan_read_us(c, b[i].table, b[i].count);
    return sum;
}

/* All ways to cut a sorted row of single registers. */
static uint64_t cheapest_us(const struct plan_cost *c, const uint16_t *at, size_t count)
{
    uint64_t best = UINT64_MAX;

    for (unsigned cuts = 0; cuts < 1u << (count - 1); cuts++) {
        uint64_t sum = 0;
        size_t from = 0;
        for (size_t i = 0; i < count; i++)
            if (i == count - 1 || cuts >> i & 1) {
                unsigned span = at[i] - at[from] + 1u;
                sum += span <= PLAN_REGISTERS_MAX ? plan_read_us(c, TABLE_HOLDING, span) : 1u << 30;
                from = i + 1;
            }
        best = sum < best ? sum : best;
    }
    return best;
}

static void the_plan_is_the_cheapest(void **state)
{
    struct plan_cost c = cost_at(19200, 11, 3000);

    (void)state;
    srand(7);
    for (int round = 0; round < 300; round++) {
        struct plan_item items[9];
        uint16_t at[9];
        struct plan_block *b;
        at[0] = 0;
        for (size_t i = 1; i < 9; i++)
            at[i] = (uint16_t)(at[i - 1] + 1 + rand() % 40);
        for (size_t i = 0; i < 9; i++)
            items[(i * 4 + 1) % 9] = (struct plan_item){TABLE_HOLDING, at[i], 1, 0};
        size_t count = plan_make(&c, &most, items, 9, &b);
        assert_true(total_us(&c, b, count) == cheapest_us(&c, at, 9));
        for (size_t i = 0; i < 9; i++) {
            const struct plan_block *of = &b[items[i].block];
            assert_in_range(items[i].address, of->address, of->address + of->count - 1);
        }
        free(b);
    }
}

/* Registers 0 to 39 one by one, and what reads them under the limits. */
static size_t forty(const struct plan_limits *l, struct plan_block **b)
{
    struct plan_cost c = cost_at(9600, 10, 5000);
    struct plan_item items[40];

    for (unsigned i = 0; i < 40; i++)
        items[i] = (struct plan_item){TABLE_HOLDING, (uint16_t)i, 1, 0};
    return plan_make(&c, l, items, 40, b);
}

static void a_device_is_asked_for_no_more_than_it_takes(void **state)
{
    struct plan_limits l = most;
    struct plan_block *b;

    (void)state;
    l.registers = 16;
    assert_int_equal(forty(&l, &b), 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(b[i].count <= 16);
    free(b);
    l.registers = 1;
    assert_int_equal(forty(&l, &b), 40);
    free(b);
    /* What belongs together is read in one all the same. */
    struct plan_item wide = {TABLE_INPUT, 7, 4, 0};
    struct plan_cost c = cost_at(9600, 10, 0);
    assert_int_equal(plan_make(&c, &l, &wide, 1, &b), 1);
    assert_int_equal(b[0].count, 4);
    free(b);
}

static void no_request_touches_a_forbidden_range(void **state)
{
    static const struct plan_range ranges[] = {{TABLE_HOLDING, 12, 14}, {TABLE_INPUT, 11, 11}};
    struct plan_limits l = most;
    struct plan_item items[] = {{TABLE_HOLDING, 11, 1, 0}, {TABLE_HOLDING, 15, 1, 0}};
    struct plan_cost c = cost_at(9600, 10, 5000);
    struct plan_block *b;

    (void)state;
    assert_int_equal(plan_make(&c, &l, items, 2, &b), 1);
    free(b);
    l.forbidden = ranges;
    l.forbidden_count = 2;
    assert_int_equal(plan_make(&c, &l, items, 2, &b), 2);
    assert_int_equal(b[0].address, 11);
    assert_int_equal(b[0].count, 1);
    assert_int_equal(b[1].address, 15);
    free(b);
}

static void holes_are_no_wider_than_the_device_allows(void **state)
{
    struct plan_limits l = most;
    struct plan_cost c = cost_at(9600, 10, 5000);
    struct plan_block *b;

    (void)state;
    for (l.gap = 0; l.gap < 8; l.gap++)
        for (unsigned hole = 0; hole < 8; hole++) {
            struct plan_item items[] = {{TABLE_HOLDING, 5, 1, 0},
                                        {TABLE_HOLDING, (uint16_t)(6 + hole), 1, 0}};
            assert_int_equal(plan_make(&c, &l, items, 2, &b), hole > (unsigned)l.gap ? 2 : 1);
            free(b);
        }
}

static void what_was_learnt_cuts_requests(void **state)
{
    static const struct plan_cut cuts[] = {{TABLE_HOLDING, 20}, {TABLE_INPUT, 5}, {TABLE_HOLDING, 7}};
    struct plan_limits l = most;
    struct plan_block *b;

    (void)state;
    l.cuts = cuts;
    l.cut_count = 3;
    assert_int_equal(forty(&l, &b), 3);
    assert_int_equal(b[1].address, 7);
    assert_int_equal(b[2].address, 20);
    assert_int_equal(b[2].count, 20);
    free(b);
}

/* Bytes of the standard's frames at the wire's speed: 8 characters out, 5 + 2N back, two silences. */
static void predicted_time_is_the_wires(void **state)
{
    struct plan_cost c = cost_at(9600, 10, 0);

    (void)state;
    assert_in_range(plan_read_us(&c, TABLE_HOLDING, 1), 22900, 22930);
    assert_in_range(plan_read_us(&c, TABLE_HOLDING, 125), 281200, 281300);
    c = cost_at(115200, 11, 0);
    assert_in_range(plan_read_us(&c, TABLE_INPUT, 1), 4900, 4940);
    assert_in_range(plan_read_us(&c, TABLE_COIL, 16), 4900, 4940);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adjacent_points_are_one_request),
        cmocka_unit_test(tables_stay_apart),
        cmocka_unit_test(holes_are_filled_while_they_are_cheaper),
        cmocka_unit_test(no_request_is_larger_than_allowed),
        cmocka_unit_test(the_plan_is_the_cheapest),
        cmocka_unit_test(a_device_is_asked_for_no_more_than_it_takes),
        cmocka_unit_test(no_request_touches_a_forbidden_range),
        cmocka_unit_test(holes_are_no_wider_than_the_device_allows),
        cmocka_unit_test(what_was_learnt_cuts_requests),
        cmocka_unit_test(predicted_time_is_the_wires),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
