/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/sim/fault.h"

#include <stdlib.h>

#include "base/mem.h"
#include "drivers/sim/rtu_frame.h"

/* One fault at work. */
struct deed {
    const struct sim_fault *fault;
    struct sim_chance *chance;
    struct bytes request;
};

struct sim_fault_kind {
    const char *name;
    bool any; /* damages bytes as such: also what the master says */
    bool (*act)(const struct deed *d, struct sim_speech *s); /* false: nothing was changed */
};

static size_t pick(const struct deed *d, size_t limit)
{
    return (size_t)sim_chance_below(d->chance, limit);
}

static void insert(struct buf *b, size_t at, const uint8_t *data, size_t len)
{
    buf_extend(b, len);
    memmove(b->data + at + len, b->data + at, b->len - len - at);
    memcpy(b->data + at, data, len);
}

static void reseal(struct buf *b)
{
    b->len -= 2;
    sim_rtu_seal(b, 0);
}

static bool silence(const struct deed *d, struct sim_speech *s)
{
    (void)d;
    s->silent = true;
    return true;
}

static bool late(const struct deed *d, struct sim_speech *s)
{
    s->delay_ns += d->fault->delay_ns;
    return true;
}

static bool flip(const struct deed *d, struct sim_speech *s)
{
    bool flipped = false;

    for (size_t i = 0; i < s->bytes.len * 8; i++)
        if (sim_chance_ppm(d->chance, d->fault->ppm)) {
            s->bytes.data[i / 8] ^= (uint8_t)(1 << i % 8);
            flipped = true;
        }
    return flipped;
}

static bool drop(const struct deed *d, struct sim_speech *s)
{
    size_t at = pick(d, s->bytes.len);

    memmove(s->bytes.data + at, s->bytes.data + at + 1, s->bytes.len - at - 1);
    s->bytes.len--;
    return true;
}

static bool repeat(const struct deed *d, struct sim_speech *s)
{
    size_t at = pick(d, s->bytes.len);
    uint8_t byte = s->bytes.data[at];

    insert(&s->bytes, at, &byte, 1);
    return true;
}

static bool truncate_reply(const struct deed *d, struct sim_speech *s)
{
    s->bytes.len = 1 + pick(d, s->bytes.len - 1);
    return true;
}

static bool wrong_crc(const struct deed *d, struct sim_speech *s)
{
    s->bytes.data[s->bytes.len - 1 - pick(d, 2)] ^= sim_chance_damage(d->chance);
    return true;
}

static bool wrong_unit(const struct deed *d, struct sim_speech *s)
{
    s->bytes.data[0] ^= sim_chance_damage(d->chance);
    reseal(&s->bytes);
    return true;
}

static bool wrong_function(const struct deed *d, struct sim_speech *s)
{
    /* Not the highest bit alone: that would be an exception. */
    s->bytes.data[1] ^= (uint8_t)(1 + pick(d, 127));
    reseal(&s->bytes);
    return true;
}

/* Either the byte count is a lie, or a register less (or more) comes, and the byte count says so. */
static bool wrong_count(const struct deed *d, struct sim_speech *s)
{
    struct buf *b = &s->bytes;

    if (b->len < 7 || s->exception)
        return false;
    switch (pick(d, 3)) {
    case 0:
        b->data[2] ^= sim_chance_damage(d->chance);
        break;
    case 1:
        b->data[2] = (uint8_t)(b->data[2] - 2);
        b->len -= 2;
        break;
    default:
        b->data[2] = (uint8_t)(b->data[2] + 2);
        insert(b, b->len - 2, b->data + b->len - 4, 2);
    }
    reseal(b);
    return true;
}

static bool exception(const struct deed *d, struct sim_speech *s)
{
    s->bytes.data[1] |= 0x80;
    s->bytes.len = 2;
    buf_u8(&s->bytes, d->fault->code);
    sim_rtu_seal(&s->bytes, 0);
    s->exception = true;
    return true;
}

/* The request comes back instead of a reply. */
static bool echo(const struct deed *d, struct sim_speech *s)
{
    if (!d->request.len)
        return false;
    s->bytes.len = 0;
    buf_append(&s->bytes, d->request.data, d->request.len);
    return true;
}

