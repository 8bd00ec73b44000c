/* SPDX-License-Identifier: Apache-2.0 */
/* A whole line on a virtual clock: that no fault makes a wrong value or a false verdict, what each fault does
 * to quality and for how long, and that dead units take nothing from the live ones. The simulator puts the
 * time of the read (in microseconds) and each register's own address into its registers, so a reading proves
 * when it was made and for which address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tests/unit/field_world.h"

#define S 1000000ull

/* 4 registers of the time, then 16 that hold their addresses; 100 to 103 can be written. */
#define STAMPED                                                                                              \
    "holding = ( { name = \"t\"; at = 0; type = \"float64\"; value = \"ramp\"; to = 1000000000000.0; "       \
    "period = \"1000000s\"; }, { name = \"a\"; at = 4; count = 16; constant = 4; spread = 1; }, "            \
    "{ name = \"w\"; at = 100; count = 4; writable = true; }, "                                              \
    "{ name = \"f\"; at = 104; type = \"float32\"; count = 1; writable = true; } );"
#define FAST_LINE                                                                                            \
    "baud = 19200; format = \"8E1\"; timing = { response = \"100ms\"; holdoff = \"30ms\"; }; dead = { "      \
    "after = 50; };"
enum { READ_POINTS = 17, WRITE_POINTS = 4 };

static char *stamped_device(const char *name, unsigned unit, const char *every)
{
    struct buf text = {0};

    buf_printf(&text,
               "{ name = \"%s\"; line = \"l\"; unit = %u; groups = { r = { every = \"%s\"; stale_after = "
               "1000; points = ( "
               "{ name = \"t\"; at = \"holding:0\"; type = \"float64\"; }",
               name, unit, every);
    for (unsigned i = 4; i < 20; i++)
        buf_printf(&text, ", { name = \"a%u\"; at = \"holding:%u\"; type = \"uint16\"; }", i, i);
    buf_printf(&text,
               " ); }; w = { every = \"%s\"; stale_after = 1000; points = ( "
               "{ name = \"w0\"; at = \"holding:100\"; type = \"uint16\"; write = { }; }, "
               "{ name = \"w1\"; at = \"holding:101\"; type = \"uint16\"; write = { function = 16; }; }, "
               "{ name = \"w2\"; at = \"holding:102.5\"; write = { }; }, "
               "{ name = \"w3\"; at = \"holding:104\"; type = \"float32\"; write = { verify = \"readback\"; "
               "}; } ); }; }; }",
               every);
    return (char *)text.data;
}

/* ---- what is read ---- */

struct watch {
    uint64_t readings, good, bad, wrong, bad_since_us, bad_us;
    enum quality first_bad;
    unsigned qualities[QUALITY_COUNT];
    /* Of the points that are written: what a good verdict said last, and since when. */
    struct {
        bool known;
        double value;
        uint64_t since_us;
    } written[8][WRITE_POINTS];
    unsigned verdicts[ORDER_INTERRUPTED + 1];
    uint64_t false_verdicts;
    struct modbus_order *under_way[8];
    uint64_t begun_us[8];
};

static bool stamp_is_true(const struct field_world *w, const struct modbus_post *post, double stamp)
{
    for (unsigned i = 0; i < FIELD_EXCHANGES; i++)
        if (w->last[i].done_us == post->at_us)
            return stamp >= (double)w->last[i].sent_us - 2 && stamp <= (double)post->at_us + 2;
    return false;
}

