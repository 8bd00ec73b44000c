/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/decode.h"

#include <stdio.h>

#include "base/mem.h"
#include "drivers/modbus/plan.h"
#include "drivers/modbus/point.h"

enum { SHOWN = 16 /* values, or bytes, of a long frame */ };

/* Modbus Application Protocol 1.1b3, 7. */
const char *decode_exception(uint8_t code)
{
    static const char *const names[] = {
        [1] = "illegal function",
        [2] = "illegal data address",
        [3] = "illegal data value",
        [4] = "device failure",
        [5] = "acknowledge: it works on it",
        [6] = "device busy",
        [7] = "negative acknowledge",
        [8] = "memory parity error",
        [10] = "gateway: no path to the device",
        [11] = "gateway: the device does not answer",
    };

    return code < ARRAY_SIZE(names) && names[code] ? names[code] : "unknown";
}

static const struct function {
    uint8_t code;
    const char *name;
} functions[] = {
    {1, "read"},
    {2, "read"},
    {3, "read"},
    {4, "read"},
    {5, "write"},
    {6, "write"},
    {7, "read exception status"},
    {8, "diagnostics"},
    {11, "get comm event counter"},
    {12, "get comm event log"},
    {15, "write"},
    {16, "write"},
    {17, "report server id"},
    {20, "read file record"},
    {21, "write file record"},
    {22, "mask write"},
    {23, "write, then read"},
    {24, "read FIFO queue"},
    {43, "encapsulated interface"},
};

static void put_name(struct buf *out, uint8_t function)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
        if (functions[i].code == function) {
            buf_printf(out, "%s", functions[i].name);
            return;
        }
    buf_printf(out, "function %u", function);
}

static void put_bytes(struct buf *out, struct cursor *c)
{
    size_t left = cursor_left(c);

    for (size_t i = 0; cursor_left(c) && i < SHOWN; i++)
        buf_printf(out, "%s%02X", i ? " " : "", cursor_u8(c));
    if (left > SHOWN)
        buf_printf(out, " ... (%zu bytes)", left);
}

static void put_registers(struct buf *out, struct cursor *c)
{
    size_t count = cursor_left(c) / 2;

    for (size_t i = 0; cursor_left(c) >= 2; i++) {
        uint16_t v = cursor_u16(c);
        if (i < SHOWN)
            buf_printf(out, "%s%u", i ? " " : "", v);
    }
    if (count > SHOWN)
        buf_printf(out, " ... (%zu registers)", count);
    if (cursor_left(c))
        buf_printf(out, " and a byte too much");
}

static void put_bits(struct buf *out, struct cursor *c, size_t count)
{
    size_t have = cursor_left(c) * 8;
    size_t shown = count < have ? count : have;
    uint8_t byte = 0;

    for (size_t i = 0; i < shown && i < 4 * SHOWN; i++) {
        if (i % 8 == 0)
            byte = cursor_u8(c);
        buf_printf(out, "%s%u", i && i % 8 == 0 ? " " : "", byte >> (i % 8) & 1);
    }
    if (shown > 4 * SHOWN)
        buf_printf(out, " ... (%zu bits)", shown);
}

static void put_place(struct buf *out, enum modbus_table table, unsigned address, unsigned count)
{
    buf_printf(out, "%s:%u", modbus_table_name(table), address);
    if (count != 1)
        buf_printf(out, " x%u", count);
}

static const char *switched(uint16_t v)
{
    return v == 0xff00 ? "on" : v == 0 ? "off" : NULL;
}

static enum modbus_table table_written(uint8_t function)
{
    return function == 5 || function == 15 ? TABLE_COIL : TABLE_HOLDING;
}

/* 6.5, 6.6 */
static void put_write_one(struct buf *out, uint8_t function, struct cursor *c)
{
    uint16_t address = cursor_u16(c), v = cursor_u16(c);

    put_place(out, table_written(function), address, 1);
    if (function == 5 && switched(v))
        buf_printf(out, " = %s", switched(v));
    else
        buf_printf(out, " = %u", v);
}

/* 6.11, 6.12: behind address and count a byte count, which the bytes tell as well */
static void put_write_many(struct buf *out, uint8_t function, struct cursor *c)
{
    uint16_t address = cursor_u16(c), count = cursor_u16(c);

    put_place(out, table_written(function), address, count);
    cursor_u8(c);
    buf_printf(out, " = ");
    if (function == 15)
        put_bits(out, c, count);
    else
        put_registers(out, c);
}

static void put_mask(struct buf *out, struct cursor *c)
{
    uint16_t address = cursor_u16(c), and = cursor_u16(c), or = cursor_u16(c);

    put_place(out, TABLE_HOLDING, address, 1);
    buf_printf(out, " and %04X or %04X", and, or);
}

static void put_read_write(struct buf *out, struct cursor *c)
{
    uint16_t from = cursor_u16(c), count = cursor_u16(c);

    put_write_many(out, 16, c);
    buf_printf(out, ", read ");
    put_place(out, TABLE_HOLDING, from, count);
}