/* A driver switched on makes an edge that receivers take for a character. */
static bool glitch(const struct deed *d, struct sim_speech *s)
{
    static const uint8_t usual[] = {0x00, 0xFF, 0xFE, 0x80};

    insert(&s->bytes, 0, &usual[pick(d, sizeof(usual))], 1);
    return true;
}

/* The frame as it would come from another unit. */
static void foreign_frame(const struct deed *d, const struct sim_speech *s, struct buf *out)
{
    buf_append(out, s->bytes.data, s->bytes.len);
    out->data[0] ^= sim_chance_damage(d->chance);
    reseal(out);
}

/* Another frame follows without silence: the same again, or one of another unit. */
static bool glue(const struct deed *d, struct sim_speech *s)
{
    struct buf other = {0};

    if (pick(d, 2))
        foreign_frame(d, s, &other);
    else
        buf_append(&other, s->bytes.data, s->bytes.len);
    buf_append(&s->bytes, other.data, other.len);
    buf_free(&other);
    return true;
}

/* Another unit's frame comes first, then silence, then the reply. */
static bool foreign(const struct deed *d, struct sim_speech *s)
{
    struct buf other = {0};

    foreign_frame(d, s, &other);
    insert(&s->bytes, 0, other.data, other.len);
    s->pause_at = other.len;
    s->pause_ns = s->silence_ns;
    buf_free(&other);
    return true;
}

static bool pause_within(const struct deed *d, struct sim_speech *s)
{
    s->pause_at = 1 + pick(d, s->bytes.len - 1);
    s->pause_ns = d->fault->delay_ns;
    return true;
}

static const struct sim_fault_kind kinds[] = {
    {"silence", false, silence},    {"late", false, late},           {"flip", true, flip},
    {"drop", true, drop},           {"double", true, repeat},        {"truncate", true, truncate_reply},
    {"crc", true, wrong_crc},       {"unit", false, wrong_unit},     {"function", false, wrong_function},
    {"count", false, wrong_count},  {"exception", false, exception}, {"echo", false, echo},
    {"glitch", true, glitch},       {"glue", false, glue},           {"foreign", false, foreign},
    {"pause", false, pause_within},
};

static const char *const kind_names[] = {"silence", "late", "flip",     "drop",  "double",    "truncate",
                                         "crc",     "unit", "function", "count", "exception", "echo",
                                         "glitch",  "glue", "foreign",  "pause", NULL};
_Static_assert(ARRAY_SIZE(kind_names) == ARRAY_SIZE(kinds) + 1, "a name for each kind, in the same order");

static const char *const on_names[] = {"reply", "request", "both", NULL};

const struct conf_row sim_fault_rows[] = {
    {.name = "kind",
     .type = CONF_CHOICE,
     .flags = CONF_REQUIRED,
     .choices = kind_names,
     .help = "What goes wrong"},
    {.name = "from", .type = CONF_DURATION, .def = "0s", .help = "Since the start: when it begins"},
    {.name = "until", .type = CONF_DURATION, .help = "Since the start: when it ends; never unless given"},
    {.name = "every", .type = CONF_DURATION, .help = "The window from..until comes again after this time"},
    {.name = "chance",
     .type = CONF_INT,
     .def = "1000000",
     .max = 1000000,
     .help = "Of a million frames, how many"},
    {.name = "skip", .type = CONF_INT, .def = "0", .max = 1e9, .help = "So many frames are spared first"},
    {.name = "count",
     .type = CONF_INT,
     .def = "0",
     .max = 1e9,
     .help = "Ends after so many frames; 0: never"},
    {.name = "ppm",
     .type = CONF_INT,
     .def = "0",
     .max = 1000000,
     .help = "flip: of a million bits, how many"},
    {.name = "delay", .type = CONF_DURATION, .def = "500ms", .max = 3600e3, .help = "late, pause: how long"},
    {.name = "code", .type = CONF_INT, .def = "4", .min = 1, .max = 127, .help = "exception: its code"},
    {.name = "on", .type = CONF_CHOICE, .def = "reply", .choices = on_names, .help = "Whose frames"},
    {0},
};