static void watch_stamped(struct field_world *w, const struct modbus_post *post)
{
    struct watch *s = w->arg;
    const struct reading_point *p = post->points;
    bool all_good = true, all_right = true;

    s->readings++;
    for (unsigned i = 0; i < READ_POINTS; i++) {
        s->qualities[p[i].quality]++;
        all_good = all_good && p[i].quality == QUALITY_GOOD;
        if (p[i].quality != QUALITY_GOOD)
            continue;
        bool right = i ? p[i].value.u == i + 3 : stamp_is_true(w, post, p[i].value.d);
        all_right = all_right && right;
        if (!right)
            printf("wrong: point %u of device %u at %llu\n", i, post->device,
                   (unsigned long long)post->at_us);
    }
    s->wrong += !all_right;
    if (all_good && s->bad_since_us && !s->bad_us)
        s->bad_us = w->now_us - s->bad_since_us;
    if (!all_good && !s->bad_since_us) {
        s->bad_since_us = w->now_us;
        s->first_bad = p[0].quality;
    }
    s->good += all_good;
    s->bad += !all_good;
}

/* When the exchange that ended then was sent; 0: forgotten. */
static uint64_t sent_of(const struct field_world *w, uint64_t done_us)
{
    for (unsigned i = 0; i < FIELD_EXCHANGES; i++)
        if (w->last[i].done_us == done_us)
            return w->last[i].sent_us;
    return 0;
}

/* What a good verdict said is there in every later reading, until another order has been under way. */
static void watch_written(struct field_world *w, const struct modbus_post *post)
{
    struct watch *s = w->arg;
    uint64_t sent_us = sent_of(w, post->at_us);

    for (unsigned i = 0; i < WRITE_POINTS; i++) {
        const struct reading_point *p = &post->points[i];
        if (p->quality != QUALITY_GOOD || !s->written[post->device][i].known ||
            sent_us < s->written[post->device][i].since_us)
            continue;
        if (value_number(&p->value) == s->written[post->device][i].value)
            continue;
        s->false_verdicts++;
        printf("point %u of device %u is %g and was written as %g\n", i, post->device,
               value_number(&p->value), s->written[post->device][i].value);
    }
}

static double value_of_order(const struct field_world *w, const struct modbus_order *o)
{
    const struct modbus_point *p = &w->m->devices[o->device].groups[o->group].points[o->point];
    char text[32];
    struct value v;

    if (value_is_bit(p->spec.type))
        return o->data[0];
    assert_true(value_read(&p->spec, o->data, text, &v));
    return value_number(&v);
}

static void watch_order(struct field_world *w, const struct modbus_order *o)
{
    struct watch *s = w->arg;

    s->verdicts[o->verdict]++;
    s->under_way[o->device] = NULL;
    s->written[o->device][o->point].known = o->verdict == ORDER_OK;
    s->written[o->device][o->point].value = value_of_order(w, o);
    s->written[o->device][o->point].since_us = w->now_us;
}

static void watch(struct field_world *w, struct modbus_post *post)
{
    if (post->kind == POST_READING && post->group == 0)
        watch_stamped(w, post);
    else if (post->kind == POST_READING)
        watch_written(w, post);
    else if (post->kind == POST_ORDER)
        watch_order(w, post->order);
}

/* ---- each fault alone ---- */

