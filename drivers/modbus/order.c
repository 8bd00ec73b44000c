/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/modbus/order.h"

#include <string.h>

enum { ILLEGAL_FUNCTION = 1, SHORT_REPLY = 8, MASK_REPLY = 10, READ_FRAME = 5 };

/* ---- which codes ---- */

static bool is_bit(const struct modbus_point *p)
{
    return value_is_bit(p->spec.type);
}

static const struct {
    uint8_t function;
    enum modbus_table table;
    bool bit;
    uint16_t most; /* registers or coils */
} functions[] = {{5, TABLE_COIL, true, 1},        {15, TABLE_COIL, true, 1},
                 {22, TABLE_HOLDING, true, 1},    {6, TABLE_HOLDING, true, 1},
                 {16, TABLE_HOLDING, true, 1},    {6, TABLE_HOLDING, false, 1},
                 {16, TABLE_HOLDING, false, 123}, {23, TABLE_HOLDING, false, 121}};

bool order_fits(const struct modbus_point *p, int function)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
        if (functions[i].function == function && functions[i].table == p->table &&
            functions[i].bit == is_bit(p) && p->count <= functions[i].most)
            return true;
    return false;
}

/* The first row that fits. */
uint8_t order_function(const struct modbus_point *p)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
        if (order_fits(p, functions[i].function))
            return functions[i].function;
    return 0;
}

/* ---- requests ---- */

/* A bit in its register, which the wire may hold with the low byte first. */
static unsigned mask_of(const struct modbus_point *p)
{
    unsigned mask = 1u << p->spec.bit;
    const char *order = value_order_for(p->spec.order, 2);

    return order[0] == 'A' ? mask : (mask >> 8 | mask << 8) & 0xffff;
}

static void put(struct order_request *q, unsigned word)
{
    q->pdu[q->len++] = (uint8_t)(word >> 8);
    q->pdu[q->len++] = (uint8_t)word;
}

static bool changes_register(const struct order_run *r)
{
    return is_bit(r->point) && r->point->table == TABLE_HOLDING &&
           (r->no_mask || r->point->write.function != 22);
}

static const uint8_t *registers_of(struct order_run *r)
{
    if (!changes_register(r))
        return r->order->data;
    unsigned word = (unsigned)r->before[0] << 8 | r->before[1], mask = mask_of(r->point);
    word = r->order->data[0] ? word | mask : word & ~mask;
    r->written[0] = (uint8_t)(word >> 8);
    r->written[1] = (uint8_t)word;
    return r->written;
}

static void put_registers(struct order_run *r, struct order_request *q)
{
    unsigned bytes = 2u * r->point->count;

    put(q, r->point->address);
    put(q, r->point->count);
    q->pdu[q->len++] = (uint8_t)bytes;
    memcpy(q->pdu + q->len, registers_of(r), bytes);
    q->len += bytes;
}

static uint8_t function_of(const struct order_run *r)
{
    return r->no_mask && r->point->write.function == 22 ? 6 : r->point->write.function;
}

static void make_write(struct order_run *r, struct order_request *q)
{
    const struct modbus_point *p = r->point;
    uint8_t function = function_of(r);
    unsigned mask = is_bit(p) && p->table == TABLE_HOLDING ? mask_of(p) : 0;

    q->len = 0;
    q->reply_len = function == 22 ? MASK_REPLY : SHORT_REPLY;
    q->pdu[q->len++] = function;
    switch (function) {
    case 5:
        put(q, p->address);
        put(q, r->order->data[0] ? 0xff00 : 0);
        break;
    case 6:
        put(q, p->address);
        memcpy(q->pdu + q->len, registers_of(r), 2);
        q->len += 2;
        break;
    case 15:
        put(q, p->address);
        put(q, 1);
        q->pdu[q->len++] = 1;
        q->pdu[q->len++] = r->order->data[0];
        break;
    case 22:
        put(q, p->address);
        put(q, 0xffff & ~mask);
        put(q, r->order->data[0] ? mask : 0);
        break;
    case 23:
        put(q, p->address);
        put(q, p->count);
        q->reply_len = READ_FRAME + 2u * p->count;
        put_registers(r, q);
        break;
    default:
        put_registers(r, q);
    }
}

enum order_step order_next(struct order_run *r, struct order_request *out)
{
    switch (r->step) {
    case ORDER_READ_FIRST:
    case ORDER_READ_BACK:
        out->read = (struct plan_block){r->point->table, r->point->address, r->point->count};
        return ORDER_SEND_READ;
    case ORDER_WRITE:
        make_write(r, out);
        return ORDER_SEND_WRITE;
    case ORDER_DONE:
        break;
    }
    return ORDER_ENDED;
}

/* ---- answers ---- */

