/* SPDX-License-Identifier: Apache-2.0 */
/* The file that describes a simulated line: its rows, and the line that it makes. */
#ifndef SLUICE_DRIVERS_SIM_SIM_CONF_H
#define SLUICE_DRIVERS_SIM_SIM_CONF_H

#include "drivers/sim/line_model.h"

extern const struct conf_row sim_conf_rows[];

struct sim_conf {
    struct sim_line_options options;
    char *log;        /* NULL: none */
    const char *text; /* in place of the file; NULL: none */
    bool any_baud;    /* the master's speed does not matter */
};

/* Reads file. log and log_arg of options are the caller's, given beforehand; a seed of 0 is replaced by the
 * file's or by a fresh one. 0 with the line, or -EINVAL with the mistakes in error. */
int sim_conf_load(struct sim_conf *c, struct sim_line **out, const char *file, char *error, size_t size);
void sim_conf_free(struct sim_conf *c);

/* Of such a file, too: the seed given, or the file's, or a fresh one; its mistakes, one a line: 0 or -EINVAL.
 */
uint64_t sim_conf_seed(uint64_t given, const struct conf_node *root);
int sim_conf_mistakes(const struct conf *conf, char *error, size_t size);

#endif
