/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/raw.h"

#include <errno.h>
#include <string.h>

enum { SHORT_REPLY = 8, MASK_REPLY = 10, READ_FRAME = 5 };
enum { SPARED_AFTER = 3, SPARED_FIRST_US = 1000000, SPARED_MOST_US = 30000000 };

static int add_range(struct raw_shape *s, enum modbus_table table, unsigned first, unsigned count, bool write)
{
    if (first + count > 0x10000)
        return -EINVAL;
    s->ranges[s->range_count++] = (struct raw_range){table, (uint16_t)first, (uint16_t)count, write};
    return 0;
}

static bool is_within(unsigned count, unsigned most)
{
    return count >= 1 && count <= most;
}

/* 6.1 to 6.4 */
static int shape_read(struct cursor *c, enum modbus_table table, struct raw_shape *s)
{
    unsigned first = cursor_u16(c), count = cursor_u16(c);

    if (!is_within(count, table_is_bits(table) ? PLAN_BITS_MAX : PLAN_REGISTERS_MAX))
        return -EINVAL;
    s->reply_len = READ_FRAME + table_bytes(table, count);
    return add_range(s, table, first, count, false);
}

/* 6.5, 6.6, 6.16: one address and what follows it */
static int shape_one(struct cursor *c, enum modbus_table table, size_t data, size_t reply_len,
                     struct raw_shape *s)
{
    unsigned first = cursor_u16(c);

    cursor_bytes(c, data);
    s->reply_len = reply_len;
    return add_range(s, table, first, 1, true);
}

/* 6.11, 6.12, 6.17 */
static int shape_many(struct cursor *c, enum modbus_table table, unsigned most, struct raw_shape *s)
{
    unsigned first = cursor_u16(c), count = cursor_u16(c), bytes = cursor_u8(c);

    if (!is_within(count, most) || bytes != table_bytes(table, count))
        return -EINVAL;
    cursor_bytes(c, bytes);
    return add_range(s, table, first, count, true);
}

static int shape_of(struct cursor *c, unsigned function, struct raw_shape *s)
{
    switch (function) {
    case 1:
    case 2:
    case 3:
    case 4:
        return shape_read(c, (enum modbus_table)function, s);
    case 5:
        return shape_one(c, TABLE_COIL, 2, SHORT_REPLY, s);
    case 6:
        return shape_one(c, TABLE_HOLDING, 2, SHORT_REPLY, s);
    case 15:
        s->reply_len = SHORT_REPLY;
        return shape_many(c, TABLE_COIL, 1968, s);
    case 16:
        s->reply_len = SHORT_REPLY;
        return shape_many(c, TABLE_HOLDING, 123, s);
    case 22:
        return shape_one(c, TABLE_HOLDING, 4, MASK_REPLY, s);
    case 23:
        if (shape_read(c, TABLE_HOLDING, s))
            return -EINVAL;
        return shape_many(c, TABLE_HOLDING, 121, s);
    case 24:
        return add_range(s, TABLE_HOLDING, cursor_u16(c), 1, false);
    default:
        cursor_bytes(c, cursor_left(c));
        return 0;
    }
}

int raw_shape(struct bytes pdu, struct raw_shape *out)
{
    struct cursor c = cursor_of(pdu.data, pdu.len);
    unsigned function = cursor_u8(&c);

    *out = (struct raw_shape){0};
    if (pdu.len < 1 || pdu.len > RAW_PDU_MAX || function < 1 || function > 127)
        return -EINVAL;
    int err = shape_of(&c, function, out);
    return err || c.failed || cursor_left(&c) ? -EINVAL : 0;
}

bool raw_is_spared(const struct raw_turns *t, const struct modbus_raw *raw, uint64_t now_us)
{
    return raw->spare && now_us < t->units[raw->unit].until_us;
}

void raw_note(struct raw_turns *t, const struct modbus_raw *raw, enum exchange_verdict verdict,
              uint64_t now_us)
{
    uint8_t unit = raw->unit, *misses = &t->units[unit].misses;
    uint64_t pause_us = SPARED_FIRST_US;

    if (verdict == EXCHANGE_OK || verdict == EXCHANGE_EXCEPTION) {
        *misses = 0;
        t->units[unit].until_us = 0;
    }
    if (verdict != EXCHANGE_TIMEOUT || raw->pdu[0] > TABLE_INPUT)
        return;
    *misses = (uint8_t)(*misses + (*misses < UINT8_MAX));
    for (unsigned i = SPARED_AFTER; i < *misses && pause_us < SPARED_MOST_US; i++)
        pause_us *= 2;
    if (*misses >= SPARED_AFTER)
        t->units[unit].until_us = now_us + (pause_us < SPARED_MOST_US ? pause_us : SPARED_MOST_US);
}

void raw_took(struct modbus_raw *raw, const struct modbus_result *r, struct bytes answer)
{
    bool answered = r->verdict == EXCHANGE_OK || r->verdict == EXCHANGE_EXCEPTION;

    raw->exception = r->verdict == EXCHANGE_EXCEPTION ? r->exception : 0;
    raw->answer_len = answered && answer.len <= sizeof raw->answer ? answer.len : 0;
    if (raw->answer_len)
        memcpy(raw->answer, answer.data, raw->answer_len);
    raw->ended_us = r->verdict == EXCHANGE_BUSY ? 0 : r->ended_us;
    raw->took_us = answered ? r->took_us : 0;
}