void order_begin(struct order_run *r, struct modbus_order *order, const struct modbus_point *point,
                 bool no_mask, bool read_first, bool doubt)
{
    *r = (struct order_run){.order = order, .point = point, .no_mask = no_mask, .doubt = doubt};
    r->step = read_first || changes_register(r) ? ORDER_READ_FIRST : ORDER_WRITE;
    order->verdict = ORDER_OK;
    order->have_read = false;
}

static void end(struct order_run *r, enum order_verdict verdict)
{
    r->order->verdict = verdict;
    r->step = ORDER_DONE;
}

enum order_verdict order_verdict_of(enum exchange_verdict verdict)
{
    static const enum order_verdict verdicts[] = {
        [EXCHANGE_OK] = ORDER_OK,           [EXCHANGE_EXCEPTION] = ORDER_EXCEPTION,
        [EXCHANGE_TIMEOUT] = ORDER_TIMEOUT, [EXCHANGE_CRC] = ORDER_CRC,
        [EXCHANGE_BUSY] = ORDER_BUSY,
    };

    return verdicts[verdict];
}

static enum order_verdict verdict_of(struct order_run *r, const struct modbus_result *result)
{
    if (result->verdict == EXCHANGE_EXCEPTION)
        r->order->exception = result->exception;
    return order_verdict_of(result->verdict);
}

static void took_first(struct order_run *r, const struct modbus_result *result)
{
    if (result->verdict != EXCHANGE_OK) {
        end(r, verdict_of(r, result));
        return;
    }
    if (!table_is_bits(r->point->table))
        memcpy(r->before, result->data, sizeof r->before);
    r->step = ORDER_WRITE;
}

static bool reads_as_written(const struct order_run *r)
{
    const struct modbus_point *p = r->point;
    const uint8_t *read = r->order->read;

    if (table_is_bits(p->table))
        return (read[0] & 1) == (r->order->data[0] != 0);
    if (is_bit(p))
        return !(((unsigned)read[0] << 8 | read[1]) & mask_of(p)) == !r->order->data[0];
    return !memcmp(read, r->order->data, 2u * p->count);
}

static void take_read(struct order_run *r, const uint8_t *data)
{
    memcpy(r->order->read, data, table_bytes(r->point->table, r->point->count));
    r->order->have_read = true;
}

/* The verdict of the write stands in order->verdict. What a read gives is truer than an answer that may
 * belong to another request, and than none. */
static void took_back(struct order_run *r, const struct modbus_result *result)
{
    enum order_verdict write = r->order->verdict;
    bool sure = write != ORDER_OK && !r->doubt;

    bool lost = result->verdict == EXCHANGE_TIMEOUT || result->verdict == EXCHANGE_CRC;

    if (lost && !r->again) {
        r->again = true;
        return;
    }
    if (result->verdict == EXCHANGE_OK)
        take_read(r, result->data);
    if (r->order->have_read && reads_as_written(r))
        end(r, ORDER_OK);
    else
        end(r, sure ? write : ORDER_UNVERIFIED);
}

static bool unit_lacks_mask(const struct order_run *r, const struct modbus_result *result)
{
    return function_of(r) == 22 && result->verdict == EXCHANGE_EXCEPTION && !result->doubtful &&
           result->exception == ILLEGAL_FUNCTION;
}

static void took_write(struct order_run *r, const struct modbus_result *result)
{
    enum order_verdict verdict = verdict_of(r, result);

    if (unit_lacks_mask(r, result)) {
        r->no_mask = true;
        r->step = ORDER_READ_FIRST;
        return;
    }
    r->order->verdict = verdict;
    r->doubt = r->doubt || (verdict == ORDER_EXCEPTION && result->doubtful);
    if (verdict == ORDER_OK && function_of(r) == 23 && !r->doubt) {
        took_back(r, result);
        return;
    }
    bool unknown = verdict == ORDER_TIMEOUT || verdict == ORDER_CRC;
    bool check = r->point->write.readback && (verdict == ORDER_OK || unknown);
    if (r->doubt || check || (verdict == ORDER_OK && changes_register(r)))
        r->step = ORDER_READ_BACK;
    else
        end(r, verdict);
    if (verdict == ORDER_BUSY)
        end(r, verdict);
}

void order_took(struct order_run *r, const struct modbus_result *result)
{
    switch (r->step) {
    case ORDER_READ_FIRST:
        took_first(r, result);
        break;
    case ORDER_WRITE:
        took_write(r, result);
        break;
    case ORDER_READ_BACK:
        took_back(r, result);
        break;
    case ORDER_DONE:
        break;
    }
}

void order_print(struct buf *out, enum order_verdict verdict, uint8_t exception)
{
    static const char *const names[] = {"ok",           "exception", "timeout",   "crc",        "busy",
                                        "not verified", "expired",   "line down", "interrupted"};

    buf_printf(out, "%s", names[verdict]);
    if (verdict == ORDER_EXCEPTION)
        buf_printf(out, " %u", exception);
}
