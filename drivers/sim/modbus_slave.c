/* SPDX-License-Identifier: Apache-2.0 */
/* A Modbus slave on the simulated line [Modbus Application Protocol 1.1b3, 6]. */
#include <stdlib.h>

#include "base/mem.h"
#include "drivers/sim/register_map.h"
#include "drivers/sim/rtu_frame.h"
#include "drivers/sim/station.h"

enum { ILLEGAL_FUNCTION = 1, ILLEGAL_ADDRESS = SIM_MODBUS_ADDRESS, ILLEGAL_VALUE = SIM_MODBUS_VALUE };
enum table { COIL, DISCRETE, INPUT, HOLDING, TABLES };
enum {
    BITS_MOST = 2000,
    WRITE_BITS_MOST = 1968,
    WRITE_MOST = 123,
    EXCHANGE_WRITE_MOST = 121,
    REGISTERS_MOST = 125
};

struct slave {
    struct sim_station base;
    uint8_t unit;
    uint64_t functions; /* bit n: function code n is answered */
    uint32_t registers_most;
    struct sim_map tables[TABLES];
    char *identity[3];
};

/* One request on its way through a function. */
struct request {
    struct slave *slave;
    uint64_t now_ns;
    struct cursor data; /* after the function code */
    struct sim_speech *speech;
};

static const char *const table_names[TABLES] = {"coil", "discrete", "input", "holding"};

static uint32_t most_registers(const struct request *q, uint32_t of_function)
{
    return q->slave->registers_most < of_function ? q->slave->registers_most : of_function;
}

/* 0 when an access is complete, of a fitting size and to what exists; else the exception. */
static int check(const struct request *q, enum table t, uint32_t at, uint32_t count, uint32_t most,
                 bool write)
{
    if (q->data.failed || !count || count > most)
        return ILLEGAL_VALUE;
    return sim_map_check(&q->slave->tables[t], at, count, write);
}

static int read_bits(struct request *q, enum table t)
{
    struct buf *out = &q->speech->bytes;
    uint32_t at = cursor_u16(&q->data), count = cursor_u16(&q->data);
    uint16_t bits[BITS_MOST];
    int exception = check(q, t, at, count, BITS_MOST, false);

    if (exception)
        return exception;
    sim_map_read(&q->slave->tables[t], at, count, q->now_ns, bits, &q->speech->notes);
    buf_u8(out, (uint8_t)((count + 7) / 8));
    uint8_t *packed = buf_extend(out, (count + 7) / 8);
    memset(packed, 0, (count + 7) / 8);
    for (uint32_t i = 0; i < count; i++)
        packed[i / 8] = (uint8_t)(packed[i / 8] | (bits[i] & 1) << i % 8);
    return 0;
}

static int read_registers(struct request *q, enum table t)
{
    uint32_t at = cursor_u16(&q->data), count = cursor_u16(&q->data);
    uint16_t words[REGISTERS_MOST];
    int exception = check(q, t, at, count, most_registers(q, REGISTERS_MOST), false);

    if (exception)
        return exception;
    sim_map_read(&q->slave->tables[t], at, count, q->now_ns, words, &q->speech->notes);
    buf_u8(&q->speech->bytes, (uint8_t)(2 * count));
    for (uint32_t i = 0; i < count; i++)
        buf_u16(&q->speech->bytes, words[i]);
    return 0;
}

static int write_bit(struct request *q, enum table t)
{
    uint16_t at = cursor_u16(&q->data), value = cursor_u16(&q->data), bit = value != 0;
    int exception = check(q, t, at, 1, 1, true);

    if (value != 0 && value != 0xFF00)
        return ILLEGAL_VALUE;
    if (exception)
        return exception;
    sim_map_write(&q->slave->tables[t], at, 1, q->now_ns, &bit);
    buf_u16(&q->speech->bytes, at);
    buf_u16(&q->speech->bytes, value);
    return 0;
}

static int write_register(struct request *q, enum table t)
{
    uint16_t at = cursor_u16(&q->data), value = cursor_u16(&q->data);
    int exception = check(q, t, at, 1, 1, true);

    if (exception)
        return exception;
    sim_map_write(&q->slave->tables[t], at, 1, q->now_ns, &value);
    buf_u16(&q->speech->bytes, at);
    buf_u16(&q->speech->bytes, value);
    return 0;
}

static void answer_range(struct request *q, uint16_t at, uint16_t count)
{
    buf_u16(&q->speech->bytes, at);
    buf_u16(&q->speech->bytes, count);
}

static int write_bits(struct request *q, enum table t)
{
    uint16_t at = cursor_u16(&q->data), count = cursor_u16(&q->data), bits[WRITE_BITS_MOST];
    uint8_t size = cursor_u8(&q->data);
    const uint8_t *packed = cursor_take(&q->data, size);
    int exception = check(q, t, at, count, WRITE_BITS_MOST, true);

    if (!packed || size != (count + 7) / 8)
        return ILLEGAL_VALUE;
    if (exception)
        return exception;
    for (uint32_t i = 0; i < count; i++)
        bits[i] = packed[i / 8] >> i % 8 & 1;
    sim_map_write(&q->slave->tables[t], at, count, q->now_ns, bits);
    answer_range(q, at, count);
    return 0;
}