static const struct {
    const char *what;
    const char *fault;    /* of one exchange */
    enum quality quality; /* of the one reading that it costs; good: it costs none */
} faults[] = {
    {"no reply", "kind = \"silence\";", QUALITY_TIMEOUT},
    {"reply 40 ms late", "kind = \"late\"; delay = \"40ms\";", QUALITY_GOOD},
    {"reply 110 ms late, in the hold-off", "kind = \"late\"; delay = \"110ms\";", QUALITY_TIMEOUT},
    {"reply 250 ms late, into the next poll", "kind = \"late\"; delay = \"250ms\";", QUALITY_TIMEOUT},
    {"reply 900 ms late, four polls on", "kind = \"late\"; delay = \"900ms\";", QUALITY_TIMEOUT},
    {"bits flipped in the reply", "kind = \"flip\"; ppm = 20000;", QUALITY_CRC},
    {"byte of the reply lost", "kind = \"drop\";", QUALITY_CRC},
    {"byte of the reply twice", "kind = \"double\";", QUALITY_CRC},
    {"reply cut off", "kind = \"truncate\";", QUALITY_CRC},
    {"wrong CRC", "kind = \"crc\";", QUALITY_CRC},
    {"reply of another unit", "kind = \"unit\";", QUALITY_TIMEOUT},
    {"reply of another function", "kind = \"function\";", QUALITY_TIMEOUT},
    {"reply of another length", "kind = \"count\";", QUALITY_TIMEOUT},
    {"exception 4", "kind = \"exception\"; code = 4;", QUALITY_EXCEPTION},
    {"the request in place of a reply", "kind = \"echo\";", QUALITY_TIMEOUT},
    {"bytes before the reply", "kind = \"glitch\";", QUALITY_GOOD},
    {"another frame right behind the reply", "kind = \"glue\";", QUALITY_GOOD},
    {"a stranger's frame before the reply", "kind = \"foreign\";", QUALITY_GOOD},
    {"20 ms of silence within the reply", "kind = \"pause\"; delay = \"20ms\";", QUALITY_GOOD},
    {"bits flipped in the request", "kind = \"flip\"; ppm = 50000; on = \"request\";", QUALITY_TIMEOUT},
    {"byte of the request lost", "kind = \"drop\"; on = \"request\";", QUALITY_TIMEOUT},
    {"byte of the request twice", "kind = \"double\"; on = \"request\";", QUALITY_TIMEOUT},
    {"request cut off", "kind = \"truncate\"; on = \"request\";", QUALITY_TIMEOUT},
    {"bytes before the request", "kind = \"glitch\"; on = \"request\";", QUALITY_TIMEOUT},
};

static const char *quality_text(enum quality q)
{
    return q == QUALITY_GOOD        ? "good"
           : q == QUALITY_TIMEOUT   ? "timeout"
           : q == QUALITY_CRC       ? "crc"
           : q == QUALITY_EXCEPTION ? "exception"
                                    : "other";
}

/* One exchange among a hundred has the fault. lump_us: so long the adapter keeps bytes back. */
static struct watch run_fault(size_t index, uint64_t lump_us)
{
    struct field_world w;
    struct watch s = {0};
    char *device = stamped_device("d", 1, "200ms");
    char *sim =
        mem_format("baud = 19200; format = \"8E1\"; strict = true; stations = ( { name = \"u\"; unit = 1; "
                   "turnaround_us = 3000; " STAMPED " faults = ( { %s skip = 30; count = 1; } ); } );\n",
                   faults[index].fault);

    field_world_open(&w, sim, FAST_LINE, device, 7 + index);
    w.post = watch;
    w.arg = &s;
    w.lump_us = lump_us;
    field_world_run(&w, 20 * S);
    field_world_close(&w);
    free(device);
    free(sim);
    return s;
}

/* Polls come every 200 ms: the one after the fault is good again. The table is what the page of benchmarks
 * shows. */
static void each_fault_costs_one_reading_and_no_truth(void **state)
{
    (void)state;
    printf("| fault of one exchange | quality | wrong values | readings lost | next poll | good again after, "
           "ms | "
           "adapter of 16 ms |\n|---|---|--:|--:|---|--:|--:|\n");
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        struct watch at_once = run_fault(i, 200), lumps = run_fault(i, 16000);
        const struct watch *both[] = {&at_once, &lumps};
        printf("| %s | %s | %llu | %llu | %s | %llu | %llu |\n", faults[i].what,
               quality_text(at_once.first_bad), (unsigned long long)(at_once.wrong + lumps.wrong),
               (unsigned long long)at_once.bad, at_once.bad <= 1 && lumps.bad <= 1 ? "good" : "bad",
               (unsigned long long)at_once.bad_us / 1000, (unsigned long long)lumps.bad_us / 1000);
        for (size_t k = 0; k < ARRAY_SIZE(both); k++) {
            const struct watch *s = both[k];
            assert_int_equal(s->wrong, 0);
            assert_int_equal(s->bad, faults[i].quality != QUALITY_GOOD);
            assert_int_equal(s->first_bad, faults[i].quality);
            assert_true(s->good >= 93);
            assert_true(s->bad_us <= 250000);
        }
    }
}

