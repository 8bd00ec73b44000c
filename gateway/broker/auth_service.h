/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets in and may do what, as a service: its rows, its part of the status, and what other services ask of
 * a configuration. */
#ifndef SLUICE_BROKER_AUTH_SERVICE_H
#define SLUICE_BROKER_AUTH_SERVICE_H

#include <stdbool.h>

#include "base/conf.h"

/* There are users to be asked for a password. */
bool auth_conf_asks(const struct conf_node *root);

#endif