static uint64_t ns_of(const struct conf_node *node, const char *name)
{
    return (uint64_t)conf_int(node, name) * 1000000;
}

static void fault_load(struct sim_fault *f, struct conf *conf, const struct conf_node *node)
{
    *f = (struct sim_fault){
        .kind = &kinds[conf_int(node, "kind")],
        .from_ns = ns_of(node, "from"),
        .until_ns = ns_of(node, "until"),
        .every_ns = ns_of(node, "every"),
        .chance_ppm = (uint64_t)conf_int(node, "chance"),
        .skip = (uint64_t)conf_int(node, "skip"),
        .count = (uint64_t)conf_int(node, "count"),
        .ppm = (uint64_t)conf_int(node, "ppm"),
        .delay_ns = ns_of(node, "delay"),
        .code = (uint8_t)conf_int(node, "code"),
        .on = (enum sim_fault_on)conf_int(node, "on"),
    };
    if (!f->count)
        f->count = UINT64_MAX;
    if (f->until_ns && f->until_ns <= f->from_ns)
        conf_error(conf, node, "\"until\" must come after \"from\"");
    if (f->every_ns && (!f->until_ns || f->every_ns < f->until_ns - f->from_ns))
        conf_error(conf, node, "\"every\" needs \"until\", and a window no longer than itself");
    if (f->on != SIM_ON_REPLY && !f->kind->any)
        conf_error(conf, node, "a fault of kind \"%s\" happens to replies only", f->kind->name);
    if (f->kind->act == flip && !f->ppm)
        conf_error(conf, node,
                   "a fault of kind \"flip\" needs \"ppm\": of a million bits, how many turn over");
}

struct sim_faults *sim_faults_load(struct conf *conf, const struct conf_node *node)
{
    struct sim_faults *f = mem_alloc(sizeof(*f));

    f->count = conf_count(node, "faults");
    f->list = mem_alloc((f->count + 1) * sizeof(*f->list));
    for (size_t i = 0; i < f->count; i++)
        fault_load(&f->list[i], conf, conf_at(node, "faults", i));
    return f;
}

void sim_faults_free(struct sim_faults *f)
{
    if (!f)
        return;
    free(f->list);
    free(f);
}

static bool in_window(const struct sim_fault *f, uint64_t now_ns)
{
    if (now_ns < f->from_ns)
        return false;
    uint64_t since = now_ns - f->from_ns;

    if (f->every_ns)
        since %= f->every_ns;
    return !f->until_ns || since < f->until_ns - f->from_ns;
}

static bool is_due(struct sim_fault *f, struct sim_chance *chance, uint64_t now_ns)
{
    if (!in_window(f, now_ns) || !f->count)
        return false;
    if (f->skip) {
        f->skip--;
        return false;
    }
    return sim_chance_ppm(chance, f->chance_ppm);
}

static unsigned faults_act(struct sim_faults *f, struct sim_chance *chance, uint64_t now_ns,
                           struct bytes request, struct sim_speech *s, enum sim_fault_on spared)
{
    unsigned acted = 0;

    for (struct sim_fault *it = f->list; it < f->list + f->count; it++) {
        struct deed d = {it, chance, request};

        /* What an earlier fault has cut to a stump has nothing left for the next one to damage. */
        if (it->on == spared || s->bytes.len < SIM_RTU_LEAST || !is_due(it, chance, now_ns) ||
            !it->kind->act(&d, s))
            continue;
        it->count--;
        acted++;
        buf_printf(&s->notes, " fault=%s", it->kind->name);
    }
    return acted;
}

unsigned sim_faults_reply(struct sim_faults *f, struct sim_chance *chance, uint64_t now_ns,
                          struct bytes request, struct sim_speech *speech)
{
    return faults_act(f, chance, now_ns, request, speech, SIM_ON_REQUEST);
}

unsigned sim_faults_request(struct sim_faults *f, struct sim_chance *chance, uint64_t now_ns,
                            struct sim_speech *heard)
{
    return faults_act(f, chance, now_ns, (struct bytes){0}, heard, SIM_ON_REPLY);
}