/* ---- all faults, and writes among the reads ---- */

#define CHANCE(kind) "{ kind = \"" kind "\"; chance = 15000; },"
#define LATE(delay)  "{ kind = \"late\"; chance = 15000; delay = \"" delay "\"; },"
#define BROKEN                                                                                               \
    CHANCE("truncate") CHANCE("double") CHANCE("drop") CHANCE("glue") CHANCE("echo") CHANCE("glitch")
/* Unit 1 is late, unit 2 says the wrong thing: both at once (a late reply that also claims another length) is
 * a lie that no master can see. */
#define FAULTY_LINE                                                                                          \
    "baud = 19200; format = \"8E1\"; faults = ( { kind = \"flip\"; ppm = 60; on = \"both\"; } ); stations "  \
    "= ( "                                                                                                   \
    "{ name = \"late\"; unit = 1; turnaround_us = 2000; jitter_us = 1500; " STAMPED                          \
    " faults = ( " BROKEN CHANCE("silence") LATE("90ms") LATE("110ms") LATE("170ms")                         \
        LATE("450ms") "{ kind = \"pause\"; "                                                                 \
                      "chance = 15000; delay = \"20ms\"; } ); }, { name = \"wrong\"; unit = 2; "             \
                      "turnaround_us = 2000; " STAMPED " faults = ( " BROKEN CHANCE("unit")                  \
                          CHANCE("function") CHANCE("count")                                                 \
                              CHANCE("exception") "{ kind = \"foreign\"; chance = 15000; } ); } );"

static void order_something(struct field_world *w, unsigned device)
{
    struct watch *s = w->arg;
    struct modbus_order *o = mem_alloc(sizeof *o);
    unsigned point = (unsigned)rand() % WRITE_POINTS;
    const struct modbus_point *p = &w->m->devices[device].groups[1].points[point];
    struct value v = {.kind = VALUE_INT, .i = value_is_bit(p->spec.type) ? rand() % 2 : rand() % 65536};

    o->device = device;
    o->group = 1;
    o->point = point;
    assert_int_equal(value_write(&p->spec, &v, o->data), 0);
    s->written[device][point].known = false;
    s->under_way[device] = o;
    s->begun_us[device] = w->now_us;
    list_add_tail(&w->orders, &o->link);
}

static void soak(uint64_t exchanges, uint64_t lump_us, uint64_t seed)
{
    struct field_world w;
    struct watch s = {0};
    struct sim_counts c;
    char *one = stamped_device("one", 1, "100ms"), *two = stamped_device("two", 2, "100ms");
    char *devices = mem_format("%s, %s", one, two);

    field_world_open(&w, FAULTY_LINE, FAST_LINE, devices, seed);
    w.post = watch;
    w.arg = &s;
    w.lump_us = lump_us;
    while (w.exchanges < exchanges) {
        unsigned device = (unsigned)rand() % 2;
        if (!s.under_way[device])
            order_something(&w, device);
        field_world_run(&w, w.now_us + (uint64_t)(rand() % 600000));
    }
    printf("%llu exchanges: %llu readings, %llu of them all good, wrong values %llu; orders %u ok, %u "
           "exception, %u "
           "timeout, %u crc, %u not verified, false verdicts %llu\n",
           (unsigned long long)w.exchanges, (unsigned long long)s.readings, (unsigned long long)s.good,
           (unsigned long long)s.wrong, s.verdicts[ORDER_OK], s.verdicts[ORDER_EXCEPTION],
           s.verdicts[ORDER_TIMEOUT], s.verdicts[ORDER_CRC], s.verdicts[ORDER_UNVERIFIED],
           (unsigned long long)s.false_verdicts);
    /* Where two talk at once, what is heard is random, and one in 65,536 of such answers has the right CRC:
     * then no master can tell. Only a long run may meet that. */
    sim_counts(w.sim, &c);
    printf("%llu collisions\n", (unsigned long long)c.collisions);
    assert_true(s.wrong <= (c.collisions < 2000 ? 0 : 1 + 2 * c.collisions / 65536));
    assert_int_equal(s.false_verdicts, 0);
    assert_true(s.good > s.readings / 2);
    assert_true(s.verdicts[ORDER_OK] > s.verdicts[ORDER_TIMEOUT] && s.verdicts[ORDER_TIMEOUT] > 0);
    field_world_close(&w);
    free(devices);
    free(one);
    free(two);
}