/* 6.21 */
static void put_identify(struct buf *out, struct cursor *c)
{
    static const char *const kinds[] = {"", "basic", "regular", "extended", "one object"};
    uint8_t kind = cursor_u8(c), object = cursor_u8(c);

    buf_printf(out, ": identify, %s, from object %u", kind < ARRAY_SIZE(kinds) && kind ? kinds[kind] : "?",
               object);
}

static void put_arguments(struct buf *out, uint8_t function, struct cursor *c)
{
    switch (function) {
    case 1:
    case 2:
    case 3:
    case 4: {
        uint16_t address = cursor_u16(c);
        put_place(out, (enum modbus_table)function, address, cursor_u16(c));
        break;
    }
    case 5:
    case 6:
        put_write_one(out, function, c);
        break;
    case 15:
    case 16:
        put_write_many(out, function, c);
        break;
    case 22:
        put_mask(out, c);
        break;
    case 23:
        put_read_write(out, c);
        break;
    default:
        put_bytes(out, c);
        break;
    }
}

void decode_request(struct bytes pdu, struct buf *out)
{
    struct cursor c = cursor_of(pdu.data, pdu.len);
    uint8_t function = cursor_u8(&c);

    if (!pdu.len) {
        buf_printf(out, "nothing");
        return;
    }
    put_name(out, function);
    if (function == 43 && cursor_left(&c) == 3 && c.at[0] == 14) {
        cursor_u8(&c);
        put_identify(out, &c);
        return;
    }
    if (cursor_left(&c))
        buf_u8(out, ' ');
    put_arguments(out, function, &c);
    if (c.failed)
        buf_printf(out, " (cut short)");
}

struct decode_request decode_remember(uint8_t unit, struct bytes pdu)
{
    struct cursor c = cursor_of(pdu.data, pdu.len);
    struct decode_request r = {.unit = unit, .function = cursor_u8(&c)};

    r.address = cursor_u16(&c);
    r.count = cursor_u16(&c);
    r.known = pdu.len > 0;
    return r;
}

/* 6.21: objects of identification */
static void put_objects(struct buf *out, struct cursor *c)
{
    cursor_take(c, 4); /* code, conformity, more follows, next object */
    unsigned count = cursor_u8(c);

    for (unsigned i = 0; i < count && !c->failed; i++) {
        unsigned id = cursor_u8(c);
        struct bytes text = cursor_bytes(c, cursor_u8(c));
        buf_printf(out, "%s%u=\"", i ? ", " : "", id);
        for (size_t k = 0; k < text.len; k++)
            buf_u8(out, text.data[k] >= 0x20 && text.data[k] < 0x7f ? text.data[k] : '?');
        buf_printf(out, "\"");
    }
}

static void put_data(struct buf *out, const struct decode_request *asked, uint8_t function, struct cursor *c)
{
    size_t bytes = cursor_u8(c);
    enum modbus_table table = function == 23 ? TABLE_HOLDING : (enum modbus_table)function;
    bool ours = asked->known && bytes == table_bytes(table, asked->count);

    if (ours)
        buf_printf(out, "%s:%u = ", modbus_table_name(table), asked->address);
    else
        buf_printf(out, "%s = ", modbus_table_name(table));
    if (bytes != cursor_left(c))
        buf_printf(out, "(says %zu bytes, has %zu) ", bytes, cursor_left(c));
    if (table_is_bits(table))
        put_bits(out, c, ours ? asked->count : SIZE_MAX);
    else
        put_registers(out, c);
}

static void put_written(struct buf *out, uint8_t function, struct cursor *c)
{
    uint16_t address = cursor_u16(c), count = cursor_u16(c);

    buf_printf(out, "wrote ");
    put_place(out, table_written(function), address, count);
}

static void put_answer(struct buf *out, const struct decode_request *asked, uint8_t function,
                       struct cursor *c)
{
    switch (function) {
    case 1:
    case 2:
    case 3:
    case 4:
    case 23:
        put_data(out, asked, function, c);
        break;
    case 5:
    case 6:
        buf_printf(out, "wrote ");
        put_write_one(out, function, c);
        break;
    case 15:
    case 16:
        put_written(out, function, c);
        break;
    case 22:
        buf_printf(out, "wrote ");
        put_mask(out, c);
        break;
    case 43:
        if (cursor_left(c) && c->at[0] == 14) {
            cursor_u8(c);
            put_objects(out, c);
            break;
        }
        /* fall through */
    default:
        put_name(out, function);
        buf_printf(out, " = ");
        put_bytes(out, c);
        break;
    }
}

void decode_reply(const struct decode_request *asked, uint8_t unit, struct bytes pdu, struct buf *out)
{
    static const struct decode_request nothing;
    struct cursor c = cursor_of(pdu.data, pdu.len);
    uint8_t function = cursor_u8(&c);

    if (!pdu.len) {
        buf_printf(out, "nothing");
        return;
    }
    if (asked->unit != unit || asked->function != (function & 0x7f))
        asked = &nothing;
    if (function & 0x80) {
        uint8_t code = cursor_u8(&c);
        buf_printf(out, "exception %u: %s", code, decode_exception(code));
    } else {
        put_answer(out, asked, function, &c);
    }
    if (c.failed)
        buf_printf(out, " (cut short)");
}
