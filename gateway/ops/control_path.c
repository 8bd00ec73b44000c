/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/control_path.h"

#include "base/mem.h"

static const struct conf_row members[] = {
    {.name = "socket",
     .type = CONF_PATH,
     .help = "the Unix socket that sluicectl talks to; control.sock in state_dir when it is not given"},
    {0},
};

const struct conf_row control_rows[] = {
    {.name = "control", .type = CONF_GROUP, .rows = members, .help = "how sluicectl reaches the daemon"},
    {0},
};

char *control_path(const struct conf *conf)
{
    const struct conf_node *root = conf_root(conf);
    const char *given = conf_string(conf_get(root, "control"), "socket");

    return given ? mem_strdup(given) : mem_format("%s/control.sock", conf_string(root, "state_dir"));
}