static uint64_t setting(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : fallback;
}

/* SLUICE_EXCHANGES, SLUICE_SEED: for a long run, and another one. */
static void no_fault_makes_a_wrong_value_or_a_false_verdict(void **state)
{
    static const uint64_t lumps[] = {200, 2000, 16000};
    uint64_t exchanges = setting("SLUICE_EXCHANGES", 21000), seed = setting("SLUICE_SEED", 40);

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(lumps); i++)
        soak(exchanges / ARRAY_SIZE(lumps), lumps[i], seed + i);
}

/* ---- learnt times ---- */

struct learnt {
    struct modbus_counts unit;
    unsigned good, bad;
};

static void learn(struct field_world *w, struct modbus_post *post)
{
    struct learnt *l = w->arg;

    if (post->kind != POST_READING)
        return;
    l->unit = post->unit;
    for (unsigned i = 0; i < w->m->devices[0].groups[0].point_count; i++)
        *(post->points[i].quality == QUALITY_GOOD ? &l->good : &l->bad) += 1;
}

static struct learnt learn_from(const char *station, const char *timing, uint64_t seconds)
{
    char *sim = mem_format("baud = 19200; format = \"8E1\"; stations = ( { name = \"u\"; unit = 1; holding = "
                           "( { at = 0; count = "
                           "40; } ); %s } );",
                           station);
    char *line = mem_format("baud = 19200; format = \"8E1\"; dead = { after = 100; }; %s", timing);
    struct field_world w;
    struct learnt l = {0};

    field_world_open(&w, sim, line,
                     "{ name = \"d\"; line = \"l\"; unit = 1; groups = { g = { every = \"200ms\"; "
                     "stale_after = 1000; points = ( "
                     "{ name = \"a\"; at = \"holding:0\"; type = \"int16\"; }, "
                     "{ name = \"b\"; at = \"holding:20\"; type = \"int16\"; } ); }; }; }",
                     3);
    w.post = learn;
    w.arg = &l;
    field_world_run(&w, seconds * S);
    field_world_close(&w);
    free(sim);
    free(line);
    return l;
}

static void a_quick_unit_is_not_waited_for_as_long_as_a_slow_one(void **state)
{
    struct learnt l = learn_from("turnaround_us = 3000;", "", 60);

    (void)state;
    assert_in_range(l.unit.turnaround_us, 3000, 8000);
    assert_in_range(l.unit.limit_us, 100000, 130000);
    /* What somebody has said is what is done. */
    l = learn_from("turnaround_us = 3000;", "timing = { response = \"300ms\"; };", 60);
    assert_int_equal(l.unit.limit_us, 300000);
    /* Times that vary are no timeouts. */
    l = learn_from("turnaround_us = 3000; jitter_us = 120000;", "", 600);
    assert_int_equal(l.unit.timeouts, 0);
    /* One answer in a hundred takes 150 ms longer: it costs a reading until that is known. */
    l = learn_from(
        "turnaround_us = 3000; faults = ( { kind = \"late\"; chance = 10000; delay = \"150ms\"; } );", "",
        600);
    assert_true(l.unit.timeouts <= 2);
    assert_in_range(l.unit.limit_us, 300000, 500000);
}

/* 20 registers lie between the two: a quick unit is asked twice, a slow one once. The plan begins with what
 * timing.turnaround says. */
