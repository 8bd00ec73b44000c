/* SPDX-License-Identifier: Apache-2.0 */
/* A broken station that talks without being asked. */
#include <stdlib.h>

#include "base/mem.h"
#include "drivers/sim/station.h"

struct babbler {
    struct sim_station base;
    uint64_t period_ns, next_ns;
    size_t most;
};

static const struct conf_row babbler_rows[] = {
    {.name = "period",
     .type = CONF_DURATION,
     .def = "1s",
     .min = 1,
     .max = 1e12,
     .help = "Time between two bursts"},
    {.name = "bytes", .type = CONF_INT, .def = "5", .min = 1, .max = 256, .help = "Most bytes of a burst"},
    {0},
};

static struct sim_station *babbler_load(struct conf *conf, const struct conf_node *node)
{
    struct babbler *b = mem_alloc(sizeof(*b));

    (void)conf;
    b->period_ns = b->next_ns = (uint64_t)conf_int(node, "period") * 1000000;
    b->most = (size_t)conf_int(node, "bytes");
    return &b->base;
}

static uint64_t babbler_next(const struct sim_station *station)
{
    return container_of(station, struct babbler, base)->next_ns;
}

static void babbler_speak(struct sim_station *station, uint64_t now_ns, struct sim_chance *chance,
                          struct sim_speech *speech)
{
    struct babbler *b = container_of(station, struct babbler, base);
    size_t count = 1 + sim_chance_below(chance, b->most);

    b->next_ns = now_ns + b->period_ns;
    while (count--)
        buf_u8(&speech->bytes, (uint8_t)sim_chance_u64(chance));
    buf_printf(&speech->notes, " babble");
}

static void babbler_free(struct sim_station *station)
{
    free(container_of(station, struct babbler, base));
}

const struct sim_station_kind sim_babbler = {
    .name = "babbler",
    .rows = babbler_rows,
    .load = babbler_load,
    .next = babbler_next,
    .speak = babbler_speak,
    .free = babbler_free,
};