/* The registers of a request: a byte count and as many bytes. */
static bool take_registers(struct request *q, uint32_t count, uint32_t most, uint16_t *words)
{
    if (cursor_u8(&q->data) != 2 * count || count > most || cursor_left(&q->data) != 2 * count)
        return false;
    for (uint32_t i = 0; i < count; i++)
        words[i] = cursor_u16(&q->data);
    return true;
}

static int write_registers(struct request *q, enum table t)
{
    uint16_t at = cursor_u16(&q->data), count = cursor_u16(&q->data), words[WRITE_MOST];
    bool whole = take_registers(q, count, WRITE_MOST, words);
    int exception = check(q, t, at, count, most_registers(q, WRITE_MOST), true);

    if (!whole || exception)
        return whole ? exception : ILLEGAL_VALUE;
    sim_map_write(&q->slave->tables[t], at, count, q->now_ns, words);
    answer_range(q, at, count);
    return 0;
}

static int mask_register(struct request *q, enum table t)
{
    uint16_t at = cursor_u16(&q->data), and = cursor_u16(&q->data), or = cursor_u16(&q->data), word;
    int exception = check(q, t, at, 1, 1, true);

    if (exception)
        return exception;
    sim_map_peek(&q->slave->tables[t], at, 1, q->now_ns, &word);
    word = (uint16_t)((word & and) | (or &~and));
    sim_map_write(&q->slave->tables[t], at, 1, q->now_ns, &word);
    answer_range(q, at, and);
    buf_u16(&q->speech->bytes, or);
    return 0;
}

/* The write comes before the read [6.17]. */
static int exchange_registers(struct request *q, enum table t)
{
    struct cursor reading = q->data;
    uint16_t at, count, words[EXCHANGE_WRITE_MOST];
    uint32_t read_at = cursor_u16(&q->data), read_count = cursor_u16(&q->data);

    at = cursor_u16(&q->data), count = cursor_u16(&q->data);
    bool whole = take_registers(q, count, EXCHANGE_WRITE_MOST, words);
    int exception = check(q, t, read_at, read_count, most_registers(q, REGISTERS_MOST), false);

    if (!exception)
        exception = check(q, t, at, count, most_registers(q, EXCHANGE_WRITE_MOST), true);
    if (!whole || exception)
        return whole ? exception : ILLEGAL_VALUE;
    sim_map_write(&q->slave->tables[t], at, count, q->now_ns, words);
    q->data = reading;
    return read_registers(q, t);
}

static int report_id(struct request *q, enum table t)
{
    const char *product = q->slave->identity[1];

    (void)t;
    buf_u8(&q->speech->bytes, (uint8_t)(2 + strlen(product)));
    buf_u8(&q->speech->bytes, q->slave->unit);
    buf_u8(&q->speech->bytes, 0xFF); /* running */
    buf_append(&q->speech->bytes, product, strlen(product));
    return 0;
}

/* Basic identification, as a stream from one object on or one alone [6.21]. */
static int identify(struct request *q, enum table t)
{
    uint8_t type = cursor_u8(&q->data), how = cursor_u8(&q->data), object = cursor_u8(&q->data);
    uint8_t last = how == 4 ? object : 2;

    (void)t;
    if (q->data.failed || type != 14)
        return ILLEGAL_FUNCTION;
    if (how != 1 && how != 4)
        return ILLEGAL_VALUE;
    if (object > 2)
        return ILLEGAL_ADDRESS;
    uint8_t head[] = {14, how, 0x81, 0, 0, (uint8_t)(last - object + 1)};
    buf_append(&q->speech->bytes, head, sizeof(head));
    for (; object <= last; object++) {
        const char *text = q->slave->identity[object];

        buf_u8(&q->speech->bytes, object);
        buf_u8(&q->speech->bytes, (uint8_t)strlen(text));
        buf_append(&q->speech->bytes, text, strlen(text));
    }
    return 0;
}

static const struct function {
    uint8_t code;
    enum table table;
    bool broadcast; /* unit 0 may ask for it */
    int (*serve)(struct request *q, enum table t);
} functions[] = {
    {1, COIL, false, read_bits},
    {2, DISCRETE, false, read_bits},
    {3, HOLDING, false, read_registers},
    {4, INPUT, false, read_registers},
    {5, COIL, true, write_bit},
    {6, HOLDING, true, write_register},
    {15, COIL, true, write_bits},
    {16, HOLDING, true, write_registers},
    {17, HOLDING, false, report_id},
    {22, HOLDING, true, mask_register},
    {23, HOLDING, false, exchange_registers},
    {43, HOLDING, false, identify},
};

static const struct function *function_find(const struct slave *s, uint8_t code)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
        if (functions[i].code == code && s->functions >> code & 1)
            return &functions[i];
    return NULL;
}

