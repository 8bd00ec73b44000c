/* SPDX-License-Identifier: Apache-2.0 */
/* Where the control socket is: the daemon's listener and sluicectl must agree on it. Any thread. */
#ifndef SLUICE_OPS_CONTROL_PATH_H
#define SLUICE_OPS_CONTROL_PATH_H

#include "base/conf.h"

extern const struct conf_row control_rows[]; /* control = { socket = "…"; } */

/* control.socket, or control.sock in state_dir. To be freed. */
char *control_path(const struct conf *conf);

#endif