static void requests_are_planned_with_the_time_that_the_unit_takes(void **state)
{
    struct learnt quick = learn_from("turnaround_us = 500;", "timing = { turnaround = \"50ms\"; };", 60);
    struct learnt slow = learn_from("turnaround_us = 40000;", "timing = { turnaround = \"1ms\"; };", 60);

    (void)state;
    assert_in_range(quick.unit.requests, 2 * quick.unit.polls - 40, 2 * quick.unit.polls);
    assert_in_range(slow.unit.requests, slow.unit.polls, slow.unit.polls + 40);
    assert_int_equal(quick.bad + slow.bad, 0);
}

/* ---- dead units ---- */

enum { LIVE = 31, MINUTE_S = 60 };

struct rates {
    unsigned by_device[LIVE];
    uint64_t from_us;
};

static void count_good(struct field_world *w, struct modbus_post *post)
{
    struct rates *r = w->arg;

    if (post->kind == POST_READING && post->device < LIVE && w->now_us >= r->from_us)
        r->by_device[post->device] += post->points[0].quality == QUALITY_GOOD;
}

/* Good readings of each live unit in minutes 2 to 12, on a line of 9600 baud that they alone would fill. */
static void rates_with(unsigned dead, struct rates *r)
{
    struct buf sim = {0}, devices = {0};
    struct field_world w;

    buf_printf(&sim, "baud = 9600; format = \"8E1\"; strict = true; stations = ( ");
    for (unsigned i = 1; i <= LIVE + dead; i++) {
        if (i <= LIVE)
            buf_printf(&sim,
                       "%s{ name = \"u%u\"; unit = %u; turnaround_us = 4000; jitter_us = 3000; holding = ( { "
                       "at = 0; "
                       "count = 10; constant = %u; } ); }",
                       i > 1 ? ", " : "", i, i, i);
        buf_printf(
            &devices,
            "%s{ name = \"u%u\"; line = \"l\"; unit = %u; groups = { g = { every = \"500ms\"; points = ( "
            "{ name = \"a\"; at = \"holding:0\"; type = \"uint16\"; }, { name = \"b\"; at = \"holding:9\"; "
            "type = \"uint16\"; } ); }; }; }",
            i > 1 ? ", " : "", i, i);
    }
    buf_printf(&sim, " );");
    *r = (struct rates){.from_us = S + 2 * MINUTE_S * S};
    field_world_open(&w, (char *)sim.data, "baud = 9600; format = \"8E1\";", (char *)devices.data, 5);
    w.post = count_good;
    w.arg = r;
    field_world_run(&w, S + 12 * MINUTE_S * S);
    field_world_close(&w);
    buf_free(&sim);
    buf_free(&devices);
}

static void dead_units_take_nothing_from_the_live_ones(void **state)
{
    static const unsigned dead[] = {1, 2, 4, 8};
    struct rates alone, with;

    (void)state;
    printf("| dead units beside %d | the live ones keep of their rate | the worst of them |\n|--:|--:|--:|\n",
           LIVE);
    rates_with(0, &alone);
    for (size_t i = 0; i < ARRAY_SIZE(dead); i++) {
        double worst = 1, sum = 0;
        rates_with(dead[i], &with);
        for (unsigned k = 0; k < LIVE; k++) {
            double share = (double)with.by_device[k] / alone.by_device[k];
            worst = share < worst ? share : worst;
            sum += share / LIVE;
        }
        printf("| %u | %.1f %% | %.1f %% |\n", dead[i], 100 * sum, 100 * worst);
        assert_true(alone.by_device[0] > 300);
        assert_true(worst >= 0.9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_fault_costs_one_reading_and_no_truth),
        cmocka_unit_test(no_fault_makes_a_wrong_value_or_a_false_verdict),
        cmocka_unit_test(a_quick_unit_is_not_waited_for_as_long_as_a_slow_one),
        cmocka_unit_test(requests_are_planned_with_the_time_that_the_unit_takes),
        cmocka_unit_test(dead_units_take_nothing_from_the_live_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
