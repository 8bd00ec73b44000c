/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "drivers/sim/fault.h"

static const struct sim_station_kind *const kinds[] = {&sim_modbus_slave, &sim_babbler};

const char *const sim_station_names[] = {"modbus", "babbler", NULL};
_Static_assert(ARRAY_SIZE(sim_station_names) == ARRAY_SIZE(kinds) + 1,
               "a name for each kind, in the same order");

const struct conf_row *sim_station_rows(const char *kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (!strcmp(kinds[i]->name, kind))
            return kinds[i]->rows;
    return NULL;
}

struct sim_station *sim_station_load(struct conf *conf, const struct conf_node *node)
{
    const struct sim_station_kind *kind = kinds[conf_int(node, "kind")];
    struct sim_station *s = kind->load(conf, node);

    s->kind = kind;
    s->name = mem_strdup(conf_string(node, "name"));
    s->turnaround_ns = (uint64_t)conf_int(node, "turnaround_us") * 1000;
    s->jitter_ns = (uint64_t)conf_int(node, "jitter_us") * 1000;
    s->faults = sim_faults_load(conf, node);
    return s;
}

void sim_station_free(struct sim_station *s)
{
    if (!s)
        return;
    free(s->name);
    sim_faults_free(s->faults);
    s->kind->free(s);
}