static void refuse(struct sim_speech *speech, int exception)
{
    speech->bytes.len = 2;
    speech->bytes.data[1] |= 0x80;
    buf_u8(&speech->bytes, (uint8_t)exception);
    buf_printf(&speech->notes, " exception=%d", exception);
    speech->exception = true;
}

static bool slave_hear(struct sim_station *station, uint64_t now_ns, struct bytes frame,
                       struct sim_speech *speech)
{
    struct slave *s = container_of(station, struct slave, base);
    bool broadcast = frame.data[0] == 0;

    if (frame.data[0] != s->unit && !broadcast)
        return false;
    const struct function *f = function_find(s, frame.data[1]);
    struct request q = {s, now_ns, cursor_of(frame.data + 2, frame.len - 4), speech};

    if (broadcast && (!f || !f->broadcast))
        return false;
    buf_append(&speech->bytes, frame.data, 2);
    int exception = f ? f->serve(&q, f->table) : ILLEGAL_FUNCTION;
    if (exception)
        refuse(speech, exception);
    sim_rtu_seal(&speech->bytes, 0);
    if (broadcast)
        speech->bytes.len = 0;
    return true;
}

static const struct conf_row slave_rows[] = {
    {.name = "unit",
     .type = CONF_INT,
     .flags = CONF_REQUIRED,
     .min = 1,
     .max = 247,
     .help = "Its address on the line"},
    {.name = "functions",
     .type = CONF_STRINGS,
     .help =
         "Function codes that it answers; all that the simulator knows otherwise. Others get exception 1"},
    {.name = "max_registers",
     .type = CONF_INT,
     .def = "125",
     .min = 1,
     .max = REGISTERS_MOST,
     .help = "Most registers a request; more get exception 3"},
    {.name = "vendor",
     .type = CONF_STRING,
     .def = "Sluice",
     .max = 60,
     .help = "Identification: who made it"},
    {.name = "product",
     .type = CONF_STRING,
     .def = "simulated slave",
     .max = 60,
     .help = "Identification: what it is"},
    {.name = "revision", .type = CONF_STRING, .def = "1", .max = 60, .help = "Identification: its version"},
    {.name = "coil",
     .type = CONF_LIST,
     .rows = sim_bit_rows,
     .kind_key = "value",
     .kind_rows = sim_script_rows,
     .help = "Coils (functions 1, 5, 15)"},
    {.name = "discrete",
     .type = CONF_LIST,
     .rows = sim_bit_rows,
     .kind_key = "value",
     .kind_rows = sim_script_rows,
     .help = "Discrete inputs (function 2)"},
    {.name = "input",
     .type = CONF_LIST,
     .rows = sim_register_rows,
     .kind_key = "value",
     .kind_rows = sim_script_rows,
     .help = "Input registers (function 4)"},
    {.name = "holding",
     .type = CONF_LIST,
     .rows = sim_register_rows,
     .kind_key = "value",
     .kind_rows = sim_script_rows,
     .help = "Holding registers (functions 3, 6, 16, 22, 23)"},
    {0},
};

static void load_functions(struct slave *s, struct conf *conf, const struct conf_node *node)
{
    size_t count = conf_count(node, "functions");

    s->functions = count ? 0 : UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        const struct conf_node *at = conf_at(node, "functions", i);
        char *end;
        unsigned long code = strtoul(at->s, &end, 10);
        bool known = false;

        for (size_t k = 0; k < ARRAY_SIZE(functions); k++)
            known |= functions[k].code == code;
        if (*end || !known)
            conf_error(conf, at,
                       "\"%s\" is no function code of the simulator: 1 to 6, 15, 16, 17, 22, 23, 43", at->s);
        else
            s->functions |= UINT64_C(1) << code;
    }
}

static struct sim_station *slave_load(struct conf *conf, const struct conf_node *node)
{
    static const char *const identity[] = {"vendor", "product", "revision"};
    struct slave *s = mem_alloc(sizeof(*s));

    s->unit = (uint8_t)conf_int(node, "unit");
    s->registers_most = (uint32_t)conf_int(node, "max_registers");
    load_functions(s, conf, node);
    for (size_t i = 0; i < ARRAY_SIZE(identity); i++)
        s->identity[i] = mem_strdup(conf_string(node, identity[i]));
    for (enum table t = 0; t < TABLES; t++)
        sim_map_load(&s->tables[t], conf, node, table_names[t], t == COIL || t == DISCRETE);
    return &s->base;
}

static void slave_free(struct sim_station *station)
{
    struct slave *s = container_of(station, struct slave, base);

    for (enum table t = 0; t < TABLES; t++)
        sim_map_free(&s->tables[t]);
    for (size_t i = 0; i < ARRAY_SIZE(s->identity); i++)
        free(s->identity[i]);
    free(s);
}

const struct sim_station_kind sim_modbus_slave = {
    .name = "modbus",
    .rows = slave_rows,
    .load = slave_load,
    .hear = slave_hear,
    .free = slave_free,
};
